"""What holds for every network, run as a program under one backend:
`contract.py FOLDER NETWORK ...`.

Under TensorFlow it saves the models and their outputs into FOLDER; under the other backends
it loads these models and leaves its own outputs beside them, for the test to compare.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np

from polypseg.experiment.config import TrainConfig
from polypseg.experiment.registry import NETWORKS as REGISTERED
from polypseg.experiment.registry import load_networks
from polypseg.losses.losses import SegmentationLoss

SMALLER = {"attention_unet": {"filters": 8}}
# JAX compiles these for minutes.
LONG_UNDER_JAX = ("pranet_mobilenetv2",)


def build(name, backbone):
    network = REGISTERED[name]
    options = {"backbone": backbone} if backbone else {}
    config = TrainConfig(model=name, backbone_weights="none", input_size=64, **options)
    return network.load()(**(network.arguments(config) | SMALLER.get(name, {})))


NETWORKS = {
    f"{name}_{backbone}" if backbone else name: partial(build, name, backbone)
    for name, network in REGISTERED.items()
    for backbone in network.backbones or [None]
}
# All PraNets but the smallest. Their training step is not compiled, which takes a minute, and half
# precision and the other backends are left to the smaller networks: the code is the same.
LARGE = sorted(
    name for name in NETWORKS if name.startswith("pranet_") and name != "pranet_mobilenetv2"
)
SIZES = ((64, 64), (32, 96))


def check(condition, what):
    if not condition:
        sys.exit(f"contract broken: {what}")


def images(height, width, count=2):
    return (
        np.random.default_rng(height * width)
        .uniform(0, 255, (count, height, width, 3))
        .astype("float32")
    )


def forward(model, x):
    if keras.backend.backend() != "jax":
        return model(x, training=False)
    import jax

    # Compiled as one function: otherwise JAX compiles every operation for every shape.
    weights = [
        [weight.value for weight in group]
        for group in (model.trainable_variables, model.non_trainable_variables)
    ]
    return jax.jit(lambda *arguments: model.stateless_call(*arguments, training=False)[0])(
        *weights, x
    )


def outputs(model, sizes=SIZES):
    results = {}
    for height, width in sizes:
        logits = forward(model, images(height, width))
        check(keras.backend.standardize_dtype(logits.dtype) == "float32", "logits are float32")
        results[f"{height}x{width}"] = keras.ops.convert_to_numpy(logits)
        check(
            results[f"{height}x{width}"].shape[:3] == (2, height, width),
            "logits have the size of the image",
        )
    return results


def main(name, folder):
    keras.utils.set_random_seed(0)
    saved = folder / f"{name}.keras"
    if keras.backend.backend() == "tensorflow":
        model = NETWORKS[name]()
        if name not in LARGE:  # test_networks.py loads all of them, which does the same
            twin = type(model).from_config(model.get_config())
            check(twin.get_config() == model.get_config(), "config round trip")
            check(
                [w.shape for w in twin.weights] == [w.shape for w in model.weights],
                "config rebuilds the weights",
            )
        model.save(saved)
    else:
        load_networks()
        model = keras.saving.load_model(saved)
    results = outputs(model)
    if name not in LARGE:
        check_half_precision(name, model, results)
    losses = train_step(name, model)
    np.savez(folder / f"{name}_{keras.backend.backend()}.npz", losses=losses, **results)


def check_half_precision(name, model, results):
    keras.config.set_dtype_policy("mixed_bfloat16")
    mixed = NETWORKS[name]()
    mixed.set_weights(model.get_weights())
    key, exact = next(iter(results.items()))
    half = outputs(mixed, SIZES[:1])[key]
    check(np.isfinite(half).all(), "bfloat16 outputs are finite")
    check(
        np.corrcoef(half.ravel(), exact.ravel())[0, 1] > 0.98, "bfloat16 outputs resemble float32"
    )
    keras.config.set_dtype_policy("float32")


def train_step(name, model):
    """The loss of one batch before and after a training step on it."""
    x = images(64, 64)
    y = (images(64, 64)[..., :1] > 200).astype("float32")
    y[:, 20:50, 10:40] = 1.0
    model.compile(
        # However large its gradient, each weight array moves by 1e-5: enough to differ in float32,
        # and so little that the loss goes down.
        keras.optimizers.SGD(10.0, clipnorm=1e-6),
        loss=SegmentationLoss("structure"),
        run_eagerly=name in LARGE,
        jit_compile=keras.backend.backend() == "jax",
    )
    model.optimizer.build(model.trainable_variables)  # else the first step is compiled twice
    before = [np.array(w) for w in model.get_weights()]
    first = model.train_on_batch(x, y)
    still = [
        w.path
        for w, old in zip(model.weights, before)
        if w.trainable and np.array_equal(keras.ops.convert_to_numpy(w.value), old)
    ]
    check(not still, f"gradients reach every weight, but not {still[:5]}")
    second = model.train_on_batch(x, y)
    check(second < first, f"a step lowers the loss, but {first} became {second}")
    return first, second


if __name__ == "__main__":
    for network in sys.argv[2:]:
        print(network, file=sys.stderr, flush=True)
        keras.utils.clear_session()
        main(network, Path(sys.argv[1]))
