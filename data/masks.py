"""Read mask files before the images, because a split depends on which masks have foreground."""

import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np

from polypseg.errors import InputError
from polypseg.files import digest
from polypseg.layers.types import IGNORED

from .images import (
    ColourError,
    binarise,
    read_bytes,
    read_grey,
    read_image,
    read_levels,
    read_orientation,
)
from .mask_rule import BLACK_AND_WHITE, Colour, MaskRule
from .pairs import Pair
from .problems import Problem


class MaskFile(NamedTuple):
    """A mask file that has been read.

    Attributes:
        digest: hash of the file; None if it cannot be read.
        problems: errors and warnings about the mask.
        orientation: of the file, see `data.images.read_orientation`.
        shape: height and width in pixels; None if it cannot be decoded.
        bits: whether each pixel is foreground, one bit each, compressed by zlib.
        ignored: the same of ignored pixels; `b""` if there are none.
        foreground, background: whether the mask has any.
    """

    digest: str | None
    problems: tuple[Problem, ...]
    orientation: int = 1
    shape: tuple[int, int] | None = None
    bits: bytes = b""
    ignored: bytes = b""
    foreground: bool = False
    background: bool = False

    def mask(self) -> np.ndarray:
        """The mask as `read_mask` returns it. Raises `ValueError` if it could not be decoded."""
        if self.shape is None:
            raise ValueError("expected a mask that could be decoded, got one without a shape")
        mask = _unpack(self.bits, self.shape)
        if self.ignored:
            mask[_unpack(self.ignored, self.shape) == 1] = IGNORED
        return mask


def _pack(pixels: np.ndarray) -> bytes:
    return zlib.compress(np.packbits(pixels).tobytes(), 1)


def _unpack(bits: bytes, shape: tuple[int, int]) -> np.ndarray:
    flat = np.frombuffer(zlib.decompress(bits), np.uint8)
    return np.unpackbits(flat, count=shape[0] * shape[1]).reshape(shape)


def read_masks(
    pairs: Sequence[Pair],
    rule: MaskRule = BLACK_AND_WHITE,
    workers: int | None = os.cpu_count(),
) -> dict[str, MaskFile]:
    """Read and check the mask files of pairs. No error is raised for a bad file.

    Args:
        pairs: images and masks; only the masks are read.
        rule: as for `read_mask`.
        workers: number of threads; None for the default of `ThreadPoolExecutor`.

    Returns:
        A `MaskFile` for each pair, by stem.
    """
    with ThreadPoolExecutor(workers) as pool:
        files = pool.map(lambda pair: _read(pair, rule), pairs)
        return dict(zip((pair.stem for pair in pairs), files, strict=True))


def read_mask(path: str | os.PathLike[str], rule: MaskRule = BLACK_AND_WHITE) -> np.ndarray:
    """Read a mask file as `(H, W)`, uint8 in {0, 1}, and `IGNORED` where pixels do not count.

    Args:
        path: an image file, see `data.images.read_grey`.
        rule: what its levels or colours mean.

    Raises:
        InputError: a file that cannot be read; one that is not black and white, apart from ignored
            levels, for a rule without `label` and `color` (see `is_label_map`); a file in colour
            for a rule without `color`; a file whose pixels are all ignored.
    """
    try:
        mask, levels = _decode(path, read_bytes(path), rule)
    except ColourError as error:
        raise InputError(f"{error}; {_HINT_COLOURS}") from error
    if levels:
        raise InputError(f"{path}: expected a black and white mask, got {levels}; {_HINT_LEVELS}")
    return mask


_HINT_LEVELS = "`label` says which levels are foreground, `ignore` which do not count"
_HINT_COLOURS = "`mask_color` says which colours are foreground"


def _decode(path: str | os.PathLike[str], data: bytes, rule: MaskRule) -> tuple[np.ndarray, str]:
    """The mask in a file, and its levels in words if they do not fit the rule, else `""`."""
    if rule.color:
        return _nearest_is_given(path, read_image(path, data), rule.color).astype(np.uint8), ""
    wrong = ""
    stored = read_levels(path, data) if rule.label or rule.ignore else np.empty(0)
    if rule.label:
        mask = np.isin(stored, rule.label).astype(np.uint8)
    else:
        grey = read_grey(path, data)
        if rule.ignore:
            grey[np.isin(stored, rule.ignore)] = 0
        mask, wrong = binarise(grey), _levels_in_words(path, data) if is_label_map(grey) else ""
    if rule.ignore:
        mask[np.isin(stored, rule.ignore)] = IGNORED
        if (mask == IGNORED).all():
            raise InputError(f"{path}: expected pixels that count, got only ignored ones")
    return mask, wrong


def _nearest_is_given(
    path: str | os.PathLike[str], image: np.ndarray, given: Sequence[Colour]
) -> np.ndarray:
    """Where the nearest of the colours that a mask file uses is a given one, `(H, W)` bool.

    It uses black, the given colours, and those of its areas: the blocks of 5 x 5 pixels with nearly
    one colour. So the blurred edges of a JPEG are divided in their middle. A pixel that is further
    than 128 from a given colour does not have it.

    Args:
        path: of the file, for a message.
        image: `(H, W, 3)` uint8 RGB.
        given: colours of the foreground.

    Raises:
        InputError: more than 32 colours, and less than 70 % of the pixels in areas, as in a
            photograph.
    """
    known = np.array([*given, (0, 0, 0)], np.float64)
    codes = (image >> 4).astype(np.uint16) @ np.array([256, 16, 1], np.uint16)
    inside = cv2.erode(codes, _block(5)) == cv2.dilate(codes, _block(5))
    packed, index = np.unique(image @ np.array([65536, 256, 1]), return_inverse=True)
    colours = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1)
    in_areas = cv2.dilate(inside.astype(np.uint8), _block(5)).mean()
    if len(colours) > 32 and in_areas < 0.7:
        raise InputError(
            f"{path}: expected a mask in few colours, got {len(colours)} colours and only "
            f"{in_areas:.0%} of the pixels in areas of one colour"
        )
    _, area, sizes = np.unique(codes[inside], return_inverse=True, return_counts=True)
    sums = [np.bincount(area, channel) for channel in image[inside].T]
    means = np.stack(sums, axis=1) / sizes[:, None]
    is_new = (np.abs(means[:, None] - known).max(axis=2) > 16).all(axis=1)
    known = np.concatenate([known, means[is_new]])
    squares = ((colours[:, None] - known) ** 2).sum(axis=2)
    found = (squares.argmin(axis=1) < len(given)) & (squares.min(axis=1) <= 128**2)
    return found[index].reshape(image.shape[:2])


def orientation_problem(image: int, mask: int, shape: tuple[int, ...]) -> str:
    """Why image and mask of equal size may not lie on each other, or `""` if they do.

    Some programs that draw masks show the image as it is stored, others upright. If only one of the
    files says that it has to be turned, equal sizes show what was meant only if turning swaps
    height and width.

    Args:
        image, mask: orientations of the files, see `data.images.read_orientation`.
        shape: height and width of both.
    """
    swaps = (image >= 5) != (mask >= 5)
    if image == mask or (swaps and shape[0] != shape[1]):
        return ""
    return (
        f"the image has the EXIF orientation {image}, the mask {mask}: turn the pixels of one, or "
        "remove its tag"
    )


def is_label_map(grey: np.ndarray) -> bool:
    """Whether grey levels are not those of a black and white mask.

    A mask has two levels: 0 and 1, or black and one above 127. What compression and scaling add is
    accepted: levels within 32 of black or of the brightest one, and narrow edges of other levels.
    In the JPEG masks of Kvasir-SEG and Pancreas-CT (13 to 66 levels) none of them fills a block of
    even 5 x 5 pixels. So a third level is one that

    - fills a block of 7 x 7 pixels, or one of 3 x 3 if it is within 32 of the others and the mask
      has at most four levels, or labels below 16 beside 255;
    - or, together with other levels more than 32 away from both, fills a block of 7 x 7 pixels or a
      quarter of the mask.

    Args:
        grey: `(H, W)` uint8 from `read_grey`.
    """
    present = np.flatnonzero(_histogram(grey))
    top = int(present[-1])
    return top > 1 and (top <= 127 or _has_third_level(grey, present))


def _has_third_level(grey: np.ndarray, present: np.ndarray) -> bool:
    bottom, top = int(present[0]), int(present[-1])
    others = present[(present > bottom) & (present < top)]
    if not len(others):
        return False
    if np.isin(others, _levels_of_blocks(grey, 7)).any():
        return True
    near = others[(others <= 32) | (others >= top - 32)]
    few = len(present) <= 4 or (top == 255 and others.max() < 16)
    if few and np.isin(near, _levels_of_blocks(grey, 3)).any():
        return True
    between = cv2.inRange(grey, 33, top - 33)
    share = cv2.countNonZero(between) / grey.size
    return share > 0.25 or bool(share and cv2.erode(between, _block(7), borderValue=0).any())


def _levels_of_blocks(grey: np.ndarray, side: int) -> np.ndarray:
    """The levels that fill a square block inside the mask."""
    lowest = cv2.erode(grey, _block(side), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    highest = cv2.dilate(grey, _block(side), borderType=cv2.BORDER_CONSTANT, borderValue=255)
    return np.flatnonzero(_histogram(grey, cv2.compare(lowest, highest, cv2.CMP_EQ)))


def _histogram(grey: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    return cv2.calcHist([grey], [0], mask, [256], [0, 256]).astype(np.int64).ravel()


def _block(side: int) -> np.ndarray:
    return np.ones((side, side), np.uint8)


def _levels_in_words(path: str | os.PathLike[str], data: bytes) -> str:
    """The levels of a file as it stores them, and their shares: all, or the most frequent ones."""
    levels, counts = np.unique(read_levels(path, data), return_counts=True)
    order = range(len(levels)) if len(levels) <= 8 else np.argsort(-counts, kind="stable")[:4]
    shares = ", ".join(f"{levels[i]} ({counts[i] / counts.sum():.1%})" for i in order)
    if len(levels) > 8:
        return f"{len(levels)} levels, of which {shares} are the most frequent"
    return f"the level {shares}" if len(levels) == 1 else f"the levels {shares}"


def _read(pair: Pair, rule: MaskRule) -> MaskFile:
    path, file_hash = pair.mask, None
    try:
        data = read_bytes(path)
        file_hash = digest(data)
        mask, levels = _decode(path, data, rule)
    except ColourError as error:
        kind = f"mask is in colour ({_HINT_COLOURS})"
        return MaskFile(file_hash, (Problem("error", path, f"{kind}: {error.colours}"),))
    except ValueError as error:
        reason = str(error).removeprefix(f"{path}: ")
        return MaskFile(file_hash, (Problem("error", path, f"file cannot be read: {reason}"),))
    foreground, ignored = mask == 1, mask == IGNORED
    has_foreground, has_background = bool(foreground.any()), not mask.all()
    problems = []
    if levels:
        kind = f"mask is not black and white ({_HINT_LEVELS})"
        problems = [Problem("error", path, f"{kind}: {levels}")]
    elif not has_foreground:
        problems = [Problem("warning", path, "mask without foreground")]
    elif not has_background:
        problems = [Problem("warning", path, "mask without background")]
    return MaskFile(
        file_hash,
        tuple(problems),
        read_orientation(path, data),
        mask.shape,
        _pack(foreground),
        _pack(ignored) if ignored.any() else b"",
        has_foreground,
        has_background,
    )
