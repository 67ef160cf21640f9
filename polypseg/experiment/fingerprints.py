"""The files that a run began with, by hash: are the data still the same?"""

import csv
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from polypseg.data.images import read_bytes
from polypseg.data.pairs import Pair
from polypseg.data.verify import Hashes
from polypseg.errors import InputError, reading
from polypseg.files import csv_text, digest, write_text

FILES = "files.csv"


def fingerprints(pairs: Sequence[Pair]) -> dict[str, Hashes]:
    """The hashes of the files by stem, which `data.loading.load` gives too, without decoding."""

    def of_pair(pair):
        return pair.stem, tuple(digest(read_bytes(path)) for path in (pair.image, pair.mask))

    with ThreadPoolExecutor() as pool:
        return dict(pool.map(of_pair, pairs))


def write_fingerprints(folder, files):
    rows = ([stem, *hashes] for stem, hashes in files.items())
    write_text(folder / FILES, csv_text(["stem", "image", "mask"], rows))


def read_fingerprints(folder: Path, argument: str = "resume") -> dict[str, Hashes]:
    """What `write_fingerprints` wrote. Raises `InputError`."""
    with (
        reading(folder / FILES, "the list of the run's files", argument),
        open(folder / FILES, newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        return {row["stem"]: (row["image"], row["mask"]) for row in csv.DictReader(file)}


def check_unchanged(folder: Path, now: Mapping[str, Hashes]) -> None:
    """Compare the files of a run's images with those that it began with.

    Raises:
        InputError: images are missing or have changed. A file that cannot be read does not count.
    """
    begun = read_fingerprints(folder)
    missing = [stem for stem in begun if stem not in now]
    changed = [stem for stem in now if None not in now[stem] and now[stem] != begun[stem]]
    if missing or changed:
        found = [
            f"{len(stems)} {what} ({', '.join(stems[:5])}{', ...' if len(stems) > 5 else ''})"
            for what, stems in (("missing", missing), ("changed", changed))
            if stems
        ]
        raise InputError(
            f"expected the {len(begun)} pictures that the run began with, got "
            f"{' and '.join(found)}",
            "data_path",
        )
