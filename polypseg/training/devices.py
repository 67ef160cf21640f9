"""All devices of a machine, and several machines: each batch is divided among them."""

import contextlib
import dataclasses
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import keras

from polypseg.errors import InputError, expect, reason

MEETING = ("coordinator", "num_processes", "process_id")


class Share(NamedTuple):
    """Of `parts` processes that train one network together, this one reads part `part` of
    each batch.
    """

    part: int = 0
    parts: int = 1


def join(config):
    """Start the backend, and find the other processes of a run: those that the options name, or
    Slurm's.

    To be called before Keras is used.

    Raises:
        InputError: the backend is not JAX, or the others do not answer.
    """
    given = {name: getattr(config, name) for name in MEETING if getattr(config, name) is not None}
    several = given or int(os.environ.get("SLURM_NTASKS", 1)) > 1
    if config.deterministic:  # read once, when JAX starts
        os.environ["XLA_FLAGS"] = (
            os.environ.get("XLA_FLAGS", "") + " --xla_gpu_deterministic_ops=true"
        )
    if config.devices != "all" or keras.backend.backend() != "jax" or not several:
        for name in given:
            expect(config.devices == "all", name, "`devices` all beside it", given[name])
            backend = keras.backend.backend()
            expect(
                False,
                name,
                f"KERAS_BACKEND=jax, since {backend} trains in one process",
                given[name],
            )
        return
    if "coordinator" in given:
        given["coordinator_address"] = given.pop("coordinator")
        if "JOB_COMPLETION_INDEX" in os.environ:  # an indexed Job of Kubernetes
            given.setdefault("process_id", int(os.environ["JOB_COMPLETION_INDEX"]))
    import jax

    try:
        jax.distributed.initialize(**given)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"expected all processes of the run to meet there, got: {reason(error)}", "coordinator"
        ) from error


def share():
    """The `Share` of this process."""
    if keras.backend.backend() != "jax":
        return Share()
    import jax

    return Share(jax.process_index(), jax.process_count())


@contextlib.contextmanager
def one_run_folder(config):
    """All processes do the same, each in a folder of its own: what the first one writes is the run,
    the others' goes.

    Yields the config with which this process trains.
    """
    if share().part == 0:
        _meet()
        yield config
        return
    with tempfile.TemporaryDirectory() as scratch, open(os.devnull, "w") as nowhere:
        if config.resume:
            config = dataclasses.replace(
                config, resume=str(shutil.copytree(config.resume, Path(scratch, "run")))
            )
        _meet()
        with contextlib.redirect_stdout(nowhere):
            yield dataclasses.replace(config, trained_model_path=scratch)


def _meet():
    """Wait for the other processes; the first one changes no file before they have read it."""
    if share().parts > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("every process has read the run folder")


@contextlib.contextmanager
def spread(config):
    """What is built and trained inside this context runs on the devices that `config.devices`
    names.

    Yields their number. `MirroredStrategy` under TensorFlow, `keras.distribution.DataParallel`
    under JAX.

    Raises:
        InputError: the backend cannot, or the batch cannot be divided among them.
    """
    if config.devices == "one":
        yield 1
        return
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        _check(config, len(devices))
        expect(
            config.accumulate == 1,
            "accumulate",
            "1 beside `devices` all under TensorFlow",
            config.accumulate,
        )
        with tf.distribute.MirroredStrategy([device.name for device in devices]).scope():
            yield len(devices)
    elif backend == "jax":
        distribution = keras.distribution.DataParallel(
            auto_shard_dataset=False
        )  # the pipeline does it
        _check(config, distribution.num_model_replicas)
        keras.distribution.set_distribution(distribution)
        try:
            yield distribution.num_model_replicas
        finally:
            keras.distribution.set_distribution(None)
    else:
        raise InputError(
            f"expected KERAS_BACKEND=tensorflow or jax for all devices, got {backend}", "devices"
        )


def _check(config, devices):
    expect(
        config.batch_size % devices == 0,
        "batch_size",
        f"a multiple of the {devices} devices",
        config.batch_size,
    )
