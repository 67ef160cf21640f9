"""Decode image files of all kinds.

Pillow decodes most files, because it raises on a damaged file where OpenCV only warns. Pillow
would round, invert or refuse some files. OpenCV decodes 16-bit colour PNG. tifffile decodes 16-bit
colour TIFF, and the published TIFFs of CVC-ClinicDB, which declare their three samples as grey.
"""

import contextlib
import io
import logging
import os
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from tifffile import PHOTOMETRIC, TiffFile

from polypseg.errors import InputError
from polypseg.runtime import ProcessLock

from . import png

# tifffile logs a warning about a damaged file, which is raised here anyway.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_PILLOW_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_LARGE = 50_000_000  # pixels; Pillow warns from 89 million on
_max_pixels = 200_000_000
_no_limit = ProcessLock()


def limit_pixels(megapixels: float) -> None:
    """Set the largest number of pixels, in millions, that an image may have. It is 200 at first.

    The limit holds for the complete process. It keeps a small file, which may say that it has
    billions of pixels, from filling the memory.
    """
    global _max_pixels
    _max_pixels = round(megapixels * 1e6)


def max_megapixels() -> float:
    """The limit that `limit_pixels` set."""
    return _max_pixels / 1e6


def orientation_of(data: bytes) -> int:
    """The EXIF (or TIFF) orientation of an image file, 1 to 8; 1 if it has none, or is damaged."""
    try:
        stripped = png.without_metadata(data)
        # Without such chunks, Pillow would decode the image to look for more of them.
        if data.startswith(png.SIGNATURE) and stripped == png.without_metadata(data, False):
            return 1
        with _open(stripped) as image:
            return _orientation(image)
    except Exception:  # decoders raise errors of many types; `decode` reports them
        return 1


def decode(path: str | os.PathLike[str], data: bytes, use: str = "image") -> np.ndarray:
    """Decode an image file to `(H, W, C)` uint8 or uint16, upright. C is 1 or 3, plus 1 with alpha.

    Args:
        path: of the file, for messages.
        data: its content.
        use: "image", "mask" (see `data.images.read_grey`) or "labels" (see `read_levels`).

    Raises:
        InputError: see `data.images.read_image`.
    """
    if not data:
        raise InputError(f"{path}: expected an image, got an empty file")
    try:
        if data[:4] in _TIFF:
            samples = _decode_tiff(data, use)
        else:
            is_png = data.startswith(png.SIGNATURE) and len(data) > 24
            samples = _decode_pillow(png.without_metadata(data), data[24] if is_png else 8, use)
        if samples.size == 0:
            raise ValueError("expected pixels, got none")
    except MemoryError:
        raise
    except Exception as error:  # decoders raise errors of many types
        raise InputError(f"{path}: {_reason(error)}") from error
    return np.atleast_3d(np.ascontiguousarray(samples))


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # its text shows a BytesIO object
        return (
            "expected a JPEG, PNG, TIFF, BMP, WebP, GIF, PPM, JPEG 2000 or AVIF image, got another "
            "or a damaged file"
        )
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ValueError):
        return text
    return f"expected a complete image, got: {text}"


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # damaged EXIF data, which do not concern the pixels
        return 1
    return orientation if orientation in range(1, 9) else 1


@contextlib.contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Context without Pillow's limit of pixels and its warnings; `_check_pixels` has our limit.

    Only one thread at a time is in it.
    """
    with _no_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _open(data: bytes) -> Image.Image:
    """Open an image without decoding it."""
    with _without_pillows_limit():
        return Image.open(io.BytesIO(data), formats=_PILLOW_FORMATS)


def _load(image: Image.Image) -> None:
    """Decode an image that was opened. Large ones are decoded one at a time, to save memory."""
    large = image.width * image.height > _LARGE
    with _without_pillows_limit() if large else contextlib.nullcontext():
        image.load()


def _pixels(image: Image.Image) -> np.ndarray:
    """`np.array(image)` of 8 bits in strips. Pillow's copies of all pixels would need more memory
    than the pixels.
    """
    bands, strips = len(image.getbands()), list(row_slices(image.height, image.width))
    if len(strips) == 1:
        return np.array(image)
    samples = np.empty((image.height, image.width, bands)[: 2 + (bands > 1)], np.uint8)
    for rows in strips:
        samples[rows] = np.asarray(image.crop((0, rows.start, image.width, rows.stop)))
    return samples


def _decode_pillow(data: bytes, bits: int, use: str) -> np.ndarray:
    image = _open(data)
    _check_pixels(image.width, image.height)
    frames = getattr(image, "n_frames", 1)
    if frames != 1 and image.format != "MPO":  # MPO: a camera's JPEG with previews behind it
        raise ValueError(f"expected one image, got {frames} frames")
    _load(image)
    orientation = _orientation(image)
    if bits == 16 and image.format == "PNG" and image.mode != "I;16":
        # Pillow has checked that the file is complete, but keeps the high byte only (value // 256).
        bare = np.frombuffer(png.without_metadata(data, keep_turn=False), np.uint8)
        samples = cv2.imdecode(bare, cv2.IMREAD_UNCHANGED)
        if samples is None:
            raise OSError("image file is truncated")
        order = cv2.COLOR_BGRA2RGBA if samples.shape[2] == 4 else cv2.COLOR_BGR2RGB
        samples = cv2.cvtColor(samples, order)
    elif image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I"):
        samples = np.array(image).astype(np.uint16)
    elif use == "labels" and image.mode in ("1", "P"):
        samples = np.array(image).astype(np.uint8)
    elif use == "mask" and image.mode == "P":
        samples = _palette_levels(image)
    elif use != "image" and image.mode == "L" and bits in (2, 4):
        samples, one = np.array(image), 255 // (2**bits - 1)
        samples = samples // one if use == "labels" or samples.max() == one else samples
    elif image.has_transparency_data:
        samples = _pixels(image.convert("RGBA"))
    else:
        mode = "L" if image.mode in ("1", "L") else "RGB"
        samples = _pixels(image if image.mode == mode else image.convert(mode))  # no copy
    return _upright(samples, orientation)


def _palette_levels(image: Image.Image) -> np.ndarray:
    index = np.array(image)
    if index.max() == 1:
        first, second = np.reshape((image.getpalette("RGB") or [])[:6], (2, 3)) @ (
            0.299,
            0.587,
            0.114,
        )
        if not first > 127 >= second:
            return index
    return np.array(image.convert("RGB"))


def _decode_tiff(data: bytes, use: str) -> np.ndarray:
    with TiffFile(io.BytesIO(data)) as tiff:
        if len(tiff.pages) != 1:
            raise ValueError(f"expected one image, got a TIFF of {len(tiff.pages)} pages")
        page = tiff.pages.first
        count, bits, kind = page.samplesperpixel, page.bitspersample, page.photometric
        declared = f"{count} sample(s) of {bits} bits, {page.dtype}, axes {page.axes}, {kind!s}"
        _check_pixels(page.imagewidth, page.imagelength)
        unsigned = page.dtype in (np.bool_, np.uint8, np.uint16) and bits in (1, 2, 4, 8, 16)
        if not unsigned or page.axes not in ("YX", "YXS", "SYX"):
            raise ValueError(f"expected a flat TIFF of unsigned 1 to 16 bits, got {declared}")

        # tifffile and scikit-image store True as 1, although they declare that 1 is black.
        from_bool = bits == 1 and (page.software or "").startswith("tifffile")
        grey_triple = count == 3 and kind == PHOTOMETRIC.MINISBLACK
        wide = bits == 16 and (count > 1 or kind != PHOTOMETRIC.MINISBLACK)
        if not (from_bool or grey_triple or wide):  # Pillow is right, and can decode LZW and JPEG
            return _decode_pillow(data, bits, use)
        if kind > PHOTOMETRIC.RGB or count > 4:
            raise ValueError(f"expected a grey or RGB TIFF, got {declared}")
        samples = page.asarray()

    if from_bool:
        samples = samples * np.uint8(1 if use == "labels" else 255)
    elif kind == PHOTOMETRIC.MINISWHITE:
        samples = np.iinfo(samples.dtype).max - samples
    if page.axes == "SYX":
        samples = np.moveaxis(samples, 0, 2)
    if count > 1:
        colours = 3 if count >= 3 else 1
        # Only unassociated alpha (2) is not yet multiplied into the colours.
        alpha = count > colours and page.extrasamples[:1] == (2,)
        samples = samples[..., : colours + alpha]
    orientation = page.tags.get("Orientation")
    return _upright(samples, orientation.value if orientation else 1)


def _upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation, 1 to 8. Other numbers count as 1."""
    if orientation in (5, 6, 7, 8):
        samples = np.swapaxes(samples, 0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples


def _check_pixels(width: int, height: int) -> None:
    if width * height > _max_pixels:
        raise ValueError(
            f"expected at most {_max_pixels / 1e6:g} megapixels, got {width} x {height} pixels; "
            "`max_megapixels` raises the limit"
        )


def row_slices(height: int, width: int) -> Iterator[slice]:
    """The rows of an image in slices of about four million pixels."""
    step = max(2**22 // max(width, 1), 1)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))
