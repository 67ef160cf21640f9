"""A quiet start of TensorFlow."""

import contextlib
import ctypes
import os
import sys
import tempfile


@contextlib.contextmanager
def quiet():
    """Hold back what compiled code writes to stderr, which no log level stops; show it if an error is raised."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            log.seek(0)
            os.write(stderr, log.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)


def load_tensorflow():
    """Import TensorFlow and find its devices without the dozen log lines it starts with."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # TensorFlow's own choice is off without AVX-512: half as fast
    _keep_freed_memory()
    with quiet():
        import tensorflow
        import keras

        if keras.backend.backend() != "tensorflow":
            tensorflow.config.set_visible_devices([], "GPU")  # tf.data needs none; the backend needs all
        tensorflow.config.list_physical_devices()
        tensorflow.constant(0)


def _keep_freed_memory():
    """Have glibc keep what is freed for the next step.

    It would give back each large block, whose pages the system zeroes again a step later: a fifth
    of a training step on small pictures. The highest use of memory stays the same.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            libc = ctypes.CDLL("libc.so.6")
            trim_threshold, mmap_max = -1, -4
            libc.mallopt(trim_threshold, 2**31 - 1)
            libc.mallopt(mmap_max, 0)
