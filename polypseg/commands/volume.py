"""Segment CT volumes with a trained network: `python infer_volume.py --model RUN --volume FILE`;
`--help` lists the options.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from polypseg import inference
from polypseg.console.parser import given_options
from polypseg.console.run import option as spelled
from polypseg.console.run import say, warn, with_options
from polypseg.data.preparation import PLANES, VOLUME_JSON, Preparation
from polypseg.errors import InputError, expect
from polypseg.options import REQUIRED, option
from polypseg.outputs import claim
from polypseg.runtime import keep_freed_memory

from .network import InferenceOptions, load_network, network_name

if TYPE_CHECKING:
    from polypseg.data.volume import Volume
    from polypseg.inference.volumes import Pass, VolumeJob

_NEEDED = ["window", "plane", "spacing"]
_KNOWN = "(default: that of the model's volume.json)"


@dataclass(frozen=True, kw_only=True)
class VolumeOptions(InferenceOptions):
    """Options of `infer_volume.py`."""

    volume: list[str] = option(
        REQUIRED, "input", "NIfTI files, folders of a DICOM series, or folders of these", "PATH"
    )
    series: str | None = option(
        None, "input", "Series Instance UID, if a DICOM folder has several series", "UID"
    )
    window: list[float] | None = option(
        None,
        "slices",
        f"Hounsfield units that become black and white, as in -100 240 {_KNOWN}",
        "HU",
    )
    plane: str | None = option(None, "slices", f"axial, coronal or sagittal {_KNOWN}", "PLANE")
    spacing: float | None = option(
        None, "slices", f"size of a pixel in mm; 0 for the volume's own {_KNOWN}", "MM"
    )
    neighbours: int | None = option(
        None,
        "slices",
        "1 if the channels are the slice below, the slice and the slice above; 0 if they repeat "
        f"the slice {_KNOWN[:-1]}, or 0)",
        "N",
    )
    planes: int = option(
        1,
        "slices",
        "3: mean of the probabilities in three planes, of one network or, with `ensemble`, of "
        "three that were trained in one plane each",
        "N",
    )
    out: str = option(
        "predictions",
        "output",
        "mask to write, .nii.gz; or a folder for PATIENT.nii.gz",
        "PATH",
    )
    largest_component: bool = option(False, "output", "keep only the largest connected region")
    probability: bool = option(
        False,
        "output",
        "also write the probabilities, float32: NAME_probability.nii.gz, or in a folder "
        "probabilities/PATIENT.nii.gz",
    )
    dicom_seg: str | None = option(
        None,
        "output",
        "also write a DICOM segmentation of a DICOM series: a .dcm file, or a folder for "
        "PATIENT.dcm",
        "PATH",
    )
    anonymous: bool = option(
        False, "output", "leave the fields of patient and study in the DICOM segmentation empty"
    )
    montage: str | None = option(
        None,
        "output",
        "also draw slices with the outline of the mask: a .png file, or a folder for PATIENT.png",
        "PATH",
    )
    overwrite: bool = option(False, "output", "replace existing files")

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self.window or (0, 0))
        expect(count == 2, "window", "two Hounsfield units", f"{count} numbers")
        expect(self.planes in (1, 3), "planes", "1 or 3", self.planes)
        if self.planes == 3 and self.plane:
            raise InputError("give either `plane` or `planes`")
        if self.anonymous and not self.dicom_seg:
            raise InputError("`anonymous` requires `dicom_seg`")
        changed(Preparation(None), self.given)

    @property
    def given(self) -> dict[str, Any]:
        """The values of `Preparation` that are given."""
        given: dict[str, Any] = {}
        if self.window:
            given["window"] = tuple(self.window)
        if self.plane:
            given["plane"] = self.plane
        if self.spacing is not None:
            given["spacing"] = self.spacing or None
        if self.neighbours is not None:
            given["neighbours"] = self.neighbours
        return given

    def targets(self, patient: str, several: bool) -> dict[str, Path]:
        """The files to write for a patient; see `VolumeJob`. Raises `InputError`."""
        from polypseg.data.nifti import NIFTI_SUFFIXES, nifti_suffix  # slow: after the arguments

        out = _target("out", self.out, patient, NIFTI_SUFFIXES, several)
        found = {"out": out}
        if self.probability:
            if out.parent == Path(self.out):
                found["probability"] = out.parent / "probabilities" / out.name
            else:
                stem = out.name[: -len(nifti_suffix(out))]
                suffix = out.name[len(stem) :]
                found["probability"] = out.with_name(f"{stem}_probability{suffix}")
        if self.dicom_seg:
            found["dicom_seg"] = _target("dicom_seg", self.dicom_seg, patient, (".dcm",), several)
        if self.montage:
            found["montage"] = _target("montage", self.montage, patient, (".png",), several)
        return found


def _target(
    argument: str, given: str, patient: str, suffixes: tuple[str, ...], several: bool
) -> Path:
    """The file that is given, or a file in the folder that is given."""
    new = not os.path.lexists(given)
    if os.path.isdir(given) or (new and not Path(given).suffix):
        return Path(given) / f"{patient}{suffixes[0]}"
    good = given.lower().endswith(suffixes)
    expect(good, argument, f"a folder, or a name that ends in {suffixes[0]}", given)
    expect(not several, argument, "a folder for several volumes", given)
    return Path(given)


def changed(preparation: Preparation, given: Mapping[str, Any]) -> Preparation:
    """The preparation with other values. Raises `InputError` for one that is out of range."""
    for name, value in given.items():
        try:
            preparation = replace(preparation, **{name: value})
        except ValueError as error:
            raise InputError(str(error).removeprefix(f"{name}: "), name) from error
    return preparation


def parse(arguments: Sequence[str] | None = None) -> VolumeOptions:
    """The checked options of a command line. Raises `InputError`."""
    given = given_options(VolumeOptions, "Segment CT volumes with a trained network.", arguments)
    return VolumeOptions(**given)


def main() -> None:
    options = parse()
    keep_freed_memory()
    jobs = find_jobs(options)
    outputs: dict[str, list[Path]] = {}
    for job in jobs:
        for kind, path in job.targets.items():
            argument = "out" if kind == "probability" else kind
            expect(not os.path.isdir(path), argument, "a file", f"the folder {path}")
            outputs.setdefault(argument, []).append(path)
    with claim(outputs, [job.path for job in jobs], options.overwrite):
        segment_volumes(jobs, options)


def find_jobs(options: VolumeOptions) -> "list[VolumeJob]":
    """The volumes, and what to write for each. Raises `InputError`."""
    from polypseg.data.volumes import find_volumes  # slow, so after the arguments

    volumes = find_volumes(options.volume, "volume")
    jobs = [
        inference.VolumeJob(patient, path, options.targets(patient, len(volumes) > 1))
        for patient, path in volumes.items()
    ]
    series = not options.series or any(os.path.isdir(job.path) for job in jobs)
    expect(series, "series", "a DICOM folder as volume", f"only NIfTI files: {jobs[0].path}")
    if options.dicom_seg:
        inference.check_highdicom()
    for job in jobs:
        if segmentation := job.targets.get("dicom_seg"):
            expect(os.path.isdir(job.path), "dicom_seg", "DICOM folders as volumes", job.path)
            # There it would be one more series.
            inside = segmentation.resolve().is_relative_to(job.path.resolve())
            expect(not inside, "dicom_seg", "a path outside of the volume's folder", segmentation)
    return jobs


def segment_volumes(jobs: "Sequence[VolumeJob]", options: VolumeOptions) -> None:
    """Do the command's work, once no other process can write to its outputs.

    A volume that cannot be read or sliced is left out. Any other error ends the command.
    """
    problems: list[str] = []
    try:
        _segment_volumes(jobs, options, problems)
    finally:  # also before the line of an error that ends the command
        for problem in problems:
            warn(problem)
    if problems:
        sys.exit(2)


def _segment_volumes(
    jobs: "Sequence[VolumeJob]", options: VolumeOptions, problems: list[str]
) -> None:
    passes: list[Pass] = []
    threshold = 0.0
    for job in jobs:
        started = time.perf_counter()
        try:
            volume, headers = inference.read_job(job, options.series)
        except InputError as error:
            problems.append(_line(error))
            continue
        if not passes:  # now, because a mistake in a volume is found sooner than a network loads
            loading = time.perf_counter()
            passes = load_passes(options)
            threshold = threshold_of(passes, options)
            started += time.perf_counter() - loading
        try:
            count = count_slices(job, volume, passes, options)
        except InputError as error:
            problems.append(_line(error))
            del volume
            continue
        times = inference.CallTimes()
        with tqdm(total=count, desc=job.patient, unit=" slices", leave=False, disable=None) as bar:
            found = inference.segment_job(
                job,
                volume,
                passes,
                threshold,
                batch_size=options.batch_size,
                largest=options.largest_component,
                headers=headers,
                anonymous=options.anonymous,
                on_slices=bar.update,
                times=times,
            )
        del volume  # before the next one needs the memory
        seconds = time.perf_counter() - started
        share = (times.seconds + times.first_seconds) / seconds
        say(f"{job.patient}: {found}, {seconds:.1f} s (network {share:.0%})")
    done = len(jobs) - len(problems)
    if done:
        say(f"written: {done} volume{'s' * (done != 1)}, {options.out}")


def _line(error: InputError) -> str:
    """The line of an error. The error itself refers to the volume, and so keeps its memory."""
    return f"error: {spelled(error.argument or 'volume')}: {with_options(error.message)}"


def count_slices(
    job: "VolumeJob", volume: "Volume", passes: "Sequence[Pass]", options: VolumeOptions
) -> int:
    """Number of slices on which the networks run. Raises `InputError` if there can be none."""
    try:
        return inference.slices_of(job, volume, passes)
    except InputError as error:
        if error.argument == "spacing" and not options.spacing:  # that of the model, or its own
            error.argument = "volume"
        raise


def load_passes(options: VolumeOptions) -> "list[Pass]":
    """The networks, and how the slices of each are made. Raises `InputError`."""
    if options.planes == 1 or not options.ensemble:
        one = load_pass(options, any_plane=options.planes == 3)
        planes = PLANES if options.planes == 3 else [one.preparation.plane]
        return inference.in_planes(one, planes)
    members = [replace(options, model=path, ensemble=None) for path in options.ensemble]
    passes = [load_pass(member) for member in members]
    found = [each.preparation.plane for each in passes]
    expect(
        sorted(found) == sorted(PLANES),
        "ensemble",
        f"a network for each of the planes {', '.join(PLANES)}",
        ", ".join(found),
    )
    return passes


def load_pass(options: VolumeOptions, any_plane: bool = False) -> "Pass":
    """A network, and how its slices are made: as its `volume.json` and the options say.

    Args:
        options: what is given there counts more; a line says so.
        any_plane: whether the plane does not matter.

    Raises:
        InputError: neither says it.
    """
    predictor = load_network(options)
    known: Preparation | None = predictor.preparation
    given, name = options.given, network_name(options)
    needed = [] if known and known.window else ["window"] if known else _NEEDED
    missing = [f"`{each}`" for each in needed if each not in given]
    if any_plane and "`plane`" in missing:
        missing.remove("`plane`")
    if missing:
        words = " and ".join(filter(None, [", ".join(missing[:-1]), missing[-1]]))
        hint = _run_hint(options)
        raise InputError(f"{name} does not say how its slices were made: {words} required{hint}")
    preparation = changed(known or Preparation(None), given)
    if not known and "neighbours" not in given:
        say(
            "note: each channel repeats the slice, since nothing says otherwise "
            "(--neighbours 1: the slices below and above)"
        )
    if known and preparation != replace(known, window=known.window or preparation.window):
        say(
            f"note: {preparation.describe()}, as the options say; {name} was trained with "
            f"{known.describe()}"
        )
    return inference.Pass(predictor, preparation)


def _run_hint(options: VolumeOptions) -> str:
    """A hint if a file is given whose run folder says how its slices were made, else ""."""
    for path in map(Path, options.ensemble or [options.model or ""]):
        if path.is_file() and (path.parent / VOLUME_JSON).is_file():
            return f"; its run folder {path.parent} says it"
    return ""


def threshold_of(passes: "Sequence[Pass]", options: VolumeOptions) -> float:
    """That of the options, else that of the networks. Raises `InputError` if they have several."""
    if options.threshold is not None:
        return options.threshold
    found = sorted({each.predictor.threshold for each in passes})
    expect(len(found) == 1, "threshold", "a value for networks with different ones", found)
    return found[0]
