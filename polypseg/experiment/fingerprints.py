"""The files that a run began with, by hash: are the data still the same?"""

import csv
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor

from polypseg.errors import InputError, reading
from polypseg.files import write_text

FILES = "files.csv"


def fingerprints(pairs):
    """`{stem: (hash of the image file, hash of the mask file)}`, 16 hexadecimal digits each."""
    with ThreadPoolExecutor() as pool:
        return dict(
            pool.map(lambda pair: (pair.stem, (_hash(pair.image), _hash(pair.mask))), pairs)
        )


def _hash(path):
    with reading(path, "a readable file"), open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()


def write_fingerprints(folder, files):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["stem", "image", "mask"])
    writer.writerows([stem, *hashes] for stem, hashes in files.items())
    write_text(folder / FILES, text.getvalue())


def check_unchanged(folder, pairs):
    """Compare the data with what the run began with; pictures that came since do not matter.

    Returns:
        The pairs of the run and their fingerprints.

    Raises:
        InputError: pictures are missing or have changed.
    """
    with (
        reading(folder / FILES, "the list of the run's files", "resume"),
        open(folder / FILES, newline="", encoding="utf-8") as file,
    ):
        begun = {row["stem"]: (row["image"], row["mask"]) for row in csv.DictReader(file)}
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
