"""Write `best.onnx` at the end of a run, with which the run opens without Keras."""

import os
import warnings
from pathlib import Path

import keras

from polypseg.errors import InputError, Note, one_line, reason
from polypseg.experiment.run import open_run
from polypseg.inference.engines import export_path, has_export
from polypseg.inference.export import export
from polypseg.inference.formats import export_command

from .progress import Progress

KIND = "onnx"


def write_fast_file(folder: Path, progress: Progress) -> None:
    """Export the best network of a run as ONNX with all its maps, unless it was exported already.

    So a file that a user made of this network, in half precision perhaps, is kept.

    A failed export gives a `Note`: the run is complete without it, and opens in Keras.
    """
    run = open_run(folder, "resume")
    if has_export(run, KIND):
        return
    path = export_path(run.best, KIND)
    progress.export_begins(path)
    try:
        if keras.backend.backend() != "tensorflow":
            raise InputError("the converter needs KERAS_BACKEND=tensorflow, which export.py sets")
        export(folder, KIND, path, all_maps=True, overwrite=True)
    except Exception as error:  # of a converter, too
        again = export_command(folder, KIND) + " --overwrite" * os.path.lexists(path)
        what = error.message if isinstance(error, InputError) else reason(error)
        warnings.warn(
            f"{path} was not written ({one_line(what)}); write it with: {again}",
            Note,
            stacklevel=1,
        )
