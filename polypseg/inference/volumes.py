"""Segment volumes slice by slice, and write the results in the volumes' own grids."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.data.images import write_png
from polypseg.data.preparation import Preparation
from polypseg.data.slices import AXES, SIDES, Slicer
from polypseg.data.volumes import Volume, read_volume, write_nifti
from polypseg.drawing.montage import Tile, montage
from polypseg.errors import InputError, expect
from polypseg.files import part_path, remove, writing

from .components import find_components
from .dicom_seg import read_headers, write_dicom_seg
from .predict import CallTimes, Prediction, predictions
from .predictor import Predictor
from .stages import Stages

_TILES = 12  # of a montage
# What is on the left and on the right of a slice, see `Slicer`.


class Pass(NamedTuple):
    """One run of a network over all slices of a volume.

    Attributes:
        predictor: the network.
        preparation: how its slices are made.
    """

    predictor: Predictor
    preparation: Preparation


class VolumeJob(NamedTuple):
    """A volume to segment.

    Attributes:
        patient: name of the patient, from the name of the file or folder.
        path: the NIfTI file, or the folder of DICOM files.
        targets: argument -> path to write; `out` is the mask, the others (`probability`,
            `dicom_seg`, `montage`) may be missing.
    """

    patient: str
    path: Path
    targets: dict[str, Path]


def in_planes(one: Pass, planes: Sequence[str]) -> list[Pass]:
    """The same pass in other planes, some of `preparation.PLANES`."""
    return [one._replace(preparation=replace(one.preparation, plane=plane)) for plane in planes]


def segment_volume(
    predictor: Predictor,
    volume: Volume,
    preparation: Preparation,
    planes: Sequence[str] = (),
    batch_size: int = 8,
    on_slices: Callable[[int], object] = lambda count: None,
    times: CallTimes | None = None,
) -> NDArray[np.float32]:
    """Probability of foreground for each voxel of a volume.

    Args:
        predictor: the network, with any engine.
        volume: from `read_volume`.
        preparation: how the network's slices are made; its window must be known.
        planes: some of `preparation.PLANES`. The network runs in each of them, and the result is
            the mean of their probabilities. Default: the plane of the preparation.
        batch_size: number of slices in a call of the network.
        on_slices: function that gets the number of slices that were finished since its last call.
        times: measures the calls of the network.

    Returns:
        `(X, Y, Z)` float32 in [0, 1], in the order of the volume's array.

    Example:
        >>> volume = read_volume("ct.nii.gz")
        >>> probability = segment_volume(predictor, volume, Preparation((-100, 240)))
    """
    passes = in_planes(Pass(predictor, preparation), planes or [preparation.plane])
    return mean_of_passes(passes, volume, batch_size, on_slices, times)


def mean_of_passes(
    passes: Sequence[Pass],
    volume: Volume,
    batch_size: int = 8,
    on_slices: Callable[[int], object] = lambda count: None,
    times: CallTimes | None = None,
) -> NDArray[np.float32]:
    """The mean of the probabilities of several passes. See `segment_volume`.

    Making slices, the network and writing into the volume overlap in time.

    Raises:
        InputError: a network gives nan; a spacing makes slices too large or too small.
    """
    slicers = [Slicer(volume, each.preparation) for each in passes]
    total = slicers[0].empty_map()
    for (predictor, _), slicer in zip(passes, slicers):
        work = _stages(predictor, slicer, volume.path, total, len(passes) > 1, batch_size, times)
        for count in Stages(work, depth=1):
            on_slices(count)
    if len(passes) > 1:
        total /= np.float32(len(passes))
    return total


def _stages(
    predictor: Predictor,
    slicer: Slicer,
    path: Path,
    total: NDArray[np.float32],
    add: bool,
    batch_size: int,
    times: CallTimes | None,
) -> dict[str, Callable[..., Iterator[Any]]]:
    """The functions for `Stages`. The last one yields the number of slices in each batch."""

    def slices() -> Iterator[Any]:
        for first in range(0, len(slicer), batch_size):
            indices = range(first, min(first + batch_size, len(slicer)))
            yield [(index, slicer.image(index)) for index in indices]

    def maps(batches: Iterator[Any]) -> Iterator[list[Prediction]]:
        return predictions(chain.from_iterable(batches), predictor, batch_size, times=times)

    def put(batches: Iterator[list[Any]]) -> Iterator[int]:
        for batch in batches:
            for index, _, map_ in batch:
                good = np.isfinite(map_).all()  # else the volume would look empty
                got = f"nan in slice {index} of {path}"
                expect(good, "model", "a network that gives probabilities", got)
                slicer.put(index, map_, total, add=add)
            yield len(batch)

    return {"slices": slices, "network": maps, "volume": put}


def slices_of(job: VolumeJob, volume: Volume, passes: Sequence[Pass]) -> int:
    """Number of slices on which the networks run.

    Raises:
        InputError: the volume cannot be sliced like this, or not for its montage.
    """
    count = sum(len(Slicer(volume, each.preparation)) for each in passes)
    if "montage" in job.targets:
        try:
            _montage_slicer(volume, passes[0].preparation)
        except InputError as error:
            raise InputError(error.message, "montage") from error
    return count


def read_job(job: VolumeJob, series: str | None = None) -> tuple[Volume, Any]:
    """The volume of a job, and what its DICOM segmentation needs of the source (else None).

    Raises:
        InputError: the volume cannot be read, or a segmentation cannot refer to it.
    """
    volume = read_volume(job.path, series)
    return volume, read_headers(volume) if "dicom_seg" in job.targets else None


def segment_job(
    job: VolumeJob,
    volume: Volume,
    passes: Sequence[Pass],
    threshold: float,
    *,
    batch_size: int = 8,
    largest: bool = False,
    headers: Any = None,
    anonymous: bool = False,
    on_slices: Callable[[int], object] = lambda count: None,
    times: CallTimes | None = None,
) -> str:
    """Segment a volume and write all its files, or none.

    Args:
        job: the volume and the paths of its files.
        volume: from `read_job`.
        passes: the networks; the montage has the window and the plane of the first one.
        threshold: a voxel is foreground if its probability is at least this.
        batch_size, on_slices, times: see `segment_volume`.
        largest: whether to keep only the largest region.
        headers: from `read_job`.
        anonymous: for the DICOM segmentation, see `write_dicom_seg`.

    Returns:
        What was found, from `found_text`.

    Raises:
        InputError: as in `mean_of_passes`, or a file cannot be written.
    """
    probability = mean_of_passes(passes, volume, batch_size, on_slices, times)
    with _all_or_none(job.targets) as write:
        write("probability", write_nifti, probability, volume)
        mask = probability >= threshold
        del probability  # the largest array, before the next steps need memory
        mask, regions = find_components(mask, largest)
        ml = int(np.count_nonzero(mask)) * volume.grid.voxel_ml
        found = found_text(ml, regions, largest)
        network = digests(passes) if headers else ""
        write("dicom_seg", write_dicom_seg, mask, volume, headers, network, anonymous)
        preparation = passes[0].preparation
        write("montage", write_montage, volume, mask, preparation, job.patient, found)
        write("out", write_nifti, mask.view(np.uint8), volume)
    return found


@contextlib.contextmanager
def _all_or_none(targets: Mapping[str, Path]) -> Iterator[Callable[..., None]]:
    """Context for the files of one volume. They are moved to their places at its end.

    All are complete before the first one is moved: if one of them cannot be written, none is there
    afterwards, and older ones are as they were.

    Args:
        targets: argument -> path of the file.

    Yields:
        A function that writes the file of an argument, if it has a target. It gets the argument, a
        function whose first argument is a path, and its other arguments.
    """
    done: list[tuple[str, Path, Path]] = []
    with contextlib.ExitStack() as stack:

        def write(kind: str, writer: Callable[..., object], *values: Any) -> None:
            path = targets.get(kind)
            if path is None:
                return
            # In a folder beside it, because writers choose the format by the name, and `claim`
            # removes this folder if the process is killed.
            folder = part_path(path, "")
            stack.callback(remove, folder)
            with writing(path, _argument(kind)):
                folder.mkdir()
                writer(folder / path.name, *values)
            done.append((kind, folder / path.name, path))

        yield write
        for kind, temporary, path in done:
            with writing(path, _argument(kind)):
                os.replace(temporary, path)


def _argument(kind: str) -> str:
    """The argument that gives the path of a target."""
    return "out" if kind == "probability" else kind


def digests(passes: Sequence[Pass]) -> str:
    """The digests of the networks, each once."""
    return "-".join(sorted({each.predictor.digest for each in passes}))


def found_text(ml: float, regions: int, largest: bool = False) -> str:
    """What was found, as in `"81.4 ml in 1 region"`.

    Args:
        ml: volume of the foreground, in millilitres.
        regions: number of regions, before only the largest one was kept.
        largest: whether this was done.
    """
    if not regions:
        return "nothing found"
    where = f"{regions} region{'s' * (regions != 1)}"
    where = f"the largest of {where}" if largest and regions > 1 else where
    return f"{ml:.{1 if ml >= 1 else 3}f} ml in {where}"


def write_montage(
    path: Path,
    volume: Volume,
    mask: NDArray[np.bool_],
    preparation: Preparation,
    patient: str,
    found: str,
) -> None:
    """Write a page with slices through the mask, evenly spread over it; see `drawing.montage`.

    If the mask is empty, the slices are spread over the volume.

    Args:
        path: the .png file to write.
        volume: what was segmented.
        mask: `(X, Y, Z)` in the order of the volume's array.
        preparation: window and plane of the slices.
        patient: title of the page.
        found: from `found_text`.

    Raises:
        OSError: the file cannot be written.
    """
    plane, window = preparation.plane, preparation.window
    slicer = _montage_slicer(volume, preparation)
    others = tuple(axis for axis in range(3) if axis != AXES[plane])
    (indices,) = np.nonzero(mask.any(axis=others))
    first, last = (indices[0], indices[-1]) if len(indices) else (0, len(slicer) - 1)
    shown = np.unique(np.linspace(first, last, _TILES).round().astype(int))
    labels = mask.view(np.uint8)
    tiles = [
        Tile(slicer.image(index), slicer.mask(index, labels), f"slice {index}")
        for index in shown[::-1].tolist()  # from head to feet, from front to back
    ]
    facts = f"{found}   ·   {plane} slices"
    if window:
        facts += f", {window[0]:g} to {window[1]:g} HU"
    write_png(path, montage(tiles, slicer.spacing[0], SIDES[plane], patient, facts))


def _montage_slicer(volume: Volume, preparation: Preparation) -> Slicer:
    """The slices with square pixels of the volume's own size."""
    return Slicer(volume, Preparation(preparation.window, preparation.plane))
