"""Make images and masks of CT volumes and their labels, or of the archive of a published data set,
or of the tissue without foreground in a data set:
`python prepare_data.py --volumes DIR --labels DIR --window -100 240 --out DIR`; `--help` lists the
options.
"""

import contextlib
import os
import shlex
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from polypseg.console.parser import given_options
from polypseg.console.run import say
from polypseg.data.mask_rule import mask_rule
from polypseg.data.preparation import PLANES, Preparation
from polypseg.data.presets import IMAGE_PRESETS, PRESETS, VOLUME_PRESETS
from polypseg.data.presets.base import ImagePreset, VolumePreset
from polypseg.errors import InputError, Note, expect, of_argument
from polypseg.files import atomic_folder, name_key, writing
from polypseg.options import REQUIRED, option
from polypseg.outputs import claim
from polypseg.runtime import command

# What this command writes into its folder, beside the parts of a preset.
WRITTEN = {"images", "masks", "splits", "volumes.csv", "volume.json", "sequences.csv"}

# The options on the masks of `negatives`, beside `label`.
_OF_MASKS = ("ignore", "mask_color", "mask_suffix")

# The options on how slices of CT volumes are made.
_OF_SLICES = ("window", "label", "plane", "spacing", "neighbours", "keep_empty")


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """Options of `prepare_data.py`."""

    volumes: list[str] | None = option(
        None,
        "input and output",
        "CT volumes: NIfTI files, folders of DICOM series, or folders that contain these",
        "PATH",
    )
    labels: list[str] | None = option(
        None,
        "input and output",
        "label volumes with the same names, NIfTI files or folders of them",
        "PATH",
    )
    preset: str | None = option(
        None, "input and output", "a published data set: " + " | ".join(PRESETS), "NAME"
    )
    source: str | None = option(
        None, "input and output", "with `preset`: folder of its unpacked archive", "DIR"
    )
    negatives: str | None = option(
        None,
        "input and output",
        "folder of images and masks: write the quarters of its images that have no foreground",
        "DIR",
    )
    stems: str | None = option(
        None,
        "input and output",
        "with `negatives`: only the images in this list, a stem or a path on each line",
        "FILE",
    )
    ignore: list[int] | None = option(
        None,
        "masks, with --negatives",
        "levels that are neither foreground nor tissue: a quarter with them is left out",
        "N",
    )
    mask_color: list[int] | None = option(
        None,
        "masks, with --negatives",
        "the masks are in colour, and these colours are foreground, as in 255 0 0 for red",
        "RGB",
    )
    mask_suffix: str | None = option(
        None,
        "masks, with --negatives",
        "the stem of a mask is that of its image with this behind it, as _mask (default: the same)",
        "TEXT",
    )
    out: str = option(REQUIRED, "input and output", "folder to write", "DIR")
    overwrite: bool = option(
        False, "input and output", "replace a folder that this command wrote earlier"
    )
    series: str | None = option(
        None,
        "input and output",
        "Series Instance UID, for a DICOM folder with several series",
        "UID",
    )
    window: list[float] | None = option(
        None,
        "slices",
        "Hounsfield units that become black and white, as in -100 240 (default: that of `preset`)",
        "HU",
    )
    label: list[int] | None = option(
        None,
        "slices",
        "levels of the label volumes, or with `negatives` of the masks, that are foreground "
        "(default: those of `preset`, or all above 0)",
        "N",
    )
    plane: str = option("axial", "slices", " | ".join(PLANES), "NAME")
    spacing: float | None = option(
        None,
        "slices",
        "height and width of a pixel (default: square pixels of the volume's own size)",
        "MM",
    )
    neighbours: int = option(
        0,
        "slices",
        "0: each colour channel repeats the slice; 1: the channels are the slice below, the slice "
        "and the slice above",
        "N",
    )
    keep_empty: float = option(
        1.0, "slices", "fraction of the slices without foreground to keep, 0 to 1", "F"
    )

    def __post_init__(self) -> None:
        """Raise `InputError` for the first value that is wrong."""
        if self.negatives is not None:
            self._check_options_of_negatives()
            return
        self._expect_defaults(("stems", *_OF_MASKS), "`negatives` beside it")
        if self.preset is None:
            expect(self.volumes, "volumes", "CT volumes, a `preset`, or `negatives`")
            needed = "label volumes for the masks (this command does not make images alone)"
            expect(self.labels, "labels", needed)
            expect(self.source is None, "source", "a `preset` that it is the archive of")
            expect(self.window, "window", "LOW HIGH in Hounsfield units, as -100 240")
        else:
            expect(self.preset in PRESETS, "preset", " | ".join(PRESETS), self.preset)
            for name in ("volumes", "labels"):
                given = getattr(self, name)
                expect(not given, name, "a `source` alone beside `preset`", given and given[0])
            about = PRESETS[self.preset]
            where = f"the folder of the unpacked archive ({about.layout}) from {about.source}"
            expect(self.source is not None, "source", where)
        if self.preset in IMAGE_PRESETS:
            self._expect_defaults(_OF_SLICES, f"CT volumes, which {self.preset} has not")
        else:
            self.preparation()  # checks the values
        expect(0 <= self.keep_empty <= 1, "keep_empty", "0 to 1", self.keep_empty)
        self._check_out()

    def _check_options_of_negatives(self) -> None:
        others = ("volumes", "labels", "preset", "source", "series")
        self._expect_defaults(others, "nothing beside `negatives`")
        of_slices = [name for name in _OF_SLICES if name != "label"]
        self._expect_defaults(of_slices, "CT volumes, which `negatives` does not read")
        mask_rule(self.label, self.ignore, self.mask_color)
        self._check_out()

    def _check_out(self) -> None:
        free = not os.path.lexists(self.out) or os.path.isdir(self.out)
        expect(free, "out", "a folder", f"the file {self.out}")

    def _expect_defaults(self, names: Sequence[str], expected: str) -> None:
        for name in names:
            given = getattr(self, name)
            expect(given == getattr(type(self), name), name, expected, given)

    def preparation(self) -> Preparation:
        """How slices are made: the options, and for those not given the values of the preset."""
        preset = VOLUME_PRESETS.get(self.preset or "")
        window = self.window or (preset and preset.window)
        label = self.label or (preset and preset.label)
        try:
            return Preparation(
                window=tuple(window) if window else None,  # type: ignore[arg-type]  # it is checked
                plane=self.plane,
                spacing=self.spacing,
                neighbours=self.neighbours,
                label=tuple(label) if label else None,
            )
        except ValueError as error:
            name, _, message = str(error).partition(": ")
            raise InputError(message, name) from error


def parse(arguments: Sequence[str] | None = None) -> PrepareOptions:
    """The checked options of a command line. Raises `InputError`."""
    description = (
        "Make images and masks for train.py of CT volumes and their labels, or of the unpacked "
        "archive of a published data set, or of the tissue without foreground in a data set."
    )
    return PrepareOptions(**given_options(PrepareOptions, description, arguments))


def main() -> None:
    options = parse()
    preset = PRESETS.get(options.preset or "")
    out = Path(options.out)
    parts = preset.parts if isinstance(preset, ImagePreset) else {}
    inputs = [Path(path) for path in (*(options.volumes or ()), *(options.labels or ()))]
    inputs += [Path(path) for path in (options.source, options.negatives) if path]
    check_out(out, WRITTEN | parts.keys(), inputs, options.overwrite)
    target = Path(os.path.realpath(out)) if os.path.islink(out) else out
    with claim({"out": [target]}, inputs, options.overwrite), writing(out, "out"):
        if options.negatives is not None:
            from_images(Path(options.negatives), options)
        elif isinstance(preset, ImagePreset):
            from_archive(preset, options)
        else:
            from_volumes(preset, options)


def check_out(out: Path, names: set[str], inputs: Sequence[Path], overwrite: bool) -> None:
    """Raise `InputError` if something would be lost.

    Args:
        out: the folder to write, which may exist.
        names: of all files and folders that this command writes there.
        inputs: what it reads.
        overwrite: whether a folder with nothing but `names` may be replaced.
    """
    folder = Path(os.path.realpath(out))
    for path in inputs:
        inside = folder in (read := Path(os.path.realpath(path))).parents or read == folder
        expect(not inside, "out", "a folder without the input", f"{out}, which contains {path}")
    there = set(os.listdir(out)) if os.path.isdir(out) else set()
    left = f".part-{name_key(folder)}-"  # by a killed command; `claim` removes it
    there = {name for name in there if not name.startswith(left)}
    expect(not there or overwrite, "out", "a new or empty folder (or `overwrite`)", out)
    others = sorted(there - names)
    written = f"{out}, in which there is {', '.join(others[:3])}"
    expect(not others, "out", "a folder that this command wrote", written)


def from_volumes(preset: VolumePreset | None, options: PrepareOptions) -> None:
    """Write the slices of volumes."""
    from polypseg.data import prepare  # slow, so after the arguments

    preparation, out = options.preparation(), Path(options.out)
    if preset:
        cases = prepare.find_published_cases(preset, Path(options.source or ""))
    else:
        cases = prepare.find_cases(options.volumes or [], options.labels or [])
    with atomic_folder(out) as folder:
        with bar(len(cases), "volumes") as advance:
            rows = prepare.write_slices(
                cases,
                folder,
                preparation,
                options.keep_empty,
                options.series,
                ("source", "source") if preset else ("volumes", "labels"),
                preset.dicom_order if preset else False,
                on_case=advance,
            )
        splits = preset.folds([row.patient for row in rows]) if preset and preset.folds else {}
        prepare.write_patient_splits(folder, splits)
        names = sorted(path.name for path in folder.glob("splits/*"))
    kept, slices = (sum(getattr(row, name) for row in rows) for name in ("kept", "slices"))
    if kept < slices:
        warnings.warn(
            f"{slices - kept} slices without foreground are left out, in the test patients too; "
            "infer_volume.py segments complete volumes",
            Note,
            stacklevel=1,
        )
    patients = f"{len(rows)} patient{'s' * (len(rows) != 1)}"
    say(f"written: {kept} of {slices} slices of {patients} in {out}/ ({preparation.describe()})")
    ml = [row.label_ml for row in rows]
    say(f"foreground: {min(ml):.3g} to {max(ml):.3g} ml in a patient")
    say_next(out, names, "--model", "attention_unet")


def from_archive(preset: ImagePreset, options: PrepareOptions) -> None:
    """Copy the images and masks of a published archive."""
    from polypseg.data import archives  # slow, so after the arguments

    parts, out = archives.find_parts(preset, Path(options.source or "")), Path(options.out)
    count = sum(len(part.pairs) for part in parts.values())
    with atomic_folder(out) as folder, bar(count, "images") as advance:
        archives.write_parts(parts, folder, advance)
    counts = ", ".join(f"{len(part.pairs)} in {out / name}/" for name, part in parts.items())
    say(f"written: images and masks of {preset.title}: {counts}")
    name, part = next(iter(parts.items()))
    say_next(out / name, list(part.splits))


def from_images(data: Path, options: PrepareOptions) -> None:
    """Write the quarters of images that have no foreground."""
    from polypseg.data.negatives import write_negatives  # slow, so after the arguments
    from polypseg.data.pairs import find_pairs
    from polypseg.scoring.selection import pairs_of_list, read_stem_lists

    with of_argument("negatives"):
        pairs, _ = find_pairs(data, mask_suffix=options.mask_suffix or "")
    (listed,) = read_stem_lists([options.stems] if options.stems else None, 1, "negatives")
    pairs = pairs_of_list(pairs, listed, str(data)) if listed else pairs
    out = Path(options.out)
    with atomic_folder(out) as folder, bar(len(pairs), "images") as advance:
        rule = mask_rule(options.label, options.ignore, options.mask_color)
        found = write_negatives(pairs, folder, rule, advance)
    say(
        f"written: {sum(found.values())} quarters without foreground, of {len(found)} of "
        f"{len(pairs)} images, in {out}/"
    )
    words = [command("test"), "--model RUN --data-path", shlex.quote(str(out)), "--subset all"]
    say(f"next: {' '.join(words)} --group-by '^(.*)_q[1-4]$'")


@contextlib.contextmanager
def bar(total: int, unit: str) -> Iterator[Callable[[], object]]:
    """A progress bar; yields what advances it by one."""
    with tqdm(total=total, unit=f" {unit}", leave=False, disable=None) as progress:
        yield progress.update


def say_next(data: Path, splits: Sequence[str], *more: str) -> None:
    """Print the command that trains on the data, with the first split if there is one."""
    words = [command("train"), "--data-path", shlex.quote(str(data)), *more]
    if splits:
        words += ["--split-dir", shlex.quote(str(data / "splits" / splits[0]))]
    say(f"next: {' '.join(words)}")
