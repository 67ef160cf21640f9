"""Whether probabilities agree with frequencies: the expected calibration error."""

import numpy as np
from numpy.typing import NDArray

BINS = 15
# Level i is the probability i / 255, so its bin is i * 15 // 255. Integers put the levels at the
# edges, 0, 17, 34, ..., into the upper bin, whatever the rounding of floats.
_BIN_OF_LEVEL = np.minimum(np.arange(256) * BINS // 255, BINS - 1)
_FIRST_LEVELS = np.searchsorted(_BIN_OF_LEVEL, np.arange(BINS))


def calibration_counts(levels: NDArray[np.intp]) -> NDArray[np.float64]:
    """The sums over pixels from which `calibration_error` is computed.

    The bins have equal width: [0, 1/15), [1/15, 2/15), ..., [14/15, 1].

    Args:
        levels: `(2, 256)`, number of pixels of the background and of the foreground at each grey
            level; level i is the probability i / 255.

    Returns:
        `(3, 15)` by bin: number of pixels, sum of their probabilities, number of foreground pixels.
        Those of several images can be added.

    Raises:
        ValueError: another shape.
    """
    if np.shape(levels) != (2, 256):
        raise ValueError(f"expected levels (2, 256), got shape {np.shape(levels)}")
    pixels = levels[0] + levels[1]
    rows = np.stack([pixels, pixels * np.arange(256), levels[1]])
    sums = np.add.reduceat(rows, _FIRST_LEVELS, axis=1).astype(np.float64)
    sums[1] /= 255.0
    return sums


def calibration_error(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected calibration error of the probability of foreground, over pixels.

    sum over bins of |sum of probabilities - foreground pixels| / number of pixels, which is the
    mean over bins of |mean probability - share of foreground|, weighted by pixels.

    This is the binary error of Naeini et al. (*Obtaining well calibrated probabilities using
    Bayesian binning*, AAAI 2015). Guo et al. (*On calibration of modern neural networks*, ICML
    2017) compare the probability of the chosen class with the share of right choices. For two
    classes that probability is 0.5 or more, so pixels with p and 1 - p share a bin there, and
    errors in opposite directions can cancel.

    Args:
        sums: `(..., 3, 15)`, what `calibration_counts` returns, of one image or added up.

    Returns:
        `(...)` in [0, 1]; 0 is best, nan where there are no pixels.

    Raises:
        ValueError: another shape.

    >>> levels = np.zeros((2, 256), np.intp)
    >>> levels[:, 51] = 6, 4  # probability 0.2, 4 of 10 pixels are foreground
    >>> round(float(calibration_error(calibration_counts(levels))), 6)
    0.2
    """
    sums = np.asarray(sums, np.float64)
    if sums.shape[-2:] != (3, BINS):
        raise ValueError(f"expected sums (..., 3, {BINS}), got shape {sums.shape}")
    pixels = sums[..., 0, :].sum(axis=-1)
    gap = np.abs(sums[..., 1, :] - sums[..., 2, :]).sum(axis=-1)
    return np.where(pixels > 0, gap / np.maximum(pixels, 1), np.nan)
