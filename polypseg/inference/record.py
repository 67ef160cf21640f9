"""A record of the images that `infer_image.py` has done in a folder, so that it can continue."""

import csv
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from polypseg.errors import InputError, reading
from polypseg.files import cannot_write, csv_text, file_digest, remove, write_text, writing

TABLE, SETTINGS = "regions.csv", "settings.json"
KINDS = ("masks", "overlays", "panels", "probabilities")
_JOURNAL = ".regions.jsonl"  # rows that are not yet in the table; removed when all images are done
_NEEDED = {"file", "mask", "digest"}
_DROPPED = "milliseconds"  # a column of older folders, whose values were averages of a batch
_SAME = ("digest", "input_size", "threshold")
_EXPECTED = "a file that infer_image.py wrote (or `overwrite`)"


class Record:
    """The table's rows of images that are done, and the settings that were used for all of them.

    Each row is added to a journal as soon as its image's files are written; `finish` writes the
    table. Nothing in the folder changes before `begin`.

    Args:
        folder: the output folder.
        settings: how the network is run. `digest`, `input_size` and `threshold` must equal those
            in the folder; the others are only stored.
        overwrite: process all images, whatever the folder contains. Results of other images are
            kept if the settings are the same, and removed otherwise.

    Raises:
        InputError: the folder was made with other settings, or its files are damaged.

    Example:
        >>> record = Record(Path("out"), settings)
        >>> for job in record.missing(jobs): ...
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], overwrite: bool = False):
        self.folder, self._settings, self._overwrite = folder, settings, overwrite
        self.rows: dict[str, dict[str, str]] = {}  # key: name of the mask, in small letters
        self._others: list[dict[str, str]] = []  # made with other settings
        self._goes_on = False  # whether the table and the journal in the folder are continued
        for name in (TABLE, SETTINGS, _JOURNAL):
            if os.path.isdir(folder / name):
                raise cannot_write(folder, IsADirectoryError(f"{name} is a folder"), "out")
        if not os.path.lexists(folder / SETTINGS):
            return
        try:
            difference, rows = self._difference(), self._read()
        except InputError:
            if not overwrite:
                raise
            return
        if difference and not overwrite:
            raise InputError(difference, "out")
        if difference:
            self._others = rows
        else:
            self._goes_on = True
            self.rows = {row["mask"].casefold(): row for row in rows}

    def _difference(self) -> str:
        """How the folder's settings differ from these, as a message; empty if they do not."""
        path = self.folder / SETTINGS
        with reading(path, _EXPECTED, "out"):
            begun = json.loads(path.read_text(encoding="utf-8"))
            same = all(begun[name] == self._settings[name] for name in _SAME)
            words = "{model} ({digest}) at {input_size} px, threshold {threshold}"
            was, now = words.format(**begun), words.format(**self._settings)
        if same:
            return ""
        return (
            f"expected the settings that {self.folder} was made with, {was}, got {now}; choose "
            "another folder, or `overwrite` to process all images again"
        )

    def _read(self) -> list[dict[str, str]]:
        """The rows of the table, then those of the journal, which are newer."""
        path = self.folder / TABLE
        rows: list[dict[str, str]] = []
        if os.path.lexists(path):
            with reading(path, _EXPECTED, "out"):
                with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
                    rows = _checked(csv.DictReader(file, strict=True))
        with reading(self.folder / _JOURNAL, _EXPECTED, "out"):
            return _checked([*rows, *map(json.loads, self._journal())])

    def _journal(self) -> list[str]:
        """The complete lines of the journal; a killed process may leave an incomplete one."""
        path = self.folder / _JOURNAL
        return path.read_text(encoding="utf-8").split("\n")[:-1] if os.path.lexists(path) else []

    def missing(self, jobs: Iterable[Any]) -> list[Any]:
        """The jobs that are not done, or whose image has changed since.

        An image that has a mask keeps the mask's name. `output_names` may give it another one,
        because the names depend on all images of a call.

        Raises:
            InputError: a mask of that name belongs to another image.
        """
        by_file = {os.path.abspath(row["file"]): row for row in self.rows.values()}
        self._jobs = {job.path: self._named(job, by_file) for job in jobs}
        with ThreadPoolExecutor() as pool:
            states = list(zip(self._jobs.values(), pool.map(self._state, self._jobs.values())))
        self._stale = [job for job, state in states if state == "stale"]
        return [job for job, state in states if state != "done"]

    def _named(self, job: Any, by_file: Mapping[str, dict[str, str]]) -> Any:
        row = by_file.get(os.path.abspath(job.path))
        if row is None or row["mask"] == self._name(job):
            return job
        if self._overwrite:
            self._others.append(self.rows.pop(row["mask"].casefold()))
            return job
        files = self._files(row["mask"])
        return job._replace(targets={kind: files[kind] for kind in job.targets})

    def _state(self, job: Any) -> str:
        """State of a job.

        `"done"`: all files are there. `"lacking"`: some of them are not. `"stale"`: the files, if
        any, were made from an older version of the image.
        """
        name = self._name(job)
        row = self.rows.get(name.casefold())
        try:
            digest = file_digest(job.path)
        except OSError:  # reported when the image is read
            return "lacking"
        if row is None:
            return "stale"
        if row["digest"] == digest:
            row["file"] = str(job.path)  # as it is called now
            return "done" if not self._overwrite and self._is_complete(job) else "lacking"
        if not self._overwrite and os.path.abspath(row["file"]) != os.path.abspath(job.path):
            raise InputError(
                f"expected a folder without masks of other images, got {self.folder / name}, which "
                f"belongs to {row['file']}",
                "out",
            )
        return "stale"

    def _is_complete(self, job: Any) -> bool:
        return all(os.path.isfile(p) and os.path.getsize(p) for p in job.targets.values())

    def _name(self, job: Any) -> str:
        return job.targets["masks"].relative_to(self.folder).as_posix()

    def _files(self, mask: str) -> dict[str, Path]:
        """All files that can exist for an image, from the name of its mask."""
        return {kind: self.folder / kind / Path(mask).relative_to("masks") for kind in KINDS}

    def begin(self) -> None:
        """Remove results that are no longer valid. Call it before the first file is written."""
        stale = [self._name(job) for job in self._stale] + [row["mask"] for row in self._others]
        for mask in stale:
            self.rows.pop(mask.casefold(), None)
        with writing(self.folder, "out"):
            journal = self._journal() if self._goes_on else []
            if not self._goes_on:
                (self.folder / TABLE).unlink(missing_ok=True)
            for path in (path for mask in stale for path in self._files(mask).values()):
                remove(path)
            write_text(self.folder / SETTINGS, json.dumps(self._settings, indent=2) + "\n")
            if journal:
                write_text(self.folder / _JOURNAL, "".join(f"{line}\n" for line in journal))
            else:
                (self.folder / _JOURNAL).unlink(missing_ok=True)

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add the rows that `segment` yields, of images whose files are complete."""
        done = []
        for row in rows:
            row = {"file": row["file"], "mask": self._name(self._jobs[row["file"]])} | row
            done.append({key: str(value) for key, value in row.items()})
        path = self.folder / _JOURNAL
        with writing(path, "out"), open(path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in done)
        self.rows |= {row["mask"].casefold(): row for row in done}

    def finish(self) -> None:
        """Write the table: the rows of the jobs in their order, then all others."""
        if not self.rows:
            return
        keys = dict.fromkeys(self._name(job).casefold() for job in self._jobs.values())
        rows = [self.rows[key] for key in keys | dict.fromkeys(self.rows) if key in self.rows]
        cells = ([row[head] for head in rows[0]] for row in rows)
        with writing(self.folder, "out"):
            write_text(self.folder / TABLE, csv_text(rows[0], cells))
            (self.folder / _JOURNAL).unlink(missing_ok=True)


def _checked(given: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """The rows. Raises ValueError where they have different columns, or lack one that is needed."""
    rows = list(given)
    for row in rows:
        row.pop(_DROPPED, None)
        if row.keys() != rows[0].keys() or not row.keys() >= _NEEDED or None in row.values():
            raise ValueError("a row without the columns that it should have")
    return rows
