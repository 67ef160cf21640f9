"""How much time it takes to follow the authors' network exactly: `python -m benchmarks.fidelity`.

PraNet-Res2Net50 is compared with the same network as it is usually written in Keras: "same"
padding, `UpSampling2D`, and an epsilon of 1e-3 in batch norms. The networks take turns in one
process. Each turn gives a ratio of the CPU times of all threads; the median ratio is shown.
"""

import argparse
import contextlib
import statistics
import sys
import time
from unittest import mock


def main():
    parser = argparse.ArgumentParser(
        "python -m benchmarks.fidelity", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--size", type=int, default=352, help="side of the image in pixels (%(default)s)"
    )
    parser.add_argument(
        "--train-size",
        type=int,
        default=128,
        help="side of the training images in pixels (%(default)s)",
    )
    parser.add_argument(
        "--rounds", type=int, default=15, help="number of turns of each network (%(default)s)"
    )
    given = parser.parse_args()

    from polypseg.runtime import keep_freed_memory, load_tensorflow

    keep_freed_memory()
    load_tensorflow()
    import keras
    import numpy as np
    import tensorflow as tf

    from polypseg.pranet import PraNet

    tf.get_logger().setLevel("ERROR")  # it warns that the first calls are retracing
    rng = np.random.default_rng(0)
    changes_of = {
        "authors'": [],
        "same padding": [same_padding],
        "UpSampling2D": [keras_upsampling],
        "epsilon 1e-3": [epsilon],
        "all three": [same_padding, keras_upsampling, epsilon],
    }
    models = {}
    for name, changes in changes_of.items():
        with contextlib.ExitStack() as stack:
            for change in changes:
                stack.enter_context(change())
            models[name] = PraNet("res2net50")
    models["ResNet50 backbone"] = PraNet("resnet50")
    image = rng.uniform(0, 255, (1, given.size, given.size, 3)).astype("float32")
    report(
        "inference, batch 1",
        {name: (model.predict_on_batch, (image,)) for name, model in models.items()},
        given.rounds,
    )

    x = rng.uniform(0, 255, (2, given.train_size, given.train_size, 3)).astype("float32")
    y = np.repeat((x[..., :1] > 128).astype("float32"), 4, axis=-1)
    steps = {}
    for name in ("authors'", "all three"):
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        models[name].compile(keras.optimizers.Adam(1e-4), loss, jit_compile=False)
        steps[name] = (models[name].train_on_batch, (x, y))
    report("training step, batch 2", steps, given.rounds)


def report(title, calls, rounds):
    for _ in range(2):
        for call, arguments in calls.values():
            call(*arguments)
    seconds = {name: [] for name in calls}
    for _ in range(rounds):
        for name, (call, arguments) in calls.items():
            start = time.process_time()
            call(*arguments)
            seconds[name].append(time.process_time() - start)
    first, *others = seconds
    sys.stdout.write(
        f"{title}: {first} {1000 * statistics.median(seconds[first]):.0f} ms of CPU time\n"
    )
    for name in others:
        ratios = [a / b for a, b in zip(seconds[first], seconds[name])]
        low, middle, high = statistics.quantiles(ratios, n=4)
        sys.stdout.write(f"  {first} / {name}: {middle:.3f} (quartiles {low:.3f} to {high:.3f})\n")


@contextlib.contextmanager
def same_padding():
    import keras

    def same(layer):
        return lambda *args, **kwargs: layer(*args, **(kwargs | {"padding": "same"}))

    kinds = {
        name: same(getattr(keras.layers, name))
        for name in ("Conv2D", "MaxPooling2D", "AveragePooling2D")
    }
    with mock.patch.multiple(keras.layers, ZeroPadding2D=NoPadding, **kinds):
        yield


def NoPadding(*args, name=None):
    import keras

    return keras.layers.Identity(name=name)


@contextlib.contextmanager
def keras_upsampling():
    import keras

    from polypseg.pranet import layers as blocks

    def upsample(factor, align_corners=False, name=None):
        return keras.layers.UpSampling2D(factor, interpolation="bilinear", name=name)

    with mock.patch.object(blocks, "Upsample", upsample):
        yield


@contextlib.contextmanager
def epsilon():
    from polypseg.layers import blocks

    batch_norm = blocks.BatchNorm
    with mock.patch.object(
        blocks, "BatchNorm", lambda **kwargs: batch_norm(epsilon=1e-3, **kwargs)
    ):
        yield


if __name__ == "__main__":
    main()
