"""A quiet start of TensorFlow."""

import os
import sys
import tempfile


def load_tensorflow():
    """Import TensorFlow and find its devices without the dozen log lines it starts with.

    They are written by compiled code before any log level is heard. What it wrote is
    shown if the import fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            import tensorflow

            tensorflow.config.list_physical_devices()
            tensorflow.constant(0)
        except BaseException:
            log.seek(0)
            os.write(stderr, log.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
