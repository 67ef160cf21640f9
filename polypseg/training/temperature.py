"""The temperature of a trained network: one number that makes its probabilities honest.

A network that is trained on overlap says 0.99 where 0.9 would be right, or the other way round.
Guo et al. (*On calibration of modern neural networks*, ICML 2017) divide its logits by a number T,
fitted on images that it was not trained on. The sign of a logit stays, so no pixel crosses 0.5.
"""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from polypseg.data.loading import Arrays
from polypseg.experiment.checkpoint import read_saved, save_model, saving
from polypseg.inference.formats.keras import KerasEngine
from polypseg.layers.types import IGNORED

LOWEST, HIGHEST = 0.1, 10.0
_LIMIT, _WIDTH = 128.0, 1 / 32  # of the logits that are counted, and of a bin
_BINS = int(2 * _LIMIT / _WIDTH)


def fit_temperature(batches: Iterable[tuple[NDArray[np.float32], NDArray[np.integer]]]) -> float:
    """The T with the smallest binary cross-entropy of sigmoid(z / T).

    The cross-entropy is the mean over the pixels of an image, then over images. Ignored pixels do
    not count. With the loss of a pixel, log(1 + exp(z / T)) - y z / T, the second part is a sum
    over pixels, divided by T. For the first one the pixels are counted in bins of width 1/32, each
    of which is taken at its mean; this changes T by less than 1e-3 (tests/test_temperature.py), and
    needs the same memory for any number of images.

    Args:
        batches: logits `(B, H, W)` and masks `(B, H, W)` in {0, 1}, and `IGNORED`.

    Returns:
        T from 0.1 to 10; 1 if no pixel counts. Where every pixel is right, 0.1.

    Raises:
        ValueError: logits and masks have different shapes.

    >>> z = np.array([[[2.0, 2.0, 2.0, -2.0]]], np.float32)  # sigmoid(2 / T) = 3 / 4
    >>> round(fit_temperature([(z, np.array([[[1, 1, 0, 0]]]))]), 2)
    1.82
    """
    weights, sums = np.zeros(_BINS), np.zeros(_BINS)
    of_foreground = 0.0
    for logits, masks in batches:
        if logits.shape != masks.shape:
            raise ValueError(
                f"expected masks of the shape of the logits {logits.shape}, got {masks.shape}"
            )
        for image, mask in zip(logits, masks):
            counted = mask != IGNORED
            if not counted.any():
                continue
            z = np.clip(image[counted].astype(np.float64), -_LIMIT, _LIMIT)
            of_foreground += z[mask[counted] == 1].sum() / len(z)
            bins = np.minimum((z + _LIMIT) / _WIDTH, _BINS - 1).astype(np.intp)
            weights += np.bincount(bins, minlength=_BINS) / len(z)
            sums += np.bincount(bins, z, _BINS) / len(z)
    filled = weights > 0
    if not filled.any():
        return 1.0
    weights, means = weights[filled], sums[filled] / weights[filled]

    def cross_entropy(log_temperature: float) -> float:
        scale = math.exp(-log_temperature)
        return float(weights @ -special.log_expit(-means * scale) - of_foreground * scale)

    limits = math.log(LOWEST), math.log(HIGHEST)
    found = optimize.minimize_scalar(
        cross_entropy, bounds=limits, method="bounded", options={"xatol": 1e-4}
    )
    return float(np.clip(math.exp(found.x), LOWEST, HIGHEST))


def set_temperature(folder: Path, validation: Arrays, batch_size: int) -> float:
    """Fit the temperature of the network in `best.keras` of a run, and save it in this file.

    It is fitted at the network's input size, at which the validation images are in memory. The
    Predictor resizes logits bilinearly to the image's size, which changes few of them.

    Args:
        folder: of the run.
        validation: its validation pairs.
        batch_size: images per call of the network.

    Returns:
        The temperature.

    Raises:
        SaveError: the file cannot be written; the file without temperature is complete.
    """
    path = folder / "best.keras"
    engine = KerasEngine(path)
    engine.temperature = 1.0

    def batches() -> Iterable[tuple[NDArray[np.float32], NDArray[np.integer]]]:
        for first in range(0, validation.length, batch_size):
            rows = np.arange(first, min(first + batch_size, validation.length))
            images, masks = validation.take(rows)
            yield engine.logits(images.astype(np.float32))[..., -1], masks[..., 0]

    temperature = fit_temperature(batches())
    engine.model.temperature = temperature
    with saving(folder):
        save_model(engine.model, path, read_saved(path)._replace(temperature=temperature))
    return temperature
