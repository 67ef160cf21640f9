"""The scores of one image, under both protocols."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .lesions import LesionCounts


@dataclass
class ImageScores:
    """The scores of one image.

    Attributes:
        threshold, pranet: the scores of each protocol, with the keys of `METRICS`; nan where a
            score is not defined.
        lesions: the scores of lesions, likewise.
        threshold_curves: scores of the map at the thresholds 0, 1/255, ..., 1, with the keys
            `CURVES`, each `(256,)`.
        pranet_curves: the same scores of the map that is stretched to [0, 1].
        arrays: by protocol and key, what a data set's value is computed from, for the scores that
            are no means over the images.
        lesion_counts: connected components of mask and prediction.
        area: share of the mask that is foreground, in [0, 1].
        size: height and width of the image in pixels.
    """

    threshold: dict[str, float]
    pranet: dict[str, float]
    lesions: dict[str, float]
    threshold_curves: dict[str, NDArray[np.float64]]
    pranet_curves: dict[str, NDArray[np.float64]]
    arrays: dict[str, dict[str, NDArray[np.float64]]]
    lesion_counts: LesionCounts
    area: float
    size: tuple[int, int]
