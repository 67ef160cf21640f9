"""Going on with a run that was interrupted: is it still the same data, and what is finished?"""

import csv
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from polypseg.errors import InputError
from .checkpoint import is_complete, read_history, remove_parts, saved_epoch
from .run_folder import write_text

FILES = "files.csv"


def fingerprints(pairs):
    """`{stem: (hash of the image file, hash of the mask file)}`, 16 hexadecimal digits each."""
    with ThreadPoolExecutor() as pool:
        return dict(pool.map(lambda pair: (pair.stem, (_hash(pair.image), _hash(pair.mask))), pairs))


def _hash(path):
    with open(path, "rb") as file:
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
    try:
        with open(folder / FILES, newline="", encoding="utf-8") as file:
            begun = {row["stem"]: (row["image"], row["mask"]) for row in csv.DictReader(file)}
    except (OSError, KeyError) as error:
        raise InputError(f"--resume: expected the list of the run's files, got {folder / FILES} ({error})") from error
    pairs = [pair for pair in pairs if pair.stem in begun]
    now = fingerprints(pairs)
    missing = [stem for stem in begun if stem not in now]
    changed = [stem for stem in now if now[stem] != begun[stem]]
    if missing or changed:
        found = [f"{len(stems)} {what} ({', '.join(stems[:5])}{', ...' if len(stems) > 5 else ''})"
                 for what, stems in (("missing", missing), ("changed", changed)) if stems]
        raise InputError(f"--data-path: expected the {len(begun)} pictures that the run began with, got {' and '.join(found)}")
    return pairs, now


def finished_epochs(folder):
    """The rows of the epochs that are finished; what a killed process left half done is removed."""
    remove_parts(folder)
    return read_history(folder / "history.csv", saved_epoch(folder / "last.keras"))


def progress(config):
    """What is done of the run `config.resume`, in words."""
    folder = Path(config.resume)
    if config.folds:
        done = sum((folder / f"fold-{number}" / "test.csv").exists() for number in range(1, config.folds + 1))
        return f"{done} of {config.folds} folds are done"
    epochs = saved_epoch(folder / "last.keras")
    if is_complete(read_history(folder / "history.csv", epochs), config):
        return f"complete after {epochs} epochs: nothing left to train"
    return f"{epochs} of {config.epochs} epochs are done"
