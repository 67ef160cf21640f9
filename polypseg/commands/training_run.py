"""What `train.py` does after its options are checked: check the data, train, print the results."""

import contextlib
import importlib.util
import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polypseg.console.progress import TrainingProgress
from polypseg.console.run import last_words, say, warn, with_options
from polypseg.console.signals import Signals
from polypseg.data.preparation import PATIENT
from polypseg.errors import InputError
from polypseg.experiment.checkpoint import describe_progress
from polypseg.experiment.config import TrainConfig
from polypseg.runtime import command
from polypseg.training.datasets import (
    BadFiles,
    Data,
    load_data,
    load_folds,
    load_seeds,
    slices_line,
)
from polypseg.training.devices import connect_processes, one_run_folder, process_share
from polypseg.training.folds import cross_validate
from polypseg.training.seeds import train_seeds
from polypseg.training.train import run_name, train

ABORTED = (
    "error: this process of the run was killed, or JAX ended it because another one is lost; end "
    "all of them and start them again with --resume RUN"
)


def run_training(config: TrainConfig) -> None:
    """Connect the processes of the run if there are several, then train."""
    if config.logdir and importlib.util.find_spec("tensorboard") is None:
        note = "nothing is written there without the package tensorboard (pip install tensorboard)"
        warn(f"note: --logdir: {note}")
    connect_processes(config)
    several = process_share().parts > 1
    with last_words(ABORTED) if several else contextlib.nullcontext():
        with one_run_folder(config) as config:
            verify_and_train(config)


def verify_and_train(config: TrainConfig) -> None:
    """Check the data, train a network, or one for each fold or seed, and print the results."""
    say(f"data: {config.data_path}")
    if config.start_from and not config.resume:
        network = f"{run_name(config)}, {config.input_size} px"
        say(f"start from: {config.start_from} ({network})")
    data = load_and_report(config)
    progress = TrainingProgress()
    signals = Signals("\nstopping after this step; press Ctrl-C again to stop at once\n")
    if config.folds:
        hide_retracing_warnings()
        print_folds(*cross_validate(config, data, progress, signals))
        return
    if config.seeds:
        hide_retracing_warnings()
        print_seeds(*train_seeds(config, data, progress, signals))
        return
    counts = ", ".join(f"{len(pairs)} {name}" for name, pairs in data[0].subsets.items())
    say(f"split: {counts}")
    folder, best = train(config, data[0], progress=progress, signals=signals)
    say(
        f"best model: {folder}/best.keras  (validation Dice {best['val_dice']:.4f}, IoU "
        f"{best['val_iou']:.4f}, epoch {best['epoch']})"
    )


def load_and_report(config: TrainConfig) -> list[Data]:
    """Load the data of each fold or seed, or of the only run, and print what the check found."""
    try:
        if config.folds:
            data = load_folds(config)
        elif config.seeds:
            data = load_seeds(config)
        else:
            data = [load_data(config)]
    except BadFiles as error:
        say(with_options(error.report.text(None)))
        raise InputError(
            f"expected readable pairs, got {len(error.report.errors)} bad files (listed above)",
            "data_path",
        ) from error
    if config.resume:
        say("the data have not changed since the run began")
        say(f"resume: {config.resume}, {describe_progress(config)}")
    else:
        say(with_options(str(data[0].report)))
    for line in slices_line(data[0].preparation):
        say(line)
        if config.group_by == PATIENT:
            say("groups: patients, by the part of a name before its last hyphen (--group-by)")
    return data


def hide_retracing_warnings() -> None:
    """Hide TensorFlow's warning that a function is traced again and again.

    With several folds or seeds it means nothing, because each trains a new network.
    """
    logging.getLogger("tensorflow").addFilter(_is_no_retracing_warning)


def _is_no_retracing_warning(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in record.getMessage()


def print_folds(folder: Path, summary: Mapping[str, Any]) -> None:
    """Print the mean scores of a cross-validation, from the content of its `folds.json`."""
    _print_means(summary, f"{summary['folds']} folds", "images not trained on")
    say(f"test scores of each image: {folder}/out_of_fold.csv")


def print_seeds(folder: Path, summary: Mapping[str, Any]) -> None:
    """Print the mean scores of several seeds, from the content of their `seeds.json`."""
    _print_means(summary, f"{len(summary['seeds'])} seeds", f"{summary['images']} images")
    say(f"runs: {', '.join(f'{folder}/seed-{seed}' for seed in summary['seeds'])}")
    say(f"their average as one model: {command('test')} --model {shlex.quote(str(folder))}")


def _print_means(summary: Mapping[str, Any], runs: str, tested: str) -> None:
    for subset, images in (("validation", "best epoch"), ("test", tested)):
        if summary[subset] is None:  # the split has no test images
            continue
        scores = ", ".join(
            f"{name} {summary[subset][key]['mean']:.4f} +- {summary[subset][key]['std']:.4f}"
            for name, key in (("Dice", "dice"), ("IoU", "iou"))
        )
        say(f"{subset:10}  {scores}  (mean and standard deviation over {runs}; {images})")
