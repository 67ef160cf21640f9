"""Check and hash the files of a data set in one pass, and report all bad files together."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from polypseg.files import digest

from .images import IMAGE_SUFFIXES, Window, read_bytes, read_image, read_orientation
from .leaks import find_divided_series, find_near_duplicates, image_hash
from .masks import MaskFile, orientation_problem, read_masks
from .pairs import Pair
from .problems import Problem, Report

# Digests of an image file and its mask file; None for a file that cannot be read.
Hashes = tuple[str | None, str | None]
ONE_COLOUR = "image of one colour"
OnPair = Callable[[Pair, np.ndarray, np.ndarray], list[Problem]]


def verify(
    pairs: Sequence[Pair],
    orphans: Iterable[Path] = (),
    split: Mapping[str, Sequence[str]] | None = None,
    workers: int | None = os.cpu_count(),
) -> Report:
    """Decode all images and masks and report problems. No error is raised for a bad file.

    Errors are

    - a file that cannot be read or is truncated;
    - an image and a mask of different sizes;
    - a mask that is not black and white, see `data.masks.is_label_map`;
    - an image and a mask that may be turned against each other, see
      `data.masks.orientation_problem`.

    Warnings are

    - orphans;
    - masks without foreground or without background, images of one colour;
    - equal decoded images in two subsets of `split`, or anywhere if there is no split;
    - nearly equal images in two subsets of `split`, and series of images that it divides (see
      `data.leaks`).

    Args:
        pairs, orphans: as `find_pairs` returns them.
        split: for each subset, the stems of its pairs.
        workers: number of threads; None for the default of `ThreadPoolExecutor`.

    >>> print(verify(*find_pairs("datasets/kvasir-seg")))  # doctest: +SKIP
    checked 1000 pairs: 0 errors, 0 warnings
    """
    return read_once(pairs, orphans, split, workers)[0]


def read_once(
    pairs: Sequence[Pair],
    orphans: Iterable[Path] = (),
    split: Mapping[str, Sequence[str]] | None = None,
    workers: int | None = os.cpu_count(),
    on_pair: OnPair | None = None,
    masks: Mapping[str, MaskFile] | None = None,
    window: Window | None = None,
    grouped: bool = False,
) -> tuple[Report, dict[str, Hashes]]:
    """Do what `verify` does, and return its report and the hashes of the files by stem.

    Each file is opened once.

    Args:
        pairs, orphans, split, workers: as for `verify`.
        on_pair: called, in the threads, for each pair that can be decoded, with the pair, its image
            `(H, W, 3)` uint8 and its mask as `read_mask` returns it; returns further problems.
        masks: from `read_masks` of these pairs, if they have been read already.
        window: as for `read_image`.
        grouped: whether the user has said which images belong together. If not, names that look
            like those of series are reported.
    """
    masks = read_masks(pairs, workers=workers) if masks is None else masks

    def read(pair: Pair) -> _Read:
        return _read_image(pair, masks[pair.stem], on_pair, window)

    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(read, pairs))
    problems = [problem for found in results for problem in found.problems]
    problems += [Problem("warning", path, _why_left_out(path)) for path in orphans]
    problems += _same_images(pairs, [found.pixels for found in results], split)
    if split is not None:
        subset_of = {stem: subset for subset, stems in split.items() for stem in stems}
        look = _without_copies(results)
        problems += find_near_duplicates(pairs, look, subset_of)
        problems += [] if grouped else find_divided_series(pairs, subset_of)
    files = {pair.stem: found.files for pair, found in zip(pairs, results, strict=True)}
    return Report(tuple(problems), len(pairs)), files


class _Read(NamedTuple):
    """What is known of a pair: its problems, the hashes of its files, and of its decoded image the
    digest and the `image_hash`, which are None if it cannot be read.
    """

    problems: list[Problem]
    files: Hashes
    pixels: bytes | None = None
    look: np.ndarray | None = None


def _read_image(pair: Pair, mask: MaskFile, on_pair: OnPair | None, window: Window | None) -> _Read:
    """Read the image of a pair whose mask has been read."""
    file_hash = None
    try:
        data = read_bytes(pair.image)
        file_hash = digest(data)
        image = read_image(pair.image, data, window)
    except ValueError as error:
        reason = str(error).removeprefix(f"{pair.image}: ")
        problem = Problem("error", pair.image, f"file cannot be read: {reason}")
        return _Read([problem, *mask.problems], (file_hash, mask.digest))
    problems = list(mask.problems)
    if _has_one_colour(image):
        problems.append(Problem("warning", pair.image, ONE_COLOUR))
    if mask.shape is not None:
        turned = orientation_problem(
            read_orientation(pair.image, data), mask.orientation, mask.shape
        )
        if image.shape[:2] != mask.shape:
            sizes = "{1} x {0} and {3} x {2}".format(*image.shape[:2], *mask.shape)
            kind = "image and mask differ in size (width x height)"
            problems.insert(0, Problem("error", pair.mask, f"{kind}: {sizes}"))
        elif turned:
            kind = "image and mask may be turned against each other"
            problems.append(Problem("error", pair.mask, f"{kind}: {turned}"))
        if on_pair:
            problems += on_pair(pair, image, mask.mask())
    return _Read(problems, (file_hash, mask.digest), _digest(image), image_hash(image))


def _without_copies(results: Sequence[_Read]) -> list[np.ndarray | None]:
    """The `image_hash` of each image, None for all but the first of equal images."""
    seen: set[bytes | None] = set()
    looks = []
    for found in results:
        looks.append(None if found.pixels in seen else found.look)
        seen.add(found.pixels)
    return looks


def _why_left_out(path: Path) -> str:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return "file without a partner"
    if path.is_dir() and path.is_symlink():
        return "link to a folder, which is not followed"
    if path.is_dir():
        return "folder whose files are not read (`recursive` includes them)"
    return "file of a type that is not read"


def _has_one_colour(image: np.ndarray) -> bool:
    first = image[0, 0]
    sample = image[::16, ::16]  # decides for nearly all images
    return bool((sample == first).all() and (image == first).all())


def _digest(image: np.ndarray) -> bytes:
    # The shape, because a wide and a tall image of one colour have equal bytes.
    return hashlib.sha1(image.tobytes(), usedforsecurity=False).digest() + str(image.shape).encode()


def _same_images(
    pairs: Sequence[Pair],
    digests: Sequence[bytes | None],
    split: Mapping[str, Sequence[str]] | None,
) -> list[Problem]:
    subsets = {stem: subset for subset, stems in (split or {}).items() for stem in stems}
    twins: dict[bytes, list[Pair]] = {}
    for pair, pixels in zip(pairs, digests, strict=True):
        if pixels is not None and (split is None or pair.stem in subsets):
            twins.setdefault(pixels, []).append(pair)
    problems = []
    for first, *others in twins.values():
        here = subsets.get(first.stem)
        away = [other for other in others if split is None or subsets[other.stem] != here]
        if not away:
            continue
        if split is None:
            kind, names = "same image twice: also", [str(other.image) for other in away]
        else:
            kind = f"same image in two subsets: {here}, also"
            names = [f"{subsets[other.stem]} as {other.image}" for other in away]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        problems.append(Problem("warning", first.image, f"{kind} {', '.join(names[:3])}{more}"))
    return problems
