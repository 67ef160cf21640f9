"""Read image files as NumPy arrays, and write them. No other module opens image files.

Pillow decodes most files, because it raises on a damaged file where OpenCV only warns. Pillow
would round, invert or refuse some files. OpenCV decodes 16-bit colour PNG. tifffile decodes 16-bit
colour TIFF, and the published TIFFs of CVC-ClinicDB, which declare their three samples as grey.
"""

import contextlib
import io
import logging
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError
from tifffile import PHOTOMETRIC, TiffFile

from polypseg.errors import InputError
from polypseg.files import atomic
from polypseg.layers.types import IGNORED
from polypseg.runtime import ProcessLock

# tifffile logs a warning about a damaged file, which is raised here anyway.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"),
    *(".gif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".avif"),
)

_PILLOW_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF")
_PNG = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = (b"tRNS", b"acTL", b"fcTL", b"fdAT")  # beside those with a capital letter
_TEXT_LIMIT = 2**20  # bytes; Pillow refuses longer texts
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


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of a file. Raises `InputError` if it cannot be read."""
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise InputError(f"{path}: expected a readable file (it is a pipe or a device)")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a readable file ({error.strerror})") from error


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
        data = read_bytes(path) if data is None else data
        with _open(_without_metadata(data)) as image:
            return _orientation(image)
    except Exception:  # decoders raise errors of many types; `read_image` reports them
        return 1


def _orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(0x0112, 1)
    except Exception:  # damaged EXIF data, which do not concern the pixels
        return 1
    return orientation if orientation in range(1, 9) else 1


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


def _decode(
    path: str | os.PathLike[str], data: bytes | None = None, use: str = "image"
) -> np.ndarray:
    """Decode to `(H, W, C)` uint8 or uint16, upright. C is 1 or 3, plus 1 with alpha.

    `use` is "image", "mask" (as `read_grey` describes) or "labels" (as `read_levels` does).
    """
    data = read_bytes(path) if data is None else data
    if not data:
        raise InputError(f"{path}: expected an image, got an empty file")
    try:
        if data[:4] in _TIFF:
            samples = _decode_tiff(data, use)
        else:
            is_png = data.startswith(_PNG) and len(data) > 24
            samples = _decode_pillow(_without_metadata(data), data[24] if is_png else 8, use)
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
    bands, strips = len(image.getbands()), list(_strips(image.height, image.width))
    if len(strips) == 1:
        return np.array(image)
    samples = np.empty((image.height, image.width, bands)[: 2 + (bands > 1)], np.uint8)
    for rows in strips:
        samples[rows] = np.asarray(image.crop((0, rows.start, image.width, rows.stop)))
    return samples


def _strips(height: int, width: int) -> Iterator[slice]:
    """The rows of an image in slices of about four million pixels."""
    step = max(2**22 // max(width, 1), 1)
    for top in range(0, height, step):
        yield slice(top, min(top + step, height))


def _without_metadata(data: bytes, keep_turn: bool = True) -> bytes:
    """A PNG without the chunks that do not concern its pixels; other files as they are.

    Pillow refuses a file if a text in it is damaged or long, and libpng prints warnings.

    Args:
        data: content of the file.
        keep_turn: keep chunks that may say how the image is to be turned.

    Raises:
        OSError: a chunk that concerns the pixels is damaged. Pillow does not check all of them.
    """
    if not data.startswith(_PNG):
        return data
    start, view = 8, memoryview(data)
    kept = [view[:start]]
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        kind, body = data[start + 4 : start + 8], view[start + 8 : end - 4]
        if end > len(data):
            break  # a truncated file, as Pillow will say if pixels are missing
        intact = zlib.crc32(view[start + 4 : end - 4]) == int.from_bytes(data[end - 4 : end])
        if kind[:1].isupper() or kind in _PIXEL_CHUNKS:
            if not intact:
                raise OSError(f"damaged pixels (checksum of the chunk {kind.decode('latin-1')})")
            kept.append(view[start:end])
        elif keep_turn and intact and _may_turn(kind, bytes(body[: _TEXT_LIMIT + 1])):
            kept.append(view[start:end])
        start = end
    return b"".join([*kept, view[start:]])


def _may_turn(kind: bytes, body: bytes) -> bool:
    """Whether a chunk of PNG can say how the image is to be turned, and Pillow will accept it."""
    if kind == b"eXIf":
        return True
    name, _, text = body.partition(b"\0")
    if len(body) > _TEXT_LIMIT or name not in (b"XML:com.adobe.xmp", b"Raw profile type exif"):
        return False
    if kind == b"zTXt" and text.startswith(b"\0"):
        inflate = zlib.decompressobj()
        try:
            inflate.decompress(text[1:], _TEXT_LIMIT - 1)
        except zlib.error:
            return False
        return not inflate.unconsumed_tail
    return kind == b"tEXt" or (kind == b"iTXt" and text.startswith(b"\0"))  # not compressed


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
        bare = np.frombuffer(_without_metadata(data, keep_turn=False), np.uint8)
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


def _over_black(samples: np.ndarray) -> np.ndarray:
    top = np.uint32(np.iinfo(samples.dtype).max)
    blended = np.empty((*samples.shape[:2], samples.shape[2] - 1), samples.dtype)
    for rows in _strips(*samples.shape[:2]):
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


def _check_pixels(width: int, height: int) -> None:
    if width * height > _max_pixels:
        raise ValueError(
            f"expected at most {_max_pixels / 1e6:g} megapixels, got {width} x {height} pixels; "
            "`max_megapixels` raises the limit"
        )


def _check_array(array: np.ndarray, name: str, colour: bool) -> None:
    fits = array.ndim == 2 or (colour and array.ndim == 3 and array.shape[2] == 3)
    if not fits or array.dtype != np.uint8 or array.size == 0:
        shape = "(H, W) or (H, W, 3)" if colour else "(H, W)"
        raise ValueError(f"expected {shape} uint8, got {name} {array.shape} {array.dtype}")
