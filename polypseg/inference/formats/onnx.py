"""ONNX, run by ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np

from polypseg.runtime import cores

from .base import KEY, ExportedEngine, Format, load_package, logits_of, readable, signature


def write_network(serving: Any, path: Path, precision: str, description: str) -> None:
    import onnx

    serving.export(path, format="onnx", verbose=False, input_signature=signature(serving))
    model = onnx.load(path)
    if precision == "float16":
        _store_in_float16(model.graph)
    onnx.helper.set_model_props(model, {KEY: description})
    onnx.save(model, path)


def _store_in_float16(graph: Any) -> None:
    """Store the weights in half precision, each followed by a Cast to float32.

    ONNX Runtime runs the Casts only once, when it loads the file.
    """
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < 64:
            continue
        name, stored = tensor.name, f"{tensor.name}_float16"
        with np.errstate(over="ignore"):  # an overflow is found when the outputs are compared
            half = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


class OnnxEngine(ExportedEngine):
    name = "ONNX Runtime"
    kind = "onnx"

    def __init__(self, path: Path):
        runtime = load_package("onnxruntime", "onnxruntime", path)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = cores()
        options.log_severity_level = 4  # only fatal errors; the others are raised anyway
        with readable(path):
            self._session = runtime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        self.describe(self._session.get_modelmeta().custom_metadata_map.get(KEY), path)
        with readable(path):
            takes, gives = self._session.get_inputs()[0], self._session.get_outputs()[0]
            self.check_shapes(takes.shape, gives.shape)
        self._input = takes.name

    def logits(self, batch: np.ndarray) -> np.ndarray:
        return logits_of(self._session.run(None, {self._input: batch})[0])


FORMAT = Format(
    suffix=".onnx",
    write=write_network,
    open=OnnxEngine,
    packages={"onnx": "onnx", "tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"},
    runs_with=("onnxruntime",),
)
