"""Properties of the images by which a data set is divided, from a CSV file."""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from polypseg.data.images import IMAGE_SUFFIXES
from polypseg.errors import InputError, reading
from polypseg.files import from_spreadsheet

SIZE, GROUP = "size", "group"
MOST_VALUES = 20  # of a column that is not divided into thirds


class Column(NamedTuple):
    """A property of the images by which they are divided.

    Attributes:
        name: of the property.
        value_of: its value by stem; "" if it is not known.
    """

    name: str
    value_of: dict[str, str]


def read_columns(path: str | Path) -> list[Column]:
    """The columns of a CSV file of which the first names the image.

    Args:
        path: a file with a line of headings. The column `stem`, or the first one, has the stems of
            the images, or the names of their files.

    Raises:
        InputError: the file cannot be read, or has no headings, no other column, or an image twice.
    """
    with reading(path, "a CSV file of properties of the images", "strata"):
        with open(path, newline="", encoding="utf-8-sig") as file:
            sample = file.read(4096)
            file.seek(0)
            try:
                dialect: type[csv.Dialect] = csv.Sniffer().sniff(sample, ",;\t")
            except csv.Error:
                dialect = csv.excel
            lines = [line for line in csv.reader(file, dialect, strict=True) if any(line)]
        heads = [head.strip() for head in lines[0]] if lines else []
        if len(heads) < 2:
            raise ValueError("expected a column of stems and another one")
        if len(set(heads)) < len(heads):
            raise ValueError("expected columns with different names")
        if SIZE in heads:
            raise ValueError(f"expected another name of a column than {SIZE}")
        odd = next((line for line in lines[1:] if len(line) != len(heads)), None)
        if odd:
            raise ValueError(f"expected {len(heads)} cells in each line, got {len(odd)}: {odd[0]}")
        key = heads.index("stem") if "stem" in heads else 0
        stems = [_stem(from_spreadsheet(line[key].strip())) for line in lines[1:]]
        twice = [stem for stem, count in Counter(stems).items() if count > 1]
        if twice:
            raise ValueError(f"expected each image once, got {twice[0]} twice")
    return [
        Column(head, {stem: _value(line[index]) for stem, line in zip(stems, lines[1:])})
        for index, head in enumerate(heads)
        if index != key and head  # without a heading: the numbers of the rows
    ]


def _stem(name: str) -> str:
    """The stem of an image from its stem or the name of its file."""
    path = Path(name)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else name


def _value(cell: str) -> str:
    """A cell, "" if it says that the value is not known."""
    value = cell.strip()
    return "" if value.lower() in ("na", "n/a", "nan", "null", "none") else value


def columns_of(
    columns: Sequence[Column], stems: Sequence[str], path: str | Path, group_by: str | None
) -> list[Column]:
    """The columns with the values of these images; that of the groups may have any values.

    Raises:
        InputError: an image without a line, or a column of text with more than 20 different values.
    """
    found = []
    for column in columns:
        by_name = column.value_of
        missing = [stem for stem in stems if stem not in by_name]
        if missing:
            raise InputError(
                f"{path}: expected a line for each of the {len(stems)} images, got none for "
                f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}",
                "strata",
            )
        values = {stem: by_name[stem] for stem in stems}
        different = set(values.values())
        many = len(different) > MOST_VALUES and column.name != group_by
        if many and as_numbers(list(values.values())) is None:
            odd = next(value for value in values.values() if as_numbers([value]) is None)
            raise InputError(
                f"{path}: expected numbers, or at most {MOST_VALUES} different values in a "
                f"column, got {len(different)} in {column.name}, such as {odd!r}",
                "strata",
            )
        found.append(Column(column.name, values))
    return found


def as_numbers(values: Sequence[str]) -> NDArray[np.float64] | None:
    """The values as numbers, nan for those that are empty; None if one is no number."""
    try:
        numbers = np.array([float(value) if value else math.nan for value in values])
    except ValueError:
        return None
    return None if np.isinf(numbers).any() else numbers
