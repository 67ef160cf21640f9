"""Read mask files before the images, because a split depends on which masks have foreground."""

import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

from polypseg.files import digest

from .images import binarise, read_bytes, read_grey
from .pairs import Pair
from .problems import Problem


class MaskFile(NamedTuple):
    """A mask file that has been read.

    Attributes:
        digest: hash of the file; None if it cannot be read.
        problems: errors and warnings about the mask.
        shape: height and width in pixels; None if it cannot be decoded.
        bits: the pixels of the mask, one bit each, compressed by zlib.
        foreground: whether the mask has foreground.
    """

    digest: str | None
    problems: tuple[Problem, ...]
    shape: tuple[int, int] | None = None
    bits: bytes = b""
    foreground: bool = False

    def mask(self) -> np.ndarray:
        """The mask, `(H, W)` uint8 in {0, 1}. Raises `ValueError` if it could not be decoded."""
        if self.shape is None:
            raise ValueError("expected a mask that could be decoded, got one without a shape")
        height, width = self.shape
        bits = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        return np.unpackbits(bits, count=height * width).reshape(height, width)


def read_masks(pairs: Sequence[Pair], workers: int | None = os.cpu_count()) -> dict[str, MaskFile]:
    """Read and check the mask files of pairs. No error is raised for a bad file.

    Args:
        pairs: images and masks; only the masks are read.
        workers: number of threads; None for the default of `ThreadPoolExecutor`.

    Returns:
        A `MaskFile` for each pair, by stem.
    """
    with ThreadPoolExecutor(workers) as pool:
        return dict(zip((pair.stem for pair in pairs), pool.map(_read, pairs), strict=True))


def _read(pair: Pair) -> MaskFile:
    path, file_hash = pair.mask, None
    try:
        data = read_bytes(path)
        file_hash = digest(data)
        grey = read_grey(path, data)
    except ValueError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return MaskFile(file_hash, (Problem("error", path, f"file cannot be read: {reason}"),))
    mask = binarise(grey)
    reason = _third_level(grey)
    problems = []
    if reason:
        problems = [Problem("error", path, f"mask is not near two levels: {reason}")]
    elif not mask.any():
        problems = [Problem("warning", path, "mask without foreground")]
    elif mask.all():
        problems = [Problem("warning", path, "mask without background")]
    bits = zlib.compress(np.packbits(mask).tobytes(), 1)
    return MaskFile(file_hash, tuple(problems), grey.shape, bits, bool(mask.any()))


def _third_level(grey: np.ndarray) -> str:
    """Why this is no mask by the rule of `verify`, or `""` if it is one."""
    top = int(grey.max())
    if top <= 1:
        return ""
    if top <= 127:
        return f"its brightest level is {top}, neither 1 nor above 127"
    between = cv2.inRange(grey, 33, top - 33)
    share = cv2.countNonZero(between) / grey.size
    block = share and cv2.erode(between, np.ones((7, 7), np.uint8), borderValue=0).any()
    return f"{share:.1%} of it lies between 32 and {top - 32}" if block or share > 0.25 else ""
