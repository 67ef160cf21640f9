"""What `infer_image.py` has done in a folder, so that the same command goes on with it."""

import csv
import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from polypseg.errors import InputError, reading
from polypseg.files import csv_text, file_digest, write_text, writing

TABLE, SETTINGS = "regions.csv", "settings.json"
_JOURNAL = ".regions.jsonl"  # rows that are not yet in the table; gone when all is done
_NEEDED = {"file", "mask", "digest"}
_SAME = ("digest", "input_size", "threshold")


class Record:
    """The rows of the images that are done, and the settings that all of them were made with.

    A row is in the journal when its image's files are written; `finish` makes the table.

    Args:
        folder: of the output.
        settings: `digest` of the network's files, `input_size` and `threshold` have to be those
            that began the folder; others are noted.
        anew: begin, whatever is there.

    Raises:
        InputError: the folder was made with other settings, or its files are damaged.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], anew: bool = False):
        self.folder = folder
        self.rows: dict[str, dict[str, str]] = {}  # by the name of the mask
        if (folder / SETTINGS).exists() and not anew:
            self._compare(settings)
            with reading(folder / TABLE, "a table of infer_image.py (or `overwrite`)", "out"):
                rows = [*self._table(), *self._journal()]
                if any(row.keys() != rows[0].keys() or not row.keys() >= _NEEDED for row in rows):
                    raise ValueError("rows without the columns that it has")
                self.rows = {row["mask"].casefold(): row for row in rows}
        with writing(folder, "out"):
            for name in (TABLE, _JOURNAL) if anew else ():
                (folder / name).unlink(missing_ok=True)
            write_text(folder / SETTINGS, json.dumps(settings, indent=2) + "\n")

    def _compare(self, settings: Mapping[str, Any]) -> None:
        path = self.folder / SETTINGS
        with reading(path, "what infer_image.py wrote about its network (or `overwrite`)", "out"):
            begun = json.loads(path.read_text(encoding="utf-8"))
            other = [name for name in _SAME if begun[name] != settings[name]]
            was = {"model": begun["model"]} | {name: begun[name] for name in _SAME[1:]}
        if other:
            network = "{model} at {input_size} px, threshold {threshold}"
            raise InputError(
                f"expected the network that began {self.folder}, {network.format(**was)}, got "
                f"{network.format(**settings)}; give another folder, or `overwrite` to do all anew",
                "out",
            )

    def _table(self) -> list[dict[str, str]]:
        path = self.folder / TABLE
        if not path.exists():
            return []
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = list(csv.DictReader(file, strict=True))
        if any(None in row or None in row.values() for row in rows):
            raise ValueError("a row has more or fewer cells than there are headings")
        return rows

    def _journal(self) -> list[dict[str, str]]:
        path = self.folder / _JOURNAL
        lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else [""]
        return [json.loads(line) for line in lines[:-1]]  # behind the last one, what a kill cut off

    def missing(self, jobs: Iterable[Any]) -> list[Any]:
        """The jobs that are not done, or whose image has changed since. Raises `InputError` where
        a mask of that name belongs to another image.
        """
        with ThreadPoolExecutor() as pool:
            jobs = list(jobs)
            self._jobs = {job.path: job for job in jobs}
            return [job for job, done in zip(jobs, pool.map(self._done, jobs)) if not done]

    def _done(self, job: Any) -> bool:
        name = self._name(job)
        row = self.rows.get(name.casefold())
        if row is None:
            return False
        try:
            same = row["digest"] == file_digest(job.path)
        except OSError:  # said when it is read
            return False
        if not same and row["file"] != str(job.path):
            raise InputError(
                f"expected a folder without masks of other images, got {self.folder / name}, which "
                f"is of {row['file']}",
                "out",
            )
        return same and all(path.exists() for path in job.targets.values())

    def _name(self, job: Any) -> str:
        return job.targets["masks"].relative_to(self.folder).as_posix()

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Images whose files are complete: the rows that `segment` gives."""
        rows = [
            {"file": str(row["file"]), "mask": self._name(self._jobs[row["file"]])}
            | {key: str(value) for key, value in row.items() if key != "file"}
            | {"digest": file_digest(row["file"])}
            for row in rows
        ]
        path = self.folder / _JOURNAL
        with writing(path, "out"), open(path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        self.rows |= {row["mask"].casefold(): row for row in rows}

    def finish(self, jobs: Iterable[Any]) -> None:
        """Write the table: first the rows of these jobs, in order, then the others."""
        keys = dict.fromkeys([*(self._name(job).casefold() for job in jobs), *self.rows])
        rows = [self.rows[key] for key in keys if key in self.rows]
        with writing(self.folder, "out"):
            if rows:
                heads = rows[0].keys()
                cells = ([row[head] for head in heads] for row in rows)
                write_text(self.folder / TABLE, csv_text(heads, cells))
            else:
                (self.folder / SETTINGS).unlink()
            (self.folder / _JOURNAL).unlink(missing_ok=True)
