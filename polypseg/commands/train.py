"""Train a segmentation network: `python train.py --data-path DIR`; `--help` lists the options."""

import importlib.util
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from polypseg.console.parser import given_options
from polypseg.console.progress import TrainingProgress
from polypseg.console.run import warn
from polypseg.console.signals import Signals
from polypseg.errors import InputError
from polypseg.experiment.config import OF_THIS_START, TrainConfig, read_config
from polypseg.files import check_writable
from polypseg.options import option
from polypseg.runtime import command, keep_freed_memory, load_tensorflow

BESIDE_RESUME = ("data_path", "cache_gb", "devices", *OF_THIS_START)


@dataclass(frozen=True, kw_only=True)
class TrainOptions(TrainConfig):
    """Options of `train.py`: those of the run, and where they may come from."""

    config: str | None = option(
        None,
        "run",
        "config.json of a run to repeat; options on the command line override it",
        "FILE",
    )


def parse(arguments: Sequence[str] | None = None) -> TrainConfig:
    """The checked `TrainConfig` of a command line. Raises `InputError`."""
    description = "Train a segmentation network on a folder of images and masks."
    given = given_options(TrainOptions, description, arguments)
    if "resume" in given:
        return resumed_config(given)
    from_file = read_config(given.pop("config")) if "config" in given else {}
    if not (from_file | given).get("start_from"):
        return TrainConfig(**(from_file | given)).resolved()

    from polypseg.experiment.trained import started_from  # heavy: after the arguments

    if "backbone_weights" not in given:  # a file's are of the run that it repeats
        from_file.pop("backbone_weights", None)
    return TrainConfig(**started_from(from_file | given)).resolved()


def resumed_config(given):
    """The `TrainConfig` of the run that `given["resume"]` names. Raises `InputError`."""
    for name in given:
        if name not in BESIDE_RESUME:
            hint = ""
            if name == "epochs":
                run = shlex.quote(given["resume"])
                hint = f"; to train its network further: {command('train')} --start-from {run}"
                hint += f" --epochs {given['epochs']}"
            raise InputError(
                "cannot be given with --resume, whose run keeps its options; only --data-path, "
                f"--cache-gb and --devices can{hint}",
                name,
            )
    from polypseg.experiment.run import open_run  # heavy: after the arguments

    run = open_run(given["resume"], "resume")
    return TrainConfig(**(run.config | given | {"resume": str(run.folder)})).resolved()


def main():
    config = parse()
    where = "resume" if config.resume else "trained_model_path"
    check_writable(getattr(config, where), where)

    keep_freed_memory()
    load_tensorflow()  # heavy: after the arguments
    from polypseg.training.devices import connect_processes, one_run_folder

    if config.logdir and importlib.util.find_spec("tensorboard") is None:
        note = "nothing is written there without the package tensorboard (pip install tensorboard)"
        warn(f"note: --logdir: {note}")
    connect_processes(config)
    with one_run_folder(config) as config:
        verify_and_train(config)


def verify_and_train(config):
    from polypseg.experiment.checkpoint import describe_progress
    from polypseg.training.datasets import BadFiles, load_data, load_folds
    from polypseg.training.folds import cross_validate
    from polypseg.training.train import run_name, train

    progress = TrainingProgress()
    signals = Signals("\nstopping after this step; once more to stop at once\n")

    print(f"data: {config.data_path}", flush=True)
    if config.start_from and not config.resume:
        print(
            f"start from: {config.start_from} ({run_name(config)}, {config.input_size} px)",
            flush=True,
        )
    try:
        folds = load_folds(config) if config.folds else [load_data(config)]
    except BadFiles as error:
        print(error.report.text(None), flush=True)
        raise InputError(
            f"expected readable pairs, got {len(error.report.errors)} bad files (listed above)",
            "data_path",
        ) from error
    if config.resume:
        print(
            f"unchanged since the run began\nresume: {config.resume}, {describe_progress(config)}",
            flush=True,
        )
    else:
        print(folds[0].report, flush=True)

    if config.folds:
        folder, summary = cross_validate(config, folds, progress, signals)
        for subset, of in (("validation", "its best epoch"), ("test", "pictures not seen")):
            scores = ", ".join(
                f"{name} {summary[subset][key]['mean']:.4f} +- {summary[subset][key]['std']:.4f}"
                for name, key in (("Dice", "dice"), ("IoU", "iou"))
            )
            print(
                f"{subset:10}  {scores}  (mean and standard deviation over {config.folds} folds; "
                f"{of})"
            )
        print(f"each picture by the network that had not seen it: {folder}/out_of_fold.csv")
        return
    print(
        "split: " + ", ".join(f"{len(pairs)} {name}" for name, pairs in folds[0].subsets.items()),
        flush=True,
    )
    folder, best = train(config, folds[0], progress=progress, signals=signals)
    print(
        f"best model: {folder}/best.keras  (validation Dice {best['val_dice']:.4f}, IoU "
        f"{best['val_iou']:.4f}, epoch {best['epoch']})"
    )
