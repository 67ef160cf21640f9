"""Parameters, multiply-adds and time of PraNet: `python -m benchmarks.cost`.

One row for each backbone and decoder. A decoder is `published`, `slim`, or the numbers of channels
of a `PraNet`, as in `16:64:32:32` (channels:reverse_channels). The multiply-adds are those of the
convolutions for one image. The time is the median in ONNX Runtime for one image on 2 threads, with
random weights, which it does not depend on.
"""

import argparse
import contextlib
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from benchmarks.inference import time_ms
from polypseg.layers.backbones import BACKBONES
from polypseg.pranet import PraNet
from polypseg.pranet.spec import DECODERS


def multiply_adds(model: keras.Model, image: tuple[int, int]) -> int:
    """Multiply-adds of all convolutions of a model for one image of this height and width."""
    counts: list[int] = []
    with contextlib.ExitStack() as stack:
        for kind in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D):
            stack.enter_context(mock.patch.object(kind, "call", _counting(kind.call, counts)))
        model(np.zeros((1, *image, 3), "float32"), training=False)
    return sum(counts)


def _counting(call, counts):
    def counted(layer, x):
        y = call(layer, x)
        # Each weight is used once at each position of the output.
        counts.append(math.prod(y.shape[1:3]) * math.prod(layer.kernel.shape))
        return y

    return counted


def decoder_arguments(text: str) -> dict:
    """The arguments of `PraNet` for the name of a decoder, or its numbers of channels."""
    if text in DECODERS:
        return dict(DECODERS[text])
    channels, *reverse = map(int, text.split(":"))
    return {"channels": channels, "reverse_channels": reverse}


def onnx_ms(model: keras.Model, size: int, runs: int) -> float:
    """Median milliseconds for one image in ONNX Runtime."""
    import onnxruntime

    from polypseg.inference.export import export

    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder, "model.keras"))
        export(Path(folder, "model.keras"), "onnx", Path(folder, "model.onnx"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        session = onnxruntime.InferenceSession(
            Path(folder, "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        x = np.random.default_rng(0).uniform(0, 255, (1, size, size, 3)).astype("float32")
        return time_ms(lambda: session.run(None, {name: x}), runs)["ms"]


def rows(options: argparse.Namespace) -> Iterator[str]:
    """The lines of the table."""
    size = options.size
    yield "| backbone | decoder | parameters, M | of the backbone | GMAC | of the backbone | ms |"
    yield "|---|---|---|---|---|---|---|"
    for backbone in options.backbones:
        for decoder in options.decoders:
            model = PraNet(backbone, input_size=size, **decoder_arguments(decoder))
            trunk = model.get_layer(backbone)
            ms = f"{onnx_ms(model, size, options.runs):.1f}" if options.runs else ""
            yield (
                f"| {backbone} | {decoder} | {model.count_params() / 1e6:.2f} | "
                f"{trunk.count_params() / 1e6:.2f} | "
                f"{multiply_adds(model, (size, size)) / 1e9:.3f} | "
                f"{multiply_adds(trunk, (size, size)) / 1e9:.3f} | {ms} |"
            )
            keras.utils.clear_session()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cost", description="Parameters, multiply-adds and time."
    )
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES), choices=BACKBONES)
    parser.add_argument("--decoders", nargs="+", default=list(DECODERS), help="%(default)s")
    parser.add_argument("--size", type=int, default=224, help="input size (default: %(default)s)")
    parser.add_argument(
        "--runs", type=int, default=0, help="timed calls in ONNX Runtime; 0, the default: no time"
    )
    for row in rows(parser.parse_args()):
        print(row, flush=True)


if __name__ == "__main__":
    main()
