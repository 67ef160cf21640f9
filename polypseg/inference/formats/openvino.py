"""OpenVINO's intermediate representation: `.xml`, with the weights in a `.bin` beside it."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from polypseg.errors import InputError
from polypseg.files import file_digest
from polypseg.runtime import expect_process

from .base import KEY, ExportedEngine, Format, load_package, readable, signature


def write_network(serving: Any, path: Path, precision: str, description: str) -> None:
    import openvino

    raw = path.with_name(f"raw_{path.name}")
    serving.export(str(raw), format="openvino", verbose=False, input_signature=signature(serving))
    model = openvino.Core().read_model(raw)
    for unused in model.get_results()[1:]:  # image sizes, which the converter leaves as outputs
        model.remove_result(unused)
    model.outputs[0].tensor.set_names({"probability"})
    model.set_rt_info(description, KEY)
    model.validate_nodes_and_infer_types()
    half = precision == "float16"
    openvino.save_model(model, path, compress_to_fp16=half)
    # Again with the digest of the weights, which are known only now, in the .xml.
    weights = file_digest(path.with_suffix(".bin"))
    model.set_rt_info(json.dumps(json.loads(description) | {"weights": weights}), KEY)
    openvino.save_model(model, path, compress_to_fp16=half)
    del model
    for file in FORMAT.parts(raw):
        file.unlink()


class OpenVINOEngine(ExportedEngine):
    """Runs batches of one image on all cores; longer batches are split and run through a queue.

    Args:
        path: path of the `.xml` file.
        precision: `"bfloat16"` or `"float32"`; default: bfloat16 if the processor supports it.
    """

    kind = "openvino"

    def __init__(self, path: Path, precision: str | None = None):
        expect_process("OpenVINO")
        openvino = load_package("openvino", "openvino", path)
        core = openvino.Core()
        with readable(path):
            model = core.read_model(path)
            description = model.get_rt_info(KEY).astype(str) if model.has_rt_info(KEY) else None
        self.describe(description, path)
        self._check_weights(description, path)
        with readable(path):
            self.check_shapes(*map(_lengths, (model.input(0), model.output(0))))
        if precision is None:
            capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            precision = "bfloat16" if "BF16" in capabilities else "float32"
        self.name = f"OpenVINO {precision}"
        self._remove_sigmoid(model, path)
        model.reshape([1, self.input_size, self.input_size, 3])
        self._hints = {
            "INFERENCE_PRECISION_HINT": {"bfloat16": "bf16", "float32": "f32"}[precision]
        }
        self._core, self._model = core, model
        self._queue: Any = None
        with readable(path):
            hints = self._hints | {"PERFORMANCE_HINT": "LATENCY"}
            compiled = core.compile_model(model, "CPU", hints)
        self._request = compiled.create_infer_request()

    @staticmethod
    def _check_weights(description: Any, path: Path) -> None:
        """Raise `InputError` if the `.bin` is of another export; earlier versions cannot tell."""
        weights = path.with_suffix(".bin")
        stored = json.loads(description).get("weights")
        if stored is not None and stored != file_digest(weights):
            raise InputError(f"expected the weights of {path}, got {weights} of another", "model")

    @staticmethod
    def _remove_sigmoid(model: Any, path: Path) -> None:
        """Remove the final sigmoid, so that the graph returns logits.

        In bfloat16, the probabilities 0.999 and 1 are the same number.
        """
        node = model.get_results()[0].input_value(0).get_node()
        while node.get_type_name() in ("Convert", "Reshape", "Squeeze", "Transpose", "Unsqueeze"):
            node = node.input_value(0).get_node()
        if node.get_type_name() != "Sigmoid":
            raise InputError(
                f"expected a file written by export.py, got {path}, which does not end in "
                "a sigmoid",
                "model",
            )
        node.output(0).replace(node.input_value(0))

    def logits(self, batch: np.ndarray) -> np.ndarray:
        expect_process("OpenVINO")
        if len(batch) == 1:
            return self._request.infer({0: batch}, share_inputs=True)[0]
        if self._queue is None:
            from openvino import AsyncInferQueue

            hints = self._hints | {"PERFORMANCE_HINT": "THROUGHPUT"}
            self._queue = AsyncInferQueue(self._core.compile_model(self._model, "CPU", hints))
            self._queue.set_callback(
                lambda request, target: np.copyto(target, request.get_output_tensor(0).data)
            )
        shape = (len(batch), self.input_size, self.input_size, len(self.maps))
        out = np.empty(shape, np.float32)
        for index in range(len(batch)):
            self._queue.start_async({0: batch[index : index + 1]}, out[index : index + 1])
        self._queue.wait_all()
        return out


def _lengths(port: Any) -> list[int | None]:
    """The shape of an input or output; None for a length that varies."""
    return [length.get_length() if length.is_static else None for length in port.partial_shape]


FORMAT = Format(
    suffix=".xml",
    write=write_network,
    open=OpenVINOEngine,
    open_exact=partial(OpenVINOEngine, precision="float32"),
    packages={"openvino": "openvino"},
    runs_with=("openvino",),
    beside=(".bin",),
)
