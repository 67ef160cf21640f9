"""The folder that scores are written to."""

import contextlib
import os
import types
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from polypseg.experiment.environment import environment
from polypseg.files import atomic, writing
from polypseg.metrics.sweep import to_levels
from polypseg.outputs import claim

from .data_files import long_csv, metrics_json, per_image_csv
from .report import report
from .source_scores import SourceScores
from .sources import Source
from .tables import latex_tables, markdown_tables

FILES = ("report.html", "metrics.json", "per_image.csv", "table.md", "table.tex")
LONG = "long.csv"


class ResultsFolder:
    """Context with a folder for tables, report and maps. No other process can write to it.

    Files are written under temporary names as soon as their content is known. When the context
    ends, all get their final names. If it ends with an error, they are removed.

    Args:
        out: the folder; it is made if there is none.
        sources: what is scored.
        save_maps: whether the networks' maps are saved too, in `predictions/`.
        long: whether there is a file with a row for each image, model and score, too.
        files: names of the files beside the maps.

    Raises:
        InputError: on entering or leaving the context, and on writing: the folder cannot be
            written to, or contains an input.
    """

    def __init__(
        self,
        out: Path,
        sources: Sequence[Source],
        save_maps: bool = False,
        long: bool = False,
        files: tuple[str, ...] = FILES,
    ) -> None:
        self._files = (*files, *((LONG,) if long else ()))
        self._out, self._sources, self._save_maps = out, sources, save_maps
        self._maps = out / "predictions"
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "ResultsFolder":
        targets = [self._out / name for name in self._files]
        if self._save_maps:
            targets += [
                self._map_path(source, item.stem)
                for source in self._sources
                for item in source.items
            ]
        inputs = [
            path
            for source in self._sources
            for item in source.items
            for path in (item.mask, item.image, item.map)
            if path is not None
        ]
        self._stack.enter_context(claim({"out": targets}, inputs, overwrite=True, folder=self._out))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        with writing(self._out, "out"):
            self._stack.__exit__(kind, error, trace)

    @property
    def written(self) -> list[str]:
        """The paths of the files, and of the folder of maps."""
        return [str(self._out / name) for name in self._files] + [
            f"{self._maps}/"
        ] * self._save_maps

    def save_maps(self, source: Source, maps: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Write each map as an 8-bit PNG and pass it on; without `save_maps` only pass it on."""
        if not self._save_maps:
            yield from maps
            return
        for item, map_ in zip(source.items, maps):
            _, encoded = cv2.imencode(".png", to_levels(map_.astype(np.float64)))
            self._write(self._map_path(source, item.stem), encoded.tobytes())
            yield map_

    def write_tables(self, rows: Sequence[SourceScores]) -> None:
        """Write everything but the maps."""
        texts = (
            report(rows, machine()),
            metrics_json(rows),
            per_image_csv(rows),
            markdown_tables(rows),
            latex_tables(rows),
            *([long_csv(rows)] if LONG in self._files else []),
        )
        self.write(texts)

    def write(self, texts: Sequence[str]) -> None:
        """Write the content of each of `files`."""
        # The file that is written last gets its final name first: the report, before the maps.
        for name, text in reversed(list(zip(self._files, texts, strict=True))):
            self._write(self._out / name, text.encode("utf-8", "surrogateescape"), durable=True)

    def _map_path(self, source: Source, stem: str) -> Path:
        folder = self._maps
        if len(self._sources) > 1:
            names = (name.replace(os.sep, "_") for name in (source.model, source.data))
            folder = folder.joinpath(*names)
        return folder / f"{stem}.png"

    def _write(self, path: Path, content: bytes, durable: bool = False) -> None:
        with writing(path.parent, "out"):
            self._make_folder(path.parent)
            temporary = self._stack.enter_context(atomic(path, durable=durable))
            temporary.write_bytes(content)

    def _make_folder(self, folder: Path) -> None:
        """Make a folder and its parents; those that are empty at the end are removed."""
        if not folder.is_dir():
            self._make_folder(folder.parent)
            folder.mkdir()
            self._stack.callback(_remove_if_empty, folder)


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # it has content
        folder.rmdir()


def machine() -> dict[str, str]:
    """What the report says about the environment."""
    found = environment()
    keys = ("commit", "backend", "python", "platform", "processor")
    shown = {key: found[key] for key in keys} | found["packages"]
    return {key: value for key, value in shown.items() if value}
