"""The formats of export.py: what Keras writes, made lean and given its description."""

import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .engines import KEY, SIDECAR, LiteRTEngine, OnnxEngine, OpenVINOEngine
from .keras_engines import SavedModelEngine


def serving_model(network, size, all_maps, batch_size):
    """The network with a fixed picture size and a sigmoid; the other maps are left out of it, not only hidden."""
    import keras

    logits = network.output
    if not all_maps:
        last = network.get_layer("logits").input  # what the logits are concatenated from, if they are
        logits = last[-1] if isinstance(last, list) else logits
    image = keras.Input((size, size, 3), batch_size=batch_size, name="image")
    logits = keras.Model(network.input, logits)(image, training=False)
    return keras.Model(image, {"probability": keras.layers.Activation("sigmoid", dtype="float32")(logits)})


def signature(serving):
    """Its input as it is: Keras would free the batch of one and, for ONNX, ask for a call first."""
    import keras

    return [keras.InputSpec(shape=serving.input.shape, dtype="float32", name="image")]


def write_savedmodel(serving, path, precision, description):
    serving.export(path, format="tf_saved_model", verbose=False)
    (path / SIDECAR).parent.mkdir(exist_ok=True)
    (path / SIDECAR).write_text(description, encoding="utf-8")


def write_onnx(serving, path, precision, description):
    import onnx

    serving.export(path, format="onnx", verbose=False, input_signature=signature(serving))
    model = onnx.load(path)
    if precision == "float16":
        store_in_float16(model.graph)
    onnx.helper.set_model_props(model, {KEY: description})
    onnx.save(model, path)


def store_in_float16(graph):
    """Weights in half precision, each behind a Cast that ONNX Runtime does once, when it loads the file."""
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


def write_openvino(serving, path, precision, description):
    import openvino

    raw = path.with_name(f"raw_{path.name}")
    serving.export(str(raw), format="openvino", verbose=False, input_signature=signature(serving))
    model = openvino.Core().read_model(raw)
    for unused in model.get_results()[1:]:  # sizes that the graph computed with
        model.remove_result(unused)
    model.outputs[0].tensor.set_names({"probability"})
    model.set_rt_info(description, KEY)
    model.validate_nodes_and_infer_types()
    openvino.save_model(model, path, compress_to_fp16=precision == "float16")
    del model
    for file in parts(raw):
        file.unlink()


def write_tflite(serving, path, precision, description):
    import tensorflow as tf

    half = {"optimizations": [tf.lite.Optimize.DEFAULT], "target_spec": {"supported_types": [tf.float16]}}
    options = half if precision == "float16" else {}
    serving.export(str(path), format="litert", verbose=False, input_signature=signature(serving), **options)
    with zipfile.ZipFile(path, "a") as attached:  # TFLite's way of packing files with a model
        attached.writestr(f"{KEY}.json", description)


def parts(path):
    """The files of an export: OpenVINO keeps the weights in a second one."""
    return [path.with_suffix(".bin"), path] if path.suffix == ".xml" else [path]


@dataclass(frozen=True)
class Format:
    """One that is offered.

    Attributes:
        suffix: of the file; "" for a folder.
        engine: what reads it.
        write: from Keras model, path, precision and description.
        packages: what writing and checking need, beside the requirements: module and name on PyPI.
    """

    suffix: str
    engine: type
    write: Callable
    packages: dict


FORMATS = {
    "savedmodel": Format("", SavedModelEngine, write_savedmodel, {}),
    "onnx": Format(".onnx", OnnxEngine, write_onnx, {"onnx": "onnx", "tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"}),
    "openvino": Format(".xml", OpenVINOEngine, write_openvino, {"openvino": "openvino"}),
    "tflite": Format(".tflite", LiteRTEngine, write_tflite, {"ai_edge_litert": "ai-edge-litert"}),
}
