"""Scores of a network on pairs of images and masks, at the masks' own size."""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from data.images import read_image, read_mask
from metrics.overlap import overlap


class Scored(NamedTuple):
    """One picture: its pair, its probability map and its numbers."""

    pair: tuple
    probability: np.ndarray
    scores: dict


def evaluate(predictor, pairs, threshold=0.5, batch_size=8):
    """Yield a `Scored` for each pair, in order, holding one batch in memory at a time."""
    batches = [pairs[start:start + batch_size] for start in range(0, len(pairs), batch_size)]
    with ThreadPoolExecutor() as pool:
        for batch in batches:
            images = list(pool.map(lambda pair: read_image(pair.image), batch))
            for pair, probability in zip(batch, predictor(images)):
                yield Scored(pair, probability, overlap(read_mask(pair.mask), probability >= threshold))


def mean_scores(rows):
    """Mean of each number over pictures, NaN left out."""
    return {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}
