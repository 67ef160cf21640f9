"""Speed of training: the step, the input pipeline, both together, and the time to the first step.

    python -m benchmarks.training
    python -m benchmarks.training --network pranet_resnet50 --precision float32 --steps 5

For each network, one process builds its variants (precision x batch norm). The variants run their
steps in turn, so that other work on the machine affects all of them. The results are medians of
wall and of processor time, after warming up.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

NETWORKS = {"pranet_mobilenetv2": ("mobilenetv2", 224, 16), "pranet_resnet50": ("resnet50", 352, 4)}
IMAGE_COUNT = 160


def main(arguments=None):
    parser = argparse.ArgumentParser(
        "python -m benchmarks.training", description="Speed of training."
    )
    parser.add_argument("--network", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), nargs="+", default=["float32", "bfloat16"]
    )
    parser.add_argument(
        "--steps", type=int, default=7, help="timed steps of each variant (%(default)s)"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        report(given.one, given.precision, given.steps)
        return
    for network in given.network:
        command = [
            sys.executable,
            "-m",
            "benchmarks.training",
            "--one",
            network,
            "--steps",
            str(given.steps),
        ]
        subprocess.run([*command, "--precision", *given.precision], check=True)


class Clock:
    def __enter__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *error):
        self.wall, self.cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu


def report(network, precisions, steps):
    from polypseg.runtime import keep_freed_memory, load_tensorflow

    keep_freed_memory()
    load_tensorflow()
    backbone, size, batch = NETWORKS[network]
    write(f"{network}, {size} px, batch {batch}")
    stored = drawn_arrays(size)
    same_batch = one_batch(stored, size, batch)
    variants = {}
    for precision in precisions:
        for norm in ("fused", "plain"):
            variants[precision, norm] = Variant(backbone, size, precision, norm, same_batch)
            first = variants[precision, norm].first
            write(
                f"  first step  {precision:8} {norm:5}  {first.wall:6.1f} s, {first.cpu:6.1f} s of "
                "processor time"
            )
    for variant in variants.values():
        variant.step()
    times = {key: [] for key in variants}
    for _ in range(steps):
        for key, variant in variants.items():
            times[key].append(variant.step())
    medians = {key: median(values) for key, values in times.items()}
    for (precision, norm), (wall, cpu) in medians.items():
        write(
            f"  step        {precision:8} {norm:5}  {wall:6.3f} s, {cpu:6.3f} s of processor time, "
            f"{batch / wall:5.1f} images/s"
        )
    for precision in precisions:
        fused, plain = medians[precision, "fused"], medians[precision, "plain"]
        write(
            f"  fused batch norm is {plain[0] / fused[0]:.2f} times as fast as the plain one "
            f"({precision})"
        )
    if len(precisions) == 2:
        one, two = (medians[precision, "fused"] for precision in precisions)
        write(f"  {precisions[1]} is {one[0] / two[0]:.2f} times as fast as {precisions[0]}")

    variant = variants[precisions[0], "fused"]
    alone, pipeline, together = [], [], []
    batches = endless(stored, size, batch)
    for _ in range(8):  # batches that were prefetched do not count
        next(batches)
    for _ in range(steps):
        with Clock() as clock:
            for _ in range(5):
                next(batches)
        pipeline.append(clock.wall / 5)
    variant.feed(batches)
    variant.step()
    for _ in range(steps):
        together.append(variant.step()[0])
        variant.feed(same_batch)
        alone.append(variant.step()[0])
        variant.feed(batches)
    alone, pipeline, together = (
        statistics.median(values) for values in (alone, pipeline, together)
    )
    write(
        f"  pipeline alone: {pipeline:.3f} s per batch, {alone / pipeline:.1f} times as fast as "
        "the step"
    )
    write(
        f"  together: {together:.3f} s per step, {100 * alone / together:.0f} % of the speed of "
        "the step alone"
    )
    cache = sum(array.nbytes for array in (stored.images, stored.masks))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    write(
        f"  memory: at most {peak:.1f} GiB for all variants together; cache "
        f"{cache / len(stored.images) / 1e6:.2f} MB per image"
    )


class Variant:
    """A compiled model whose step is the one that `fit` runs."""

    def __init__(self, backbone, size, precision, norm, batches):
        import keras

        from polypseg.experiment.config import TrainConfig
        from polypseg.experiment.registry import PRECISIONS
        from polypseg.layers import BatchNorm
        from polypseg.training.train import build_model

        keras.config.set_dtype_policy(PRECISIONS[precision])
        config = TrainConfig(
            data_path=".", backbone=backbone, backbone_weights="none", input_size=size
        ).resolved()
        fused = BatchNorm.call
        if norm == "plain":
            BatchNorm.call = keras.layers.BatchNormalization.call
        try:
            with Clock() as self.first:
                self.model = build_model(config, steps=1000)
                self.model.make_train_function()
                self.feed(batches)
                self.step()
        finally:
            BatchNorm.call = fused

    def feed(self, batches):
        self.batches = batches

    def step(self):
        with Clock() as clock:
            float(self.model.train_function(self.batches)["loss"])
        return clock.wall, clock.cpu


def drawn_arrays(size):
    import numpy as np

    from polypseg.data.loading import Arrays, training_size

    rng = np.random.default_rng(0)
    side = training_size(size, "full")
    images = rng.integers(0, 256, (IMAGE_COUNT, side, side, 3), dtype=np.uint8)
    masks = np.zeros((IMAGE_COUNT, side, side, 1), np.uint8)
    masks[:, side // 4 : side // 2, side // 4 : side // 2] = 1
    return Arrays(images, masks)


def endless(stored, size, batch):
    from polypseg.data.pipeline import training_batches

    return iter(training_batches(stored, size, batch, seed=0, epochs=10**6))


def one_batch(stored, size, batch):
    import tensorflow as tf

    return iter(tf.data.Dataset.from_tensors(next(endless(stored, size, batch))).repeat())


def median(pairs):
    return tuple(statistics.median(values) for values in zip(*pairs))


def write(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
