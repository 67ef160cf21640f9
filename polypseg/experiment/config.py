"""Options of a training run: defaults, `config.json`, checks."""

import dataclasses
import json
import os
import re
import types
import typing
from dataclasses import dataclass
from pathlib import Path

from polypseg.errors import InputError, expect, nearest, reading
from polypseg.options import option

from .registry import AUGMENTATIONS, BACKBONES, LOSSES, NETWORKS, PRECISIONS

OF_THIS_START = ("resume", "coordinator", "num_processes", "process_id")  # not stored


_OWN_LOSSES = ", ".join(f"{network.loss} for {name}" for name, network in NETWORKS.items())


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All that a training run depends on; `config.json` of a run folder holds it."""

    data_path: str | None = option(
        None, "data", "folder with images/ and masks/, files matched by stem", "DIR"
    )
    split_dir: str | None = option(
        None,
        "data",
        "given split: a folder with train.txt, val.txt, test.txt; their common prefix; or a CSV "
        "stem,subset",
        "PATH",
        "--split-file",
    )
    data_split: float = option(
        0.1, "data", "without `split_dir`: fraction for val, and again for test", "F"
    )
    group_by: str | None = option(
        None,
        "data",
        "images whose stems match alike (one patient) are never split",
        "REGEX",
    )
    folds: int | None = option(
        None, "data", "cross-validation: K runs, each tested on another Kth of the images", "K"
    )
    cache_gb: float = option(
        4.0, "data", "decoded images beyond this size go to a temporary file", "GB"
    )
    model: str = option("pranet", "network", " | ".join(NETWORKS), "NAME")
    backbone: str = option("resnet50", "network", f"of PraNet: {' | '.join(BACKBONES)}", "NAME")
    backbone_weights: str = option(
        "imagenet", "network", "imagenet | none | path of a .h5 file", "W"
    )
    start_from: str | None = option(
        None,
        "network",
        "begin with the weights of a trained network: a run folder or a .keras file, which also "
        "says `model`, `backbone` and `input_size`",
        "PATH",
    )
    input_size: int = option(
        352, "network", "height and width the network sees", "PX", "--inputsize"
    )
    multi_scale: list[float] | None = option(
        None,
        "network",
        "train on each batch at these multiples of the input size, one step each; PraNet's "
        "authors: 0.75 1 1.25",
        "F",
    )
    epochs: int = option(40, "training", "passes over the training images", "N", "--epoch")
    batch_size: int = option(16, "training", "images a step", "N", "--batchsize")
    accumulate: int = option(
        1,
        "training",
        "add up the gradients of N steps: an effective batch N times as large",
        "N",
    )
    lr: float = option(1e-3, "training", "highest learning rate of Adam", "LR")
    schedule: str = option(
        "cosine",
        "training",
        "cosine | constant, after a warm-up; step: a tenth every 50 epochs, as PraNet's authors",
        "NAME",
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
        "full (flips, turns, zoom, colour, blur) | flips (and quarter turns) | none",
        "NAME",
    )
    ema: float = option(
        0.0,
        "training",
        "validate and keep the moving average of the weights, momentum M; 0: off",
        "M",
    )
    loss: str | None = option(
        None, "training", f"{' | '.join(LOSSES)} (default: {_OWN_LOSSES})", "NAME"
    )
    map_weights: list[float] | None = option(
        None, "training", "weight of each side output, coarse to fine (default: 1)", "W"
    )
    precision: str = option("float32", "training", " | ".join(PRECISIONS), "NAME")
    seed: int = option(
        12, "training", "of split, order, augmentation and initial weights", "N", below=2**32
    )
    deterministic: bool = option(
        False, "training", "the same numbers bit for bit on the same machine; slower"
    )
    trained_model_path: str = option("runs", "run", "where the run folder is made", "DIR")
    logdir: str | None = option(None, "run", "TensorBoard logs (default: in the run folder)", "DIR")
    resume: str | None = option(
        None,
        "run",
        "go on with an interrupted run; beside it only `data_path`, if the data have moved, "
        "`cache_gb` and `devices`",
        "RUN",
    )
    devices: str = option(
        "one",
        "several devices",
        "one | all: each batch is divided among all GPUs, of all processes under KERAS_BACKEND=jax",
        "NAME",
    )
    coordinator: str | None = option(
        None,
        "several devices",
        "where the processes meet: the first one's address (Slurm says it by itself)",
        "HOST:PORT",
    )
    num_processes: int | None = option(None, "several devices", "how many there are", "N")
    process_id: int | None = option(
        None,
        "several devices",
        "which one this is, from 0; the first one writes the run folder",
        "I",
    )

    def resolved(self) -> "TrainConfig":
        """The same, checked, with the network's own loss where none is given.

        Raises:
            InputError: the first value that is out of range.
        """
        expect(self.data_path, "data_path", "a folder with images/ and masks/")
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, str):
                expect(_is_text(value), name, "text", repr(value))
            elif isinstance(value, int) and name != "seed":
                expect(value < 2**31, name, "a number below 2^31", value)
        expect(self.model in NETWORKS, "model", f"one of {', '.join(NETWORKS)}", self.model)
        network = NETWORKS[self.model]
        loss = self.loss or network.loss
        size, stride = self.input_size, network.stride
        expect(
            0 < self.data_split < 0.5,
            "data_split",
            "a fraction above 0 and below 0.5",
            self.data_split,
        )
        expect(self.cache_gb >= 0, "cache_gb", "0 or more gigabytes", self.cache_gb)
        expect(
            self.backbone in BACKBONES,
            "backbone",
            f"one of {', '.join(BACKBONES)}",
            self.backbone,
        )
        backbone = network.backbones.get(self.backbone)
        expect(
            self.backbone_weights != "imagenet" or backbone is None or backbone.downloads,
            "backbone_weights",
            f"none, or for {self.backbone} a file that convert.py made, since Keras has none to "
            "download",
            self.backbone_weights,
        )
        expect(
            stride <= size <= 8192 and size % stride == 0,
            "input_size",
            f"a multiple of {stride} up to 8192 for {self.model}",
            size,
        )
        if self.folds is not None:
            expect(self.folds >= 2, "folds", "2 or more", self.folds)
            expect(
                not self.split_dir,
                "folds",
                "no `split_dir` beside it, since the folds are drawn",
                self.split_dir,
            )
        scales = self.multi_scale
        if scales is not None:
            numbers = scales and all(_fits(rate, float) for rate in scales)
            good = numbers and all(0 < rate <= 4 and round(size * rate / stride) for rate in scales)
            expect(
                good,
                "multi_scale",
                f"factors of `input_size` up to 4 that leave {stride} px or more",
                _join(scales),
            )
        expect(1 <= self.epochs <= 100_000, "epochs", "1 to 100000", self.epochs)
        expect(self.batch_size >= 1, "batch_size", "1 or more", self.batch_size)
        expect(self.accumulate >= 1, "accumulate", "1 or more steps", self.accumulate)
        expect(0 < self.lr < 1, "lr", "a learning rate above 0 and below 1", self.lr)
        expect(
            self.schedule in ("cosine", "step", "constant"),
            "schedule",
            "cosine, step or constant",
            self.schedule,
        )
        expect(self.patience >= 1, "patience", "1 or more epochs", self.patience)
        expect(self.clip_value >= 0, "clip_value", "0 (off) or more", self.clip_value)
        expect(
            self.augment in AUGMENTATIONS,
            "augment",
            f"one of {', '.join(AUGMENTATIONS)}",
            self.augment,
        )
        expect(0 <= self.ema < 1, "ema", "0 (off), or a momentum below 1 as 0.99", self.ema)
        expect(loss in LOSSES, "loss", f"one of {', '.join(LOSSES)}", loss)
        weights = self.map_weights
        if weights is not None:
            numbers = all(_fits(weight, float) and 0 <= weight <= 1e9 for weight in weights)
            expect(
                numbers and len(weights) == network.maps and sum(weights) > 0,
                "map_weights",
                f"{network.maps} numbers of 0 or more, not all 0, for {self.model}",
                _join(weights),
            )
        expect(
            self.precision in PRECISIONS,
            "precision",
            f"one of {', '.join(PRECISIONS)}",
            self.precision,
        )
        expect(self.devices in ("one", "all"), "devices", "one or all", self.devices)
        place = self.coordinator
        expect(place is None or re.fullmatch(r".+:\d+", place), "coordinator", "HOST:PORT", place)
        expect(
            self.num_processes is None or self.num_processes >= 1,
            "num_processes",
            "1 or more",
            self.num_processes,
        )
        expect(0 <= self.seed < 2**32, "seed", "a whole number of 0 or more", self.seed)
        return dataclasses.replace(self, loss=loss)

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


def _is_text(value):
    """Whether it is a text that a file's name can be."""
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return value != "" and "\0" not in value


def _join(values):
    return " ".join(str(value) for value in values)


def read_config(path, argument="config"):
    """The values of a run's `config.json`, as a dict. Raises `InputError`."""
    with reading(path, "a JSON object with option names as keys", argument):
        values = json.loads(
            Path(path).read_text(encoding="utf-8-sig"), object_pairs_hook=_without_twins
        )
        if not isinstance(values, dict):
            raise ValueError("another value")
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


def _without_twins(pairs):
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key is there twice")
    return values


def _fits(value, kind):
    """Whether a value from JSON is of a field's type; that of a list's items is checked later."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    kinds = tuple(typing.get_origin(part) or part for part in kinds)
    if float in kinds:
        kinds += (int,)
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _words(kind):
    names = {
        "int": "a whole number",
        "float": "a number",
        "str": "text",
        "list[float]": "a list",
        "bool": "true or false",
        "None": "null",
    }
    text = getattr(kind, "__name__", None) if isinstance(kind, type) else str(kind)
    return " or ".join(names.get(part, part) for part in text.split(" | "))
