"""Copy a finished run to a folder to publish: `python -m benchmarks.publish RUN --out DIR`.

The copy is a run folder without what only resuming needs. Its network stores the weights of its
convolutions in half precision; all else stays in float32. The largest difference of the outputs is
printed; `test.py` on the copy tells what it does to the scores.
"""

import argparse
import io
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
from scipy.special import expit

from polypseg.experiment.checkpoint import is_complete, is_final
from polypseg.experiment.config import TrainConfig
from polypseg.experiment.run import open_run
from polypseg.files import atomic_folder
from polypseg.inference.export import export, sample_images
from polypseg.inference.formats.keras import KerasEngine

WEIGHTS = "model.weights.h5"  # in a .keras file
LEFT_OUT = ("best.*", "last.keras", "start.keras", "samples", "tensorboard", ".*")


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.publish", description=__doc__.split(":")[0]
    )
    parser.add_argument("run", metavar="RUN", help="run folder of a finished training")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--onnx", action="store_true", help="also write best.onnx, in float32")
    given = parser.parse_args()
    difference = publish(given.run, given.out, given.onnx)
    size = sum(path.stat().st_size for path in given.out.rglob("*") if path.is_file())
    print(f"written: {given.out} ({size / 1e6:.1f} MB); probabilities within {difference:.1g}")


def publish(source: str | Path, out: Path, onnx: bool = False) -> float:
    """Write the copy, which opens as any run does.

    Returns:
        Largest difference of probabilities between the two networks, on noise and smooth images.

    Raises:
        FileExistsError: `out` exists.
        InputError: `source` is no run.
        ValueError: the run is not finished, it began with another network, or a weight is beyond
            half precision.
    """
    run = open_run(source)
    if not (
        is_complete(run.history, TrainConfig(**run.config)) and is_final(run.best, run.history)
    ):
        raise ValueError(f"run must be finished, got {run.folder}; resume it")
    if run.config.get("start_from"):
        raise ValueError(f"run must not start from a network, got {run.folder}, which did")
    if out.exists():
        raise FileExistsError(f"expected a new folder, got {out}")
    with atomic_folder(out) as folder:
        left_out = shutil.ignore_patterns(*LEFT_OUT)
        shutil.copytree(run.folder, folder, ignore=left_out, dirs_exist_ok=True)
        best = folder / "best.keras"
        halve(run.best, best)
        one, two = KerasEngine(run.best), KerasEngine(best)
        difference = max(
            float(np.abs(expit(one.logits(image)) - expit(two.logits(image))).max())
            for image in sample_images(one.input_size)
        )
        if onnx:
            export(folder, "onnx", all_maps=True)
    return difference


def halve(source: Path, target: Path) -> None:
    """Copy a `.keras` file, with arrays of two and more dimensions in float16."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        new.comment = old.comment  # the run and the epoch
        for item in old.infolist():
            content = old.read(item)
            new.writestr(item, halved(content) if item.filename == WEIGHTS else content)


def halved(content: bytes) -> bytes:
    result = io.BytesIO()
    with h5py.File(io.BytesIO(content)) as old, h5py.File(result, "w") as new:

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                made = new.require_group(name)
            elif item.ndim < 2:
                made = new.create_dataset(name, data=item[()])
            else:
                with np.errstate(over="ignore"):
                    half = item[()].astype(np.float16)
                if not np.isfinite(half).all():
                    raise ValueError(f"weights must be within half precision, got {name} beyond it")
                made = new.create_dataset(name, data=half)
            made.attrs.update(item.attrs)

        old.visititems(copy)
        new.attrs.update(old.attrs)
    return result.getvalue()


if __name__ == "__main__":
    main()
