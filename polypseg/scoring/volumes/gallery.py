"""Slices of the patients with the lowest Dice, for the report."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from polypseg.data.images import read_image
from polypseg.data.masks import read_mask
from polypseg.data.slices import SIDES, plane_of, spacing_of
from polypseg.data.volumes import read_volume
from polypseg.drawing.slice_strip import slice_strip

from ..evaluation import Rules
from ..gallery import Example, data_url
from ..sources import Item
from .files import foreground, read_pair
from .patients import Patient
from .rows import PatientResult

_SLICES = 5  # of a patient
_SOFT_TISSUE = (-160, 240)  # Hounsfield units
_NO_IMAGE = 48  # grey level


def shown_slices(truth: NDArray[np.bool_], found: NDArray[np.bool_], axis: int) -> tuple[int, ...]:
    """Some indices along an axis, evenly among those with foreground in one of two volumes."""
    others = tuple(other for other in range(truth.ndim) if other != axis)
    occupied = np.flatnonzero(truth.any(axis=others) | found.any(axis=others))
    places = (np.arange(_SLICES) + 0.5) / _SLICES * occupied.size
    return tuple(dict.fromkeys(occupied[places.astype(int)].tolist())) if occupied.size else ()


def worst(results: Sequence[PatientResult], count: int) -> list[PatientResult]:
    """The patients with the lowest Dice, in rising order, of those with foreground anywhere."""
    ranked = [
        result
        for result in results
        if result.shown and not math.isnan(result.scores.volume["dice"])
    ]
    return sorted(ranked, key=lambda result: result.scores.volume["dice"])[:count]


def draw_slices(
    patients: Sequence[Patient],
    chosen: Sequence[PatientResult],
    rules: Rules,
    maps_of: Callable[[Sequence[Item]], Iterable[np.ndarray]],
    plane: str | None,
) -> list[Example]:
    """Draw patients whose slices are images.

    Args:
        patients: all of them.
        chosen: those that are drawn.
        rules: how they were scored.
        maps_of: returns the maps of slices.
        plane: of the slices; None if it is not known.
    """
    by_name = {patient.name: patient for patient in patients}
    examples = []
    for result in chosen:
        patient = by_name[result.stem]
        items = [patient.items[index] for index in result.shown]
        slices = []
        for index, item, map_ in zip(result.shown, items, maps_of(items)):
            mask = read_mask(item.mask, rules.masks) == 1
            image = np.full((*mask.shape, 3), _NO_IMAGE, np.uint8)
            if item.image is not None:
                # The slice itself; the other two channels may be the slices below and above.
                middle = read_image(item.image, window=rules.window)[..., 1:2]
                image = np.repeat(middle, 3, axis=2)
            found = foreground(map_, rules.threshold, item.stem)
            slices.append((image, mask, found, f"slice {index}"))
        examples.append(_example(result, slices, patient.volume.spacing[1:], plane))
    return examples


def draw_volumes(
    items: Sequence[Item], chosen: Sequence[PatientResult], rules: Rules
) -> list[Example]:
    """Draw axial slices of patients whose volumes are files."""
    by_name = {item.stem: item for item in items}
    examples = []
    for result in chosen:
        item = by_name[result.stem]
        truth, found, spacing = read_pair(item, rules)
        volume = _image_volume(item, truth.shape)
        slices = []
        for index in result.shown:
            mask, prediction = (plane_of(array, "axial", index) for array in (truth, found))
            grey: NDArray[Any] = np.full(mask.shape, _NO_IMAGE, np.float32)
            if volume is not None:
                low, high = _SOFT_TISSUE
                grey = (plane_of(volume, "axial", index) - np.float32(low)) / (high - low) * 255
            image = np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
            slices.append((image, mask, prediction, f"slice {index}"))
        examples.append(_example(result, slices, spacing_of(spacing, "axial")[:2], "axial"))
    return examples


def _image_volume(item: Item, shape: tuple[int, ...]) -> np.ndarray | None:
    """The CT, or None if it is missing, broken or another one: it is needed for a picture only."""
    if item.image is None:
        return None
    try:
        array = read_volume(item.image, argument="masks").array
    except ValueError:
        return None
    return array if array.shape == shape else None


def _example(
    result: PatientResult,
    slices: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, str]],
    spacing: tuple[float, float],
    plane: str | None,
) -> Example:
    strip = slice_strip(slices, spacing, _SLICES, SIDES[plane] if plane else None)
    return Example("worst", result.stem, result.scores.volume["dice"], data_url(strip))
