"""A training run, from checked options to a full run folder."""

import importlib.util
from typing import NamedTuple

import keras

from data.pairs import find_pairs
from data.pipeline import evaluation_batches, load, load_for_training, training_batches
from data.splits import group_names, random_split, read_split, write_split
from data.verify import verify
from metrics.streaming import MeanDice, MeanIoU

from .callbacks import Progress, RunFolder, StopOnNonFinite
from .evaluation import evaluate
from .optimizer import Adam
from .predictor import Predictor
from .registry import PRECISIONS, build_loss, build_network
from .run import create_run, write_environment, write_text
from .samples import write_sheet
from .schedule import WarmupSchedule


class Data(NamedTuple):
    """Verified pairs of each subset, `{"train": [Pair, ...], "val": ..., "test": ...}`, and the report."""

    subsets: dict
    report: object


def prepare_data(config):
    """Find, split and verify the data. Raises `ValueError` when a file is bad."""
    pairs, orphans = find_pairs(config.data_path)
    by_stem = {pair.stem: pair for pair in pairs}
    if config.split_dir:
        split = read_split(config.split_dir, list(by_stem))
    else:
        groups = group_names(list(by_stem), config.group_by) if config.group_by else None
        split = random_split(list(by_stem), config.data_split, config.seed, groups)
    subsets = {name: [by_stem[stem] for stem in stems] for name, stems in split.items()}
    used = [pair for part in subsets.values() for pair in part]
    return Data(subsets, verify(used, orphans, split))


def train(config, data):
    """Train and fill a run folder; return its path and the best row of its history.

    Raises:
        NonFiniteLoss: the loss became NaN; what was saved before is kept.
    """
    keras.utils.set_random_seed(config.seed)
    keras.config.set_dtype_policy(PRECISIONS[config.precision])
    model = build_network(config)
    subsets = data.subsets
    train_arrays = load_for_training(subsets["train"], config.input_size, config.cache_gb, config.augment)
    val_arrays = load(subsets["val"], config.input_size, config.cache_gb)
    batch_size = min(config.batch_size, len(subsets["train"]))
    steps = len(subsets["train"]) // batch_size
    warmup = min(2 * steps, config.epochs * steps // 10)
    model.compile(
        optimizer=Adam(
            WarmupSchedule(config.lr, config.epochs * steps, warmup, config.schedule),
            clipvalue=config.clip_value or None,
        ),
        loss=build_loss(config),
        metrics=[MeanDice(name="dice"), MeanIoU(name="iou")],
        jit_compile=_jit_compile(),
    )
    # Left to the first step, TensorFlow would trace that step twice.
    model.optimizer.build(model.trainable_variables)

    folder = create_run(config.trained_model_path, run_name(config))
    write_text(folder / "config.json", config.to_json())
    write_environment(folder)
    write_split(folder / "split", {name: [pair.stem for pair in part] for name, part in subsets.items()})
    write_text(folder / "data.txt", f"{data.report}\n")

    record = RunFolder(folder, type(model).from_config(model.get_config()))
    model.fit(
        training_batches(
            train_arrays, config.input_size, batch_size, config.seed, config.epochs, augmentation=config.augment
        ),
        validation_data=evaluation_batches(val_arrays, batch_size),
        steps_per_epoch=steps,
        epochs=config.epochs,
        shuffle=False,
        verbose=0,
        callbacks=[
            StopOnNonFinite(),
            record,
            Progress(config.epochs, steps),
            keras.callbacks.EarlyStopping("val_dice", mode="max", patience=config.patience),
            *_tensorboard(config, folder),
        ],
    )
    write_samples(folder, subsets["val"])
    return folder, record.best


def run_name(config):
    return f"pranet_{config.backbone}" if config.model == "pranet" else config.model


def _jit_compile():
    """XLA everywhere but in TensorFlow on a CPU, whose convolutions it slows down several times."""
    if keras.backend.backend() != "tensorflow":
        return "auto"
    import tensorflow as tf

    return "auto" if tf.config.list_physical_devices("GPU") else False


def _tensorboard(config, folder):
    if importlib.util.find_spec("tensorboard") is None:
        return []
    logs = folder / "tensorboard" if config.logdir is None else f"{config.logdir}/{folder.name}"
    return [keras.callbacks.TensorBoard(logs)]


def write_samples(folder, pairs, most=100):
    """`samples/validation.png`, chosen from at most `most` of the pairs."""
    predictor = Predictor.load(folder)
    pairs = pairs[:: -(-len(pairs) // most)]
    ranked = [(scored.scores["dice"], scored.pair) for scored in evaluate(predictor, pairs)]
    write_sheet(folder / "samples" / "validation.png", predictor, ranked)
