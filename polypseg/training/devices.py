"""Divide each batch among the devices of a machine, or among the processes on several machines."""

import atexit
import contextlib
import dataclasses
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from polypseg.errors import InputError, expect, reason
from polypseg.experiment.checkpoint import SaveError
from polypseg.experiment.config import TrainConfig
from polypseg.files import writing

# What JAX says when it cannot reach another process.
_LOST = "(?i)gloo|nccl|closed by peer|reset by peer|broken pipe|heartbeat|coordination service"
CONNECTION = ("coordinator", "num_processes", "process_id")


class Share(NamedTuple):
    """The part of each batch that this process reads.

    Attributes:
        part: index of the part, from 0; process 0 writes the run folder.
        parts: number of processes that train the network together.
    """

    part: int = 0
    parts: int = 1


def connect_processes(config: TrainConfig) -> None:
    """Connect this process to the other ones of the run, if there are several.

    The options `coordinator`, `num_processes` and `process_id` describe them; under Slurm JAX finds
    them itself. This has to be called before Keras is used.

    Raises:
        InputError: an option for several processes is given, but `devices` is not `"all"` or the
            backend is not JAX; or the other processes do not answer.
    """
    options = {name: getattr(config, name) for name in CONNECTION}
    given = {name: value for name, value in options.items() if value is not None}
    several = given or int(os.environ.get("SLURM_NTASKS", 1)) > 1
    if config.deterministic:  # JAX reads the variable once, when it starts
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


def process_share() -> Share:
    """The `Share` of this process; all of each batch if it is the only one."""
    if keras.backend.backend() != "jax":
        return Share()
    import jax

    return Share(jax.process_index(), jax.process_count())


class PeerLost(InputError):
    """Another process of the run has ended, so this one cannot train either."""


@contextlib.contextmanager
def expect_peers(how_to_resume: Callable[[], str]) -> Iterator[None]:
    """Context that turns the error of JAX about another process that has ended into `PeerLost`.

    Args:
        how_to_resume: function that says what is saved, and how to resume.
    """
    try:
        yield
    except InputError:
        raise
    except (RuntimeError, ValueError) as error:  # JAX raises both
        if process_share().parts > 1 and re.search(_LOST, str(error)):
            raise PeerLost(
                "expected all processes of the run to stay, got one that has ended; end all of "
                f"them and start them again with `resume`; {how_to_resume()}"
            ) from error
        raise


def _leave() -> None:
    """End this process without JAX's shutdown, which waits minutes for all others, then aborts."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(2)


@contextlib.contextmanager
def one_run_folder(config: TrainConfig) -> Iterator[TrainConfig]:
    """Context in which only the first process writes to the run folder of `config`.

    All processes of a run do the same work and write the same files. The other ones write to
    temporary folders, which are removed at the end, and print nothing. After an error that only
    this process has, it ends without waiting for the others, which would wait for it.

    Yields:
        The configuration with which this process trains.

    Raises:
        InputError: there is no room for a temporary folder.
    """
    try:
        with _folder_of_process(config) as own:
            yield own
    except (PeerLost, SaveError):
        if process_share().parts > 1:
            atexit.register(_leave)  # runs before what JAX has registered
        raise


@contextlib.contextmanager
def _folder_of_process(config: TrainConfig) -> Iterator[TrainConfig]:
    if process_share().part == 0:
        _wait_for_all()
        yield config
        return
    with tempfile.TemporaryDirectory() as scratch, open(os.devnull, "w") as nowhere:
        if config.resume:
            with writing(Path(scratch), "resume"):
                copy = shutil.copytree(config.resume, Path(scratch, "run"))
            config = dataclasses.replace(config, resume=str(copy))
        _wait_for_all()
        with contextlib.redirect_stdout(nowhere):
            yield dataclasses.replace(config, trained_model_path=scratch)


def _wait_for_all() -> None:
    """Wait until all processes have read the run folder, before the first one changes its files."""
    if process_share().parts > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("every process has read the run folder")


@contextlib.contextmanager
def distribute(config: TrainConfig) -> Iterator[int]:
    """Context in which a network is built and trained on one device, or on all of them.

    `config.devices` chooses. All devices are used through `MirroredStrategy` under TensorFlow, and
    through `keras.distribution.DataParallel` under JAX.

    Yields:
        The number of devices.

    Raises:
        InputError: the backend cannot use several devices, or the batch size is not a multiple of
            their number.
    """
    if config.devices == "one":
        yield 1
        return
    backend = keras.backend.backend()
    if backend == "tensorflow":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        _check_batch_size(config, len(devices))
        expect(
            config.accumulate == 1,
            "accumulate",
            "1 beside `devices` all under TensorFlow",
            config.accumulate,
        )
        with tf.distribute.MirroredStrategy([device.name for device in devices]).scope():
            yield len(devices)
    elif backend == "jax":
        # The data pipeline divides the batches itself.
        distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
        _check_batch_size(config, distribution.num_model_replicas)
        keras.distribution.set_distribution(distribution)
        try:
            yield distribution.num_model_replicas
        finally:
            keras.distribution.set_distribution(None)
    else:
        raise InputError(
            f"expected KERAS_BACKEND=tensorflow or jax for all devices, got {backend}", "devices"
        )


def _check_batch_size(config: TrainConfig, devices: int) -> None:
    expect(
        config.batch_size % devices == 0,
        "batch_size",
        f"a multiple of the {devices} devices",
        config.batch_size,
    )
