"""Choose the engine that runs the network of a run folder.

Beside `best.keras` may lie files that `export` wrote of it: `best.onnx`, `best.xml`, `best.tflite`.
They start faster than Keras, and were compared with it when they were written. Each stores the
digest of the `best.keras` that it was made of, so a file of another network never runs.
"""

import importlib.util
import os
import warnings
from pathlib import Path

from polypseg.errors import InputError, Note, expect
from polypseg.experiment.config import as_window
from polypseg.experiment.run import Run
from polypseg.files import file_digest

from .formats import AUTO, ENGINES, export_command, format_of
from .formats.base import Engine, ExportedEngine
from .formats.keras import KerasEngine

GPU = Path("/dev/nvidia0")


def open_run_engine(run: Run, engine: str, input_size: int | None) -> Engine:
    """The engine of a run's best network.

    Args:
        run: the run.
        engine: a name in `ENGINES`; or `"auto"` for the first of them that is installed, has a file
            of this network in float32 with all maps, and runs at this input size.
        input_size: height and width at which the network runs; None for that of the training.

    Raises:
        InputError: the network cannot be read or run at this size; or the engine that is asked for
            is not installed, or has no file of this network.

    A file that `"auto"` cannot use gives a `Note`, unless it is of another input size. So does a
    GPU that is not used: Keras would use it, but its import takes seconds.
    """
    if engine == AUTO:
        for name in ENGINES:
            found = _open_if_good(run, name, input_size)
            if found:
                _note_unused_gpu(run, found)
                return found
    elif engine != KerasEngine.kind:
        expect(engine in ENGINES, "engine", " | ".join((AUTO, *ENGINES)), engine)
        path, again = export_path(run.best, engine), export_command(run.folder, engine)
        expect(path.is_file(), "engine", f"{path} for this engine; write it with: {again}", "none")
        exported = _open(run, engine)
        if exported.source != file_digest(run.best):
            raise InputError(
                f"expected {path} to be made of {run.best}, got the file of another network; write "
                f"it again with: {again} --overwrite",
                "engine",
            )
        if input_size is not None:
            exported.resize(input_size)
        return exported
    keras = KerasEngine(run.best)
    if input_size is not None:
        keras.resize(input_size)
    return keras


def export_path(best: Path, kind: str) -> Path:
    """Where `export` writes the network of `best.keras` by default."""
    return best.with_suffix(format_of(kind).suffix)


def has_export(run: Run, kind: str) -> bool:
    """Whether there is a file of this network, in whatever precision and with whatever maps."""
    try:
        found = export_path(run.best, kind).is_file() and _open(run, kind).source
    except InputError:
        return False
    return found == file_digest(run.best)


def _open_if_good(run: Run, kind: str, input_size: int | None) -> ExportedEngine | None:
    if kind == KerasEngine.kind:
        return None
    path = export_path(run.best, kind)
    if not path.is_file() or not run.best.is_file():
        return None
    if not all(map(importlib.util.find_spec, format_of(kind).runs_with)):
        return None
    try:
        exported = _open(run, kind)
        problem = _problem(exported, run.best)
    except InputError as error:
        problem = str(error)
    if problem:
        again = f"{export_command(run.folder, kind)} --overwrite"
        warnings.warn(
            f"{path} is not used: {problem}; write it again with: {again}", Note, stacklevel=1
        )
        return None
    return exported if input_size in (None, exported.input_size) else None


def _note_unused_gpu(run: Run, engine: Engine) -> None:
    if GPU.exists() and os.environ.get("CUDA_VISIBLE_DEVICES") not in ("", "-1"):
        warnings.warn(
            f"{engine.name} runs {run.folder} on the CPU; with `engine` keras the GPU runs it",
            Note,
            stacklevel=1,
        )


def _open(run: Run, kind: str) -> ExportedEngine:
    """The engine of an exported file, with what the run says in place of what the file says.

    The threshold in the file may have been chosen for another program. A file that was exported
    from `best.keras` by its path has no window and no preparation.
    """
    open_engine = format_of(kind).open
    assert open_engine is not None  # of every name in ENGINES
    engine = open_engine(export_path(run.best, kind))
    assert isinstance(engine, ExportedEngine)
    engine.threshold = KerasEngine.threshold
    engine.window = as_window(run.config.get("window"))
    engine.preparation = run.preparation
    return engine


def _problem(exported: ExportedEngine, best: Path) -> str:
    """Why an exported file cannot stand for `best.keras`; "" if it can."""
    if exported.source != file_digest(best):
        return f"it was not made of {best}"
    if not exported.all_maps:
        return "it lacks the side outputs of the network"
    return "" if exported.precision == "float32" else f"its weights are {exported.precision}"
