"""What `infer_image.py` and `infer_video.py` have in common, and options of several commands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from polypseg import inference
from polypseg.console.run import say
from polypseg.errors import InputError, expect
from polypseg.experiment.config import as_window, check_window
from polypseg.inference.advice import export_advice
from polypseg.inference.formats import AUTO, ENGINES
from polypseg.options import option

if TYPE_CHECKING:
    from polypseg.inference import Predictor
    from polypseg.inference.ensemble import Where
    from polypseg.scoring.row_scores import RowScores


ENSEMBLE = "run folders or .keras files as one network, which gives the mean of their logits"


class ChoosesNetwork(Protocol):
    """Options of which one, `model` or `ensemble`, is given."""

    @property
    def model(self) -> str | None:
        """The path of a network."""

    @property
    def ensemble(self) -> list[str] | None:
        """The paths of several."""


def check_network(options: ChoosesNetwork) -> None:
    """Raise `InputError` unless one of `model` and `ensemble` is given."""
    if bool(options.model) == bool(options.ensemble):
        raise InputError("give either `model` or `ensemble`")


def network_of(options: ChoosesNetwork) -> "Where":
    """What is given: the path of a network, or those of several."""
    return options.ensemble or options.model or ""


def engine_option(group: str) -> Any:
    """The option `engine` of the commands that run a network."""
    names = " | ".join((AUTO, *ENGINES))
    return option(
        AUTO,
        group,
        f"what runs a run folder's network, {names}; auto: the first one that is installed and has "
        "a file in the folder",
        "NAME",
    )


def check_engine(engine: str) -> None:
    """Raise `InputError` for an unknown name."""
    expect(engine in (AUTO, *ENGINES), "engine", " | ".join((AUTO, *ENGINES)), engine)


@dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """The options that choose a network and how it runs, for any input."""

    model: str | None = option(
        None,
        "input",
        "run folder, .keras file, exported file, or folder of folds or seeds (an ensemble)",
        "PATH",
        "--model-path",
    )
    ensemble: list[str] | None = option(None, "input", ENSEMBLE, "RUN")
    engine: str = engine_option("input")
    input_size: int | None = option(
        None,
        "network",
        "height and width at which the network runs (default: its training size)",
        "PX",
        "--inputsize",
    )
    threshold: float | None = option(
        None,
        "network",
        "a pixel is foreground where its probability is at least T (default: the value stored with "
        "the model, or 0.5)",
        "T",
    )
    batch_size: int = option(8, "network", "images per call of the network", "N", "--batchsize")

    def __post_init__(self) -> None:
        """Raise `InputError` for the first value out of range."""
        check_network(self)
        check_engine(self.engine)
        check_threshold(self.threshold)
        expect(self.batch_size >= 1, "batch_size", "1 or more", self.batch_size)


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(InferenceOptions):
    """The options of a network that runs on images."""

    window: list[int] | None = option(
        None,
        "network",
        "in images of 16 bits these two levels become black and white, as in 0 4095 (default: "
        "those of the training)",
        "LEVEL",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_window(self.window)


def check_threshold(threshold: float | None) -> None:
    """Raise `InputError` for a number that is not a probability. None is accepted."""
    good = threshold is None or 0 <= threshold <= 1
    expect(good, "threshold", "a probability from 0 to 1", threshold)


def megapixels_option(group: str) -> Any:
    """The option `max_megapixels` of the commands that read image files."""
    return option(200, group, "refuse images of more than N million pixels (at most 700)", "N")


def limit_megapixels(megapixels: int) -> None:
    """Let the process read images of so many million pixels. Raises `InputError`."""
    # OpenCV counts the bytes of an array with 31 bits.
    expect(1 <= megapixels <= 700, "max_megapixels", "1 to 700", megapixels)

    from polypseg.data.decoding import limit_pixels  # slow, so after the arguments

    limit_pixels(megapixels)


def load_predictor(options: NetworkOptions) -> "Predictor":
    """The network, with the window of the options. See `load_network`."""
    predictor = load_network(options)
    if options.window:
        predictor.window = as_window(options.window)
    return predictor


def load_network(options: InferenceOptions) -> "Predictor":
    """Load the network. Print a line first, because this may take seconds; afterwards, print what
    runs it, and how it could run faster.
    """
    where = network_of(options)
    say(f"loading the network {network_name(options)} ...")
    predictor = inference.Predictor.load(where, options.input_size, options.engine)
    say(f"engine: {predictor.engine}, {predictor.input_size} px")
    advice = export_advice(where, predictor)
    if advice and options.engine == AUTO and not options.input_size:
        say(advice)
    return predictor


def print_engines(rows: "Sequence[RowScores]") -> None:
    """Print what ran the networks, once for each."""
    engines = {row.source.path_text: row.network.engine for row in rows if row.network}
    for path, engine in engines.items():
        say(f"{path}: {engine}")


def network_name(options: ChoosesNetwork) -> str:
    """The path of the network, or `"mean of 2: runs/a, runs/b"`."""
    if not options.ensemble:
        return options.model or ""
    return f"mean of {len(options.ensemble)}: {', '.join(options.ensemble)}"


def settings(options: NetworkOptions, predictor: "Predictor") -> dict[str, Any]:
    """How a network was run, for the .json file beside the results."""
    threshold = predictor.threshold if options.threshold is None else options.threshold
    return {
        "model": network_name(options),
        **predictor.origin,
        "digest": predictor.digest,
        "engine": predictor.engine,
        "input_size": predictor.input_size,
        "threshold": threshold,
        **({"window": list(predictor.window)} if predictor.window else {}),
    }
