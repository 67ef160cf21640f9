"""How slices are made from CT volumes: `volume.json` of a data folder, of a run, of an export."""

import dataclasses
import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polypseg.errors import reading

VOLUME_JSON = "volume.json"
PATIENT = "^(.+)-"  # finds the patient in the stem of a slice, PATIENT-SLICE; see `group_names`
PLANES = ("axial", "coronal", "sagittal")
_HIGHEST_LABEL = 2**16 - 1
_HIGHEST_LEVEL = 2**15  # of Hounsfield units, in either direction


@dataclass(frozen=True)
class Preparation:
    """How slices are made from volumes, so that a network meets in use what it met in training.

    Attributes:
        window: the Hounsfield units that become black and white; None if they are not known,
            because the slices were made elsewhere.
        plane: one of `PLANES`.
        spacing: height and width of a pixel in mm; None for square pixels of the volume's own size
            (the smaller of the two).
        neighbours: 1 if the colour channels are the slice below, the slice and the slice above; 0
            if they repeat the slice.
        label: the levels of the label volume that are foreground; None for all above 0.

    Raises:
        ValueError: a value is out of range.

    >>> Preparation((-100, 240)).describe()
    'axial slices, -100 to 240 HU'
    """

    window: tuple[float, float] | None
    plane: str = "axial"
    spacing: float | None = None
    neighbours: int = 0
    label: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _check("window", self.window, _is_window, "two Hounsfield units, the lower first")
        _check("plane", self.plane, PLANES.__contains__, f"one of {', '.join(PLANES)}")
        _check("spacing", self.spacing, _is_spacing, "a number of mm from 0.1 to 20")
        _check("neighbours", self.neighbours, _is_neighbours, "0 or 1")
        _check("label", self.label, _is_label, f"levels from 1 to {_HIGHEST_LABEL}")

    def describe(self) -> str:
        """The preparation in words, in one line."""
        low_high = self.window and "{:g} to {:g} HU".format(*self.window)
        parts = [f"{self.plane} slices", low_high or "unknown window"]
        if self.spacing:
            parts.append(f"pixels of {self.spacing:g} mm")
        if self.neighbours:
            parts.append("with the slices below and above")
        return ", ".join(parts)

    def differences(self, other: "Preparation") -> list[str]:
        """What makes other images of the same volume, by name.

        The label is not compared, since data sets number the same organ differently. A window that
        is not known is not compared either.

        >>> Preparation((-100, 240)).differences(Preparation((-160, 240), "coronal"))
        ['window', 'plane']
        """
        known = self.window and other.window
        names = [*(["window"] if known else []), "plane", "spacing", "neighbours"]
        return [name for name in names if getattr(self, name) != getattr(other, name)]

    def as_dict(self) -> dict[str, Any]:
        """The values as JSON stores them."""
        values = dataclasses.asdict(self)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    def to_json(self) -> str:
        """The content of `volume.json`."""
        return json.dumps(self.as_dict(), indent=2) + "\n"

    @classmethod
    def from_dict(cls, values: Any) -> "Preparation":
        """From the values that `as_dict` gives. Raises ValueError for others."""
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or values.keys() != known:
            raise ValueError(f"expected the values {', '.join(sorted(known))}")
        tuples: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**tuples)

    @classmethod
    def read(cls, folder: str | os.PathLike[str], argument: str) -> "Preparation | None":
        """The preparation of a data folder or of a run.

        Returns:
            None if the folder has no `volume.json`: its images are no slices of volumes.

        Raises:
            InputError: the file is damaged; the error names `argument`.
        """
        path = Path(folder, VOLUME_JSON)
        if not os.path.lexists(path):
            return None
        with reading(path, f"the {VOLUME_JSON} of prepare_data.py", argument):
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))


def patient_and_slice(stem: str) -> tuple[str, int] | None:
    """The patient and the index in the stem of a slice, PATIENT-SLICE; None for another name.

    >>> patient_and_slice("case-12-0034")
    ('case-12', 34)
    """
    match = re.fullmatch(r"(.+)-(\d+)", stem, re.DOTALL)
    return match and (match[1], int(match[2]))


def in_words(preparation: Preparation | None) -> str:
    """A preparation in words, or that there is none."""
    return preparation.describe() if preparation else "no slices of volumes"


def _check(name: str, value: Any, good: Callable[[Any], object], expected: str) -> None:
    if not good(value):
        raise ValueError(f"{name}: expected {expected}, got {_shown(value)}")


def _shown(value: Any) -> str:
    """A value as one types it: `(nan, 240.0)` is `"nan 240"`."""
    if isinstance(value, tuple):
        return " ".join(map(_shown, value)) or "nothing"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_window(window: Any) -> bool:
    if window is None:
        return True
    good = isinstance(window, tuple) and len(window) == 2 and all(map(_is_number, window))
    return good and -_HIGHEST_LEVEL <= window[0] < window[1] <= _HIGHEST_LEVEL


def _is_spacing(spacing: Any) -> bool:
    return spacing is None or (_is_number(spacing) and 0.1 <= spacing <= 20)


def _is_neighbours(neighbours: Any) -> bool:
    return type(neighbours) is int and neighbours in (0, 1)


def _is_label(label: Any) -> bool:
    if label is None:
        return True
    good = isinstance(label, tuple) and len(label) > 0
    return good and all(type(level) is int and 1 <= level <= _HIGHEST_LABEL for level in label)
