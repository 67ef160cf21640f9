"""Find what a split should keep together: images of a series, and nearly equal images."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from .pairs import Pair
from .problems import Problem

SERIES = r"^(.*\D)\d+$"  # a name and a counter: "0003-017", "case7_slice12", "p1/3"
_SIDE = 16
_NEAR = 16  # of 256 bits


def image_hash(image: np.ndarray) -> np.ndarray | None:
    """A hash that is similar for similar images: 256 bits as four uint64.

    Each bit says whether brightness rises from a pixel to the next one in a row, in 16 rows of 17
    pixels ("dHash", N. Krawetz, 2013).

    Args:
        image: `(H, W, 3)` uint8 RGB.

    Returns:
        None for an image with so few differences in brightness that others would have its hash too.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA)
    rises = small[:, 1:] > small[:, :-1]
    rarer = min(rises.sum(), rises.size - rises.sum())
    return np.packbits(rises).view(np.uint64) if rarer > 2 * _NEAR else None


def find_near_duplicates(
    pairs: Sequence[Pair],
    hashes: Sequence[np.ndarray | None],
    subset_of: Mapping[str, str],
) -> list[Problem]:
    """Warnings about images that are nearly equal and in different subsets.

    Their hashes differ in at most 16 of 256 bits. In CVC-ClinicDB and Pancreas-CT 97 pairs of
    images are that near, all of one sequence or one patient, and none of two.

    Args:
        pairs: all pairs.
        hashes: `image_hash` of each; None for those that are left out.
        subset_of: for each stem, its subset; other stems are left out.
    """
    known = [
        (pair, found)
        for pair, found in zip(pairs, hashes, strict=True)
        if found is not None and pair.stem in subset_of
    ]
    if not known:
        return []
    bits = np.stack([found for _, found in known])
    names = [subset_of[pair.stem] for pair, _ in known]
    _, subsets = np.unique(names, return_inverse=True)
    problems = []
    for index, (pair, found) in enumerate(known):
        differs = np.bitwise_count(bits[index + 1 :] ^ found).sum(axis=1)
        near = np.flatnonzero((differs <= _NEAR) & (subsets[index + 1 :] != subsets[index]))
        if len(near):
            other, more = index + 1 + near[0], len(near) - 1
            problems.append(
                Problem(
                    "warning",
                    pair.image,
                    f"nearly the same image in two subsets: {names[index]}, also {names[other]} as "
                    f"{known[other][0].image}" + f" and {more} more" * (more > 0),
                )
            )
    return problems


def find_divided_series(pairs: Sequence[Pair], subset_of: Mapping[str, str]) -> list[Problem]:
    """A warning if names look like those of series, and a series lies in several subsets.

    They do if three or more names are each shared by several images with different counters, and
    these are most of the images.
    """
    series: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        name = re.match(SERIES, pair.stem)
        if name and pair.stem in subset_of:
            series[name[1]].append(pair)
    shared = {name: members for name, members in series.items() if len(members) > 1}
    if len(shared) < 3 or 2 * sum(map(len, shared.values())) <= len(pairs):
        return []
    divided = [
        members
        for members in shared.values()
        if len({subset_of[pair.stem] for pair in members}) > 1
    ]
    if not divided:
        return []
    first = divided[0]
    other = next(pair for pair in first if subset_of[pair.stem] != subset_of[first[0].stem])
    return [
        Problem(
            "warning",
            first[0].image.parent,
            f"series of images in several subsets: {len(divided)} of {len(shared)}, such as "
            f"{first[0].stem} ({subset_of[first[0].stem]}) and {other.stem} "
            f"({subset_of[other.stem]}); `group_by` '{SERIES}' keeps each series in one subset",
        )
    ]
