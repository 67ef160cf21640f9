"""A record of the images that `infer_image.py` has done, so that it can continue in a folder."""

import json
import os
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from polypseg.errors import InputError, Note, reading
from polypseg.files import (
    cannot_write,
    csv_rows,
    csv_text,
    file_digest,
    remove,
    write_text,
    writing,
)

TABLE, SETTINGS = "regions.csv", "settings.json"
KINDS = ("masks", "overlays", "panels", "probabilities")
_JOURNAL = ".regions.jsonl"  # rows that are not yet in the table; removed when all images are done
_REQUIRED = {"file", "mask", "digest"}
_OLD_COLUMN = "milliseconds"  # in folders of earlier versions; the values were averages of a batch
_COMPARED = ("digest", "input_size", "threshold", "window")
_EXPECTED = "a file that infer_image.py wrote (or `overwrite`)"


class Record:
    """The rows of the table for images that are done, and the settings that were used for all.

    Each row is added to a journal as soon as the files of its image are written. `finish` writes
    the table. Nothing in the folder changes before `begin`.

    Args:
        folder: the output folder.
        settings: settings of the network. `digest`, `input_size`, `threshold` and `window` must
            equal those in the folder; the others are only stored. Of `engine` all names are stored
            that made results in the folder: they give equal masks but for rounding, so a `Note`
            says when another one goes on.
        overwrite: whether to process all images, even if the folder has their results. Results of
            other images are kept if the settings are the same, and removed otherwise.

    Raises:
        InputError: the folder was made with other settings, or its files are damaged.

    Example:
        >>> record = Record(Path("out"), settings)
        >>> for job in record.missing(jobs): ...
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], overwrite: bool = False):
        self.folder, self._settings, self._overwrite = folder, settings, overwrite
        self.rows: dict[str, dict[str, str]] = {}  # key: name of the mask, in lower case
        self._outdated: list[dict[str, str]] = []  # rows whose files `begin` removes
        self._engines: list[str] = []  # that made results in the folder before
        self._continues = False  # whether the table and the journal in the folder are kept
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
            self._outdated = rows
        else:
            self._continues = True
            self._engines = self._begun_engines()
            self.rows = {row["mask"].casefold(): row for row in rows}

    def _difference(self) -> str:
        """A message that says how the settings in the folder differ; empty if they do not."""
        path = self.folder / SETTINGS
        with reading(path, _EXPECTED, "out"):
            begun = json.loads(path.read_text(encoding="utf-8"))
            both = [{"window": None, **settings} for settings in (begun, self._settings)]
            same = all(both[0][name] == both[1][name] for name in _COMPARED)
            words = "{model} ({digest}) at {input_size} px, threshold {threshold}, window {window}"
            was, now = (words.format(**settings) for settings in both)
        if same:
            return ""
        return (
            f"expected the settings that {self.folder} was made with, {was}, got {now}; choose "
            "another folder, or `overwrite` to process all images again"
        )

    def _begun_engines(self) -> list[str]:
        """The engines in the settings of the folder."""
        begun = json.loads((self.folder / SETTINGS).read_text(encoding="utf-8"))
        return [name for name in str(begun.get("engine", "")).split("; ") if name]

    def _read(self) -> list[dict[str, str]]:
        """The rows of the table, then those of the journal, which are newer."""
        path = self.folder / TABLE
        rows: list[dict[str, str]] = []
        if os.path.lexists(path):
            with reading(path, _EXPECTED, "out"):
                rows = _checked(csv_rows(path))
        with reading(self.folder / _JOURNAL, _EXPECTED, "out"):
            return _checked([*rows, *map(json.loads, self._journal())])

    def _journal(self) -> list[str]:
        """The complete lines of the journal. A killed process may leave an incomplete last line."""
        path = self.folder / _JOURNAL
        return path.read_text(encoding="utf-8").split("\n")[:-1] if os.path.lexists(path) else []

    def missing(self, jobs: Iterable[Any]) -> list[Any]:
        """The jobs that are not done, or whose image has changed since then.

        An image that has a mask keeps the name of this mask. `output_names` may give another name,
        because the names depend on all images of a call.

        Raises:
            InputError: a mask with the same name belongs to another image.
        """
        by_file = {os.path.abspath(row["file"]): row for row in self.rows.values()}
        self._jobs = {job.path: self._with_known_names(job, by_file) for job in jobs}
        with ThreadPoolExecutor() as pool:
            states = list(zip(self._jobs.values(), pool.map(self._state, self._jobs.values())))
        self._stale = [job for job, state in states if state == "stale"]
        return [job for job, state in states if state != "done"]

    def _with_known_names(self, job: Any, by_file: Mapping[str, dict[str, str]]) -> Any:
        """The job, with the names of the files that its image already has."""
        row = by_file.get(os.path.abspath(job.path))
        if row is None or row["mask"] == self._mask_name(job):
            return job
        if self._overwrite:
            self._outdated.append(self.rows.pop(row["mask"].casefold()))
            return job
        files = self._files(row["mask"])
        return job._replace(targets={kind: files[kind] for kind in job.targets})

    def _state(self, job: Any) -> str:
        """State of a job.

        `"done"`: all files exist. `"lacking"`: some files are missing, or `overwrite` is set.
        `"stale"`: the files, if any, were made from an older version of the image.
        """
        name = self._mask_name(job)
        row = self.rows.get(name.casefold())
        try:
            digest = file_digest(job.path)
        except OSError:  # reported when the image is read
            return "lacking"
        if row is None:
            return "stale"
        if row["digest"] == digest:
            row["file"] = str(job.path)  # the current path
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

    def _mask_name(self, job: Any) -> str:
        return job.targets["masks"].relative_to(self.folder).as_posix()

    def _files(self, mask: str) -> dict[str, Path]:
        """All files that can exist for an image, from the name of its mask."""
        return {kind: self.folder / kind / Path(mask).relative_to("masks") for kind in KINDS}

    def begin(self) -> None:
        """Remove results that are no longer valid. Call it before the first file is written."""
        stale = [self._mask_name(job) for job in self._stale] + [
            row["mask"] for row in self._outdated
        ]
        for mask in stale:
            self.rows.pop(mask.casefold(), None)
        with writing(self.folder, "out"):
            journal = self._journal() if self._continues else []
            if not self._continues:
                (self.folder / TABLE).unlink(missing_ok=True)
            for path in (path for mask in stale for path in self._files(mask).values()):
                remove(path)
            settings = {**self._settings, **self._all_engines()}
            write_text(self.folder / SETTINGS, json.dumps(settings, indent=2) + "\n")
            if journal:
                write_text(self.folder / _JOURNAL, "".join(f"{line}\n" for line in journal))
            else:
                (self.folder / _JOURNAL).unlink(missing_ok=True)

    def _all_engines(self) -> dict[str, str]:
        """The entry `engine` of the settings, if they have one."""
        if "engine" not in self._settings:
            return {}
        now, before = str(self._settings["engine"]), "; ".join(self._engines)
        if before and before != now:
            warnings.warn(
                f"the results in {self.folder} are by {before}, and those that follow are by "
                f"{now}; both are in {SETTINGS}",
                Note,
                stacklevel=1,
            )
        return {"engine": "; ".join(dict.fromkeys([*self._engines, now]))}

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add the rows that `segment` yields for images whose files are complete."""
        done = []
        for row in rows:
            row = {"file": row["file"], "mask": self._mask_name(self._jobs[row["file"]])} | row
            done.append({key: str(value) for key, value in row.items()})
        path = self.folder / _JOURNAL
        with writing(path, "out"), open(path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in done)
        self.rows |= {row["mask"].casefold(): row for row in done}

    def finish(self) -> None:
        """Write the table: the rows of the jobs in their order, then all others."""
        if not self.rows:
            return
        keys = dict.fromkeys(self._mask_name(job).casefold() for job in self._jobs.values())
        rows = [self.rows[key] for key in keys | dict.fromkeys(self.rows) if key in self.rows]
        cells = ([row[head] for head in rows[0]] for row in rows)
        with writing(self.folder, "out"):
            write_text(self.folder / TABLE, csv_text(rows[0], cells))
            (self.folder / _JOURNAL).unlink(missing_ok=True)


def _checked(given: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Return the rows. Raise ValueError if their columns differ or a required one is missing."""
    rows = list(given)
    for row in rows:
        row.pop(_OLD_COLUMN, None)
        if row.keys() != rows[0].keys() or not row.keys() >= _REQUIRED or None in row.values():
            raise ValueError("a row without the columns that it should have")
    return rows
