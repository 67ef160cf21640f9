"""Labels of Pancreas-CT (TCIA), whose affines do not say where they lie."""

import contextlib

from polypseg.errors import InputError, expect

from .volume import Volume, check_same_grid

_TISSUE = -30, 220  # Hounsfield units of most voxels of a pancreas


def in_dicom_order(volume: Volume, labels: Volume, argument: str) -> Volume:
    """Labels at the place of their volume.

    Label files that were converted together with their volume have its affine. The affines of
    TCIA's own do not say where they lie: the arrays are in the order of the DICOM files, columns to
    the patient's left and rows to the back, and the slices go up. So published code reads them,
    which ignores the affines. Here that is checked: if the labels covered more soft tissue in
    another order of rows or slices, they are refused.

    Args:
        volume: in Hounsfield units.
        labels: with its own grid.
        argument: the argument that errors name.

    Returns:
        The labels with the grid of the volume.

    Raises:
        InputError: another shape, or labels that lie better in another order.
    """
    with contextlib.suppress(InputError):
        check_same_grid(volume, labels)
        return labels
    stored = labels.grid.from_ras(labels.array)
    shapes = [" x ".join(map(str, array.shape)) for array in (volume.array, stored)]
    expect(volume.array.shape == stored.shape, argument, f"{shapes[0]} voxels", f"{shapes[1]}")
    array = stored[::-1, ::-1]  # in RAS order
    tissue = (volume.array > _TISSUE[0]) & (volume.array < _TISSUE[1])
    orders = [array[:, ::row, ::slice_] for row in (1, -1) for slice_ in (1, -1)]
    shares = [float(tissue[order > 0].mean()) if order.any() else 0.0 for order in orders]
    expect(
        shares[0] == max(shares),
        argument,
        "labels in the order of the DICOM files",
        f"{labels.path}, which covers {shares[0]:.0%} soft tissue so and {max(shares):.0%} in "
        "another order of rows or slices",
    )
    return Volume(labels.path, array, volume.grid, volume.spacing, header=labels.header)
