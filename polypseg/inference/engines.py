"""What runs a network: one class a file format, all alike.

An engine has `input_size`, `threshold`, `maps`, `name` and `logits(batch)`: `(B, S, S, 3)`
float32 RGB in 0..255 to float32 `(B, S, S, maps)`. Importing this file imports none of them;
ONNX Runtime, OpenVINO and LiteRT run without TensorFlow and Keras.
"""

import importlib
import json
import os
import zipfile
from pathlib import Path

import cv2
import numpy as np

from polypseg.errors import InputError
from polypseg.experiment.run_folder import find_run

KEY = "polypseg"  # of the description inside an exported file
SIDECAR = Path("assets.extra") / f"{KEY}.json"  # of a SavedModel; the folder is TensorFlow's place for such files


def open_engine(path):
    """The engine of a run folder or a model file. Raises `InputError`, one line."""
    path = Path(path)
    kinds = {".onnx": OnnxEngine, ".xml": OpenVINOEngine, ".tflite": LiteRTEngine}
    if not path.exists():
        raise InputError(f"--model: expected a run folder or a model file, got {path}, which does not exist")
    if path.suffix == ".keras" or (path.is_dir() and not (path / "saved_model.pb").is_file()):
        from .keras_engines import KerasEngine

        return KerasEngine(path if path.suffix == ".keras" else find_run(path) / "best.keras")
    if path.is_dir():
        from .keras_engines import SavedModelEngine

        return SavedModelEngine(path)
    if path.suffix not in kinds:
        raise InputError(
            "--model: expected a run folder, a SavedModel folder, .keras, .onnx, .xml (OpenVINO) or .tflite, "
            f"got {path}"
        )
    return kinds[path.suffix](path)


class ExportedEngine:
    """What the files of export.py share: their description, and probabilities that become logits again."""

    def describe(self, text, path):
        """Read the JSON that export.py left in the file."""
        try:
            description = json.loads(text)
            self.input_size = int(description["input_size"])
            self.threshold = float(description["threshold"])
            self.maps = tuple(description["maps"])
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(f"--model: expected a file written by export.py, got {path} without its description") from error


class OnnxEngine(ExportedEngine):
    name = "ONNX Runtime"

    def __init__(self, path):
        runtime = need("onnxruntime", path)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = cores()
        options.log_severity_level = 4  # its errors are raised as well
        with readable(path):
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.describe(self._session.get_modelmeta().custom_metadata_map.get(KEY), path)
        self._input = self._session.get_inputs()[0].name

    def logits(self, batch):
        return logits_of(self._session.run(None, {self._input: batch})[0])


class OpenVINOEngine(ExportedEngine):
    """Compiled for batches of one, which any processor keeps busy with; a longer batch goes through a queue.

    Args:
        precision: `"bfloat16"`, `"float32"` or None: bfloat16 where the processor computes in it.
    """

    def __init__(self, path, precision=None):
        openvino = need("openvino", path)
        core = openvino.Core()
        with readable(path):
            model = core.read_model(path)
            description = model.get_rt_info(KEY).astype(str) if model.has_rt_info(KEY) else None
        self.describe(description, path)
        if precision is None:
            precision = "bfloat16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "float32"
        self.name = f"OpenVINO {precision}"
        self._take_logits(model, path)
        model.reshape([1, self.input_size, self.input_size, 3])
        self._hints = {"INFERENCE_PRECISION_HINT": {"bfloat16": "bf16", "float32": "f32"}[precision]}
        self._core, self._model, self._queue = core, model, None
        with readable(path):
            compiled = core.compile_model(model, "CPU", self._hints | {"PERFORMANCE_HINT": "LATENCY"})
        self._request = compiled.create_infer_request()

    @staticmethod
    def _take_logits(model, path):
        """Take the last sigmoid out of the graph: in bfloat16 it cannot tell 0.998 from 1."""
        node = model.get_results()[0].input_value(0).get_node()
        while node.get_type_name() in ("Convert", "Reshape", "Squeeze", "Transpose", "Unsqueeze"):
            node = node.input_value(0).get_node()
        if node.get_type_name() != "Sigmoid":
            raise InputError(f"--model: expected a file written by export.py, got {path}, which does not end in a sigmoid")
        node.output(0).replace(node.input_value(0))

    def logits(self, batch):
        if len(batch) == 1:
            return self._request.infer({0: batch}, share_inputs=True)[0]
        if self._queue is None:
            from openvino import AsyncInferQueue

            compiled = self._core.compile_model(self._model, "CPU", self._hints | {"PERFORMANCE_HINT": "THROUGHPUT"})
            self._queue = AsyncInferQueue(compiled)
            self._queue.set_callback(lambda request, place: np.copyto(place, request.get_output_tensor(0).data))
        out = np.empty((len(batch), self.input_size, self.input_size, len(self.maps)), np.float32)
        for index in range(len(batch)):
            self._queue.start_async({0: batch[index:index + 1]}, out[index:index + 1])
        self._queue.wait_all()
        return out


class LiteRTEngine(ExportedEngine):
    name = "LiteRT"

    def __init__(self, path):
        litert = need("ai_edge_litert.interpreter", path)
        with readable(path):
            with zipfile.ZipFile(path) as attached:
                self.describe(attached.read(f"{KEY}.json"), path)
            self._interpreter = litert.Interpreter(str(path), num_threads=cores())
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]

    def logits(self, batch):
        out = []
        for image in batch:
            self._interpreter.set_tensor(self._input, image[None])
            self._interpreter.invoke()
            out.append(self._interpreter.get_tensor(self._output))
        return logits_of(np.concatenate(out))


def logits_of(probability):
    """`log(p / (1 - p))` of float32 probabilities; those that round to 0 or 1 become -16.1 and 16.6."""
    p = np.clip(probability, np.float32(1e-7), np.float32(1 - 2**-24))
    return cv2.log(p / (1 - p)).reshape(p.shape)


def cores():
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


PACKAGES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "ai_edge_litert.interpreter": "ai-edge-litert"}


def need(module, path):
    """Import an optional package."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = PACKAGES[module]
        raise InputError(
            f"--model: expected the package {package} to run {path} (pip install {package}), got: {error}"
        ) from error


class readable:
    """Context: what an engine says about a bad file becomes one line."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if error is not None and isinstance(error, Exception) and not isinstance(error, InputError):
            reason = " ".join(str(error).split())[:160]
            raise InputError(f"--model: expected a whole {self.path.suffix} file of export.py, got {self.path} ({reason})") from error
