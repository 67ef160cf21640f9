"""Options of a training run: defaults, `config.json`, checks."""

import dataclasses
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from polypseg.errors import InputError, expect, nearest, reading

from .registry import AUGMENTATIONS, BACKBONES, LOSSES, NETWORKS, PRECISIONS

OF_THIS_START = ("resume", "coordinator", "num_processes", "process_id")  # not stored


@dataclass
class TrainConfig:
    """All that a training run depends on; `config.json` of a run folder holds it."""

    data_path: str | None = None
    split_dir: str | None = None
    data_split: float = 0.1
    group_by: str | None = None
    folds: int | None = None
    cache_gb: float = 4.0
    model: str = "pranet"
    backbone: str = "resnet50"
    backbone_weights: str = "imagenet"
    start_from: str | None = None  # a run folder or a .keras file
    input_size: int = 352
    multi_scale: list | None = None
    epochs: int = 40
    batch_size: int = 16
    accumulate: int = 1
    lr: float = 1e-3
    schedule: str = "cosine"
    patience: int = 15
    clip_value: float = 0.5
    augment: str = "full"
    ema: float = 0.0
    loss: str | None = None
    map_weights: list | None = None
    precision: str = "float32"
    seed: int = 12
    deterministic: bool = False
    trained_model_path: str = "runs"
    logdir: str | None = None
    devices: str = "one"
    resume: str | None = None  # the run folder
    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None

    def check(self):
        """Raise `InputError` for the first value out of range; fill in what depends on the
        model.
        """
        expect(self.data_path, "data_path", "a folder with images/ and masks/")
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, str):
                expect(_is_text(value), name, "text", repr(value))
            elif isinstance(value, int) and name != "seed":
                expect(value < 2**31, name, "a number below 2^31", value)
        expect(self.model in NETWORKS, "model", f"one of {', '.join(NETWORKS)}", self.model)
        network = NETWORKS[self.model]
        self.loss = self.loss or network.loss
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
                "no --split-dir beside it, since the folds are drawn",
                self.split_dir,
            )
        scales = self.multi_scale
        if scales is not None:
            numbers = scales and all(_fits(rate, float) for rate in scales)
            good = numbers and all(0 < rate <= 4 and round(size * rate / stride) for rate in scales)
            expect(
                good,
                "multi_scale",
                f"factors of --input-size up to 4 that leave {stride} px or more",
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
        expect(self.loss in LOSSES, "loss", f"one of {', '.join(LOSSES)}", self.loss)
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
        return self

    def to_json(self):
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
    if kind is float:
        kind = int | float
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _words(kind):
    names = {
        "int": "a whole number",
        "float": "a number",
        "str": "text",
        "list": "a list",
        "bool": "true or false",
        "None": "null",
    }
    text = getattr(kind, "__name__", None) if isinstance(kind, type) else str(kind)
    return " or ".join(names.get(part, part) for part in text.split(" | "))
