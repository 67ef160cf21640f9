"""Read image files as NumPy arrays, and write them. All other modules read images with it."""

import os
from pathlib import Path

import cv2
import numpy as np

from polypseg.errors import InputError
from polypseg.files import atomic
from polypseg.layers.types import IGNORED

from .decoding import decode, orientation_of, row_slices

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"),
    *(".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of a file. Raises `InputError` if it cannot be read."""
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise InputError(f"{path}: expected a readable file (it is a pipe or a device)")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a readable file ({error.strerror})") from error


def _decode(path: str | os.PathLike[str], data: bytes | None, use: str = "image") -> np.ndarray:
    return decode(path, read_bytes(path) if data is None else data, use)


Window = tuple[int, int]


def read_image(
    path: str | os.PathLike[str], data: bytes | None = None, window: Window | None = None
) -> np.ndarray:
    """Read an image file as an RGB array `(height, width, 3)`, uint8.

    The file is JPEG, PNG, TIFF, BMP, WebP, GIF (of one frame), PPM, PGM, PBM, JPEG 2000 or AVIF,
    which its content decides and not its suffix. Grey is
    repeated to three channels, 16 bits are scaled by their full range (`value / 257`, rounded),
    palettes are expanded, CMYK is converted, alpha is composited over black, and the EXIF (or TIFF)
    orientation is applied. Colour profiles are ignored.

    Args:
        path: the file.
        data: content of the file, if it has been read already.
        window: for files of 16 bits, the levels that become black and white; the levels between
            are mapped linearly, and rounded. Default: 0 and 65535.

    Raises:
        InputError: another format, an empty or truncated file, several pages or frames, samples
            other than unsigned integers of 1 to 16 bits, or more pixels than `limit_pixels`
            allows; without `window` a file of 16 bits whose levels stay below a quarter of their
            range, as those of scanners do, because most of their differences would be lost. The
            message is one line that starts with the path.

    >>> read_image("images/a.jpg").shape  # doctest: +SKIP
    (531, 622, 3)
    """
    samples = _decode(path, data)
    if samples.shape[2] in (2, 4):
        samples = _over_black(samples)
    image = scale_levels(path, samples, window)
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.shape[2] == 1 else image


def read_grey(path: str | os.PathLike[str], data: bytes | None = None) -> np.ndarray:
    """Read a mask or a saved map as grey levels `(height, width)`, uint8.

    Colour is converted to luma (ITU-R 601), and alpha is ignored. Many masks hold the labels 0 and
    1 instead of black and white. To keep such labels, 16-bit levels are scaled only if the largest
    exceeds 15, 2-bit and 4-bit levels only if the largest exceeds 1, and a palette is not applied
    if the largest index is 1 (unless its colours are bright for 0 and dark for 1).

    Arguments and errors are those of `read_image`. A file with areas in colour raises
    `ColourError`, because colours of equal luma would become one level.
    """
    samples = _decode(path, data, "mask")
    grey = _luma(path, samples)
    return _to_8_bits(grey) if grey.max() > 15 else grey.astype(np.uint8)


def read_orientation(path: str | os.PathLike[str], data: bytes | None = None) -> int:
    """The EXIF (or TIFF) orientation of an image file, 1 to 8; 1 if it has none.

    A file that cannot be read has 1.
    """
    try:
        return orientation_of(read_bytes(path) if data is None else data)
    except InputError:  # `read_image` reports it
        return 1


def read_levels(path: str | os.PathLike[str], data: bytes | None = None) -> np.ndarray:
    """Read a label map as it is stored, `(height, width)`, uint8 or uint16.

    Unlike `read_grey` it scales nothing, and gives the indices of a palette. Arguments and errors
    are those of `read_grey`.
    """
    return _luma(path, _decode(path, data, "labels"))


class ColourError(InputError):
    """A file that should have grey levels has areas in colour.

    Args:
        path: the file.
        colours: its colours, in words.
    """

    def __init__(self, path: str | os.PathLike[str], colours: str) -> None:
        super().__init__(f"{path}: expected grey levels, got {colours}")
        self.colours = colours


def _luma(path: str | os.PathLike[str], samples: np.ndarray) -> np.ndarray:
    """The only channel of grey samples, or the luma of three. Alpha is dropped."""
    if samples.shape[2] < 3:
        return np.ascontiguousarray(samples[..., 0])
    colours = np.ascontiguousarray(samples[..., :3])
    red, green, blue = cv2.split(colours)
    spread = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
    # In a grey image, compression makes the channels differ a little, or at edges.
    coloured = (spread > np.iinfo(samples.dtype).max // 4).astype(np.uint8)
    if coloured.any() and cv2.erode(coloured, np.ones((3, 3), np.uint8), borderValue=0).any():
        raise ColourError(path, _colours_in_words(colours))
    return cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY)


def _colours_in_words(image: np.ndarray) -> str:
    """The colours `R G B` of an array `(H, W, 3)` and their shares: all, or the most frequent."""
    colours, counts = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")[: 8 if len(colours) <= 8 else 4]
    shares = ", ".join(
        f"{' '.join(map(str, colours[i]))} ({counts[i] / counts.sum():.1%})" for i in order
    )
    if len(order) == len(colours):
        return f"the colours {shares}"
    return f"{len(colours)} colours, of which {shares} are the most frequent"


def binarise(grey: np.ndarray) -> np.ndarray:
    """Turn grey levels `(height, width)` uint8 into a mask in {0, 1}, uint8.

    Foreground is `grey > 127`, or `grey > 0` if the largest level is 1. Raises ValueError for
    another shape or dtype.

    >>> binarise(np.uint8([[0, 127, 128]])), binarise(np.uint8([[0, 1, 1]]))
    (array([[0, 0, 1]], dtype=uint8), array([[0, 1, 1]], dtype=uint8))
    """
    _check_array(grey, "grey", colour=False)
    return (grey > (0 if grey.max() == 1 else 127)).astype(np.uint8)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image to (height, width), by area, or bilinearly if a side grows.

    Args:
        image: `(H, W)` or `(H, W, 3)` uint8.
        size: (height, width), 1 or more each.

    Raises:
        ValueError: another shape, dtype or size.

    >>> resize_image(np.zeros((40, 50, 3), np.uint8), (20, 30)).shape
    (20, 30, 3)
    """
    _check_array(image, "image", colour=True)
    height, width = map(int, size)
    if min(height, width) < 1:
        raise ValueError(f"expected a positive (height, width), got size={size}")
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=method)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask as `resize_image` does, then threshold it at one half.

    A mask with foreground keeps at least the pixel that has most of it, so that it does not count
    as empty. A pixel of which more than half is ignored is ignored, unless it is foreground.

    Args:
        mask: `(H, W)` uint8 in {0, 1}, or with `IGNORED` pixels.
        size: (height, width), 1 or more each.

    Returns:
        `(height, width)` uint8 with the same levels.

    Raises:
        ValueError: another shape, dtype, level or size.
    """
    _check_array(mask, "mask", colour=False)
    if mask.max() > IGNORED:
        raise ValueError(f"expected a mask in {{0, 1, {IGNORED}}}, got mask.max()={mask.max()}")
    foreground = mask == 1
    share = resize_image(foreground * np.uint8(255), size)
    resized = (share > 127).astype(np.uint8)
    if mask.max() == IGNORED:
        ignored = resize_image((mask == IGNORED) * np.uint8(255), size) > 127
        resized[ignored & (resized == 0)] = IGNORED
    if foreground.any() and not (resized == 1).any():
        resized.flat[share.argmax()] = 1
    return resized


def is_lost(mask: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether a mask has foreground that fills no half of a pixel when it is resized to `size`."""
    foreground = mask == 1
    share = resize_image(foreground * np.uint8(255), size)
    return bool(foreground.any()) and int(share.max()) <= 127


def write_png(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write a PNG file, completely or not at all.

    Args:
        path: an older file is replaced, but not if an error is raised.
        array: grey `(H, W)` uint8 or uint16, or RGB `(H, W, 3)` uint8.

    Raises:
        ValueError: another shape or dtype.
        OSError: the folder cannot be written to, or the disk is full.
    """
    if not (array.dtype == np.uint16 and array.ndim == 2 and array.size):
        _check_array(array, "array", colour=True)
    pixels = array if array.ndim == 2 else cv2.cvtColor(array, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".png", pixels)
    with atomic(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _over_black(samples: np.ndarray) -> np.ndarray:
    top = np.uint32(np.iinfo(samples.dtype).max)
    blended = np.empty((*samples.shape[:2], samples.shape[2] - 1), samples.dtype)
    for rows in row_slices(*samples.shape[:2]):
        colour, alpha = samples[rows, :, :-1], samples[rows, :, -1:].astype(np.uint32)
        blended[rows] = (colour * alpha + top // 2) // top
    return blended


def scale_levels(
    source: str | os.PathLike[str], samples: np.ndarray, window: Window | None = None
) -> np.ndarray:
    """Scale 16-bit samples of an image to 8 bits; 8-bit samples are returned as they are.

    Args:
        source: path of the file, or another name for it, with which a message begins.
        samples: uint8 or uint16, of any shape.
        window: as for `read_image`.

    Raises:
        InputError: without `window`, 16-bit samples that stay below a quarter of their range.
    """
    if samples.dtype == np.uint8:
        return samples
    if window:
        low, high = window
        levels = np.arange(2**16, dtype=np.float64)
        table = np.rint(255 * np.clip((levels - low) / (high - low), 0, 1)).astype(np.uint8)
        return table[samples]
    highest = int(samples.max())
    if 0 < highest < 2**14:
        raise InputError(
            f"{source}: expected 16-bit levels that use their range, got {int(samples.min())} to "
            f"{highest}, of which {highest // 257 + 1} grey levels would be left; `window` says "
            f"which levels are black and white, as in 0 {2 ** highest.bit_length() - 1}"
        )
    return _to_8_bits(samples)


def _to_8_bits(samples: np.ndarray) -> np.ndarray:
    if samples.dtype == np.uint8:
        return samples
    return ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _check_array(array: np.ndarray, name: str, colour: bool) -> None:
    fits = array.ndim == 2 or (colour and array.ndim == 3 and array.shape[2] == 3)
    if not fits or array.dtype != np.uint8 or array.size == 0:
        shape = "(H, W) or (H, W, 3)" if colour else "(H, W)"
        raise ValueError(f"expected {shape} uint8, got {name} {array.shape} {array.dtype}")
