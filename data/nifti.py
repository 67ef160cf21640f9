"""Read and write NIfTI files."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polypseg.errors import InputError, Note, expect, reading
from polypseg.files import atomic

from .volume import Grid, Volume, check_grid, check_shape, load_nibabel, make_volume

NIFTI_SUFFIXES = (".nii.gz", ".nii")
_TEXTS = {"data_type", "descrip", "aux_file", "db_name", "intent_name"}  # may name the patient
_TO_MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}


def is_nifti(path: str | os.PathLike[str]) -> bool:
    return nifti_suffix(path) != ""


def nifti_suffix(path: str | os.PathLike[str]) -> str:
    return next((one for one in NIFTI_SUFFIXES if os.fspath(path).lower().endswith(one)), "")


def expect_nifti(path: Path, argument: str, other: str = "") -> None:
    expect(os.path.exists(path), argument, "an existing file or folder", path)
    what = f"a NIfTI file (.nii.gz, .nii) {other}".rstrip()
    expect(is_nifti(path) and os.path.isfile(path), argument, what, path)


def read_nifti(path: Path, argument: str) -> Volume:
    """A NIfTI file: int16 if its numbers are integers that fit, else int32 or float32.

    Raises:
        InputError: the file is damaged, has other than three dimensions, colours, nan, or voxels
            of an impossible size.
    """
    nibabel = load_nibabel()
    quiet = nibabel.imageglobals.LoggingOutputSuppressor()
    with reading(path, "a complete NIfTI file", argument), quiet:
        # Open, so that slices are read one after the other, also of compressed files.
        image = nibabel.load(path, mmap=False, keep_file_open=True)
        header = image.header
        if not isinstance(header, nibabel.Nifti1Header):
            raise ValueError("another format")
        shape = check_shape(image.shape, path, argument)
        _check_stored_sizes(header, path, argument)
        kind = header.get_data_dtype()
        if kind.kind not in "iuf" or kind.itemsize > 8:
            raise InputError(
                f"expected one real number a voxel, got {path} with colours or {kind}", argument
            )
        stored = _simplest(image.dataobj, shape, path, argument)
        units = header.get_xyzt_units()[0]
    grid = Grid(shape, image.affine.astype(np.float64))
    if _TO_MM.get(units, 1.0) != 1.0:
        grid = Grid(shape, np.diag([*[_TO_MM[units]] * 3, 1.0]) @ grid.affine)
    check_grid(grid, path, argument)
    _note_orientation(header, path)
    header.extensions.clear()
    for name in _TEXTS & set(header.keys()):  # NIfTI 2 has fewer
        header[name] = b""
    return make_volume(path, stored, grid, header=header)


def _check_stored_sizes(header: Any, path: Path, argument: str) -> None:
    """Raise `InputError` for voxels of size 0, which nibabel takes for 1 mm."""
    if header["sform_code"] != 0:
        return  # the affine has the sizes
    with load_nibabel().openers.ImageOpener(path) as file:
        sizes = type(header).from_fileobj(file, check=False)["pixdim"][1:4]
    shown = " x ".join(f"{size:g}" for size in sizes)
    expect((sizes > 0).all(), argument, "voxels with a size", f"{path} of {shown}")


def _note_orientation(header: Any, path: Path) -> None:
    codes = int(header["qform_code"]), int(header["sform_code"])
    if codes == (0, 0):
        problem = "does not say its orientation, so left and right may be exchanged"
    elif 0 not in codes and not np.allclose(
        header.get_qform(), header.get_sform(), atol=0.5 * min(header.get_zooms()[:3])
    ):
        problem = "says two different orientations (qform and sform); the sform is used"
    else:
        return
    warnings.warn(f"{path} {problem}", Note, stacklevel=1)


def _simplest(voxels: Any, shape: tuple[int, int, int], path: Path, argument: str) -> NDArray[Any]:
    """The numbers of a file, scaled as its header says, in the smallest type that holds them.

    Args:
        voxels: nibabel's proxy. It is read slice by slice, since a copy in float64 would need four
            times the memory of int16.
        shape: of the volume.

    Raises:
        InputError: nan or infinite numbers.
    """
    more = (0,) * (len(voxels.shape) - 3)
    scaled = (voxels.slope, voxels.inter) != (1.0, 0.0)
    if not scaled and voxels.dtype in (np.int16, np.uint8, np.int8):
        raw = np.asarray(voxels.get_unscaled()).reshape(shape, order="F")
        return raw.astype(np.int16, order="K", copy=False)
    result = np.empty(shape, np.float32, order="F")
    low, high, whole, bad = np.inf, -np.inf, True, 0
    for index in range(shape[2]):
        part = np.asarray(voxels[(slice(None), slice(None), index, *more)], np.float64)
        finite = np.isfinite(part)
        if not finite.all():
            bad += int(part.size - finite.sum())
            continue
        low, high = min(low, float(part.min())), max(high, float(part.max()))
        whole = whole and bool((part == np.rint(part)).all())
        result[..., index] = part
    expect(not bad, argument, "finite numbers", f"{bad} voxels of {path} that are nan or infinite")
    if whole and max(-low, high) < 2**24:  # float32 holds these exactly
        return result.astype(np.int16 if max(-low, high + 1) <= 2**15 else np.int32, order="K")
    return result


def write_nifti(path: str | os.PathLike[str], array: NDArray[Any], like: Volume) -> None:
    """Write a volume in the grid of another one, completely or not at all.

    Args:
        path: ends with .nii.gz or .nii; an older file is replaced.
        array: in RAS order, of the shape of `like.array`: bool or uint8 (stored as uint8), or
            float32.
        like: the volume whose shape, affine, orientation and header the file gets.

    Raises:
        ValueError: another shape, or another suffix.
        OSError: the file cannot be written.
    """
    if not is_nifti(path) or array.shape != like.array.shape:
        raise ValueError(
            f"expected a .nii.gz file and the shape {like.array.shape}, got {path} and "
            f"{array.shape}"
        )
    nibabel = load_nibabel()
    dtype = np.float32 if array.dtype == np.float32 else np.uint8
    stored = like.grid.from_ras(array).astype(dtype, order="F", copy=False)
    if like.header is None:
        image = nibabel.Nifti1Image(stored, like.grid.affine)
        image.header.set_xyzt_units("mm")
    else:
        header = like.header.copy()
        header.set_data_dtype(dtype)
        header["cal_min"] = header["cal_max"] = 0
        two = isinstance(header, nibabel.Nifti2Header)
        kind = nibabel.Nifti2Image if two else nibabel.Nifti1Image
        image = kind(stored.reshape(header.get_data_shape(), order="F"), None, header)
    with atomic(path, suffix=nifti_suffix(path)) as temporary:
        nibabel.save(image, temporary)
