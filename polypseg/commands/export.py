"""Write a trained network for other programs: `python export.py --model RUN --format onnx`;
`--help` lists the options.
"""

import os
from dataclasses import dataclass

from polypseg.console.parser import Parser
from polypseg.errors import expect
from polypseg.inference.formats import NAMES


@dataclass
class Defaults:
    precision: str = "float32"
    threshold: float = 0.5


def parse(arguments=None):
    parser = Parser(
        "Write a trained network for other programs, checked against the original.", Defaults()
    )
    group = parser.group("input and output")
    group(
        "--model", "--model-path", metavar="RUN", required=True, help="run folder, or a .keras file"
    )
    group("--format", metavar="NAME", required=True, help=" | ".join(NAMES))
    group(
        "--out", metavar="PATH", help="what to write (default: beside the .keras file, of its name)"
    )
    group("--overwrite", action="store_true", help="replace what is there")
    group = parser.group("content")
    group(
        "--precision",
        metavar="NAME",
        help="float32 | float16: of the stored weights; float16 halves the file",
    )
    group(
        "--all-maps",
        action="store_true",
        help="all maps, side outputs first; otherwise the answer only",
    )
    group(
        "--threshold",
        type=float,
        metavar="T",
        help="stored with the file, for those who cut its probabilities",
    )
    given = parser.parse(arguments)
    options = vars(Defaults()) | given
    expect(options["format"] in NAMES, "format", " | ".join(NAMES), options["format"])
    expect(
        options["precision"] in ("float32", "float16"),
        "precision",
        "float32 or float16",
        options["precision"],
    )
    expect(
        0 <= options["threshold"] <= 1,
        "threshold",
        "a probability from 0 to 1",
        options["threshold"],
    )
    return options


def main():
    options = parse()
    os.environ["KERAS_BACKEND"] = (
        "tensorflow"  # whatever trained it: the converters read TensorFlow's graphs
    )

    from polypseg.inference.export import TOLERANCE, export

    result = export(
        options["model"],
        options["format"],
        options.get("out"),
        options["precision"],
        options.get("all_maps", False),
        options["threshold"],
        options.get("overwrite", False),
    )
    print(
        f"agrees with the Keras network: probabilities within {result.probability_difference:.1g}, "
        f"logits within {result.logit_difference:.1g} ({TOLERANCE[options['precision']]:g} allowed)"
    )
    print(f"written: {result.path} ({result.size / 1e6:.1f} MB)")
