"""The lists of scores, of images and of volumes. `metrics.json`, the CSV files, the tables and the
report are made from them.

To add a score, add an entry here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .calibration import calibration_error


@dataclass(frozen=True)
class Metric:
    """One score under one protocol.

    Attributes:
        key: name of the score in `metrics.json` and `per_image.csv`.
        heading: heading of its column.
        latex: heading in LaTeX.
        better: whether a `"higher"` or a `"lower"` value is better; `"neither"` for a score whose
            sign says in which direction a model errs. Models are not compared by it.
        words: explanation in a sentence or two, for the report's glossary.
        function: function from a view of one image to the score: a `PranetView` for the protocol
            `pranet`, else a `ThresholdView`; for a volume, a `VolumeView`. nan where the score is
            not defined.
        column: whether the tables have a column for it.
        per_image: whether the report lists it for each image.
        array: None if the value for a data set is the mean over images. Otherwise a function from
            the view to an array, which is averaged over the images that define it.
        reduce: function from this mean, `(..., size of the array)`, to the value for the data set,
            `(...)`.
        needs: an option of `score` without which it is left out.
        unit: of the numbers that tables print: "ml", "mm", or "%" for a share that is printed as a
            percentage; "" for a number as it is.
    """

    key: str
    heading: str
    latex: str
    better: str
    words: str
    function: Callable[[Any], float]
    column: bool = True
    per_image: bool = True
    array: Callable[[Any], NDArray[np.float64]] | None = None
    reduce: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    needs: str | None = None
    unit: str = ""


def _overlap(key: str) -> Callable[[Any], float]:
    return lambda view: view.overlap[key]


def _mean(curve: str) -> Callable[[Any], float]:
    return lambda view: view.curves[curve].mean()


def _max(curve: str) -> dict[str, Any]:
    """The maximum of a curve: of an image's own, and of the mean curve of a data set."""
    return {
        "function": lambda view: view.curves[curve].max(),
        "array": lambda view: view.curves[curve],
        "reduce": lambda means: means.max(axis=-1),
    }


def _share(counts: Callable[[Any], tuple[int, int]]) -> dict[str, Any]:
    """A share of all lesions or components: in an image, and in a data set.

    Args:
        counts: function from a view to two numbers: how many of how many.
    """

    def array(view: Any) -> NDArray[np.float64]:
        some, of_all = counts(view)
        return np.array([some, of_all], np.float64) if of_all else np.full(2, np.nan)

    def share(means: NDArray[np.float64]) -> NDArray[np.float64]:
        return means[..., 0] / means[..., 1]

    return {"function": lambda view: float(share(array(view))), "array": array, "reduce": share}


_DICE = "Twice the area that mask and prediction share, divided by the sum of their areas."
_IOU = "The area that mask and prediction share, divided by the area that they cover together."
_WFB = (
    "Weighted F: precision and recall of the map. An error counts less near the mask's outline and "
    "where the pixels around it are right (Margolin et al., CVPR 2014)."
)
_S = "S-measure: how similar map and mask are as objects and by regions (Fan et al., ICCV 2017)."
_E = (
    "E-measure: how well prediction and mask agree at each pixel and as a whole "
    "(Fan et al., IJCAI 2018)."
)
_MAE = "Mean absolute difference between map and mask, over all pixels."
_MEAN = " Mean over 256 thresholds."
_MAX = " The highest point of the mean curve over 256 thresholds."


THRESHOLD = (
    Metric("dice", "Dice", "Dice", "higher", _DICE, _overlap("dice")),
    Metric("iou", "IoU", "IoU", "higher", _IOU, _overlap("iou")),
    Metric("wfb", "wFb", r"$F_\beta^w$", "higher", _WFB, lambda view: view.weighted_f),
    Metric("s_measure", "Sm", r"$S_\alpha$", "higher", _S, lambda view: view.s_measure),
    Metric("e_measure", "E", r"$E_\phi$", "higher", _E, lambda view: view.e_measure),
    Metric("mae", "MAE", "MAE", "lower", _MAE, lambda view: view.mae),
    Metric(
        "precision",
        "precision",
        "precision",
        "higher",
        "The share of the predicted foreground that is in the mask.",
        _overlap("precision"),
    ),
    Metric(
        "recall",
        "recall",
        "recall",
        "higher",
        "The share of the mask that was found; also called sensitivity.",
        _overlap("recall"),
    ),
    Metric(
        "calibration_error",
        "ECE",
        "ECE",
        "lower",
        "Expected calibration error: how far probabilities and frequencies of the foreground are "
        "apart, over all pixels in 15 bins (Naeini et al., AAAI 2015).",
        lambda view: float(calibration_error(view.calibration)),
        per_image=False,
        array=lambda view: view.calibration.ravel(),
        reduce=lambda means: calibration_error(means.reshape(*means.shape[:-1], 3, -1)),
    ),
    Metric(
        "hd95",
        "HD95",
        "HD95",
        "lower",
        "95 % of each outline, of mask and of prediction, lies within this distance of the other "
        "one, in pixels; the image's diagonal if nothing is found.",
        lambda view: view.boundary.hd95,
        needs="boundary",
    ),
    Metric(
        "surface_dice",
        "sDice",
        "sDice",
        "higher",
        "Surface Dice: the share of both outlines that is within the tolerance of the other one "
        "(Nikolov et al., JMIR 2021).",
        lambda view: view.boundary.surface_dice,
        needs="boundary",
    ),
)


def _pranet(
    key: str, heading: str, words: str, function: Callable[[Any], float], **options: Any
) -> Metric:
    default: dict[str, Any] = {
        "latex": heading,
        "better": "higher",
        "column": False,
        "per_image": False,
    }
    return Metric(key=key, heading=heading, words=words, function=function, **(default | options))


PRANET = (
    _pranet("mean_dice", "mDice", _DICE + _MEAN, _mean("dice"), column=True, per_image=True),
    _pranet("max_dice", "max Dice", _DICE + _MAX, **_max("dice"), per_image=True),
    _pranet("mean_iou", "mIoU", _IOU + _MEAN, _mean("iou"), column=True),
    _pranet("max_iou", "max IoU", _IOU + _MAX, **_max("iou")),
    _pranet("wfb", "wFb", _WFB, lambda view: view.weighted_f, column=True, latex=r"$F_\beta^w$"),
    _pranet("s_measure", "Sm", _S, lambda view: view.s_measure, column=True, latex=r"$S_\alpha$"),
    _pranet(
        "mean_e_measure",
        "mean E",
        _E + _MEAN,
        _mean("e_measure"),
        column=True,
        latex=r"mean $E_\phi$",
    ),
    _pranet(
        "max_e_measure",
        "max E",
        _E + _MAX,
        **_max("e_measure"),
        column=True,
        latex=r"max $E_\phi$",
    ),
    _pranet("mae", "MAE", _MAE, lambda view: view.mae, column=True, better="lower"),
    _pranet(
        "mean_sensitivity",
        "mSensitivity",
        "The share of the mask that was found." + _MEAN,
        _mean("sensitivity"),
    ),
    _pranet(
        "mean_specificity",
        "mSpecificity",
        "The share of the background that was not marked as foreground." + _MEAN,
        _mean("specificity"),
    ),
)


def _lesions(
    key: str,
    heading: str,
    words: str,
    function: Callable[[Any], float],
    better: str = "higher",
    **options: Any,
) -> Metric:
    return Metric(key, heading, heading, better, words, function, per_image=False, **options)


LESIONS = (
    _lesions(
        "sensitivity",
        "sensitivity",
        "The share of the lesions that were found, over all images. A lesion is a connected "
        "component of the mask, and is found if its IoU with a predicted component is above the "
        "limit.",
        **_share(lambda view: (view.lesions.found, view.lesions.lesions)),
    ),
    _lesions(
        "precision",
        "precision",
        "The share of the predicted components that find a lesion, over all images.",
        **_share(lambda view: (view.lesions.true_positives, view.lesions.predicted)),
    ),
    _lesions(
        "false_positives",
        "false positives per image",
        "Predicted components that find no lesion, in an image.",
        lambda view: view.lesions.false_positives,
        better="lower",
    ),
    _lesions(
        "false_alarm_rate",
        "false alarm rate",
        "The share of the images without foreground in which anything is predicted.",
        lambda view: np.nan if view.truth.area else view.predicted > 0,
        better="lower",
    ),
    _lesions(
        "false_alarm_rate_1_percent",
        "of 1 % or more",
        "The false alarm rate if only predicted components of at least 1 % of the pixels count.",
        lambda view: np.nan if view.truth.area else view.largest_share >= 0.01,
        better="lower",
    ),
    _lesions(
        "false_alarm_area",
        "false alarm area",
        "The share of the pixels that is predicted in images without foreground.",
        lambda view: np.nan if view.truth.area else view.predicted / view.truth.pixels,
        better="lower",
    ),
)

# Of a whole volume, see `metrics/volume.py`. The papers print shares as percentages.
VOLUME = (
    Metric(
        "dice",
        "Dice",
        "Dice",
        "higher",
        "Twice the volume that truth and prediction share, divided by the sum of their volumes.",
        _overlap("dice"),
        unit="%",
    ),
    Metric(
        "iou",
        "IoU",
        "IoU",
        "higher",
        "The volume that truth and prediction share, divided by the volume that they fill "
        "together.",
        _overlap("iou"),
        unit="%",
    ),
    Metric(
        "precision",
        "precision",
        "precision",
        "higher",
        "The share of the predicted volume that is in the true one.",
        _overlap("precision"),
        unit="%",
    ),
    Metric(
        "recall",
        "recall",
        "recall",
        "higher",
        "The share of the true volume that was found; also called sensitivity.",
        _overlap("recall"),
        unit="%",
    ),
    Metric(
        "volume_difference_ml",
        "difference",
        "difference",
        "neither",
        "Predicted volume minus true volume; below 0 if too little is predicted. Its mean over "
        "patients is the bias.",
        lambda view: view.predicted_ml - view.truth_ml,
        unit="ml",
    ),
    Metric(
        "absolute_volume_difference_ml",
        "|difference|",
        r"$|$difference$|$",
        "lower",
        "How far the predicted volume is from the true one, whatever the sign.",
        lambda view: abs(view.predicted_ml - view.truth_ml),
        unit="ml",
    ),
    Metric(
        "hd95",
        "HD95",
        "HD95",
        "lower",
        "95 % of each surface, of truth and of prediction, lies within this distance of the other "
        "one; the volume's diagonal if nothing is found.",
        lambda view: view.boundary.hd95,
        needs="boundary",
        unit="mm",
    ),
    Metric(
        "surface_dice",
        "sDice",
        "sDice",
        "higher",
        "Surface Dice: the share of both surfaces that is within the tolerance of the other one "
        "(Nikolov et al., JMIR 2021).",
        lambda view: view.boundary.surface_dice,
        needs="boundary",
        unit="%",
    ),
)

METRICS: dict[str, tuple[Metric, ...]] = {
    "threshold": THRESHOLD,
    "pranet": PRANET,
    "lesions": LESIONS,  # of the map as it is, like "threshold"
}
VOLUME_METRICS: dict[str, tuple[Metric, ...]] = {"volume": VOLUME}
