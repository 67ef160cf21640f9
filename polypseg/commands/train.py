"""Train a segmentation network: `python train.py --data-path DIR`; `--help` lists the options."""

import importlib.util
import shlex

from polypseg.console.parser import Parser
from polypseg.console.progress import TrainingProgress
from polypseg.console.run import warn
from polypseg.console.signals import Signals
from polypseg.errors import InputError
from polypseg.experiment.config import OF_THIS_START, TrainConfig, read_config
from polypseg.experiment.registry import BACKBONES, LOSSES, NETWORKS, PRECISIONS
from polypseg.files import check_writable
from polypseg.runtime import command, load_tensorflow

BESIDE_RESUME = ("data_path", "cache_gb", "devices", *OF_THIS_START)


def parse(arguments=None):
    """The checked `TrainConfig` of a command line."""
    defaults = TrainConfig()
    own = ", ".join(f"{network.loss} for {name}" for name, network in NETWORKS.items())
    parser = Parser("Train a segmentation network on a folder of images and masks.", defaults)
    group = parser.group("data")
    group(
        "--data-path", metavar="DIR", help="folder with images/ and masks/, files matched by stem"
    )
    group(
        "--split-dir",
        "--split-file",
        metavar="PATH",
        help="given split: a folder with train.txt, val.txt, test.txt; their common prefix; or a "
        "CSV stem,subset",
    )
    group(
        "--data-split",
        type=float,
        metavar="F",
        help="without --split-dir: fraction for val, and again for test",
    )
    group(
        "--group-by",
        metavar="REGEX",
        help="pictures whose stems match alike (one patient) are never parted",
    )
    group(
        "--folds",
        type=int,
        metavar="K",
        help="cross-validation: K runs, each tested on another Kth of the pictures",
    )
    group(
        "--cache-gb",
        type=float,
        metavar="GB",
        help="decoded pictures beyond this size go to a temporary file",
    )
    group = parser.group("network")
    group("--model", metavar="NAME", help=" | ".join(NETWORKS))
    group("--backbone", metavar="NAME", help=f"of PraNet: {' | '.join(BACKBONES)}")
    group("--backbone-weights", metavar="W", help="imagenet | none | path of a .h5 file")
    group(
        "--start-from",
        metavar="PATH",
        help="begin with the weights of a trained network: a run folder or a .keras file, which "
        "also says --model, --backbone and --input-size",
    )
    group(
        "--input-size",
        "--inputsize",
        type=int,
        metavar="PX",
        help="height and width the network sees",
    )
    group(
        "--multi-scale",
        type=float,
        nargs="+",
        metavar="F",
        help="train on each batch at these multiples of the input size, one step each; PraNet's "
        "authors: 0.75 1 1.25",
    )
    group = parser.group("training")
    group("--epochs", "--epoch", type=int, metavar="N", help="passes over the training pictures")
    group("--batch-size", "--batchsize", type=int, metavar="N", help="pictures a step")
    group(
        "--accumulate",
        type=int,
        metavar="N",
        help="add up the gradients of N steps: an effective batch N times as large",
    )
    group("--lr", type=float, metavar="LR", help="highest learning rate of Adam")
    group(
        "--schedule",
        metavar="NAME",
        help="cosine | constant, after a warm-up; step: a tenth every 50 epochs, as PraNet's "
        "authors",
    )
    group(
        "--patience",
        type=int,
        metavar="N",
        help="stop after N epochs without a better validation Dice",
    )
    group(
        "--clip-value",
        "--gclip",
        type=float,
        metavar="C",
        help="clip each gradient to [-C, C]; 0: off",
    )
    group(
        "--augment",
        metavar="NAME",
        help="full (flips, turns, zoom, colour, blur) | flips (and quarter turns) | none",
    )
    group(
        "--ema",
        type=float,
        metavar="M",
        help="validate and keep the moving average of the weights, momentum M; 0: off",
    )
    group("--loss", metavar="NAME", help=f"{' | '.join(LOSSES)} (default: {own})")
    group(
        "--map-weights",
        type=float,
        nargs="+",
        metavar="W",
        help="weight of each side output, coarse to fine (default: 1)",
    )
    group("--precision", metavar="NAME", help=" | ".join(PRECISIONS))
    group(
        "--seed",
        type=int,
        below=2**32,
        metavar="N",
        help="of split, order, augmentation and initial weights",
    )
    group(
        "--deterministic",
        action="store_true",
        help="the same numbers bit for bit on the same machine; slower",
    )
    group = parser.group("run")
    group("--trained-model-path", metavar="DIR", help="where the run folder is made")
    group("--logdir", metavar="DIR", help="TensorBoard logs (default: in the run folder)")
    group("--config", metavar="FILE", help="config.json of a run to repeat; options given here win")
    group(
        "--resume",
        metavar="RUN",
        help="go on with an interrupted run; beside it only --data-path, if the data have moved, "
        "--cache-gb and --devices",
    )
    group = parser.group("several devices")
    group(
        "--devices",
        metavar="NAME",
        help="one | all: each batch is divided among all GPUs, of all processes under "
        "KERAS_BACKEND=jax",
    )
    group(
        "--coordinator",
        metavar="HOST:PORT",
        help="where the processes meet: the first one's address (Slurm says it by itself)",
    )
    group("--num-processes", type=int, metavar="N", help="how many there are")
    group(
        "--process-id",
        type=int,
        metavar="I",
        help="which one this is, from 0; the first one writes the run folder",
    )
    given = parser.parse(arguments)
    if "resume" in given:
        return resumed_config(given)
    from_file = read_config(given.pop("config")) if "config" in given else {}
    if "start_from" not in given:
        return TrainConfig(**(from_file | given)).check()

    from polypseg.experiment.trained import started_from  # heavy: after the arguments

    if "backbone_weights" not in given:  # a file's are of the run that it repeats
        from_file.pop("backbone_weights", None)
    return TrainConfig(**started_from(from_file | given)).check()


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
    return TrainConfig(**(run.config | given | {"resume": str(run.folder)})).check()


def main():
    config = parse()
    check_writable(config.resume or config.trained_model_path)

    load_tensorflow()  # heavy: after the arguments
    from polypseg.training.devices import join, one_run_folder

    if config.logdir and importlib.util.find_spec("tensorboard") is None:
        note = "nothing is written there without the package tensorboard (pip install tensorboard)"
        warn(f"note: --logdir: {note}")
    join(config)
    with one_run_folder(config) as config:
        verify_and_train(config)


def verify_and_train(config):
    from polypseg.experiment.checkpoint import progress as progress_of
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
            f"unchanged since the run began\nresume: {config.resume}, {progress_of(config)}",
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
