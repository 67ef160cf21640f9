"""The trained network that a new run starts with: a run folder or a `.keras` file."""

import json
import os
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from polypseg.data.preparation import Preparation, in_words
from polypseg.errors import InputError, Note, expect, reading
from polypseg.layers.network import Network

from .config import TrainConfig
from .fingerprints import FILES, read_fingerprints
from .registry import NETWORKS
from .run import LISTS, START, open_run


class Trained(NamedTuple):
    """A trained network.

    Attributes:
        path: its `.keras` file.
        options: the values of `model`, `backbone`, `decoder` and `input_size` that describe it.
    """

    path: Path
    options: dict[str, Any]


def find_trained(path: str | Path) -> Trained:
    """Find the trained network at `path`: a `.keras` file, or the best network of a run folder.

    Raises:
        InputError: `path` is neither, a file is damaged, or the run has no finished epoch.
    """
    path = Path(path)
    if os.path.isfile(path):
        return Trained(path, _options_of(path))
    run = open_run(path, "start_from")
    expect(run.best.is_file(), "start_from", "a run with a finished epoch", run.folder)
    config = TrainConfig(**run.config)  # the first versions stored fewer options
    names = ("model", "backbone", "decoder", "input_size")
    return Trained(run.best, {name: getattr(config, name) for name in names})


def _options_of(path: Path) -> dict[str, Any]:
    """Read the options of `Trained` from the configuration that Keras saves in the file."""
    with (
        reading(path, "a .keras file of this toolkit", "start_from"),
        zipfile.ZipFile(path) as archive,
    ):
        saved = json.loads(archive.read("config.json"))
        name = saved["module"].rpartition(".")[0].rpartition(".")[2]  # of the network's folder
        options = {key: saved["config"].get(key) for key in ("backbone", "input_size")}
        expect(name in NETWORKS, "start_from", f"a network, {' or '.join(NETWORKS)}", path)
        options["decoder"] = _decoder_of(NETWORKS[name], saved["config"])
    return {"model": name} | {key: value for key, value in options.items() if value is not None}


def _decoder_of(network: Network, saved: Mapping[str, Any]) -> str | None:
    """The decoder that has the arguments in a saved configuration; None if there is none."""
    first, *_ = network.decoders.values()
    found = {key: saved.get(key, value) for key, value in first.items()}
    return next((name for name, values in network.decoders.items() if values == found), None)


def start_path(config: TrainConfig) -> Path | None:
    """The `.keras` file that a run starts with, or None. Raises `InputError`.

    A run that is resumed has its own copy.
    """
    if not config.start_from:
        return None
    copy = Path(config.resume, START) if config.resume else None
    return copy if copy and copy.exists() else find_trained(config.start_from).path


def seen_images(folder: Path, argument: str) -> set[str | None]:
    """Hashes of the images that a run was trained on or that chose its best epoch.

    Args:
        folder: of the run.
        argument: the argument that errors name.

    Returns:
        An empty set for a run of an early version, which did not store them.
    """
    if not os.path.exists(folder / FILES):
        return set()
    files = read_fingerprints(folder, argument)
    known: set[str | None] = set()
    for name in LISTS[:2]:  # train and val
        stems = (folder / name).read_text(encoding="utf-8").split("\n")
        known |= {files[stem][0] for stem in stems if stem}
    return known


def note_seen(config: TrainConfig, hashes: Iterable[str | None]) -> None:
    """Warn with a `Note` if the run in `start_from` has seen images of this run's val or test.

    It has seen the images that it was trained on, and those that chose its best epoch.

    Args:
        config: the options of this run.
        hashes: hashes of the image files that this run is validated and tested on.

    Raises:
        InputError: the run in `start_from` is damaged.
    """
    if not config.start_from or not os.path.isdir(config.start_from):
        return
    folder = open_run(config.start_from, "start_from").folder
    seen = len(seen_images(folder, "start_from").intersection(hashes))
    if seen:
        warnings.warn(
            f"{seen} images to validate or test on are known to {config.start_from}, which was "
            "trained on them or chosen by them: scores on them say little about new images",
            Note,
            stacklevel=1,
        )


def note_other_slices(config: TrainConfig, preparation: Preparation | None) -> None:
    """Warn with a `Note` if the run in `start_from` was trained on slices that were made otherwise.

    Args:
        config: the options of this run.
        preparation: of this run's data; None if they are no slices of volumes.

    Raises:
        InputError: the run in `start_from` is damaged.
    """
    if not config.start_from or not os.path.isdir(config.start_from):
        return
    known = open_run(config.start_from, "start_from").preparation
    if known and (preparation is None or known.differences(preparation)):
        warnings.warn(
            f"{config.start_from} was trained on other images ({known.describe()}) than those of "
            f"this run ({in_words(preparation)})",
            Note,
            stacklevel=1,
        )


def started_from(options: dict[str, Any]) -> dict[str, Any]:
    """Complete the options of a run that starts with the network in `options["start_from"]`.

    Args:
        options: the options that are given.

    Returns:
        These options with the `model`, `backbone`, `decoder` and `input_size` of that network,
        unless they are given; `backbone_weights` is `"none"`.

    Raises:
        InputError: there is no such network, another model, backbone or decoder is given, or
            weights of a backbone are.
    """
    if options.get("backbone_weights", "none") != "none":
        raise InputError(
            "cannot be given beside `start_from`, which brings all weights", "backbone_weights"
        )
    path, network = find_trained(options["start_from"])
    names = ["model"]
    if NETWORKS[network["model"]].backbones:
        names += [name for name in ("backbone", "decoder") if name in network]
    for name in names:
        given = options.get(name, network[name])
        expect(given == network[name], name, f"{network[name]}, as in {path}", given)
    return network | options | {"backbone_weights": "none"}
