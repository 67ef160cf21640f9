"""One pass over the files of a data set: every bad one in one report, and a hash of each."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from polypseg.files import digest

from .images import binarise, read_bytes, read_grey, read_image
from .pairs import Pair

# Of the image file and of the mask file; None for one that cannot be read.
Hashes = tuple[str | None, str | None]


class Problem(NamedTuple):
    """What is wrong with a file: severity `error` or `warning`, message `kind: detail`."""

    severity: str
    path: Path
    message: str


@dataclass(frozen=True)
class Report:
    """What `verify` found in `checked` pairs. `str(report)` is short, `text(None)` complete."""

    problems: tuple[Problem, ...]
    checked: int

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.severity == "warning")

    def __str__(self) -> str:
        return self.text()

    def text(self, limit: int | None = 5) -> str:
        """The problems by severity and kind; `limit` files of each kind, `None` for all."""
        counts = [
            _count(self.checked, "pair"),
            _count(len(self.errors), "error"),
            _count(len(self.warnings), "warning"),
        ]
        lines = ["checked {}: {}, {}".format(*counts)]
        kinds: dict[tuple[str, str], list[tuple[str, str]]] = {}
        for severity, path, message in self.errors + self.warnings:
            kind, _, detail = message.partition(": ")
            kinds.setdefault((severity, kind), []).append((str(path), detail))
        for (severity, kind), files in kinds.items():
            shown = files[:limit]
            width = max(len(path) for path, _ in shown)
            lines += ["", f"{_count(len(files), severity)}: {kind}"]
            lines += [f"  {path:{width}}  {detail}".rstrip() for path, detail in shown]
            if len(files) > len(shown):
                lines.append(f"  and {len(files) - len(shown)} more")
        return "\n".join(lines)


def verify(
    pairs: Sequence[Pair],
    orphans: Iterable[Path] = (),
    split: Mapping[str, Sequence[str]] | None = None,
    workers: int | None = os.cpu_count(),
) -> Report:
    """Decode every image and mask in full and report what would spoil a training.

    Errors: a file that cannot be read or is truncated; an image and a mask of different size; a
    mask that is not near two levels. That is the rule: the brightest level is 1 or above 127, and
    the pixels that lie more than 32 levels from both black and the brightest level cover at most
    a quarter of the mask and fill no 7 x 7 block. JPEG artefacts, anti-aliasing and a mask that
    was enlarged four times pass; photographs, blurred edges and label maps with a third area do
    not. Masks in {0, 1} and empty ones pass.

    Warnings: orphans; masks without foreground or without background; the same decoded picture in
    two subsets of `split`, or anywhere twice where there is no split.

    A bad file is reported, never raised. Files are decoded by `workers` threads.
    """
    return read_once(pairs, orphans, split, workers)[0]


def read_once(
    pairs: Sequence[Pair],
    orphans: Iterable[Path] = (),
    split: Mapping[str, Sequence[str]] | None = None,
    workers: int | None = os.cpu_count(),
    keep: Callable[[Pair, np.ndarray, np.ndarray], None] | None = None,
) -> tuple[Report, dict[str, Hashes]]:
    """`verify`, which opens each file once, and the hashes of the files by stem.

    Args:
        keep: called in the threads with each pair that can be decoded, its image `(H, W, 3)` and
            its mask in {0, 1} `(H, W)`, both uint8.
    """
    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(lambda pair: _read_pair(pair, keep), pairs))
    problems = [problem for found, _, _ in results for problem in found]
    problems += [Problem("warning", path, "file without a partner") for path in orphans]
    problems += _same_pictures(pairs, [pixels for _, pixels, _ in results], split)
    files = {pair.stem: hashes for pair, (_, _, hashes) in zip(pairs, results, strict=True)}
    return Report(tuple(problems), len(pairs)), files


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _read_pair(
    pair: Pair, keep: Callable[[Pair, np.ndarray, np.ndarray], None] | None
) -> tuple[list[Problem], bytes | None, Hashes]:
    problems: list[Problem] = []
    image, image_hash = _read(read_image, pair.image, problems)
    grey, mask_hash = _read(read_grey, pair.mask, problems)
    if image is not None and grey is not None and image.shape[:2] != grey.shape:
        sizes = "{1} x {0} and {3} x {2}".format(*image.shape[:2], *grey.shape)
        kind = "image and mask differ in size (width x height)"
        problems.append(Problem("error", pair.mask, f"{kind}: {sizes}"))
    if grey is not None:
        mask = binarise(grey)
        problems += _mask_problems(pair.mask, grey, mask)
        if keep and image is not None:
            keep(pair, image, mask)
    return problems, None if image is None else _digest(image), (image_hash, mask_hash)


def _read(
    reader: Callable[[Path, bytes], np.ndarray], path: Path, problems: list[Problem]
) -> tuple[np.ndarray | None, str | None]:
    found = None
    try:
        data = read_bytes(path)
        found = digest(data)
        return reader(path, data), found
    except ValueError as error:
        reason = str(error).removeprefix(f"{path}: ")
    problems.append(Problem("error", path, f"file cannot be read: {reason}"))
    return None, found


def _mask_problems(path: Path, grey: np.ndarray, mask: np.ndarray) -> list[Problem]:
    reason = _third_level(grey)
    if reason:
        return [Problem("error", path, f"mask is not near two levels: {reason}")]
    if not mask.any():
        return [Problem("warning", path, "mask without foreground")]
    if mask.all():
        return [Problem("warning", path, "mask without background")]
    return []


def _third_level(grey: np.ndarray) -> str:
    """Say why this is no mask, or nothing; the rule stands in `verify`."""
    top = int(grey.max())
    if top <= 1:
        return ""
    if top <= 127:
        return f"its brightest level is {top}, neither 1 nor above 127"
    between = cv2.inRange(grey, 33, top - 33)
    share = cv2.countNonZero(between) / grey.size
    block = share and cv2.erode(between, np.ones((7, 7), np.uint8), borderValue=0).any()
    return f"{share:.1%} of it lies between 32 and {top - 32}" if block or share > 0.25 else ""


def _digest(image: np.ndarray) -> bytes:
    # Wide and tall pictures of one colour have equal bytes: the shape tells them apart.
    return hashlib.sha1(image.tobytes(), usedforsecurity=False).digest() + str(image.shape).encode()


def _same_pictures(
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
            kind, names = "same picture twice: also", [str(other.image) for other in away]
        else:
            kind = f"same picture in two subsets: {here}, also"
            names = [f"{subsets[other.stem]} as {other.image}" for other in away]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        problems.append(Problem("warning", first.image, f"{kind} {', '.join(names[:3])}{more}"))
    return problems
