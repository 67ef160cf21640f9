"""What the process runs on: processor cores, memory, a quiet start of TensorFlow, lazy imports.

Every command imports this module before it parses its arguments. So that `--help` stays quick,
Keras, TensorFlow and PyTorch are imported inside functions.
"""

import contextlib
import ctypes
import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from polypseg.errors import InputError, expect


def lazy(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` for `package/__init__.py`, which imports a name's module when the name is
    first used.

    Args:
        package: its `__name__`.
        modules: name -> full name of the module that has it.
    """

    def getattr_of_module(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            module = importlib.import_module(modules[name])
        except AttributeError as error:  # `from ... import` would take it for an unknown name
            raise ImportError(f"{modules[name]} cannot be imported: {error}") from error
        return getattr(module, name)

    return getattr_of_module


def alias(leaf: str, *modules: str) -> None:
    """In a checkout, let `import pranet` give the modules of `polypseg.pranet`, not second ones.

    Args:
        leaf: the bare name.
        modules: of it, to be imported now, so that Keras knows their classes.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet():
        for name in modules:
            importlib.import_module(f"polypseg.{leaf}.{name}")
    for name in [name for name in sys.modules if name.startswith(f"polypseg.{leaf}.")]:
        sys.modules[name.removeprefix("polypseg.")] = sys.modules[name]
        setattr(sys.modules[leaf], name.rpartition(".")[2], sys.modules[name])


SCRIPTS = {"image": "infer_image", "video": "infer_video"}  # the others have the command's name


def command(name: str) -> str:
    """How a command is typed here: `python train.py` in a checkout, else `polypseg train`."""
    root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    script = f"{SCRIPTS.get(name, name)}.py"
    called = sys.argv[0] if sys.argv else ""
    if called.startswith("polypseg ") or not os.path.isfile(os.path.join(root, script)):
        return f"polypseg {name}"
    return f"python {script}"


def cores() -> int:
    """Number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_gpu() -> bool:
    """Whether Keras's backend sees a GPU; imports Keras."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.is_available()
    try:
        return bool(keras.distribution.list_devices("gpu"))
    except RuntimeError:  # JAX, where there is none
        return False


BACKENDS = ("tensorflow", "jax", "torch")


def check_backend() -> None:
    """Raise `InputError` where the variable KERAS_BACKEND names a backend that is not there."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    expect(backend in BACKENDS, "KERAS_BACKEND", ", ".join(BACKENDS), backend)
    if importlib.util.find_spec(backend) is None:
        raise InputError(
            f"expected an installed backend, got {backend} without its package "
            f"(pip install {backend})",
            "KERAS_BACKEND",
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hold back what compiled code writes to stderr, which no log level stops; show it if an error
    is raised, unless that is one line for the user.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException as error:
            if not isinstance(error, InputError):
                log.seek(0)
                os.write(stderr, log.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)


@cache
def _first_process(library: str) -> int:
    return os.getpid()


def expect_process(library: str) -> None:
    """Raise `InputError` in a process that is forked from the one where this was first called: the
    library's threads are not in it, and it would wait for them for ever.
    """
    if os.getpid() != _first_process(library):
        raise InputError(
            f"expected the process that first ran {library}, got one forked from it, which would "
            'hang; start processes by multiprocessing.get_context("spawn")'
        )


def load_tensorflow() -> None:
    """Import TensorFlow and find its devices without the dozen log lines it starts with."""
    check_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow's own choice is off without AVX-512: half as fast.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with quiet():
        import keras
        import tensorflow

        if keras.backend.backend() != "tensorflow":
            # tf.data needs none; the backend needs all.
            tensorflow.config.set_visible_devices([], "GPU")
        tensorflow.config.list_physical_devices()
        tensorflow.constant(0)


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next step. Does nothing where there is no glibc.

    By default glibc returns each large block to the system, which has to zero its pages again one
    step later: a fifth of a training step on small images. Peak memory stays the same.

    The setting holds for the complete process, so only commands call this, never a library.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL("libc.so.6")
            trim_threshold, mmap_max = -1, -4
            libc.mallopt(trim_threshold, 2**31 - 1)
            libc.mallopt(mmap_max, 0)
