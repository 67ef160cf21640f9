"""Several networks as one, which gives the mean of their logits."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from polypseg.data.images import Window
from polypseg.data.mask_rule import MASK_OPTIONS
from polypseg.data.preparation import Preparation, in_words
from polypseg.errors import InputError, expect
from polypseg.experiment.config import as_window
from polypseg.experiment.run import open_run
from polypseg.experiment.run_folder import finished_runs
from polypseg.files import digest, file_digest

from .formats import exported_as
from .formats.keras import KerasEngine, tempered

RULE = "mean of logits"

Where = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


class Member(NamedTuple):
    """A network of an ensemble.

    Attributes:
        path: of its run folder, or of its `.keras` file.
        file: its `.keras` file.
        config: the options of its run; {} for a file, which does not say them.
        preparation: how the slices of volumes of its training were made, as far as a run says so.
    """

    path: Path
    file: Path
    config: dict[str, Any]
    preparation: Preparation | None = None

    @property
    def run(self) -> Path | None:
        """The run folder, if there is one."""
        return self.path if self.config else None


def find_members(where: Where) -> list[Member]:
    """The networks of an ensemble.

    Args:
        where: the folder of a cross-validation or of several seeds, all of whose runs are members;
            or a list with run folders, such folders, and `.keras` files.

    Returns:
        The members; [] if `where` is the path of anything else.

    Raises:
        InputError: of the argument `ensemble` for a list, else of `model`: a path is none of these,
            a run is not trained, a member is listed twice, there is only one, or two runs have
            other masks, another window, or other slices of volumes.
    """
    if isinstance(where, str | os.PathLike):
        argument, paths = "model", finished_runs(where, "model")
        if not paths:
            return []
    else:
        argument, paths = "ensemble", []
        for path in map(Path, where):
            paths += finished_runs(path, argument) or [path]
    members = [_member(path, argument) for path in paths]
    expect(len(members) > 1, argument, "two or more networks", " ".join(map(str, paths)) or None)
    known: dict[str, Path] = {}
    for member in members:
        other = known.setdefault(os.path.realpath(member.file), member.path)
        expect(other is member.path, argument, "each network once", f"{member.path} twice")
    _check_agree(members, argument)
    return members


def _member(path: Path, argument: str) -> Member:
    if path.suffix == ".keras" and os.path.isfile(path):
        return Member(path, path, {})
    if os.path.exists(path) and exported_as(path):
        raise InputError(
            f"expected run folders or .keras files, got the exported file {path}; give the run "
            "that it was exported from",
            argument,
        )
    run = open_run(path, argument)
    expect(run.best.is_file(), argument, "runs with a finished epoch", run.folder)
    return Member(run.folder, run.best, run.config, run.preparation)


def _check_agree(members: Sequence[Member], argument: str) -> None:
    """Raise `InputError` if two runs were trained with other images or other foreground."""
    runs = [member for member in members if member.run]
    for name in ("window", *MASK_OPTIONS):
        for run in runs[1:]:
            first, other = (one.config.get(name) for one in (runs[0], run))
            expect(
                first == other,
                argument,
                f"runs with the same `{name}`",
                f"{_words(first)} in {runs[0].path} and {_words(other)} in {run.path}",
            )
    for run in runs[1:]:
        one, two = runs[0].preparation, run.preparation
        expect(
            one == two or (one and two and not one.differences(two)),
            argument,
            "runs with the same slices of volumes",
            f"{in_words(one)} in {runs[0].path} and {in_words(two)} in {run.path}",
        )


def _words(numbers: list[int] | None) -> str:
    return "none" if numbers is None else " ".join(map(str, numbers))


def window_of(members: Sequence[Member]) -> Window | None:
    """The window with which the runs among the members were trained."""
    return next((as_window(member.config.get("window")) for member in members if member.run), None)


def preparation_of(members: Sequence[Member]) -> Preparation | None:
    """How the slices of volumes were made with which the runs among the members were trained."""
    return next((member.preparation for member in members if member.run), None)


def origin(members: Sequence[Member]) -> dict[str, Any]:
    """What results say about an ensemble: `{"average": RULE, "members": {path: digest}}`.

    The digests are those of the members' own Predictors.
    """
    digests = {str(member.path): digest(file_digest(member.file).encode()) for member in members}
    return {"average": RULE, "members": digests}


class EnsembleEngine(KerasEngine):
    """Runs the mean of several networks.

    Args:
        members: from `find_members`.
        input_size: as for `Predictor.load`; None if the members agree on it.

    Raises:
        InputError: a file cannot be loaded, or the members have different input sizes.
    """

    def __init__(self, members: Sequence[Member], input_size: int | None = None):
        engines = [KerasEngine(member.file) for member in members]
        first = engines[0]
        for member, engine in zip(members, engines):
            expect(
                input_size is not None or engine.input_size == first.input_size,
                "input_size",
                "one for networks with different input sizes",
                f"{first.input_size} of {members[0].path} and {engine.input_size} of {member.path}",
            )
        self.model = mean_network([engine.model for engine in engines])
        self.input_size = first.input_size
        self.maps = ("answer",)
        self.temperature = 1.0  # the model has divided the logits of each member by its own
        self.name = f"Keras, mean of {len(members)} networks"
        if input_size is not None:
            self.resize(input_size)


def mean_network(networks: Sequence[Any]) -> Any:
    """A Keras model that gives the mean of the logits of several networks.

    The logits of each network are divided by its temperature first. The networks keep their
    weights; of each only the layers run that its answer needs.

    Args:
        networks: Keras models as `train` saves them.

    Returns:
        A model from RGB `(B, H, W, 3)` in 0..255 to float32 logits `(B, H, W, 1)`. H and W are
        multiples of its attribute `stride`.
    """
    import keras

    image = keras.Input((None, None, 3), name="image")
    answers = [
        keras.Model(network.input, tempered(network, answer(network)), name=f"member_{number}")(
            image
        )
        for number, network in enumerate(networks, 1)
    ]
    mean = keras.layers.Average(dtype="float32", name="mean")(answers)
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")(mean)
    model = keras.Model(image, logits)
    model.stride = math.lcm(*(getattr(network, "stride", 1) for network in networks))
    model.jit_compile = networks[0].jit_compile
    return model


def answer(network: Any) -> Any:
    """The output of a Keras model without its side outputs, a tensor `(B, H, W, 1)`."""
    maps = network.get_layer("logits").input  # a list if several maps are concatenated
    return maps[-1] if isinstance(maps, list) else network.output
