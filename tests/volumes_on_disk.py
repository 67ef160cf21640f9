"""Drawn patients, as label volumes and as the slices that `prepare_data.py` writes."""

import cv2
import nibabel
import numpy as np
from scipy import ndimage

from polypseg.files import csv_text

SPACING = (0.8, 0.9, 2.5)  # mm, of x, y and z
COLUMNS = (
    "patient",
    "file",
    "shape",
    "spacing",
    "orientation",
    "slices",
    "kept",
    "slice_spacing",
    "label_voxels",
    "label_ml",
)


def blob(rng, shape=(40, 36, 14)):
    """A region that no slice and no border cuts off."""
    smooth = ndimage.gaussian_filter(np.pad(rng.random(np.array(shape) - 8), 4), (5, 5, 2.5))
    return smooth > np.quantile(smooth, rng.uniform(0.8, 0.97))


def patients(seed, count):
    """By name, truth and prediction, `(X, Y, Z)` bool in RAS order."""
    rng = np.random.default_rng(seed)
    found = {}
    for index in range(count):
        truth = blob(rng)
        shift, steps = rng.integers(-1, 2, 3), rng.integers(1, 3)
        change = ndimage.binary_dilation if index % 3 else ndimage.binary_erosion
        predicted = change(np.roll(truth, shift, (0, 1, 2)), iterations=int(steps) - index % 2)
        found[f"case_{index}"] = truth, predicted if steps - index % 2 else truth.copy()
    return found


def write_volume(path, array, affine=None, **header):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, np.diag([*SPACING, 1]) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def write_slices(folder, drawn, kept=lambda truth: True):
    """`images/`, `masks/` and `volumes.csv`; the red channel of an image is the prediction."""
    lines = []
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for patient, (truth, found) in drawn.items():
        count = 0
        for index in range(truth.shape[2]):
            # Axial: the patient's right on the left, anterior on top.
            mask, map_ = (part[::-1, ::-1, index].T for part in (truth, found))
            if not kept(mask):
                continue
            count += 1
            name = f"{patient}-{index:04d}.png"
            cv2.imwrite(str(folder / "masks" / name), mask.astype(np.uint8) * 255)
            bgr = np.full((*mask.shape, 3), 70, np.uint8)
            bgr[..., 2] = np.where(map_, 200, 30)
            cv2.imwrite(str(folder / "images" / name), bgr)
        x, y, z = SPACING
        shape = " ".join(map(str, truth.shape))
        ml = truth.sum() * x * y * z / 1000
        lines.append(
            [
                patient,
                f"{patient}.nii.gz",
                shape,
                f"{x} {y} {z}",
                "RAS",
                truth.shape[2],
                count,
                f"{y} {x} {z}",
                truth.sum(),
                ml,
            ]
        )
    (folder / "volumes.csv").write_text(csv_text(COLUMNS, lines))
