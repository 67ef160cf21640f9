"""A training run, from checked options to a full run folder."""

import contextlib
import importlib.util
import os
import warnings
from pathlib import Path

import keras
import tensorflow as tf

from polypseg.data.pipeline import evaluation_batches, load, load_for_training, scaled_sizes, training_batches
from polypseg.data.splits import write_split
from polypseg.metrics.streaming import MeanDice, MeanIoU

from polypseg.errors import InputError, expect
from .callbacks import Progress, RunFolder, SeedEpoch, StopOnNonFinite
from polypseg.experiment.checkpoint import SaveError, best_row, is_complete, saved_epoch, saving
from .devices import share, spread
from .ema import ValidateAverages
from polypseg.scoring.evaluation import evaluate
from .interrupt import Interrupted, StopWhenAsked
from .optimizer import Adam
from polypseg.inference.predictor import Predictor
from polypseg.experiment.registry import NETWORKS, PRECISIONS, build_loss, build_network
from polypseg.experiment.resume import finished_epochs, write_fingerprints
from polypseg.experiment.run_folder import create_run, hold, write_environment, write_text
from .samples import write_sheet
from .schedule import WarmupSchedule

STEP_DECAY = 50  # epochs; PraNet's authors
SAMPLES = Path("samples", "validation.png")


def train(config, data, folder=None):
    """Train and fill a run folder; return its path and the best row of its history.

    A run that was interrupted (`config.resume`) goes on after its last finished epoch. Everything
    that an epoch does follows from what is saved and from (seed, epoch).

    Args:
        config: a checked `TrainConfig`.
        data: from `prepare_data`.
        folder: of a new run; by default a free name in `config.trained_model_path`.

    Raises:
        NonFiniteLoss: the loss became NaN.
        SaveError: a file could not be written.
        Interrupted: by Ctrl-C or SIGTERM.
        What was saved before is kept in each case.
    """
    _check_backend(config)
    _make_repeatable(config)
    keras.config.set_dtype_policy(PRECISIONS[config.precision])
    with contextlib.ExitStack() as stack:
        history = []
        if config.resume:
            folder = Path(config.resume)
            stack.enter_context(hold(folder))
            history = finished_epochs(folder)
        trains = not is_complete(history, config)
        if trains or saved_epoch(folder / "best.keras") != best_row(history)["epoch"]:
            with spread(config) as devices:
                steps = _steps(config, data, devices)[1]
                model = _saved_model(config, folder / "last.keras", devices) if history else build_model(config, steps, devices)
                batches = _batches(config, data, len(history), devices) if trains else None
                if not config.resume:  # only now that all has been read and built
                    folder = _begin(config, data, folder)
                    stack.enter_context(hold(folder))
                else:
                    write_environment(folder, len(history))
                record = RunFolder(folder, type(model).from_config(model.get_config()), config, history)
                if history:
                    _catch_up(record, model)
                if trains:
                    _fit(config, model, record, batches, steps)
                history = record.history
        if trains or not (folder / SAMPLES).exists():
            write_samples(folder, data.subsets["val"])
    return folder, best_row(history)


def _check_backend(config):
    if config.precision == "float16" and keras.backend.backend() == "torch":
        import torch

        here = "a processor under KERAS_BACKEND=torch"
        expect(torch.cuda.is_available(), "--precision", "float32 or bfloat16, since PyTorch trains in float16 on a GPU only", here)


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
    return config.multi_scale and scaled_sizes(config.input_size, config.multi_scale, NETWORKS[config.model].stride)


def _steps(config, data, devices):
    """Batch size and steps of an epoch."""
    count = len(data.subsets["train"])
    batch_size = min(config.batch_size, count - count % devices)
    expect(batch_size, "--data-path", f"at least one training picture for each of the {devices} devices", count)
    return batch_size, count // batch_size * len(config.multi_scale or [1])


def build_model(config, steps, devices=1):
    """A new network, compiled as it is trained; `steps` is the length of an epoch."""
    model = _compile(config, build_network(config), _optimizer(config, steps), devices)
    # Left to the first step, TensorFlow would trace that step twice.
    model.optimizer.build(model.trainable_variables)
    return model


def _saved_model(config, path, devices):
    """The network and its optimiser as they were saved."""
    import polypseg.attention_unet.model  # noqa: F401  registers its classes
    import polypseg.losses  # noqa: F401
    import polypseg.pranet.model  # noqa: F401

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = keras.saving.load_model(path)
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise InputError(f"--resume: expected a whole file that train.py saved, got {path} ({reason})") from error
    for warning in caught:  # Keras would go on with a new optimiser, and the rate would start over
        if "loading for optimizer" in str(warning.message):
            raise InputError(
                f"--resume: expected an optimiser that fits the network, got that of another version in {path}: "
                "go on with the version that began the run, or begin a new one"
            )
    return _compile(config, model, model.optimizer, devices)


def _compile(config, model, optimizer, devices):
    model.compile(
        optimizer=optimizer,
        loss=build_loss(config),
        weighted_metrics=[MeanDice(name="dice"), MeanIoU(name="iou")],
        jit_compile=_jit_compile(devices),
    )
    return model


def _optimizer(config, steps):
    every = config.accumulate
    total = config.epochs * steps
    expect(every <= total, "--accumulate", f"at most the {total} steps of the run", every)
    warmup = 0 if config.schedule == "step" else min(2 * steps, total // 10)
    return Adam(
        WarmupSchedule(config.lr, total, warmup, config.schedule, decay=STEP_DECAY * steps),
        clipvalue=config.clip_value or None,
        use_ema=config.ema > 0,
        ema_momentum=config.ema ** (1 / every),  # Keras averages at every step, also between two updates
        gradient_accumulation_steps=every if every > 1 else None,
    )


def _batches(config, data, first_epoch, devices):
    """Training and validation batches: this process's part of them."""
    train_arrays = load_for_training(data.subsets["train"], config.input_size, config.cache_gb, config.augment)
    val_arrays = load(data.subsets["val"], config.input_size, config.cache_gb)
    batch_size, _ = _steps(config, data, devices)
    return (
        training_batches(
            train_arrays, config.input_size, batch_size, config.seed, config.epochs, first_epoch, config.augment, _sizes(config),
            share(),
        ),
        evaluation_batches(val_arrays, batch_size, share() if devices > 1 else None),
    )


def _begin(config, data, folder):
    """Make the run folder; `config.json`, which makes it one, comes last."""
    if folder is None:
        folder = create_run(config.trained_model_path, run_name(config))
    else:
        folder.mkdir(parents=True, exist_ok=True)
    with saving(folder):
        write_environment(folder)
        write_split(folder / "split", {name: [pair.stem for pair in part] for name, part in data.subsets.items()})
        write_text(folder / "data.txt", f"{data.found}\n")
        write_fingerprints(folder, {pair.stem: data.files[pair.stem] for part in data.subsets.values() for pair in part})
        write_text(folder / "config.json", config.to_json())
    return folder


def _catch_up(record, model):
    """Save `best.keras` if the process was killed between `last.keras`, which finishes the epoch, and it."""
    best, saved = best_row(record.history)["epoch"], saved_epoch(record.folder / "best.keras")
    if saved == best:
        return
    found = f"that of epoch {saved}" if saved else None
    expect(best == len(record.history), "--resume", f"best.keras of epoch {best} in {record.folder}", found)
    record.set_model(model)
    with saving(record.folder):
        record.save_best()


def _fit(config, model, record, batches, steps):
    folder, epochs = record.folder, len(record.history)
    stop = StopWhenAsked()
    best = best_row(record.history)["val_dice"] if record.history else -1.0
    try:
        with stop.listening():
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
                    stop,
                    ValidateAverages(),
                    record,
                    Progress(config.epochs, steps, best),
                    *_tensorboard(config, folder),
                ],
            )
    except Interrupted as error:
        raise Interrupted(_how_to_go_on(record), error.exit_code) from None
    except SaveError as error:
        raise SaveError(f"{error}; {_how_to_go_on(record)}") from error


def _how_to_go_on(record):
    whole = record.folder.parent if (record.folder.parent / "config.json").exists() else record.folder  # of a fold
    saved = f"epoch {len(record.history)} is saved" if record.history else "no epoch was finished"
    if share().index:  # its folder goes with it; the first process says how
        return saved
    return f"{saved}; resume with: python train.py --resume {whole}"


def run_name(config):
    return f"pranet_{config.backbone}" if config.model == "pranet" else config.model


def _jit_compile(devices):
    """XLA everywhere but in TensorFlow on a CPU, whose convolutions it slows down several times, or on several devices."""
    if keras.backend.backend() != "tensorflow":
        return "auto"
    return "auto" if devices == 1 and tf.config.list_physical_devices("GPU") else False


def _tensorboard(config, folder):
    if importlib.util.find_spec("tensorboard") is None:
        return []
    fold = (folder.parent / "config.json").exists()
    name = f"{folder.parent.name}/{folder.name}" if fold else folder.name
    logs = folder / "tensorboard" if config.logdir is None else f"{config.logdir}/{name}"
    return [keras.callbacks.TensorBoard(logs)]


def write_samples(folder, pairs, most=100):
    """`samples/validation.png`, chosen from at most `most` of the pairs. Raises `SaveError`."""
    predictor = Predictor.load(folder)
    pairs = pairs[:: -(-len(pairs) // most)]
    try:
        ranked = [(scored.scores["dice"], scored.pair) for scored in evaluate(predictor, pairs)]
        write_sheet(folder / SAMPLES, predictor, ranked)
    except (OSError, ValueError) as error:
        raise SaveError(
            f"{folder}: the network is trained, but {SAMPLES} could not be drawn ({error}); "
            f"draw it with: python train.py --resume {folder}"
        ) from error
