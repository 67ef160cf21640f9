"""The configuration of a run, from the options that are given: of a new run or a resumed one."""

import shlex
from collections.abc import Mapping
from typing import Any

from polypseg.errors import InputError
from polypseg.runtime import command

from .config import OF_THIS_START, TrainConfig, read_config
from .run import open_run
from .trained import started_from

BESIDE_RESUME = ("data_path", "cache_gb", "devices", *OF_THIS_START)


def config_from_options(given: Mapping[str, Any]) -> TrainConfig:
    """Complete and check the options that are given.

    Args:
        given: values by the names of the fields of `TrainConfig`; and `config`, the path of a
            `config.json` whose values are used for options that are not given.

    Raises:
        InputError: an option or a file that it names cannot be used.
    """
    if "resume" in given:
        return _resumed(given)
    options = {name: value for name, value in given.items() if name != "config"}
    stored = read_config(given["config"]) if "config" in given else {}
    if not (stored | options).get("start_from"):
        return TrainConfig(**(stored | options)).resolved()
    if "backbone_weights" not in given:  # those in the file are for the run that is repeated
        stored.pop("backbone_weights", None)
    return TrainConfig(**started_from(stored | options)).resolved()


def _resumed(given: Mapping[str, Any]) -> TrainConfig:
    """The options of the run in the folder `given["resume"]`."""
    for name in given:
        if name not in BESIDE_RESUME:
            hint = ""
            if name == "epochs":
                options = f"--start-from {shlex.quote(given['resume'])} --epochs {given['epochs']}"
                hint = f"; to train its network further: {command('train')} {options}"
            raise InputError(
                "cannot be given with `resume`, because the run keeps its options; only "
                f"`data_path`, `cache_gb`, `max_megapixels`, `no_export` and `devices` can{hint}",
                name,
            )
    run = open_run(given["resume"], "resume")
    # Runs of earlier versions have no `empty`, and count images without foreground.
    return TrainConfig(
        **{"empty": "one", **run.config, **given, "resume": str(run.folder)}
    ).resolved()
