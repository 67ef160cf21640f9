"""The files that a run began with, by hash: are the data still the same?"""

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from polypseg.errors import InputError, reading
from polypseg.files import csv_text, file_digest, write_text

FILES = "files.csv"


def fingerprints(pairs):
    """`{stem: (hash of the image file, hash of the mask file)}`, 16 hexadecimal digits each."""
    with ThreadPoolExecutor() as pool:
        return dict(
            pool.map(lambda pair: (pair.stem, (_hash(pair.image), _hash(pair.mask))), pairs)
        )


def _hash(path):
    with reading(path, "a readable file"):
        return file_digest(path)


def write_fingerprints(folder, files):
    rows = ([stem, *hashes] for stem, hashes in files.items())
    write_text(folder / FILES, csv_text(["stem", "image", "mask"], rows))


def read_fingerprints(folder: Path, argument: str = "resume") -> dict[str, tuple[str, str]]:
    """What `write_fingerprints` wrote. Raises `InputError`."""
    with (
        reading(folder / FILES, "the list of the run's files", argument),
        open(folder / FILES, newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        return {row["stem"]: (row["image"], row["mask"]) for row in csv.DictReader(file)}


def check_unchanged(folder, pairs):
    """Compare the data with what the run began with; pictures that came since do not matter.

    Returns:
        The pairs of the run and their fingerprints.

    Raises:
        InputError: pictures are missing or have changed.
    """
    begun = read_fingerprints(folder)
    pairs = [pair for pair in pairs if pair.stem in begun]
    now = fingerprints(pairs)
    missing = [stem for stem in begun if stem not in now]
    changed = [stem for stem in now if now[stem] != begun[stem]]
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
    return pairs, now
