"""A data set in memory. Each file is opened once, to check, hash and decode it."""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polypseg.errors import InputError

from .images import Window, is_lost, resize_image, resize_mask
from .masks import MaskFile
from .pairs import Pair
from .problems import Problem, Report
from .verify import Hashes, read_once

# Training images are stored larger than the network's input, so that they stay sharp when
# augmentation zooms in.
MARGIN = 1.25


def training_size(input_size: int, augmentation: str) -> int:
    """Height and width at which training images are stored.

    Args:
        input_size: height and width of the network's input.
        augmentation: with `"full"`, which crops, the images are stored larger by `MARGIN`.

    >>> training_size(352, "full"), training_size(352, "flips")
    (440, 352)
    """
    return round(input_size * MARGIN) if augmentation == "full" else input_size


class Arrays(NamedTuple):
    """Decoded pairs, or some of the pairs in larger arrays.

    The folds of a cross-validation share the same arrays and differ in `rows`.

    Attributes:
        images: `(N, size, size, 3)` uint8 RGB.
        masks: `(N, size, size, 1)` uint8 in {0, 1}, and `IGNORED` where pixels do not count.
        rows: indices of the pairs that belong to this object, in order; None for all N.
    """

    images: np.ndarray
    masks: np.ndarray
    rows: np.ndarray | None = None

    @property
    def length(self) -> int:
        """The number of pairs."""
        return len(self.images if self.rows is None else self.rows)

    @property
    def has_empty_masks(self) -> bool:
        """Whether a mask has no foreground."""
        rows = range(len(self.masks)) if self.rows is None else self.rows
        return any(not (self.masks[row] == 1).any() for row in rows)

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Copy the images and masks of the pairs with these indices, 0 to `length` - 1."""
        rows = indices if self.rows is None else self.rows[indices]
        return self.images[rows], self.masks[rows]


class Loaded(NamedTuple):
    """The result of `load`.

    Attributes:
        report: problems that were found. If it has errors, rows of the arrays may be undefined.
        files: hashes of image and mask, by stem.
        arrays: one `Arrays` for each element of `wanted`.
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
    window: Window | None = None,
    grouped: bool = False,
) -> Loaded:
    """Check, hash and decode pairs in one pass, in threads.

    The arrays are in memory. If they need more than `cache_gb` in total, they are in temporary
    files, of which the system keeps the recently used parts in memory. A pair that is wanted twice
    at the same size is stored once.

    Args:
        pairs: all pairs, which are checked and hashed.
        wanted: for each `Arrays` of the result, some of the pairs, and their height and width.
        cache_gb: largest size of all arrays in memory, in gigabytes (10^9 bytes).
        orphans, split: as for `verify`.
        masks: from `read_masks` of these pairs, if they have been read already.
        window: as for `read_image`.
        grouped: as for `read_once`.

    Raises:
        InputError: the temporary files do not fit on the disk.

    >>> pairs, orphans = find_pairs("datasets/kvasir-seg")  # doctest: +SKIP
    >>> (arrays,) = load(pairs, [(pairs[:100], 352)]).arrays  # doctest: +SKIP
    >>> arrays.images.shape  # doctest: +SKIP
    (100, 352, 352, 3)
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

    def store(pair: Pair, image: np.ndarray, mask: np.ndarray) -> list[Problem]:
        lost = []
        for size, stems in rows.items():
            if pair.stem in stems:
                row = stems[pair.stem]
                arrays_by_size[size].images[row] = resize_image(image, (size, size))
                small = resize_mask(mask, (size, size))
                arrays_by_size[size].masks[row, :, :, 0] = small
                if np.count_nonzero(small == 1) == 1 and is_lost(mask, (size, size)):
                    lost.append(size)
        if not lost:
            return []
        kept = next(size for size in count(min(lost), 32) if not is_lost(mask, (size, size)))
        kind = f"foreground below half a pixel at {min(lost)} px, so one pixel stands for it"
        return [Problem("warning", pair.mask, f"{kind}: {kept} px would keep it")]

    report, files = read_once(
        pairs, orphans, split, on_pair=store, masks=masks, window=window, grouped=grouped
    )
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
        # It has no name, so the system removes it when the process ends, even if it is killed.
        with tempfile.TemporaryFile() as file:  # the map keeps it open
            # Reserve the space: writing to a map on a full disk would end the process with SIGBUS.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, np.uint8, "w+", shape=shape)
    except OSError as error:
        raise InputError(
            f"expected {size / 1e9:.1f} GB of free space in the temporary folder for decoded "
            f"images ({error.strerror})",
            "cache_gb",
        ) from error
