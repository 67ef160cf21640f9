"""A training run, from its options to a complete run folder."""

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from polypseg.data.crops import Crops
from polypseg.data.pipeline import evaluation_batches, scaled_sizes, training_batches
from polypseg.errors import expect
from polypseg.experiment.checkpoint import (
    Row,
    SaveError,
    best_row,
    finished_epochs,
    is_complete,
    is_final,
    remove_parts,
    saved_epoch,
    saving,
)
from polypseg.experiment.config import TrainConfig
from polypseg.experiment.environment import write_environment
from polypseg.experiment.registry import NETWORKS, PRECISIONS
from polypseg.experiment.run import begin_run, new_run, open_run
from polypseg.experiment.run_folder import lock_run, runs_in
from polypseg.experiment.trained import note_other_slices, note_seen, start_path
from polypseg.runtime import command

from .build import build_model, saved_model
from .callbacks import ReportProgress, RunFolder, SeedEpoch, StopOnNonFinite
from .datasets import Data, load_data
from .devices import distribute, expect_peers, process_share
from .ema import ValidateAverages
from .fast_file import write_fast_file
from .interrupt import Interrupted, Signals, StopWhenAsked
from .progress import Progress, Silent
from .samples import SAMPLES, write_samples
from .temperature import set_temperature


def train(
    config: TrainConfig,
    data: Data | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
    signals: Signals | None = None,
) -> tuple[Path, Row]:
    """Train a network and write its run folder.

    After the last epoch the temperature of the best network is fitted and saved in `best.keras`.
    Then `best.onnx` is written, unless `config.no_export`; if that fails, there is a `Note`.

    If `config.resume` is given, an interrupted run is continued after its last finished epoch. It
    gives the same results as without the interruption: an epoch depends only on what is saved and
    on (seed, epoch).

    Args:
        config: the options of the run, without `folds` and `seeds`.
        data: the result of `load_data(config)`, which is the default.
        folder: where a new run is written; by default a folder with a free name in
            `config.trained_model_path`.
        progress: its methods are called at each step and epoch; by default nothing is reported.
        signals: stores Ctrl-C and SIGTERM during training, which then stops after the step. By
            default Ctrl-C stops it at once. In both cases the epoch that was begun is lost.

    Returns:
        The path of the run folder, and the row of its history with the highest validation Dice.

    Raises:
        InputError: an option or the data cannot be used.
        NonFiniteLoss: the loss became NaN or infinite.
        SaveError: a file could not be written.
        PeerLost: another process of the run has ended.
        Interrupted: Ctrl-C or SIGTERM came.

    After each of these errors the epochs that were finished before are still saved.

    >>> config = TrainConfig(data_path="datasets/kvasir-seg", epochs=20)
    >>> folder, best = train(config)  # doctest: +SKIP
    >>> best["val_dice"]  # doctest: +SKIP
    0.9
    """
    config = config.resolved()
    expect(config.folds is None, "folds", "none, since cross_validate trains folds", config.folds)
    expect(config.seeds is None, "seeds", "none, since train_seeds trains them", config.seeds)
    data = load_data(config) if data is None else data
    progress = Silent() if progress is None else progress
    _check_backend(config)
    _make_repeatable(config)
    with contextlib.ExitStack() as lock:
        history: list[Row] = []
        if config.resume:
            folder = Path(config.resume)
            lock.enter_context(lock_run(folder))
            open_run(folder, "resume")
            remove_parts(folder)
            history = finished_epochs(folder)
        trained = is_complete(history, config)
        if folder is None or not (trained and _has_best(folder, history)):
            folder, history = _train_network(config, data, folder, history, lock, progress, signals)
        with _saying_how_to_resume(lambda: _how_to_resume(folder, len(history))):
            if not (trained and is_final(folder / "best.keras", history)):
                fitted = set_temperature(folder, data.arrays["val"], config.batch_size)
                progress.temperature_fitted(fitted)
            if not (trained and (folder / SAMPLES).exists()):
                write_samples(folder, data.subsets["val"], config.mask_rule)
            if not config.no_export and process_share().part == 0:
                write_fast_file(folder, progress)
    return folder, best_row(history)


def _train_network(
    config: TrainConfig,
    data: Data,
    folder: Path | None,
    history: list[Row],
    lock: contextlib.ExitStack,
    progress: Progress,
    signals: Signals | None,
) -> tuple[Path, list[Row]]:
    """Build the network, or load it if epochs are finished, and train the epochs that are left.

    Args:
        history: the rows of the finished epochs.
        lock: a context that locks the folder of a new run until it is left.

    Returns:
        The run folder, and the rows of all epochs.
    """
    trained = is_complete(history, config)
    with _precision(config), distribute(config) as devices:
        steps = _steps(config, data, devices)[1]
        progress.build_begins()
        negatives = "val" in data.arrays and data.arrays["val"].has_empty_masks
        if history and folder:
            model = saved_model(config, folder / "last.keras", devices, negatives)
        else:
            model = build_model(config, steps, devices, negatives)
        batches = None if trained else _batches(config, data, len(history), devices)
        if config.resume and folder:
            write_environment(folder, len(history))
        else:  # only now, when everything has been read and built
            tested = [*data.subsets["val"], *data.subsets["test"]]
            note_seen(config, (data.files[pair.stem][0] for pair in tested))
            note_other_slices(config, data.preparation)
            folder = _begin(config, data, folder)
            lock.enter_context(lock_run(folder))
        plain = type(model).from_config(model.get_config())
        writer = RunFolder(folder, plain, config, history)
        if history:
            _save_missing_best(writer, model)
        if batches:
            _fit(config, model, writer, batches, steps, progress, signals)
    return folder, writer.history


def _has_best(folder: Path, history: Sequence[Row]) -> bool:
    """Whether `best.keras` is that of the best epoch."""
    return saved_epoch(folder / "best.keras") == best_row(history)["epoch"]


@contextlib.contextmanager
def _precision(config: TrainConfig) -> Iterator[None]:
    """Context in which networks are built with the precision of the run."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(PRECISIONS[config.precision])
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _check_backend(config: TrainConfig) -> None:
    """Raise `InputError` if the backend cannot train in the precision of the run."""
    if config.precision == "float16" and keras.backend.backend() == "torch":
        import torch

        expect(
            torch.cuda.is_available(),
            "precision",
            "float32 or bfloat16, since PyTorch trains in float16 only on a GPU",
            "float16 on a CPU with KERAS_BACKEND=torch",
        )


def _make_repeatable(config: TrainConfig) -> None:
    """Set all seeds and, with `deterministic`, use deterministic operations."""
    keras.utils.set_random_seed(config.seed)
    if not config.deterministic:
        return
    tf.config.experimental.enable_op_determinism()  # of tf.data too, with any backend
    if keras.backend.backend() == "torch":
        import torch

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)


def _sizes(config: TrainConfig) -> list[int] | None:
    """The sizes in pixels at which each batch is used; None without `multi_scale`."""
    if not config.multi_scale:
        return None
    return scaled_sizes(config.input_size, config.multi_scale, NETWORKS[config.model].stride)


def _steps(config: TrainConfig, data: Data, devices: int) -> tuple[int, int]:
    """The batch size, and the number of steps in an epoch.

    The batch is smaller than `config.batch_size` if there are fewer images. Images that do not fill
    the last batch are left out.
    """
    count = len(data.subsets["train"])
    batch_size = min(config.batch_size, count - count % devices)
    expect(
        batch_size,
        "data_path",
        f"at least one training image for each of the {devices} devices",
        count,
    )
    every = len(config.multi_scale or [1]) if config.scales_per_batch == "all" else 1
    return batch_size, count // batch_size * every


def _crops(config: TrainConfig) -> Crops | None:
    """How training images are cropped; None without `crop`."""
    if config.crop is None:
        return None
    return Crops(config.crop / config.input_size, config.crop_share, config.crop_foreground)


def _batches(
    config: TrainConfig, data: Data, first_epoch: int, devices: int
) -> tuple[tf.data.Dataset, tf.data.Dataset]:
    """Training and validation batches, or the parts of them that this process reads."""
    batch_size, _ = _steps(config, data, devices)
    share = process_share()
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
            share,
            slices=data.preparation is not None,
            color_exchange=config.color_exchange,
            one_size=config.scales_per_batch == "one",
            crops=_crops(config),
        ),
        evaluation_batches(
            data.arrays["val"], batch_size, process_share() if devices > 1 else None
        ),
    )


def _begin(config: TrainConfig, data: Data, folder: Path | None) -> Path:
    """Begin a run in the given folder, or in a new one; return its path."""
    files = {stem: data.files[stem] for part in data.split.values() for stem in part}
    content = config, data.report_text, files, [data.split], start_path(config), data.preparation
    if folder is None:
        return new_run(config.trained_model_path, run_name(config), *content)
    with saving(folder):
        folder.mkdir(parents=True, exist_ok=True)
    begin_run(folder, *content)
    return folder


def _save_missing_best(writer: RunFolder, model: keras.Model) -> None:
    """Save `best.keras` if the process was killed after it saved `last.keras` and before this.

    Raises:
        InputError: `best.keras` is not that of the best epoch, and the network is not either.
    """
    if _has_best(writer.folder, writer.history):
        return
    best, saved = best_row(writer.history)["epoch"], saved_epoch(writer.folder / "best.keras")
    expect(
        best == len(writer.history),
        "resume",
        f"best.keras of epoch {best} in {writer.folder}",
        f"that of epoch {saved}" if saved else None,
    )
    writer.set_model(model)
    with saving(writer.folder):
        writer.save_best()


def _fit(
    config: TrainConfig,
    model: keras.Model,
    writer: RunFolder,
    batches: tuple[tf.data.Dataset, tf.data.Dataset],
    steps: int,
    progress: Progress,
    signals: Signals | None,
) -> None:
    """Train the epochs that are left. Raises what `train` raises after the network is built."""
    epochs = len(writer.history)
    best = best_row(writer.history)["val_dice"] if writer.history else -1.0

    def how() -> str:
        return _how_to_resume(writer.folder, len(writer.history))

    with (
        _saying_how_to_resume(how),
        contextlib.nullcontext() if signals is None else signals,
        expect_peers(how),
    ):
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
                writer,
                ReportProgress(progress, config.epochs, steps, best),
                *_tensorboard(config, writer.folder),
            ],
        )


@contextlib.contextmanager
def _saying_how_to_resume(how: Callable[[], str]) -> Iterator[None]:
    """Context in which an interruption and a full disk say what is saved, and how to go on."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted(how(), getattr(error, "exit_code", 130)) from None
    except SaveError as error:
        raise SaveError(f"{error}; {how()}") from error


def _how_to_resume(folder: Path, epochs: int) -> str:
    """Say what is saved of a run, and the command that resumes it."""
    done, of_member = "", ""
    if member := _member(folder):
        kind, first, number = member
        folder, of_member = folder.parent, f" of {kind} {number}"
        done = {
            0: "",
            1: f"{kind} {first} is done, ",
            2: f"{kind}s {first} and {first + 1} are done, ",
        }.get(number - first, f"{kind}s {first} to {number - 1} are done, ")
    saved = f"epoch {epochs}{of_member} is saved" if epochs else f"no epoch{of_member} is finished"
    if process_share().part:  # its folder is temporary; the first process says how to resume
        return f"{done}{saved}"
    return f"{done}{saved}; resume with: {command('train')} --resume {folder}"


def _member(folder: Path) -> tuple[str, int, int] | None:
    """`("fold", 1, 3)` for fold 3 of a cross-validation, by its folder; None for a run of its own.

    The second number is that of the first fold, or the first of several seeds.
    """
    runs = folder.parent
    names = runs_in(runs)
    if folder not in names or not (runs / "config.json").exists():
        return None
    kind, number = folder.name.split("-")
    return kind, int(names[0].name.split("-")[1]), int(number)


def run_name(config: TrainConfig) -> str:
    """The default name of a run folder: `"pranet_resnet50"`, `"attention_unet"`."""
    return f"{config.model}_{config.backbone}" if NETWORKS[config.model].backbones else config.model


def _tensorboard(config: TrainConfig, folder: Path) -> list[keras.callbacks.Callback]:
    """The callback of TensorBoard, if it is installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return []
    name = f"{folder.parent.name}/{folder.name}" if _member(folder) else folder.name
    logs = folder / "tensorboard" if config.logdir is None else f"{config.logdir}/{name}"
    return [keras.callbacks.TensorBoard(logs)]
