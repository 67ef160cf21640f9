"""Export a trained network for other programs: `python export.py --model RUN --format onnx`;
`--help` lists the options.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from polypseg.console.parser import given_options
from polypseg.console.run import say
from polypseg.errors import expect
from polypseg.inference.formats import NAMES
from polypseg.options import REQUIRED, option

from .network import ENSEMBLE, check_network, check_threshold, network_of


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of `export.py`."""

    model: str | None = option(
        None,
        "input and output",
        "run folder, .keras file, or folder of folds or seeds (an ensemble)",
        "RUN",
        "--model-path",
    )
    ensemble: list[str] | None = option(None, "input and output", ENSEMBLE, "RUN")
    format: str = option(REQUIRED, "input and output", " | ".join(NAMES), "NAME")
    out: str | None = option(
        None,
        "input and output",
        "file or folder to write (default: beside the .keras file, with the same name; needed for "
        "`ensemble`)",
        "PATH",
    )
    overwrite: bool = option(False, "input and output", "replace existing files")
    precision: str = option(
        "float32",
        "content",
        "type of the stored weights, float32 | float16; float16 halves the file",
        "NAME",
    )
    all_maps: bool = option(
        False,
        "content",
        "write all maps of the network, side outputs first (default: the answer only)",
    )
    threshold: float = option(
        0.5,
        "content",
        "threshold on probabilities, stored in the file for programs that use it",
        "T",
    )

    def __post_init__(self) -> None:
        """Raise `InputError` for the first value out of range."""
        check_network(self)
        expect(self.format in NAMES, "format", " | ".join(NAMES), self.format)
        known = self.precision in ("float32", "float16")
        expect(known, "precision", "float32 or float16", self.precision)
        check_threshold(self.threshold)


def parse(arguments: Sequence[str] | None = None) -> ExportOptions:
    """The checked options of a command line. Raises `InputError`."""
    description = "Export a trained network for other programs, and check its outputs."
    return ExportOptions(**given_options(ExportOptions, description, arguments))


def main() -> None:
    options = parse()
    # The converters read TensorFlow graphs, whichever backend trained the network.
    os.environ["KERAS_BACKEND"] = "tensorflow"

    from polypseg.inference.export import TOLERANCE, export

    result = export(
        network_of(options),
        options.format,
        options.out,
        options.precision,
        options.all_maps,
        options.threshold,
        options.overwrite,
        progress=lambda step: say(f"{step} ..."),
    )
    say(
        f"agrees with the Keras network: probabilities within {result.probability_difference:.1g}, "
        f"logits within {result.logit_difference:.1g} ({TOLERANCE[options.precision]:g} allowed)"
    )
    say(f"written: {result.path} ({result.size / 1e6:.1f} MB)")
