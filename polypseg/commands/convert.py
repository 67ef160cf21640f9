"""Convert PyTorch checkpoints of PraNet and its backbones to Keras, and PraNet back.

python convert.py PraNet-19.pth --out pranet_res2net50.keras
python convert.py res2net50_v1b_26w_4s-3cf99910.pth --out res2net50.weights.h5
python convert.py efficientnet_lite0.pth --out efficientnet_lite0.weights.h5
python convert.py runs/pranet_res2net50/best.keras --to-pytorch --out PraNet.pth
"""

from collections.abc import Sequence
from dataclasses import dataclass

from polypseg.console.parser import given_options
from polypseg.console.run import say
from polypseg.options import REQUIRED, option


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """Options of `convert.py`."""

    file: str = option(
        REQUIRED,
        "input and output",
        "checkpoint to convert: .pth, .pt or .safetensors; with `to_pytorch` .keras",
        "FILE",
        positional=True,
    )
    out: str = option(
        REQUIRED,
        "input and output",
        "file to write: .keras for a PraNet, .weights.h5 for a backbone; with `to_pytorch` .pth, "
        ".pt or .safetensors",
        "PATH",
    )
    to_pytorch: bool = option(
        False, "input and output", "convert from Keras to the authors' PyTorch state dict"
    )


def parse(arguments: Sequence[str] | None = None) -> ConvertOptions:
    """The options of a command line. Raises `InputError`."""
    description = (
        "Convert the authors' PyTorch PraNet or Res2Net50, or an EfficientNet-Lite, to Keras, or a "
        "PraNet-Res2Net50 to PyTorch."
    )
    return ConvertOptions(**given_options(ConvertOptions, description, arguments))


def main() -> None:
    options = parse()

    from polypseg.pranet.convert import convert

    say(convert(options.file, options.out, options.to_pytorch))
