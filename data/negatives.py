"""Tissue without a lesion, from a data set whose images all show one: quarters without foreground.

Colonoscopy is mostly tissue without a polyp, but the public data sets of polyps have no such image.
Most of their images have a quarter without foreground, on which false alarms can be counted.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from polypseg.errors import InputError, InputErrors

from .images import write_png
from .mask_rule import BLACK_AND_WHITE, MaskRule
from .masks import read_masks
from .pairs import Pair
from .problems import Problem
from .verify import read_once


def quarters(height: int, width: int) -> list[tuple[slice, slice]]:
    """Rows and columns of the quarters: top left, top right, bottom left, bottom right.

    Of an odd number of rows or columns, the second half has one more.

    >>> quarters(4, 7)[1]
    (slice(0, 2, None), slice(3, 7, None))
    """
    rows = slice(0, height // 2), slice(height // 2, height)
    columns = slice(0, width // 2), slice(width // 2, width)
    return [(down, across) for down in rows for across in columns]


def write_negatives(
    pairs: Sequence[Pair],
    folder: Path,
    rule: MaskRule = BLACK_AND_WHITE,
    on_image: Callable[[], object] = lambda: None,
) -> dict[str, int]:
    """Write the quarters of images that have no pixel of foreground, and black masks for them.

    The files are `images/STEM_q1.png` to `STEM_q4.png`, numbered as in `quarters`, and `masks/`
    with the same names. Quarters are neither resized nor compressed with loss.

    Args:
        pairs: images and masks.
        folder: an existing folder.
        rule: what is foreground, as for `read_mask`.
        on_image: called after each image, in a thread.

    Returns:
        The number of quarters by stem of the image; images without any are left out.

    Raises:
        InputErrors: for each bad file (see `data.verify`) its problem.
        InputError: there is no such quarter.
        OSError: a file cannot be written.

    >>> write_negatives(find_pairs("kvasir-seg")[0], Path("negatives"))  # doctest: +SKIP
    """
    found: dict[str, int] = {}
    for kind in ("images", "masks"):
        (folder / kind).mkdir()

    def write(pair: Pair, image: np.ndarray, mask: np.ndarray) -> list[Problem]:
        on_image()
        if image.shape[:2] != mask.shape:  # an error that `read_once` reports
            return []
        for number, part in enumerate(quarters(*mask.shape), start=1):
            if mask[part].any() or not mask[part].size:
                continue
            name = f"{pair.stem}_q{number}.png"
            write_png(folder / "images" / name, np.ascontiguousarray(image[part]))
            write_png(folder / "masks" / name, np.ascontiguousarray(mask[part]))
            found[pair.stem] = found.get(pair.stem, 0) + 1
        return []

    report, _ = read_once(pairs, on_pair=write, masks=read_masks(pairs, rule))
    if report.errors:
        raise InputErrors(
            [InputError(f"{error.path}: {error.message}", "negatives") for error in report.errors]
        )
    if not found:
        raise InputError(
            f"expected quarters without foreground, got none in {len(pairs)} images", "negatives"
        )
    return found
