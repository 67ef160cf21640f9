"""A training run, from checked options to a full run folder."""

import contextlib
import importlib.util
import os
from pathlib import Path

import keras
import tensorflow as tf

from polypseg.data.pipeline import evaluation_batches, scaled_sizes, training_batches
from polypseg.errors import expect
from polypseg.experiment.checkpoint import (
    SaveError,
    best_row,
    finished_epochs,
    is_complete,
    remove_parts,
    saved_epoch,
    saving,
)
from polypseg.experiment.environment import write_environment
from polypseg.experiment.registry import NETWORKS, PRECISIONS
from polypseg.experiment.run import begin_run, new_run, open_run
from polypseg.experiment.run_folder import lock_run
from polypseg.experiment.trained import note_seen, start_path
from polypseg.runtime import command

from .build import build_model, saved_model
from .callbacks import ReportProgress, RunFolder, SeedEpoch, StopOnNonFinite
from .datasets import load_data
from .devices import share, spread
from .ema import ValidateAverages
from .interrupt import Interrupted, StopWhenAsked
from .progress import Progress
from .samples import SAMPLES, write_samples


def train(config, data=None, folder=None, progress=None, signals=None):
    """Train and fill a run folder; return its path and the best row of its history.

    A run that was interrupted (`config.resume`) goes on after its last finished epoch. Everything
    that an epoch does follows from what is saved and from (seed, epoch).

    Args:
        config: a checked `TrainConfig`.
        data: from `load_data`, which is the default.
        folder: of a new run; by default a free name in `config.trained_model_path`.
        progress: a `Progress`, told of each step and epoch; nothing is printed without it.
        signals: what hears Ctrl-C while the network trains, see `StopWhenAsked`; by default Python
            does, and the epoch that was begun is lost.

    Raises:
        ValueError: bad options or data.
        NonFiniteLoss: the loss became NaN.
        SaveError: a file could not be written.
        Interrupted: by Ctrl-C or SIGTERM.
        What was saved before is kept in each case.
    """
    config = config.resolved()
    expect(config.folds is None, "folds", "none, since cross_validate trains folds", config.folds)
    data = load_data(config) if data is None else data
    progress = Progress() if progress is None else progress
    _check_backend(config)
    _make_repeatable(config)
    with contextlib.ExitStack() as stack:
        history = []
        if config.resume:
            folder = Path(config.resume)
            stack.enter_context(lock_run(folder))
            open_run(folder, "resume")
            remove_parts(folder)
            history = finished_epochs(folder)
        trains = not is_complete(history, config)
        if trains or saved_epoch(folder / "best.keras") != best_row(history)["epoch"]:
            with _precision(config), spread(config) as devices:
                steps = _steps(config, data, devices)[1]
                model = (
                    saved_model(config, folder / "last.keras", devices)
                    if history
                    else build_model(config, steps, devices)
                )
                batches = _batches(config, data, len(history), devices) if trains else None
                if not config.resume:  # only now that all has been read and built
                    tested = [*data.subsets["val"], *data.subsets["test"]]
                    note_seen(config, (data.files[pair.stem][0] for pair in tested))
                    folder = _begin(config, data, folder)
                    stack.enter_context(lock_run(folder))
                else:
                    write_environment(folder, len(history))
                record = RunFolder(
                    folder, type(model).from_config(model.get_config()), config, history
                )
                if history:
                    _catch_up(record, model)
                if trains:
                    _fit(config, model, record, batches, steps, progress, signals)
                history = record.history
        if trains or not (folder / SAMPLES).exists():
            write_samples(folder, data.subsets["val"])
    return folder, best_row(history)


@contextlib.contextmanager
def _precision(config):
    """What is built in this context computes in the run's precision, and nothing after it."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(PRECISIONS[config.precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _check_backend(config):
    if config.precision == "float16" and keras.backend.backend() == "torch":
        import torch

        here = "a processor under KERAS_BACKEND=torch"
        expect(
            torch.cuda.is_available(),
            "precision",
            "float32 or bfloat16, since PyTorch trains in float16 on a GPU only",
            here,
        )


def _make_repeatable(config):
    keras.utils.set_random_seed(config.seed)
    if not config.deterministic:
        return
    tf.config.experimental.enable_op_determinism()  # tf.data's too, whatever the backend
    if keras.backend.backend() == "torch":
        import torch

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def _sizes(config):
    """The sizes at which each batch is seen, or None."""
    return config.multi_scale and scaled_sizes(
        config.input_size, config.multi_scale, NETWORKS[config.model].stride
    )


def _steps(config, data, devices):
    """Batch size and steps of an epoch."""
    count = len(data.subsets["train"])
    batch_size = min(config.batch_size, count - count % devices)
    expect(
        batch_size,
        "data_path",
        f"at least one training picture for each of the {devices} devices",
        count,
    )
    return batch_size, count // batch_size * len(config.multi_scale or [1])


def _batches(config, data, first_epoch, devices):
    """Training and validation batches: this process's part of them."""
    batch_size, _ = _steps(config, data, devices)
    return (
        training_batches(
            data.arrays["train"],
            config.input_size,
            batch_size,
            config.seed,
            config.epochs,
            first_epoch,
            config.augment,
            _sizes(config),
            share(),
        ),
        evaluation_batches(data.arrays["val"], batch_size, share() if devices > 1 else None),
    )


def _begin(config, data, folder):
    """Make the run folder, or fill the given one."""
    files = {stem: data.files[stem] for part in data.split.values() for stem in part}
    if folder is None:
        name = run_name(config)
        parent, start = config.trained_model_path, start_path(config)
        return new_run(parent, name, config, data.found, files, [data.split], start)
    with saving(folder):
        folder.mkdir(parents=True, exist_ok=True)
    begin_run(folder, config, data.found, files, [data.split], start_path(config))
    return folder


def _catch_up(record, model):
    """Save `best.keras` if the process was killed between `last.keras`, which finishes the epoch,
    and it.
    """
    best, saved = best_row(record.history)["epoch"], saved_epoch(record.folder / "best.keras")
    if saved == best:
        return
    found = f"that of epoch {saved}" if saved else None
    expect(
        best == len(record.history),
        "resume",
        f"best.keras of epoch {best} in {record.folder}",
        found,
    )
    record.set_model(model)
    with saving(record.folder):
        record.save_best()


def _fit(config, model, record, batches, steps, progress, signals):
    folder, epochs = record.folder, len(record.history)
    best = best_row(record.history)["val_dice"] if record.history else -1.0
    try:
        with signals or contextlib.nullcontext():
            model.fit(
                batches[0],
                validation_data=batches[1],
                steps_per_epoch=steps,
                initial_epoch=epochs,
                epochs=config.epochs,
                shuffle=False,
                verbose=0,
                callbacks=[
                    SeedEpoch(config.seed),
                    StopOnNonFinite(),
                    StopWhenAsked(signals),
                    ValidateAverages(),
                    record,
                    ReportProgress(progress, config.epochs, steps, best),
                    *_tensorboard(config, folder),
                ],
            )
    except KeyboardInterrupt as error:
        raise Interrupted(_how_to_go_on(record), getattr(error, "exit_code", 130)) from None
    except SaveError as error:
        raise SaveError(f"{error}; {_how_to_go_on(record)}") from error


def _how_to_go_on(record):
    whole = (
        record.folder.parent if (record.folder.parent / "config.json").exists() else record.folder
    )  # of a fold
    saved = f"epoch {len(record.history)} is saved" if record.history else "no epoch was finished"
    if share().part:  # its folder goes with it; the first process says how
        return saved
    return f"{saved}; resume with: {command('train')} --resume {whole}"


def run_name(config):
    return f"{config.model}_{config.backbone}" if NETWORKS[config.model].backbones else config.model


def _tensorboard(config, folder):
    if importlib.util.find_spec("tensorboard") is None:
        return []
    fold = (folder.parent / "config.json").exists()
    name = f"{folder.parent.name}/{folder.name}" if fold else folder.name
    logs = folder / "tensorboard" if config.logdir is None else f"{config.logdir}/{name}"
    return [keras.callbacks.TensorBoard(logs)]
