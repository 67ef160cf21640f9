"""Score volumes, one patient after the other."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from polypseg.data.mask_rule import MASK_OPTIONS, MaskRule, mask_rule
from polypseg.data.masks import read_mask
from polypseg.data.nifti import is_nifti
from polypseg.errors import InputError, Note, expect, of_argument
from polypseg.inference.formats import AUTO
from polypseg.layers.types import IGNORED
from polypseg.metrics.boundary import surface_distance_version
from polypseg.metrics.volume import volume_scores

from ..comparison import note_not_compared
from ..evaluation import Rules
from ..opened import Opener
from ..results_folder import ResultsFolder
from ..sources import Item, Source
from .files import foreground, read_pair
from .gallery import draw_slices, draw_volumes, shown_slices, worst
from .patients import Patient, patients_of
from .rows import PatientResult, VolumeRow


def score_volumes(
    sources: Sequence[Source],
    *,
    threshold: float | None = None,
    empty: str = "one",
    masks: MaskRule | None = None,
    window: Sequence[int] | None = None,
    input_size: int | None = None,
    engine: str = AUTO,
    tta: bool = False,
    boundary: float | None = None,
    folder: ResultsFolder | None = None,
    on_item: Callable[[], object] = lambda: None,
) -> list[VolumeRow]:
    """Score sources by patient. With a folder, also draw examples and save the networks' maps.

    One patient's volume is in memory at a time.

    Args:
        sources: slices, from `network_sources` or `saved_sources`, of a folder that
            `prepare_data.py` wrote; or volumes, from `volume_sources`.
        threshold, masks, window, input_size, engine, tta: as for `run.score_sources`.
        empty: what a patient without foreground scores, see `metrics.volume.volume_scores`.
        boundary: tolerance in mm of the surface Dice; None leaves HD95 and surface Dice out.
        folder: for the maps.
        on_item: called after each slice, or volume.

    Raises:
        InputError: a file that cannot be read or written, or that does not fit the others.
    """
    if boundary is not None:
        surface_distance_version()  # an error now if the package is missing, not after the network
    note_not_compared(sources, "patient")
    opener = Opener(window, input_size, tta, engine)
    patients_by_source = [
        None if is_nifti(source.items[0].mask) else patients_of(source) for source in sources
    ]
    rows = []
    for source, patients in zip(sources, patients_by_source):
        network, maps_of, argument, own_threshold = opener(source)
        rules = Rules(
            own_threshold if threshold is None else threshold,
            empty,
            masks=masks or mask_rule(*((source.config or {}).get(name) for name in MASK_OPTIONS)),
            window=network.window if network else None,
            boundary=boundary,
        )
        count = max(1, 8 // len(sources))
        examples = []
        if patients is None:
            labels: set[int] = set()
            results = list(_score_files(source.items, rules, labels, on_item))
            _check_labels(source, rules, labels)
            if folder:
                examples = draw_volumes(source.items, worst(results, count), rules)
        else:
            # In the order in which the slices of a patient follow each other.
            source.items = [item for patient in patients for item in patient.items.values()]
            maps: Iterable[np.ndarray] = maps_of(source.items)
            if network and folder:
                maps = folder.save_maps(source, maps)
            with of_argument(argument):
                results = list(_score_slices(patients, iter(maps), rules, on_item))
                if folder:
                    plane = source.preparation.plane if source.preparation else None
                    examples = draw_slices(patients, worst(results, count), rules, maps_of, plane)
        rows.append(VolumeRow(source, rules, results, network, examples))
    return rows


def _score_slices(
    patients: Sequence[Patient],
    maps: Iterator[np.ndarray],
    rules: Rules,
    on_item: Callable[[], object],
) -> Iterator[PatientResult]:
    for patient in patients:
        truth, found = np.zeros((2, 0), bool)
        for index, item in patient.items.items():
            mask, map_ = read_mask(item.mask, rules.masks), next(maps)
            _check_size(item, map_.shape, mask.shape, "its mask")
            if not truth.size:
                truth, found = np.zeros((2, patient.volume.slices, *mask.shape), bool)
            _check_size(item, mask.shape, truth.shape[1:], f"the other slices of {patient.name}")
            truth[index] = mask == 1
            found[index] = foreground(map_, rules.threshold, item.stem) & (mask != IGNORED)
            on_item()
        yield _result(patient.name, truth, found, patient.volume.spacing, rules, axis=0)


def _check_size(item: Item, got: tuple[int, ...], expected: tuple[int, ...], what: str) -> None:
    if got != expected:
        sizes = (f"{width} x {height}" for height, width in (expected, got))
        raise InputError("{}: expected the size of {}, {}, got {}".format(item.stem, what, *sizes))


def _score_files(
    items: Sequence[Item], rules: Rules, labels: set[int], on_item: Callable[[], object]
) -> Iterator[PatientResult]:
    """The scores of volumes; `labels` becomes the set of all labels in the masks."""
    for item in items:
        # Without names, so that they are freed before the next patient is read.
        yield _result(item.stem, *read_pair(item, rules, labels), rules, axis=2)
        on_item()


def _result(
    name: str,
    truth: NDArray[np.bool_],
    found: NDArray[np.bool_],
    spacing: tuple[float, float, float],
    rules: Rules,
    axis: int,
) -> PatientResult:
    """The scores of a patient whose slices lie along an axis of the arrays."""
    scores = volume_scores(truth, found, spacing, rules.boundary, rules.empty)
    return PatientResult(name, scores, shown_slices(truth, found, axis))


def _check_labels(source: Source, rules: Rules, labels: set[int]) -> None:
    """Raise `InputError` if no mask has the label; say if several labels are foreground."""
    label = rules.masks.label
    expect(
        not label or labels & {*label},
        "label",
        f"masks with {' or '.join(map(str, label))}",
        f"{len(source.items)} without",
    )
    if not label and len(labels) > 1:
        shown = ", ".join(map(str, sorted(labels)[:5])) + (", ..." if len(labels) > 5 else "")
        warnings.warn(
            f"the masks in {source.data} have the labels {shown}, and all are foreground; `label` "
            "chooses",
            Note,
            stacklevel=2,
        )
