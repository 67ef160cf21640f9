"""Read probability maps that any program saved, as images or NumPy arrays."""

import os
from pathlib import Path

import numpy as np
from tifffile import TiffFile

from polypseg.errors import InputError

from .images import IMAGE_SUFFIXES, read_grey

MAP_SUFFIXES = (*IMAGE_SUFFIXES, ".npy")


def read_map(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a saved map as `(height, width)`: uint8 grey levels, or floats in [0, 1].

    An image file gives grey levels as `read_grey` does, with 16 bits rounded to 8. A float TIFF or
    a `.npy` file gives its own values: floats in [0, 1], bool or uint8. Axes of length 1 are
    dropped.

    Raises:
        InputError: the file is missing, damaged or not a map, or contains nan or a number outside
            [0, 1]. The message is one line that starts with the path.
    """
    path = Path(path)
    if path.suffix.lower() == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
            if not isinstance(array, np.ndarray):  # an .npz file with the suffix .npy
                raise ValueError("several arrays")
        except OSError as error:
            raise InputError(f"{path}: expected a readable file ({error.strerror})") from error
        except Exception as error:  # NumPy raises errors of many types
            raise InputError(
                f"{path}: expected a NumPy array of numbers, got another or a damaged file"
            ) from error
    else:
        array = _float_tiff(path) if path.suffix.lower() in (".tif", ".tiff") else None
        if array is None:
            return read_grey(path)
    flat: np.ndarray = array
    if array.ndim > 2:
        flat = array.reshape([size for size in array.shape if size != 1])
    if flat.ndim != 2 or flat.size == 0 or (flat.dtype != np.uint8 and flat.dtype.kind not in "fb"):
        raise InputError(
            f"{path}: expected a map (H, W) of floats, uint8 or bool, got {array.shape} "
            f"{array.dtype}"
        )
    if flat.dtype.kind == "f":
        low, high = flat.min(), flat.max()
        if np.isnan(low):
            raise InputError(
                f"{path}: expected numbers in [0, 1], got nan in {np.isnan(flat).sum()} pixel(s)"
            )
        if low < 0 or high > 1:
            raise InputError(f"{path}: expected numbers in [0, 1], got {low:g} to {high:g}")
    return flat


def _float_tiff(path: Path) -> np.ndarray | None:
    """The array of a TIFF with one page of floats; None for any other file."""
    try:
        with TiffFile(path) as tiff:
            page = tiff.pages[0]
            return (
                page.asarray()
                if len(tiff.pages) == 1 and page.dtype is not None and page.dtype.kind == "f"
                else None
            )
    except OSError:
        raise
    except Exception:  # a damaged file, for which `read_grey` raises an error
        return None
