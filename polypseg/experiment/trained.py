"""A trained network that a new run begins with: a run of ours, or a `.keras` file."""

import json
import os
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from polypseg.errors import InputError, Note, expect, reading

from .config import TrainConfig
from .fingerprints import FILES, read_fingerprints
from .registry import NETWORKS
from .run import LISTS, START, open_run


class Trained(NamedTuple):
    """The file of a trained network, and its values of the options that describe it."""

    path: Path
    options: dict[str, Any]


def find_trained(path: str | Path) -> Trained:
    """The network of a run (its best one), or of a `.keras` file.

    Raises:
        InputError: neither, a damaged file, or a run without a finished epoch.
    """
    path = Path(path)
    if os.path.isfile(path):
        return Trained(path, _options_of(path))
    run = open_run(path, "start_from")
    expect(run.best.is_file(), "start_from", "a run with a finished epoch", run.folder)
    config = TrainConfig(**run.config)  # an early one lacks some
    names = ("model", "backbone", "input_size")
    return Trained(run.best, {name: getattr(config, name) for name in names})


def _options_of(path: Path) -> dict[str, Any]:
    """Read them from the configuration that Keras keeps in the file."""
    with (
        reading(path, "a .keras file of this toolkit", "start_from"),
        zipfile.ZipFile(path) as archive,
    ):
        saved = json.loads(archive.read("config.json"))
        name = saved["module"].rpartition(".")[0].rpartition(".")[2]  # the folder's
        kept = {key: saved["config"].get(key) for key in ("backbone", "input_size")}
        expect(name in NETWORKS, "start_from", f"a network, {' or '.join(NETWORKS)}", path)
    return {"model": name} | {key: value for key, value in kept.items() if value is not None}


def start_path(config: TrainConfig) -> Path | None:
    """The file that a run begins with, where there is one; a run that is resumed has it itself.
    Raises `InputError`.
    """
    if not config.start_from:
        return None
    own = Path(config.resume, START) if config.resume else None
    return own if own and own.exists() else find_trained(config.start_from).path


def note_seen(config: TrainConfig, hashes: Iterable[str | None]) -> None:
    """Give a `Note` where the run that is begun with was trained on images, or chosen by some, that
    this one is validated or tested on.

    Args:
        hashes: of the image files that it is validated or tested on.
    """
    if not config.start_from or not os.path.isdir(config.start_from):
        return
    folder = open_run(config.start_from, "start_from").folder
    if not os.path.exists(folder / FILES):
        return
    files, known = read_fingerprints(folder, "start_from"), set()
    for name in LISTS[:2]:  # train and val
        stems = (folder / name).read_text(encoding="utf-8").split("\n")
        known |= {files[stem][0] for stem in stems if stem}
    seen = len(known.intersection(hashes))
    if seen:
        warnings.warn(
            f"{seen} images to validate or test on are known to {config.start_from}, which was "
            "trained on them or chosen by them: scores on them say little about new images",
            Note,
            stacklevel=1,
        )


def started_from(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a run that begins with the network `options["start_from"]`: what describes it
    is taken from it.

    Raises:
        InputError: `options` name another network or backbone, or weights of a backbone.
    """
    if options.get("backbone_weights", "none") != "none":
        raise InputError(
            "cannot be given beside `start_from`, which brings all weights", "backbone_weights"
        )
    path, of_network = find_trained(options["start_from"])
    names = ["model"]
    if NETWORKS[of_network["model"]].backbones:
        names.append("backbone")
    for name in names:
        given = options.get(name, of_network[name])
        expect(given == of_network[name], name, f"{of_network[name]}, as in {path}", given)
    return of_network | options | {"backbone_weights": "none"}
