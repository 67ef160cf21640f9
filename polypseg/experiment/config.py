"""The options of a training run, with their defaults and checks, and `config.json`."""

import dataclasses
import json
import os
import re
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polypseg.data.mask_rule import MaskRule, mask_rule
from polypseg.data.preparation import PATIENT, VOLUME_JSON
from polypseg.errors import InputError, expect, nearest, reading
from polypseg.options import option

from .registry import (
    AUGMENTATIONS,
    BACKBONES,
    DECODERS,
    LOSSES,
    MAP_SUMS,
    NETWORKS,
    PRECISIONS,
)

# These options describe how this process is started. They are not stored in `config.json`.
OF_THIS_START = ("resume", "no_export", "coordinator", "num_processes", "process_id")
_DEFAULT_LOSSES = ", ".join(f"{network.loss} for {name}" for name, network in NETWORKS.items())


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The options of a training run, which are stored in `config.json` of the run folder.

    `train.py --help` describes each of them; the option `--input-size` is the field `input_size`.

    >>> TrainConfig(data_path="datasets/kvasir-seg", epochs=20).lr
    0.001
    """

    data_path: str | None = option(
        None,
        "data",
        "folder with images/ and masks/; an image and its mask have the same stem",
        "DIR",
    )
    split_dir: str | None = option(
        None,
        "data",
        "use a given split: a folder with train.txt, val.txt and test.txt, the common prefix of "
        "such files, or a CSV file with the header stem,subset",
        "PATH",
        "--split-file",
    )
    data_split: float = option(
        0.1,
        "data",
        "fraction of the images for val, and the same again for test; not with `split_dir`",
        "F",
    )
    group_by: str | None = option(
        None,
        "data",
        "keep images in one subset if REGEX matches the same text in their stems, such as the "
        "number of a patient (default for slices of volumes that are split: the patient)",
        "REGEX",
    )
    folds: int | None = option(
        None, "data", "cross-validation: K runs, each tested on a different Kth of the images", "K"
    )
    recursive: bool = option(False, "data", "read images and masks in subfolders too")
    mask_suffix: str | None = option(
        None,
        "data",
        "the stem of a mask is that of its image with this behind it, as _mask (default: the same)",
        "TEXT",
    )
    label: list[int] | None = option(
        None,
        "data",
        "the masks are label maps, and these levels are foreground (default: the masks are black "
        "and white)",
        "N",
    )
    ignore: list[int] | None = option(
        None,
        "data",
        "pixels with these levels in the mask count neither in the loss nor in the scores",
        "N",
    )
    mask_color: list[int] | None = option(
        None,
        "data",
        "the masks are in colour, and these colours are foreground, as in 255 0 0 for red; three "
        "numbers for each colour",
        "RGB",
    )
    window: list[int] | None = option(
        None,
        "data",
        "in images of 16 bits these two levels become black and white, as in 0 4095 (default: 0 "
        "65535)",
        "LEVEL",
    )
    cache_gb: float = option(
        4.0,
        "data",
        "keep decoded images in temporary files if they need more memory than this",
        "GB",
    )
    model: str = option("pranet", "network", " | ".join(NETWORKS), "NAME")
    backbone: str = option(
        "resnet50", "network", f"backbone of PraNet: {' | '.join(BACKBONES)}", "NAME"
    )
    backbone_weights: str = option(
        "imagenet", "network", "imagenet | none | path of a .h5 file", "W"
    )
    decoder: str = option(
        "published",
        "network",
        f"decoder of PraNet: {' | '.join(DECODERS)} (fewer channels: smaller and faster)",
        "NAME",
    )
    start_from: str | None = option(
        None,
        "network",
        "start with the weights of this trained network (run folder or .keras file); it also sets "
        "`model`, `backbone`, `decoder` and `input_size`",
        "PATH",
    )
    input_size: int = option(
        352, "network", "height and width of the network's input", "PX", "--inputsize"
    )
    multi_scale: list[float] | None = option(
        None,
        "network",
        "train on each batch at these multiples of the input size, one step each (PraNet's "
        "authors: 0.75 1 1.25)",
        "F",
    )
    scales_per_batch: str = option(
        "all",
        "network",
        "with `multi_scale`: all (each batch at each scale) | one (each batch at one of them, "
        "drawn at random)",
        "NAME",
    )
    epochs: int = option(40, "training", "passes over the training images", "N", "--epoch")
    batch_size: int = option(16, "training", "images per step", "N", "--batchsize")
    accumulate: int = option(
        1,
        "training",
        "add up the gradients of N steps for each update, as for a batch N times as large",
        "N",
    )
    lr: float = option(1e-3, "training", "highest learning rate", "LR")
    optimizer: str = option(
        "adam", "training", "adam | adamw | sgd (with a momentum of 0.9)", "NAME"
    )
    weight_decay: float = option(
        0.0,
        "training",
        "weight decay of adamw (such as 1e-2; it is multiplied by the learning rate) or of sgd "
        "(such as 5e-4; it is added to the gradients, as in PyTorch); not of biases and "
        "normalisations",
        "F",
    )
    schedule: str = option(
        "cosine",
        "training",
        "cosine | poly (power 0.9) | constant (all after a warm-up) | step (divide the rate by 10 "
        "every 50 epochs)",
        "NAME",
    )
    empty: str = option(
        "skip",
        "training",
        "Dice of an image without foreground: skip (it does not count; its false alarms are "
        "counted) | one (if nothing is found, else zero)",
        "RULE",
    )
    patience: int = option(
        15, "training", "stop after N epochs without a better validation Dice", "N"
    )
    clip_value: float = option(
        0.5, "training", "clip each gradient to [-C, C]; 0: off", "C", "--gclip"
    )
    augment: str = option(
        "full",
        "training",
        "full (flips, rotation, zoom, colour, blur) | flips (and rotation by 90 degrees) | none; "
        "slices of volumes: full (rotation, zoom, grey levels, noise) | flips | none",
        "NAME",
    )
    crop: int | None = option(
        None,
        "training",
        "train also on squares of the images, with sides of PX pixels where the image has "
        "`input_size`; they are enlarged to `input_size`",
        "PX",
    )
    crop_share: float = option(
        0.5, "training", "the share of training images that are cropped, with `crop`", "F"
    )
    crop_foreground: float = option(
        0.5,
        "training",
        "the share of crops that are placed around foreground; the others can be empty",
        "P",
    )
    color_exchange: float = option(
        0.0,
        "training",
        "with probability P an image gets the colours (mean and deviation in LAB) of another "
        "training image; 0: off; not for slices of volumes",
        "P",
    )
    ema: float = option(
        0.0,
        "training",
        "validate and save a moving average of the weights, with momentum M; 0: off",
        "M",
    )
    loss: str | None = option(
        None, "training", f"{' | '.join(LOSSES)} (default: {_DEFAULT_LOSSES})", "NAME"
    )
    map_weights: list[float] | None = option(
        None,
        "training",
        "loss weight of each map, coarse to fine, the answer last (default: 1)",
        "W",
    )
    map_sums: str = option(
        "none",
        "training",
        "add the loss of the sum of the logit maps: none | all (of all maps) | pairs (also of each "
        "pair)",
        "NAME",
    )
    precision: str = option("float32", "training", " | ".join(PRECISIONS), "NAME")
    seed: int = option(
        12,
        "training",
        "random seed of split, order, augmentation and initial weights",
        "N",
        below=2**32,
    )
    seeds: int | None = option(
        None,
        "training",
        "N runs on the same split, with the seeds `seed`, `seed` + 1, ...; mean and standard "
        "deviation of their scores",
        "N",
    )
    deterministic: bool = option(
        False, "training", "give bit-identical results on the same machine; slower"
    )
    trained_model_path: str = option("runs", "run", "folder in which the run folder is made", "DIR")
    logdir: str | None = option(
        None, "run", "folder for TensorBoard logs (default: in the run folder)", "DIR"
    )
    resume: str | None = option(
        None,
        "run",
        "continue an interrupted run; the only other options are `data_path` (if the data have "
        "moved), `cache_gb`, `max_megapixels`, `no_export`, `devices`, `coordinator`, "
        "`num_processes` and `process_id`",
        "RUN",
    )
    no_export: bool = option(
        False,
        "run",
        "do not write best.onnx at the end, with which the other commands start faster",
    )
    devices: str = option(
        "one",
        "several devices",
        "one | all (divide each batch among all GPUs; with KERAS_BACKEND=jax, also among those of "
        "several processes)",
        "NAME",
    )
    coordinator: str | None = option(
        None,
        "several devices",
        "address of the first process, to which the others connect (not needed under Slurm)",
        "HOST:PORT",
    )
    num_processes: int | None = option(None, "several devices", "number of processes", "N")
    process_id: int | None = option(
        None,
        "several devices",
        "number of this process, from 0; process 0 writes the run folder",
        "I",
    )

    def resolved(self) -> "TrainConfig":
        """Check all options, and fill in defaults that depend on the network or the data.

        These are the network's own loss, and the patients as groups for slices of volumes that are
        to be split: the network must not be tested on the neighbours of slices that it has seen.

        Returns:
            A new configuration.

        Raises:
            InputError: an option is out of range, or does not fit the others.

        >>> TrainConfig(data_path="datasets/kvasir-seg").resolved().loss
        'structure'
        """
        _check_all(self)
        _check_network(self)
        _check_data(self)
        _check_training(self)
        _check_devices(self)
        loss, group_by = self.loss or NETWORKS[self.model].loss, self.group_by
        drawn = not (self.split_dir or self.resume)
        if drawn and group_by is None and os.path.lexists(f"{self.data_path}/{VOLUME_JSON}"):
            group_by = PATIENT
        return dataclasses.replace(self, loss=loss, group_by=group_by)

    @property
    def member_names(self) -> list[str]:
        """The names of the run folders of `folds` or `seeds`: `["fold-1", "fold-2"]`; [] without.

        >>> TrainConfig(seed=12, seeds=2).member_names
        ['seed-12', 'seed-13']
        """
        seeds = range(self.seed, self.seed + (self.seeds or 0))
        folds = range(1, 1 + (self.folds or 0))
        return [f"fold-{number}" for number in folds] + [f"seed-{seed}" for seed in seeds]

    @property
    def mask_rule(self) -> MaskRule:
        """How mask files are read."""
        return mask_rule(self.label, self.ignore, self.mask_color)

    def to_json(self) -> str:
        """The content of `config.json`."""
        values = dataclasses.asdict(self)
        return (
            json.dumps(
                {name: value for name, value in values.items() if name not in OF_THIS_START},
                indent=2,
            )
            + "\n"
        )


def _check_all(config: TrainConfig) -> None:
    """Check what every option needs: text that can be a file name, numbers that fit 32 bits."""
    expect(config.data_path, "data_path", "a folder with images/ and masks/")
    for name, value in dataclasses.asdict(config).items():
        if isinstance(value, str):
            expect(_is_text(value), name, "text", repr(value))
        elif isinstance(value, int) and name != "seed":
            expect(value < 2**31, name, "a number below 2^31", value)


def _check_network(config: TrainConfig) -> None:
    _expect_one_of(NETWORKS, "model", config.model)
    _expect_one_of(BACKBONES, "backbone", config.backbone)
    network = NETWORKS[config.model]
    backbone = network.backbones.get(config.backbone)
    expect(
        config.decoder in network.decoders,
        "decoder",
        f"one of {', '.join(network.decoders)} for {config.model}",
        config.decoder,
    )
    expect(
        config.backbone_weights != "imagenet" or backbone is None or backbone.downloads,
        "backbone_weights",
        f"none, or a file of {config.backbone} that convert.py made, since Keras has no weights of "
        "it to download",
        config.backbone_weights,
    )
    size, stride = config.input_size, network.stride
    expect(
        stride <= size <= 8192 and size % stride == 0,
        "input_size",
        f"a multiple of {stride} up to 8192 for {config.model}",
        size,
    )
    scales = config.multi_scale
    if scales is not None:
        numbers = scales and all(_fits(rate, float) for rate in scales)
        good = numbers and all(0 < rate <= 4 and round(size * rate / stride) for rate in scales)
        expect(
            good,
            "multi_scale",
            f"factors of `input_size` up to 4 that leave {stride} px or more",
            _join(scales),
        )
    _expect_one_of(("all", "one"), "scales_per_batch", config.scales_per_batch)
    one = config.scales_per_batch == "one"
    expect(scales or not one, "multi_scale", "the scales, with `scales_per_batch` one")


def _check_data(config: TrainConfig) -> None:
    fraction = config.data_split
    expect(0 < fraction < 0.5, "data_split", "a fraction above 0 and below 0.5", fraction)
    expect(config.cache_gb >= 0, "cache_gb", "0 or more gigabytes", config.cache_gb)
    _expect_one_of(AUGMENTATIONS, "augment", config.augment)
    mask_rule(config.label, config.ignore, config.mask_color)
    check_window(config.window)
    if config.folds is not None:
        expect(config.folds >= 2, "folds", "2 or more", config.folds)
        expect(
            not config.split_dir,
            "folds",
            "no `split_dir`, since the folds are drawn",
            config.split_dir,
        )


def check_window(window: Sequence[int] | None) -> None:
    """Raise `InputError` unless these are two levels of 16 bits, or there are none."""
    good = window is None or (
        len(window) == 2
        and all(_fits(level, int) for level in window)
        and 0 <= window[0] < window[1] < 2**16
    )
    expect(
        good, "window", "LOW HIGH from 0 to 65535, the lower first", _join(window or ["nothing"])
    )


def as_window(window: Sequence[int] | None) -> tuple[int, int] | None:
    """A checked window as a tuple, for `read_image`."""
    return (window[0], window[1]) if window else None


def _check_training(config: TrainConfig) -> None:
    expect(1 <= config.epochs <= 100_000, "epochs", "1 to 100000", config.epochs)
    expect(config.batch_size >= 1, "batch_size", "1 or more", config.batch_size)
    expect(config.accumulate >= 1, "accumulate", "1 or more steps", config.accumulate)
    expect(0 < config.lr < 1, "lr", "a learning rate above 0 and below 1", config.lr)
    _expect_one_of(("adam", "adamw", "sgd"), "optimizer", config.optimizer)
    decay, optimizer = config.weight_decay, config.optimizer
    expect(0 <= decay <= 1, "weight_decay", "0 (off), or a number up to 1", decay)
    expect(optimizer != "adam" or not decay, "weight_decay", "0 for adam; use adamw", decay)
    expect(optimizer != "adamw" or decay, "weight_decay", "more than 0 for adamw", decay)
    _expect_one_of(("cosine", "poly", "constant", "step"), "schedule", config.schedule)
    expect(config.empty in ("skip", "one"), "empty", "skip or one", config.empty)
    expect(config.patience >= 1, "patience", "1 or more epochs", config.patience)
    expect(config.clip_value >= 0, "clip_value", "0 (off) or more", config.clip_value)
    expect(0 <= config.ema < 1, "ema", "0 (off), or a momentum below 1 such as 0.99", config.ema)
    if config.crop is not None:
        size = config.input_size
        expect(
            size / 2 <= config.crop < size,
            "crop",
            f"at least half of the {size} px of `input_size`, and less than it",
            config.crop,
        )
        expect(config.augment == "full", "crop", "`augment` full with it", config.augment)
    for name in ("crop_share", "crop_foreground"):
        share = getattr(config, name)
        expect(0 <= share <= 1, name, "a probability from 0 to 1", share)
        without = config.crop is None and share != getattr(TrainConfig, name)
        expect(not without, name, "`crop` beside it", share)
    share = config.color_exchange
    expect(0 <= share <= 1, "color_exchange", "0 (off), or a probability up to 1", share)
    network = NETWORKS[config.model]
    _expect_one_of(LOSSES, "loss", config.loss or network.loss)
    weights = config.map_weights
    if weights is not None:
        numbers = all(_fits(weight, float) and 0 <= weight <= 1e9 for weight in weights)
        expect(
            numbers and len(weights) == network.maps and sum(weights) > 0,
            "map_weights",
            f"{network.maps} numbers of 0 or more, not all 0, for {config.model}",
            _join(weights),
        )
    _expect_one_of(MAP_SUMS, "map_sums", config.map_sums)
    summed = network.maps > 1 or config.map_sums == "none"
    expect(summed, "map_sums", f"none for {config.model}, which has one map", config.map_sums)
    _expect_one_of(PRECISIONS, "precision", config.precision)
    expect(0 <= config.seed < 2**32, "seed", "an integer from 0 to 2^32 - 1", config.seed)
    if config.seeds is not None:
        expect(config.seeds >= 2, "seeds", "2 or more", config.seeds)
        expect(config.folds is None, "seeds", "either `folds` or `seeds`", "both")
        highest = config.seed + config.seeds - 1
        expect(highest < 2**32, "seeds", "seeds up to 2^32 - 1", highest)


def _check_devices(config: TrainConfig) -> None:
    expect(config.devices in ("one", "all"), "devices", "one or all", config.devices)
    address, count = config.coordinator, config.num_processes
    good = address is None or re.fullmatch(r".+:\d+", address)
    expect(good, "coordinator", "HOST:PORT", address)
    expect(count is None or count >= 1, "num_processes", "1 or more", count)


def _expect_one_of(names: Iterable[str], argument: str, name: str) -> None:
    expect(name in names, argument, f"one of {', '.join(names)}", name)


def _is_text(value: str) -> bool:
    """Whether the text is not empty and can be the name of a file."""
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return value != "" and "\0" not in value


def _join(values: Iterable[Any]) -> str:
    return " ".join(str(value) for value in values)


def read_config(path: str | os.PathLike[str], argument: str = "config") -> dict[str, Any]:
    """Read the values of a run's `config.json`.

    Raises:
        InputError: it is no JSON object, a key is unknown or listed twice, or a value has the wrong
            type; the error names `argument`.
    """
    with reading(path, "a JSON object with option names as keys", argument):
        values = json.loads(
            Path(path).read_text(encoding="utf-8-sig"), object_pairs_hook=_without_duplicates
        )
        if not isinstance(values, dict):
            raise ValueError("not an object")
    fields = {
        field.name: field.type
        for field in dataclasses.fields(TrainConfig)
        if field.name not in OF_THIS_START
    }
    for key, value in values.items():
        if key not in fields:
            raise InputError(f"unknown key {key!r} in {path}{nearest(key, fields)}", argument)
        if not _fits(value, fields[key]):
            raise InputError(
                f"expected {_words(fields[key])} for {key!r} in {path}, got {value!r}", argument
            )
    return values


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key is listed twice")
    return values


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value from JSON has the type of a field; the items of a list are checked later."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    kinds = tuple(typing.get_origin(part) or part for part in kinds)
    if float in kinds:
        kinds += (int,)
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _words(kind: Any) -> str:
    """A type in words: `"a whole number or null"` for `int | None`."""
    names = {
        "int": "a whole number",
        "float": "a number",
        "str": "text",
        "list[float]": "a list",
        "bool": "true or false",
        "None": "null",
    }
    text = kind.__name__ if isinstance(kind, type) else str(kind)
    return " or ".join(names.get(part, part) for part in text.split(" | "))
