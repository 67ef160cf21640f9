"""Convert the images that callers give: arrays, PIL images or paths."""

import os
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from polypseg.data.images import Window, read_image, scale_levels
from polypseg.errors import InputError, reading

OneImage = np.ndarray | Image.Image | str | os.PathLike[str]


def is_one_image(given: Any) -> bool:
    """Whether a caller's argument means one image, judged by its type and number of dimensions.

    False for a list, a tuple and an `(N, H, W, C)` array. Anything else counts as one image;
    `as_image` may refuse it.
    """
    if isinstance(given, np.ndarray):
        return given.ndim != 4 or given.size == 0
    return not isinstance(given, list | tuple)


def as_image(given: OneImage, index: int | None = None, window: Window | None = None) -> np.ndarray:
    """Convert an image to RGB `(H, W, 3)` uint8. Such an array is returned as it is.

    Args:
        given: an RGB `(H, W, 3)` or grey `(H, W)` or `(H, W, 1)` uint8 array, the path of a file,
            or a PIL image. Files and PIL images are turned upright, transparent pixels are blended
            with black, 16 bits are scaled to 8.
        index: position of the image in a list of images, for the error message.
        window: for files with 16 bits, see `read_image`.

    Raises:
        InputError: another type, an empty array, or a file that is not an image.
    """
    if isinstance(given, np.ndarray) and given.dtype == np.uint8 and given.size:
        if given.ndim == 3 and given.shape[2] == 3:
            return given
        if given.ndim == 2 or given.shape[2:] == (1,):
            return np.dstack([given] * 3)
    elif isinstance(given, Image.Image) and given.mode not in ("I", "F"):
        with reading("a PIL image", "a complete image", _argument(index)):
            return _from_pillow(given, window)
    elif isinstance(given, str | os.PathLike):
        return read_image(given, window=window)
    raise InputError(
        "expected an RGB (H, W, 3) or grey (H, W) uint8 array, a PIL image or a path"
        + (", or a list, a tuple, an (N, H, W, 3) array or a generator of these" * (index is None))
        + f", got {_described(given)}",
        _argument(index),
    )


def _argument(index: int | None) -> str:
    return "images" if index is None else f"images[{index}]"


def _from_pillow(image: Image.Image, window: Window | None) -> np.ndarray:
    image.load()  # Pillow turns a TIFF upright here
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        samples = scale_levels("a PIL image", np.array(image).astype(np.uint16), window)
        return np.dstack([samples] * 3)
    if image.has_transparency_data:
        samples = np.array(image.convert("RGBA")).astype(np.uint32)
        return ((samples[..., :3] * samples[..., 3:] + 127) // 255).astype(np.uint8)
    return np.array(image.convert("RGB"))


def _described(given: Any) -> str:
    """Describe what was given, with a hint how to convert it if this is clear."""
    if given is None:
        return "None"
    if isinstance(given, Image.Image):
        return f"a PIL image of mode {given.mode}"
    if not isinstance(given, np.ndarray):
        return f"an object of type {type(given).__name__}"
    what = f"an array {given.shape} {given.dtype}"
    if given.size == 0:
        return f"{what}, which is empty"
    if given.dtype.kind == "f":
        return f'{what}; if its values are in 0..1, pass (255 * array).round().astype("uint8")'
    if given.dtype != np.uint8 or given.ndim != 3:
        return what
    if given.shape[2] == 4:
        return f"{what}; remove the alpha channel: array[..., :3]"
    if given.shape[0] in (1, 3):
        return f"{what}; move the channels to the end: np.moveaxis(array, 0, -1)"
    return what
