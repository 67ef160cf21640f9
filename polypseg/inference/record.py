"""What `infer_image.py` has done in a folder, so that the same command goes on with it."""

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
_JOURNAL = ".regions.jsonl"  # rows that are not yet in the table; gone when all is done
_NEEDED = {"file", "mask", "digest"}
_SAME = ("digest", "input_size", "threshold")
_EXPECTED = "what infer_image.py wrote (or `overwrite`)"


class Record:
    """The rows of the images that are done, and the settings that all of them were made with.

    A row is in the journal when its image's files are written; `finish` makes the table. Nothing is
    changed before `begin`.

    Args:
        folder: of the output.
        settings: `digest` of the network's files, `input_size` and `threshold` have to be those
            that began the folder; others are noted.
        anew: do all images, whatever is there. Images of earlier calls that are not among them
            stay if the settings are the same, and else go.

    Raises:
        InputError: the folder was made with other settings, or its files are damaged.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], anew: bool = False):
        self.folder, self._settings, self._anew = folder, settings, anew
        self.rows: dict[str, dict[str, str]] = {}  # by the name of the mask
        self._others: list[dict[str, str]] = []  # made with other settings
        self._unsaved: list[dict[str, str]] = []  # of the journal
        self._todo: list[Any] = []
        for name in (TABLE, SETTINGS, _JOURNAL):
            if os.path.isdir(folder / name):
                raise cannot_write(folder, IsADirectoryError(f"{name} is a folder"), "out")
        if os.path.lexists(folder / SETTINGS):
            try:
                other = self._difference()
                rows = self._read()
            except InputError:
                if not anew:
                    raise
                other, rows = "", []
            if other and not anew:
                raise InputError(other, "out")
            if other:
                self._others = rows
            else:
                self.rows = {row["mask"].casefold(): row for row in rows}

    def _difference(self) -> str:
        """Say how the settings that began the folder differ from these, or nothing."""
        path = self.folder / SETTINGS
        with reading(path, _EXPECTED, "out"):
            begun = json.loads(path.read_text(encoding="utf-8"))
            same = all(begun[name] == self._settings[name] for name in _SAME)
            words = "{model} ({digest}) at {input_size} px, threshold {threshold}"
            was, now = words.format(**begun), words.format(**self._settings)
        return (
            ""
            if same
            else (
                f"expected the network that began {self.folder}, {was}, got {now}; give another "
                "folder, or `overwrite` to do all anew"
            )
        )

    def _read(self) -> list[dict[str, str]]:
        """The rows of the table, and then of the journal, which count more."""
        rows: list[dict[str, str]] = []
        path = self.folder / TABLE
        if os.path.lexists(path):
            with reading(path, _EXPECTED, "out"):
                with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
                    rows = list(csv.DictReader(file, strict=True))
                _check(rows)
        path = self.folder / _JOURNAL
        if os.path.lexists(path):
            with reading(path, _EXPECTED, "out"):
                lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # a kill cut off the last
                self._unsaved = [json.loads(line) for line in lines]
                _check(rows + self._unsaved)
        return rows + self._unsaved

    def missing(self, jobs: Iterable[Any]) -> list[Any]:
        """The jobs that are not done, or whose image has changed since. Raises `InputError` where
        a mask of that name belongs to another image.
        """
        jobs = list(jobs)
        by_file = {os.path.abspath(row["file"]): row for row in self.rows.values()}
        with ThreadPoolExecutor() as pool:
            done = list(pool.map(lambda job: self._done(job, by_file), jobs))
        self._todo = [job for job, row in zip(jobs, done) if row is None]
        self._rows_of = {job.path: row for job, row in zip(jobs, done) if row is not None}
        self._jobs = {job.path: job for job in jobs}
        return self._todo

    def _done(self, job: Any, by_file: Mapping[str, dict[str, str]]) -> dict[str, str] | None:
        """The row of a job that is done; it may have got another name when there were others."""
        name, file = self._name(job), os.path.abspath(job.path)
        own = self.rows.get(name.casefold())
        try:
            digest = file_digest(job.path)
        except OSError:  # said when it is read
            return None
        for row in (own, by_file.get(file)):
            if row and row["digest"] == digest and not self._anew and self._complete(job, row):
                return row
        if own and own["digest"] != digest and os.path.abspath(own["file"]) != file:
            raise InputError(
                f"expected a folder without masks of other images, got {self.folder / name}, which "
                f"is of {own['file']}",
                "out",
            )
        return None

    def _complete(self, job: Any, row: Mapping[str, str]) -> bool:
        """Whether all that the job asks for is there under the name of the row's mask."""
        paths = self._files(row["mask"])
        return all(os.path.isfile(paths[k]) and os.path.getsize(paths[k]) for k in job.targets)

    def _name(self, job: Any) -> str:
        return job.targets["masks"].relative_to(self.folder).as_posix()

    def _files(self, mask: str) -> dict[str, Path]:
        """All that there can be of an image, from the name of its mask."""
        return {kind: self.folder / kind / Path(mask).relative_to("masks") for kind in KINDS}

    def begin(self) -> None:
        """To be called before the first file is written: what is there and no longer true goes."""
        with writing(self.folder, "out"):
            for row in self._others:
                for path in self._files(row["mask"]).values():
                    remove(path)
            if self._others:
                (self.folder / TABLE).unlink(missing_ok=True)
            for job in self._todo:  # of an image that has changed, of a network before this one
                for kind, path in self._files(self._name(job)).items():
                    if kind not in job.targets:
                        remove(path)
            write_text(self.folder / SETTINGS, json.dumps(self._settings, indent=2) + "\n")
            if os.path.lexists(self.folder / _JOURNAL):
                rows = [] if self._others else self._unsaved
                write_text(self.folder / _JOURNAL, _lines(rows))

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Images whose files are complete: the rows that `segment` gives."""
        rows = [
            {"file": str(row["file"]), "mask": self._name(self._jobs[row["file"]])}
            | {key: str(value) for key, value in row.items() if key != "file"}
            for row in rows
        ]
        path = self.folder / _JOURNAL
        if rows:
            with writing(path, "out"), open(path, "a", encoding="utf-8") as file:
                file.write(_lines(rows))
        self.rows |= {row["mask"].casefold(): row for row in rows}

    def finish(self) -> None:
        """Write the table: first the rows of the jobs, in order, then the others."""
        first = [
            self._rows_of.get(path) or self.rows.get(self._name(job).casefold())
            for path, job in self._jobs.items()
        ]
        for path, row in self._rows_of.items():
            row["file"] = str(path)  # as it is called now
        rows = list({id(row): row for row in [*first, *self.rows.values()] if row}.values())
        if not rows or not (self.folder / SETTINGS).exists():
            return
        cells = ([row[head] for head in rows[0]] for row in rows)
        with writing(self.folder, "out"):
            write_text(self.folder / TABLE, csv_text(rows[0], cells))
            (self.folder / _JOURNAL).unlink(missing_ok=True)


def _check(rows: list[dict[str, str]]) -> None:
    """Raise ValueError for rows that do not have the same columns, or not those needed."""
    for row in rows:
        if row.keys() != rows[0].keys() or not row.keys() >= _NEEDED or None in row.values():
            raise ValueError("a row without the columns that it should have")


def _lines(rows: Iterable[dict[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)
