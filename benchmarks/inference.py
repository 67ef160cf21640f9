"""Time for one image, for each engine: `python -m benchmarks.inference`. See `--help` for options.

Each engine runs in its own process, with 2 threads and batch size 1. The result is the median of at
least 30 runs after warming up. The networks have random weights (the time does not depend on them)
and are exported once into --files.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

NETWORKS = {"mobilenetv2": 224, "resnet50": 352, "res2net50": 352}
PARTS = ("pranet", "backbone")
ENGINES = ("keras", "function", "onnx", "openvino", "openvino-bfloat16", "tflite")
NAMES = {
    "keras": "Keras call",
    "function": "TensorFlow function",
    "onnx": "ONNX Runtime",
    "openvino": "OpenVINO float32",
    "openvino-bfloat16": "OpenVINO bfloat16",
    "tflite": "LiteRT",
}
IMAGE_SIZES = ((480, 560), (1080, 1350))


def time_ms(call, runs):
    """Median and shortest wall-clock milliseconds. A fifth as many runs come first, to warm up."""
    for _ in range(max(3, runs // 5)):
        call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return {"ms": 1e3 * float(np.median(times)), "shortest": 1e3 * min(times)}


def prepare(folder, backbone):
    """Write PraNet as `.keras`, and PraNet and its backbone as `.onnx`, `.xml` and `.tflite`."""
    import keras

    from polypseg.inference.export import export
    from polypseg.pranet import PraNet

    size = NETWORKS[backbone]
    keras.utils.set_random_seed(0)
    network = PraNet(backbone, input_size=size)
    network.save(folder / f"pranet_{backbone}.keras")
    for kind, suffix in (("onnx", "onnx"), ("openvino", "xml"), ("tflite", "tflite")):
        export(
            folder / f"pranet_{backbone}.keras",
            kind,
            folder / f"pranet_{backbone}.{suffix}",
            overwrite=True,
        )
    image = keras.Input((size, size, 3), batch_size=1, name="image")
    features = keras.Model(image, network.get_layer(backbone)(image, training=False))
    spec = [keras.InputSpec(shape=features.input.shape, dtype="float32", name="image")]
    for kind, suffix in (("onnx", "onnx"), ("openvino", "xml"), ("litert", "tflite")):
        features.export(
            str(folder / f"backbone_{backbone}.{suffix}"),
            format=kind,
            verbose=False,
            input_signature=spec,
        )


def runner(part, backbone, engine, folder):
    """A function from `(1, S, S, 3)` float32 to arrays; None if the processor cannot run it."""
    stem, size = folder / f"{part}_{backbone}", NETWORKS[backbone]
    if engine in ("keras", "function"):
        from polypseg.inference.formats.keras import load_model
        from polypseg.runtime import keep_freed_memory

        keep_freed_memory()  # as the commands do
        model = load_model(folder / f"pranet_{backbone}.keras")
        model = model if part == "pranet" else model.get_layer(backbone)
        if engine == "keras":
            return lambda x: model.predict_on_batch(x)
        import tensorflow as tf

        function = tf.function(
            lambda x: model(x, training=False), input_signature=[tf.TensorSpec((1, size, size, 3))]
        )
        return lambda x: tf.nest.map_structure(lambda y: y.numpy(), function(tf.constant(x)))
    if engine == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        session = onnxruntime.InferenceSession(
            f"{stem}.onnx", options, providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        return lambda x: session.run(None, {name: x})
    if engine == "tflite":
        from ai_edge_litert.interpreter import Interpreter

        lite = Interpreter(f"{stem}.tflite", num_threads=2)
        lite.allocate_tensors()

        def invoke(x):
            lite.set_tensor(lite.get_input_details()[0]["index"], x)
            lite.invoke()
            return [lite.get_tensor(out["index"]) for out in lite.get_output_details()]

        return invoke
    import openvino

    core = openvino.Core()
    if engine == "openvino-bfloat16" and "BF16" not in core.get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    ):
        return None
    model = core.read_model(f"{stem}.xml")
    model.reshape([1, size, size, 3])
    hints = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": 2,
        "INFERENCE_PRECISION_HINT": "bf16" if engine == "openvino-bfloat16" else "f32",
    }
    request = core.compile_model(model, "CPU", hints).create_infer_request()
    return lambda x: request.infer({0: x}, share_inputs=True)


def measure(part, backbone, engine, folder, runs):
    """Milliseconds of one engine; for PraNet, also the share that `Predictor` adds, by size."""
    size = NETWORKS[backbone]
    random = np.random.default_rng(0)
    x = random.uniform(0, 255, (1, size, size, 3)).astype(np.float32)
    run = runner(part, backbone, engine, folder)
    if run is None:
        return None
    result = time_ms(lambda: run(x), runs)
    suffix = {"openvino": "xml", "openvino-bfloat16": "xml"}.get(engine, engine)
    if part == "pranet" and engine != "function":
        from polypseg.inference.predictor import Predictor

        predictor = Predictor.load(folder / f"pranet_{backbone}.{suffix}")
        # `Predictor` chooses the precision of OpenVINO by itself.
        if suffix == "xml" and predictor.engine != NAMES[engine]:
            return result
        untimed_logits = predictor._engine.logits
        for height, width in IMAGE_SIZES:
            image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
            engine_times, total_times = [], []

            def timed_logits(batch):
                start = time.perf_counter()
                logits = untimed_logits(batch)
                engine_times.append(time.perf_counter() - start)
                return logits

            predictor._engine.logits = timed_logits
            for _ in range(runs + 5):
                start = time.perf_counter()
                predictor([image])
                total_times.append(time.perf_counter() - start)
            # Both times come from the same run, so that other work on the machine affects both.
            added = float(np.median(np.subtract(total_times, engine_times)[5:]))
            result[f"{width}x{height}"] = added / float(np.median(engine_times[5:]))
    return result


def main():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.inference", description="Time for one image, for each engine."
    )
    parser.add_argument(
        "--files",
        default="runs/benchmark",
        help="folder for the exported networks (default: %(default)s)",
    )
    parser.add_argument(
        "--runs", type=int, default=40, help="timed calls per engine (default: %(default)s)"
    )
    parser.add_argument(
        "--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS, help="backbones"
    )
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = Path(options.files)
    if options.one:
        print(json.dumps(measure(*options.one, folder, options.runs)))
        return
    if options.runs < 30:
        parser.error(f"--runs: expected at least 30, got {options.runs}")
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "OMP_NUM_THREADS": "2",
        "TF_NUM_INTRAOP_THREADS": "2",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    for backbone in options.networks:
        if not (folder / f"backbone_{backbone}.tflite").is_file():
            print(f"exporting PraNet-{backbone}, which takes minutes", file=sys.stderr, flush=True)
            code = (
                f"from benchmarks.inference import *; prepare(Path({str(folder)!r}), {backbone!r})"
            )
            subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    print(
        f"{platform.platform()}, {os.cpu_count()} cores, 2 threads, batch 1, median and shortest "
        f"of {options.runs}\n"
    )
    print(
        "| network | part | engine | ms | shortest | against TensorFlow | Predictor adds, 560x480 "
        "| 1350x1080 |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for backbone in options.networks:
        for part in PARTS:
            rows = {}
            for engine in ENGINES:
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.inference",
                    "--files",
                    folder,
                    "--runs",
                    options.runs,
                    "--one",
                ]
                done = subprocess.run(
                    [*map(str, command), part, backbone, engine],
                    capture_output=True,
                    text=True,
                    env=environment,
                )
                if done.returncode:
                    sys.exit(f"{part} {backbone} {engine}: {done.stderr[-2000:]}")
                rows[engine] = json.loads(done.stdout.splitlines()[-1])
            for engine, row in rows.items():
                start = f"| PraNet-{backbone} {NETWORKS[backbone]} | {part} | {NAMES[engine]} |"
                if row is None:
                    print(f"{start} the processor has no bfloat16 | | | | |", flush=True)
                    continue
                added = " | ".join(
                    f"{row[size]:.0%}" if size in row else "" for size in ("560x480", "1350x1080")
                )
                print(
                    f"{start} {row['ms']:.1f} | {row['shortest']:.1f} | "
                    f"{rows['function']['ms'] / row['ms']:.1f} x | {added} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
