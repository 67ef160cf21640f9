"""Run a script of this repository in the tests' own process, which spares the start of Python and
of what the script imports.
"""

import contextlib
import logging
import os
import runpy
import subprocess
import sys
import tempfile
import warnings
from unittest import mock


def run_script(path, *arguments, cwd=None, env=None):
    """What `subprocess.run([python, path, ...], capture_output=True, text=True)` returns.

    The two outputs also hold what compiled code writes. The script has the warning filters of a new
    process, and the modules that are imported already.
    """
    command = [*map(str, (path, *arguments))]
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, "argv", command))
        stack.enter_context(mock.patch.object(sys, "path", [*sys.path]))
        stack.enter_context(mock.patch.dict(os.environ, env or {}, clear=env is not None))
        stack.enter_context(contextlib.chdir(cwd or os.getcwd()))
        stack.enter_context(mock.patch.object(logging.root, "handlers", []))
        printed = [
            stack.enter_context(_redirected(name, number))
            for name, number in (("stdout", 1), ("stderr", 2))
        ]
        stack.enter_context(_new_warnings())
        try:
            code = 0
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as stop:
            code = stop.code or 0
        return subprocess.CompletedProcess(command, code, *(read() for read in printed))


@contextlib.contextmanager
def _redirected(name, number):
    """Send a stream of Python and its file descriptor to a file; yields what reads the file."""
    with tempfile.TemporaryFile() as file, open(file.fileno(), "w", closefd=False) as stream:

        def read():
            stream.flush()
            file.seek(0)
            return file.read().decode()

        getattr(sys, name).flush()
        kept = os.dup(number)
        os.dup2(file.fileno(), number)
        try:
            with mock.patch.object(sys, name, stream):
                yield read
        finally:
            os.dup2(kept, number)
            os.close(kept)


@contextlib.contextmanager
def _new_warnings():
    """Python's filters of warnings, and its way to show one."""

    def show(message, category, filename, lineno, file=None, line=None):
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))

    with warnings.catch_warnings():
        warnings.resetwarnings()
        for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", kind)
        warnings.showwarning = show
        yield
