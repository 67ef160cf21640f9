"""What the process runs on: processor cores, memory, a quiet start of TensorFlow, lazy imports.

Every command imports this module before it parses its arguments. To keep `--help` quick, Keras,
TensorFlow and PyTorch are imported inside functions.
"""

import contextlib
import ctypes
import importlib
import importlib.util
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import IO, Any

from polypseg.errors import InputError, expect


def lazy(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Make a `__getattr__` for a package that imports each name's module on first use.

    Args:
        package: `__name__` of the package.
        modules: for each name, the full name of its module.

    Returns:
        The function, which raises AttributeError for an unknown name and ImportError if the module
        itself raises AttributeError.
    """

    def getattr_of_module(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            module = importlib.import_module(modules[name])
        except AttributeError as error:  # which `from ... import` would report as an unknown name
            raise ImportError(f"{modules[name]} cannot be imported: {error}") from error
        return getattr(module, name)

    return getattr_of_module


def alias(leaf: str, *modules: str) -> None:
    """Make `import pranet`, in a checkout, give the modules of `polypseg.pranet` and not copies.

    Args:
        leaf: name of the package without `polypseg.`, such as `"pranet"`.
        modules: names of its modules to import now, so that Keras knows their classes.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet():
        for name in modules:
            importlib.import_module(f"polypseg.{leaf}.{name}")
    for name in [name for name in sys.modules if name.startswith(f"polypseg.{leaf}.")]:
        sys.modules[name.removeprefix("polypseg.")] = sys.modules[name]
        setattr(sys.modules[leaf], name.rpartition(".")[2], sys.modules[name])


# The scripts whose names differ from the names of their commands.
SCRIPTS = {
    "image": "infer_image",
    "video": "infer_video",
    "volume": "infer_volume",
    "prepare": "prepare_data",
}


def command(name: str) -> str:
    """How the user types a command: `python train.py` in a checkout, otherwise `polypseg train`."""
    root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    script = f"{SCRIPTS.get(name, name)}.py"
    called = sys.argv[0] if sys.argv else ""
    if called.startswith("polypseg ") or not os.path.isfile(os.path.join(root, script)):
        return f"polypseg {name}"
    return f"python {script}"


def cores() -> int:
    """Number of processor cores that this process may use, at least 1."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_gpu() -> bool:
    """Whether Keras's backend sees a GPU. Imports Keras."""
    import keras

    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.is_available()
    try:
        return bool(keras.distribution.list_devices("gpu"))
    except RuntimeError:  # raised by JAX if there is none
        return False


BACKENDS = ("tensorflow", "jax", "torch")


def check_backend() -> None:
    """Raise `InputError` if KERAS_BACKEND names a backend that is unknown or not installed."""
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
    """Context that hides the text that compiled code writes to stderr. No log level stops it.

    If an error other than `InputError` is raised, the text is shown at the end.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    with _temporary_log() as log:
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


def _temporary_log() -> IO[bytes]:
    """A temporary file; if the disk has no room for one, a file that forgets what is written."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "w+b")


@cache
def _first_process(library: str) -> int:
    return os.getpid()


def expect_process(library: str) -> None:
    """Raise `InputError` if this is a fork of the process that first called this for the library.

    A fork does not have the library's threads and would wait for them forever.
    """
    if os.getpid() != _first_process(library):
        raise InputError(
            f"expected the process that first ran {library}, got a fork of it, which would hang; "
            'start processes with multiprocessing.get_context("spawn")'
        )


class ProcessLock:
    """A lock for the threads of a process, used as `with lock:`.

    It can be pickled. A forked process gets a new lock, because no thread there could release a
    lock that was held at the time of the fork.
    """

    def __init__(self) -> None:
        self._locks: dict[int, threading.Lock] = {}

    def __enter__(self) -> None:
        self._locks.setdefault(os.getpid(), threading.Lock()).acquire()

    def __exit__(self, *error: object) -> None:
        self._locks[os.getpid()].release()

    def __reduce__(self) -> tuple[type["ProcessLock"], tuple[()]]:
        return ProcessLock, ()


def load_tensorflow() -> None:
    """Import TensorFlow and find its devices without its log lines.

    Under another backend of Keras, TensorFlow gets no GPU: it only reads data.

    Raises:
        InputError: as in `check_backend`.
    """
    check_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Without AVX-512 TensorFlow turns oneDNN off, and is half as fast.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    with quiet():
        import keras
        import tensorflow

        if keras.backend.backend() != "tensorflow":
            # tf.data needs no GPU; the backend needs all of its memory.
            tensorflow.config.set_visible_devices([], "GPU")
        tensorflow.config.list_physical_devices()
        tensorflow.constant(0)


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next step. Without glibc, do nothing.

    By default, glibc returns each large block to the system. The system has to fill its pages with
    zeros again one step later. This takes a fifth of a training step on small images. Peak memory
    stays the same.

    The setting holds for the complete process, so only commands call this, never a library.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # a system without glibc
            libc = ctypes.CDLL("libc.so.6")
            trim_threshold, mmap_max = -1, -4
            libc.mallopt(trim_threshold, 2**31 - 1)
            libc.mallopt(mmap_max, 0)
