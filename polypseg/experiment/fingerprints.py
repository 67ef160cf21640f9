"""Hashes of the data of a run, by which later commands see whether the files have changed."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from polypseg.data.images import read_bytes
from polypseg.data.pairs import Pair
from polypseg.data.verify import Hashes
from polypseg.errors import InputError, reading
from polypseg.files import csv_rows, csv_text, digest, write_text

FILES = "files.csv"


def fingerprints(pairs: Sequence[Pair]) -> dict[str, Hashes]:
    """Hash the image and mask files of pairs, without decoding them.

    Returns:
        The hashes by stem, equal to those of `data.loading.load`.

    Raises:
        ValueError: a file cannot be read.
    """

    def hashes(pair: Pair) -> Hashes:
        return digest(read_bytes(pair.image)), digest(read_bytes(pair.mask))

    with ThreadPoolExecutor() as pool:
        return dict(zip((pair.stem for pair in pairs), pool.map(hashes, pairs), strict=True))


def write_fingerprints(folder: Path, files: Mapping[str, Hashes]) -> None:
    """Write `files.csv`, with the hashes of image and mask for each stem."""
    rows = ([stem, *hashes] for stem, hashes in files.items())
    write_text(folder / FILES, csv_text(["stem", "image", "mask"], rows))


def read_fingerprints(folder: Path, argument: str = "resume") -> dict[str, Hashes]:
    """Read the hashes that `write_fingerprints` wrote, by stem. Raises `InputError`."""
    with reading(folder / FILES, "the list of the run's files", argument):
        rows = csv_rows(folder / FILES)
        return {row["stem"]: (row["image"], row["mask"]) for row in rows}


def check_unchanged(folder: Path, now: Mapping[str, Hashes]) -> None:
    """Compare the data with those that a run began with.

    Args:
        folder: of the run.
        now: the hashes of the files now, by stem. None stands for a file that cannot be read, which
            is not compared.

    Raises:
        InputError: images or masks are missing or have changed.
    """
    begun = read_fingerprints(folder)
    missing = [stem for stem in begun if stem not in now]
    changed = [stem for stem in now if None not in now[stem] and now[stem] != begun[stem]]
    if missing or changed:
        differences = [
            f"{len(stems)} {what} ({', '.join(stems[:5])}{', ...' if len(stems) > 5 else ''})"
            for what, stems in (("missing", missing), ("changed", changed))
            if stems
        ]
        raise InputError(
            f"expected the {len(begun)} images that the run began with, got "
            f"{' and '.join(differences)}",
            "data_path",
        )
