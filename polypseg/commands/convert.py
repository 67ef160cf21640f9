"""Convert the authors' PyTorch checkpoints to Keras, and back.

python convert.py PraNet-19.pth --out pranet_res2net50.keras
python convert.py res2net50_v1b_26w_4s-3cf99910.pth --out res2net50.weights.h5
python convert.py runs/pranet_res2net50/best.keras --to-pytorch --out PraNet.pth
"""

from polypseg.console.parser import Parser


def parse(arguments=None):
    parser = Parser(
        "Convert the authors' PyTorch PraNet or Res2Net50 to Keras, or a PraNet-Res2Net50 to "
        "PyTorch."
    )
    group = parser.group("input and output")
    group("file", metavar="FILE", help=".pth, .pt or .safetensors; with --to-pytorch .keras")
    group(
        "--out",
        required=True,
        metavar="PATH",
        help=".keras for a PraNet, .weights.h5 for a backbone; with --to-pytorch .pth, .pt or "
        ".safetensors",
    )
    group("--to-pytorch", action="store_true", help="from Keras to the authors' state dict")
    return parser.parse(arguments)


def main():
    options = parse()

    from polypseg.pranet.convert import convert

    print(convert(options["file"], options["out"], options.get("to_pytorch", False)))
