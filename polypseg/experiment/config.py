"""Options of a training run: defaults, command line, `config.json`, checks."""

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

from polypseg.console.arguments import Parser, UserError, expect, nearest
from .registry import AUGMENTATIONS, BACKBONES, LOSSES, NETWORKS, PRECISIONS
from .run_folder import find_run


OF_THIS_START = ("resume", "coordinator", "num_processes", "process_id")  # not stored
BESIDE_RESUME = ("data_path", "cache_gb", "devices", *OF_THIS_START)


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
        """Raise `UserError` for the first value out of range; fill in what depends on the model."""
        expect(self.data_path, "--data-path", "a folder with images/ and masks/")
        expect(self.model in NETWORKS, "--model", f"one of {', '.join(NETWORKS)}", self.model)
        network = NETWORKS[self.model]
        self.loss = self.loss or network.loss
        size, stride = self.input_size, network.stride
        expect(0 < self.data_split < 0.5, "--data-split", "a fraction above 0 and below 0.5", self.data_split)
        expect(self.cache_gb >= 0, "--cache-gb", "0 or more gigabytes", self.cache_gb)
        expect(self.backbone in BACKBONES, "--backbone", f"one of {', '.join(BACKBONES)}", self.backbone)
        downloaded = self.model != "pranet" or self.backbone != "res2net50" or self.backbone_weights != "imagenet"
        expect(
            downloaded, "--backbone-weights", "none, or for res2net50 a file that python -m pranet.convert made, "
            "since Keras has none to download", self.backbone_weights,
        )
        expect(
            size >= stride and size % stride == 0, "--input-size", f"a multiple of {stride} for {self.model}", size
        )
        if self.folds is not None:
            expect(self.folds >= 2, "--folds", "2 or more", self.folds)
            expect(not self.split_dir, "--folds", "no --split-dir beside it, since the folds are drawn", self.split_dir)
        scales = self.multi_scale
        if scales is not None:
            numbers = scales and all(isinstance(rate, int | float) for rate in scales)
            good = numbers and all(0 < rate <= 4 and round(size * rate / stride) for rate in scales)
            expect(good, "--multi-scale", f"factors of --input-size up to 4 that leave {stride} px or more", _join(scales))
        expect(self.epochs >= 1, "--epochs", "1 or more", self.epochs)
        expect(self.batch_size >= 1, "--batch-size", "1 or more", self.batch_size)
        expect(self.accumulate >= 1, "--accumulate", "1 or more steps", self.accumulate)
        expect(0 < self.lr < 1, "--lr", "a learning rate above 0 and below 1", self.lr)
        expect(self.schedule in ("cosine", "step", "constant"), "--schedule", "cosine, step or constant", self.schedule)
        expect(self.patience >= 1, "--patience", "1 or more epochs", self.patience)
        expect(self.clip_value >= 0, "--clip-value", "0 (off) or more", self.clip_value)
        expect(self.augment in AUGMENTATIONS, "--augment", f"one of {', '.join(AUGMENTATIONS)}", self.augment)
        expect(0 <= self.ema < 1, "--ema", "0 (off), or a momentum below 1 as 0.99", self.ema)
        expect(self.loss in LOSSES, "--loss", f"one of {', '.join(LOSSES)}", self.loss)
        weights = self.map_weights
        if weights is not None:
            numbers = all(isinstance(weight, int | float) for weight in weights)
            expect(
                numbers and len(weights) == network.maps and min(weights) >= 0 and sum(weights) > 0,
                "--map-weights", f"{network.maps} numbers of 0 or more, not all 0, for {self.model}",
                _join(weights),
            )
        expect(self.precision in PRECISIONS, "--precision", f"one of {', '.join(PRECISIONS)}", self.precision)
        expect(self.devices in ("one", "all"), "--devices", "one or all", self.devices)
        place = self.coordinator
        expect(place is None or re.fullmatch(r".+:\d+", place), "--coordinator", "HOST:PORT", place)
        expect(self.num_processes is None or self.num_processes >= 1, "--num-processes", "1 or more", self.num_processes)
        expect(0 <= self.seed < 2**32, "--seed", "a whole number of 0 or more", self.seed)
        return self

    def to_json(self):
        values = dataclasses.asdict(self)
        return json.dumps({name: value for name, value in values.items() if name not in OF_THIS_START}, indent=2) + "\n"


def _join(values):
    return " ".join(str(value) for value in values)


def read_config(path, argument="--config"):
    """The values of a run's `config.json`, as a dict. Raises `UserError`."""
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{argument}: expected a readable file, got {path} ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{argument}: expected JSON, got {path} ({error})") from error
    expect(isinstance(values, dict), argument, "an object with option names as keys", path)
    fields = {field.name: field.type for field in dataclasses.fields(TrainConfig) if field.name not in OF_THIS_START}
    for key, value in values.items():
        if key not in fields:
            raise UserError(f"{argument}: unknown key {key!r} in {path}{nearest(key, fields)}")
        if not _fits(value, fields[key]):
            raise UserError(f"{argument}: expected {_words(fields[key])} for {key!r} in {path}, got {value!r}")
    return values


def _fits(value, kind):
    if kind is float:
        kind = int | float
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _words(kind):
    names = {
        "int": "a whole number", "float": "a number", "str": "text", "list": "a list", "bool": "true or false", "None": "null",
    }
    text = getattr(kind, "__name__", None) if isinstance(kind, type) else str(kind)
    return " or ".join(names.get(part, part) for part in text.split(" | "))


def parse_train(arguments=None):
    """The checked `TrainConfig` of a command line."""
    defaults = TrainConfig()
    parser = Parser("train.py", "Train a segmentation network on a folder of images and masks.", defaults)
    group = parser.group("data")
    group("--data-path", metavar="DIR", help="folder with images/ and masks/, files matched by stem")
    group("--split-dir", "--split-file", metavar="PATH",
          help="given split: a folder with train.txt, val.txt, test.txt; their common prefix; or a CSV stem,subset")
    group("--data-split", type=float, metavar="F", help="without --split-dir: fraction for val, and again for test")
    group("--group-by", metavar="REGEX", help="pictures whose stems match alike (one patient) are never parted")
    group("--folds", type=int, metavar="K", help="cross-validation: K runs, each tested on another Kth of the pictures")
    group("--cache-gb", type=float, metavar="GB", help="decoded pictures beyond this size go to a temporary file")
    group = parser.group("network")
    group("--model", metavar="NAME", help=" | ".join(NETWORKS))
    group("--backbone", metavar="NAME", help=f"of PraNet: {' | '.join(BACKBONES)}")
    group("--backbone-weights", metavar="W", help="imagenet | none | path of a .h5 file")
    group("--input-size", "--inputsize", type=int, metavar="PX", help="height and width the network sees")
    group("--multi-scale", type=float, nargs="+", metavar="F",
          help="train on each batch at these multiples of the input size, one step each; PraNet's authors: 0.75 1 1.25")
    group = parser.group("training")
    group("--epochs", "--epoch", type=int, metavar="N", help="passes over the training pictures")
    group("--batch-size", "--batchsize", type=int, metavar="N", help="pictures a step")
    group("--accumulate", type=int, metavar="N", help="add up the gradients of N steps: an effective batch N times as large")
    group("--lr", type=float, metavar="LR", help="highest learning rate of Adam")
    group("--schedule", metavar="NAME",
          help="cosine | constant, after a warm-up; step: a tenth every 50 epochs, as PraNet's authors")
    group("--patience", type=int, metavar="N", help="stop after N epochs without a better validation Dice")
    group("--clip-value", "--gclip", type=float, metavar="C", help="clip each gradient to [-C, C]; 0: off")
    group("--augment", metavar="NAME", help="full (flips, turns, zoom, colour, blur) | flips (and quarter turns) | none")
    group("--ema", type=float, metavar="M", help="validate and keep the moving average of the weights, momentum M; 0: off")
    group("--loss", metavar="NAME", help=f"{' | '.join(LOSSES)} (default: structure for pranet, dice for attention_unet)")
    group("--map-weights", type=float, nargs="+", metavar="W", help="weight of each side output, coarse to fine (default: 1)")
    group("--precision", metavar="NAME", help=" | ".join(PRECISIONS))
    group("--seed", type=int, metavar="N", help="of split, order, augmentation and initial weights")
    group("--deterministic", action="store_true", help="the same numbers bit for bit on the same machine; slower")
    group = parser.group("run")
    group("--trained-model-path", metavar="DIR", help="where the run folder is made")
    group("--logdir", metavar="DIR", help="TensorBoard logs (default: in the run folder)")
    group("--config", metavar="FILE", help="config.json of a run to repeat; options given here win")
    group("--resume", metavar="RUN",
          help="go on with an interrupted run; beside it only --data-path, if the data have moved, --cache-gb and --devices")
    group = parser.group("several devices")
    group("--devices", metavar="NAME", help="one | all: each batch is divided among all GPUs, of all processes under KERAS_BACKEND=jax")
    group("--coordinator", metavar="HOST:PORT", help="where the processes meet: the first one's address (Slurm says it by itself)")
    group("--num-processes", type=int, metavar="N", help="how many there are")
    group("--process-id", type=int, metavar="I", help="which one this is, from 0; the first one writes the run folder")
    given = parser.parse(arguments)
    if "resume" in given:
        return resumed_config(given)
    from_file = read_config(given.pop("config")) if "config" in given else {}
    return TrainConfig(**(from_file | given)).check()


def resumed_config(given):
    """The `TrainConfig` of the run that `given["resume"]` names. Raises `UserError`."""
    for name in given:
        if name not in BESIDE_RESUME:
            option = "--" + name.replace("_", "-")
            raise UserError(f"{option}: expected only --data-path, --cache-gb and --devices beside --resume, whose run keeps its options")
    folder = find_run(given["resume"], "--resume")
    return TrainConfig(**(read_config(folder / "config.json", "--resume") | given | {"resume": str(folder)})).check()
