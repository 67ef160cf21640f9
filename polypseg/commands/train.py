"""Train a segmentation network: `python train.py --data-path DIR`; `--help` lists the options."""

from collections.abc import Sequence
from dataclasses import dataclass

from polypseg.console.parser import given_options
from polypseg.experiment.config import TrainConfig
from polypseg.files import check_writable
from polypseg.options import option
from polypseg.runtime import keep_freed_memory, load_tensorflow

from .network import limit_megapixels, megapixels_option


@dataclass(frozen=True, kw_only=True)
class TrainOptions(TrainConfig):
    """Options of `train.py`: those of the run, and a file from which they can be read."""

    config: str | None = option(
        None,
        "run",
        "config.json of a run to repeat; other options on the command line override its values",
        "FILE",
    )
    # How images are read is no property of a run, so this is not stored.
    max_megapixels: int = megapixels_option("data")


def parse(arguments: Sequence[str] | None = None) -> TrainConfig:
    """The checked `TrainConfig` of a command line. Raises `InputError`."""
    description = "Train a segmentation network on a folder of images and masks."
    given = given_options(TrainOptions, description, arguments)
    limit_megapixels(given.pop("max_megapixels", TrainOptions.max_megapixels))

    from polypseg.experiment.start import config_from_options  # slow, so after the arguments

    return config_from_options(given)


def main() -> None:
    config = parse()
    argument = "resume" if config.resume else "trained_model_path"
    check_writable(getattr(config, argument), argument)
    keep_freed_memory()
    load_tensorflow()

    from .training_run import run_training  # slow, so after the arguments

    run_training(config)
