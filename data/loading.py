"""A data set in memory: each file is opened once, to check it, to hash it and to decode it."""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polypseg.errors import InputError

from .images import resize_image, resize_mask
from .masks import MaskFile
from .pairs import Pair
from .problems import Report
from .verify import Hashes, read_once

# Training images are kept larger than the network's input, so that zooming in
# shows detail instead of blur.
MARGIN = 1.25


def training_size(input_size: int, augmentation: str) -> int:
    """Height and width at which training images are kept: full augmentation crops from them."""
    return round(input_size * MARGIN) if augmentation == "full" else input_size


class Arrays(NamedTuple):
    """Decoded pairs: images `(N, size, size, 3)` and masks `(N, size, size, 1)`, uint8.

    `rows` are those that are meant, in their order; None for all. So the folds of a
    cross-validation share what is decoded.
    """

    images: np.ndarray
    masks: np.ndarray
    rows: np.ndarray | None = None

    @property
    def length(self) -> int:
        """How many pairs are meant."""
        return len(self.images if self.rows is None else self.rows)

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images and masks of some of the pairs that are meant, copied."""
        rows = indices if self.rows is None else self.rows[indices]
        return self.images[rows], self.masks[rows]


class Loaded(NamedTuple):
    """What `load` found and decoded: the hashes by stem, an `Arrays` for each one wanted.

    Where the report has errors, rows of the arrays may be empty.
    """

    report: Report
    files: dict[str, Hashes]
    arrays: list[Arrays]


def load(
    pairs: Sequence[Pair],
    wanted: Sequence[tuple[Sequence[Pair], int]],
    cache_gb: float = 4.0,
    orphans: Iterable[Path] = (),
    split: Mapping[str, Sequence[str]] | None = None,
    masks: Mapping[str, MaskFile] | None = None,
) -> Loaded:
    """Check, hash and decode pairs in one pass, in threads.

    The arrays are held in memory, or in unnamed temporary files that the system pages in and out
    when all of them need more than `cache_gb` gigabytes. A pair that is wanted twice at one size
    is kept once.

    Args:
        wanted: some of the pairs, and height and width of their `Arrays`, for each that is wanted.
        orphans, split: as for `verify`.
        masks: from `read_masks` of these pairs, where they have been read.

    Raises:
        InputError: no room for the temporary files.
    """
    rows: dict[int, dict[str, int]] = {}
    for part, size in wanted:
        stems = rows.setdefault(size, {})
        for pair in part:
            stems.setdefault(pair.stem, len(stems))
    in_memory = sum(4 * size**2 * len(stems) for size, stems in rows.items()) <= cache_gb * 1e9
    arrays_by_size = {
        size: Arrays(
            _empty((len(stems), size, size, 3), in_memory),
            _empty((len(stems), size, size, 1), in_memory),
        )
        for size, stems in rows.items()
    }

    def store(pair: Pair, image: np.ndarray, mask: np.ndarray) -> None:
        for size, stems in rows.items():
            if pair.stem in stems:
                row = stems[pair.stem]
                arrays_by_size[size].images[row] = resize_image(image, (size, size))
                arrays_by_size[size].masks[row, :, :, 0] = resize_mask(mask, (size, size))

    report, files = read_once(pairs, orphans, split, on_pair=store, masks=masks)
    arrays = [
        arrays_by_size[size]._replace(
            rows=np.array([rows[size][pair.stem] for pair in part], np.int64)
        )
        for part, size in wanted
    ]
    return Loaded(report, files, arrays)


def _empty(shape: tuple[int, ...], in_memory: bool) -> np.ndarray:
    if in_memory:
        return np.empty(shape, np.uint8)
    size = max(int(np.prod(shape)), 1)
    try:
        # The file has no name and goes with the process, even one that is killed.
        file = tempfile.TemporaryFile()
        # A full disk is an error here, and a SIGBUS while it is written to.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        raise InputError(
            f"expected {size / 1e9:.1f} GB of room for decoded images in the temporary folder "
            f"({error.strerror})",
            "cache_gb",
        ) from error
    return np.memmap(file, np.uint8, "w+", shape=shape)
