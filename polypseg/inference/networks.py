"""Find the network, or the networks of an ensemble, at a path, and open an engine that runs it."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from polypseg.data.images import Window
from polypseg.data.preparation import Preparation
from polypseg.errors import InputError, expect
from polypseg.experiment.config import as_window
from polypseg.experiment.run import open_run
from polypseg.experiment.run_folder import similar_run

from .engines import open_run_engine
from .ensemble import EnsembleEngine, Member, Where, find_members, preparation_of, window_of
from .formats import AUTO, ENGINES, NAMES, exported_as, format_of
from .formats.base import Engine
from .formats.keras import KerasEngine


class Network(NamedTuple):
    """A network that is not loaded yet.

    Attributes:
        files: all its files, or those of the members.
        window: that of its training, as far as a run says so; see `Predictor`.
        open: function that loads it; its argument is the input size, None for that of the training.
        members: of an ensemble; [] for one network.
        preparation: how the slices of volumes of its training were made, as far as a run says so.
    """

    files: list[Path]
    window: Window | None
    open: Callable[[int | None], Engine]
    members: list[Member]
    preparation: Preparation | None = None


def open_engine(path: Where, input_size: int | None = None, engine: str = AUTO) -> Engine:
    """The `Engine` that runs a network. Arguments and errors are those of `Predictor.load`."""
    return find_network(path, engine).open(input_size)


def find_network(where: Where, engine: str = AUTO) -> Network:
    """The network at a path, or the ensemble of several.

    Args:
        where: path of the network, or those of several.
        engine: what runs it, as for `Predictor.load`.

    Raises:
        InputError: there is no network, the networks do not fit together, or the engine does not
            run such a file.
    """
    known = (AUTO, *ENGINES, *NAMES)
    expect(engine in known, "engine", " | ".join((AUTO, *ENGINES)), engine)
    members = find_members(where)
    if members:
        _expect_engine(engine, KerasEngine.kind, "several networks; export.py makes them one file")
        files = [member.file for member in members]
        open_mean = partial(EnsembleEngine, members)
        return Network(files, window_of(members), open_mean, members, preparation_of(members))
    path = Path(where)  # type: ignore[arg-type]  # several paths have members
    if not os.path.exists(path):  # False, not an error, for names that are too long
        raise InputError(
            "expected a run folder or a model file, "
            f"got {path}, which does not exist{similar_run(path)}",
            "model",
        )
    form = exported_as(path)
    if form and form.open:
        kind = next(name for name in NAMES if format_of(name) is form)
        _expect_engine(engine, kind, f"{path}; the run that it was exported from has others")
        files = sorted(path.rglob("*")) if path.is_dir() else form.parts(path)
        return Network(files, None, partial(_resized, form.open, path), [])
    if path.suffix == ".keras" or path.is_dir():
        return keras_network(path, engine)
    suffixes = ", ".join(filter(None, (format_of(name).suffix for name in NAMES)))
    raise InputError(
        f"expected a run folder, a SavedModel folder, .keras, {suffixes}, got {path}", "model"
    )


def keras_network(path: Path, engine: str = KerasEngine.kind) -> Network:
    """The network of a `.keras` file, or the best one of a run. Raises `InputError` for no run."""
    if path.suffix == ".keras":
        _expect_engine(engine, KerasEngine.kind, f"{path}; a run folder has others")
        return Network([path], None, partial(_resized, KerasEngine, path), [])
    run = open_run(path)
    window = as_window(run.config.get("window"))
    open_best = partial(open_run_engine, run, engine)
    return Network([run.best], window, open_best, [], run.preparation)


def _expect_engine(engine: str, only: str, what: str) -> None:
    """Raise `InputError` for another engine than the only one of a file, or none in particular."""
    expect(engine in (AUTO, only), "engine", f"{only}, which runs {what}", engine)


def _resized(open: Callable[[Path], Engine], path: Path, input_size: int | None) -> Engine:
    engine = open(path)
    if input_size is not None:
        engine.resize(input_size)
    return engine
