"""Run a command, and end with one line and exit code 2 after a mistake of the user."""

import contextlib
import os
import re
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from polypseg.errors import InputError, InputErrors, Note, one_line, reason

REPORT = "This is an error in polypseg, not in your input: please report it with the lines above."
_unsaid: list[OSError] = []  # why something could not be printed to stdout


def program() -> str:
    """The command's name in its messages: `train.py` or `polypseg train`."""
    return os.path.basename(sys.argv[0])


def option(argument: str) -> str:
    """What the user types for an argument. Positional ones are in capitals and do not change.

    >>> option("input_size"), option("FILE")
    ('--input-size', 'FILE')
    """
    return argument if argument.isupper() else "--" + argument.replace("_", "-")


def with_options(message: str) -> str:
    """Replace the arguments in a message, which are in backquotes, by what the user types.

    >>> with_options("expected a new path (or `overwrite`)")
    'expected a new path (or --overwrite)'
    """
    return re.sub("`([a-z_]+)`", lambda match: option(match[1]), message)


def say(text: str) -> None:
    """Print text to stdout at once, with escapes for all control characters but line breaks.

    If stdout cannot be written, because its disk is full, the command continues, so that its
    results are not lost. `run` reports it at the end.
    """
    try:
        print("\n".join(map(one_line, text.split("\n"))), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        _unsaid.append(error)


def warn(text: str) -> None:
    """Print one line to stderr that begins with the command's name."""
    with contextlib.suppress(OSError):  # a full disk: there is no place left to say so
        print(f"{program()}: {one_line(text)}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def last_words(text: str) -> Iterator[None]:
    """Context for a process that may end without leaving it: then another one prints `text`.

    Compiled code can end a process without any further Python code.
    """
    script = 'read -r left || printf "%s\\n" "$0" >&2'  # `read` fails when this process ends
    line = f"{program()}: {one_line(text)}"
    # In a session of its own, the terminal's Ctrl-C does not end it.
    with subprocess.Popen(
        ["sh", "-c", script, line], stdin=subprocess.PIPE, text=True, start_new_session=True
    ) as waiting:
        try:
            yield
        finally:
            waiting.communicate("left\n")


def _check_said() -> None:
    """Raise `InputError` if something could not be printed to stdout."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _unsaid.append(error)
    if _unsaid:
        raise InputError(
            f"expected a standard output with room on the disk, got an error ({reason(_unsaid[0])})"
        )


def _discard_stdout() -> None:
    """Otherwise Python tries to print the rest once more when it ends, and fails again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def print_notes() -> None:
    """From now on, print each warning of the class `Note` as one line."""
    show = warnings.showwarning

    def show_note(message: Warning | str, category: type[Warning], *where: Any, **to: Any) -> None:
        if issubclass(category, Note):
            warn(f"note: {with_options(str(message))}")
        else:
            show(message, category, *where, **to)

    warnings.showwarning = show_note
    # Pillow warns of damaged metadata, which do not concern the pixels; for those it raises errors.
    warnings.filterwarnings("ignore", module=r"PIL\.")


def tolerate_encoding() -> None:
    """Print a character that the terminal cannot show as an escape, and ignore a closed stream.

    Otherwise such a character or stream would end the command.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def run(main: Callable[[], object]) -> None:
    """Run a command's main function, and turn its errors into messages and exit codes.

    - `InputError`, too little memory, or a stdout on a full disk: one line, exit code 2.
    - `InputErrors`: one line for each, exit code 2.
    - Ctrl-C: one line, exit code 130, or the `exit_code` of the exception.
    - A closed pipe, as in `| head`: no message, exit code 141.
    - Any other error: its traceback, exit code 1.
    """
    tolerate_encoding()
    print_notes()
    _unsaid.clear()
    try:
        try:
            main()
        except SystemExit as stop:  # of --help
            if not stop.code:
                _check_said()
            raise
        _check_said()
    except InputError as error:
        for mistake in error.errors if isinstance(error, InputErrors) else [error]:
            prefix = f"{option(mistake.argument)}: " if mistake.argument else ""
            warn(f"error: {prefix}{with_options(mistake.message)}")
        sys.exit(2)
    except KeyboardInterrupt as stop:
        warn("stopped" + (f"; {stop}" if str(stop) else ""))
        sys.exit(getattr(stop, "exit_code", 130))
    except BrokenPipeError:
        _discard_stdout()
        sys.exit(141)
    except Exception as error:
        if is_out_of_memory(error):
            warn("error: out of memory; try a smaller --batch-size or --input-size")
            sys.exit(2)
        traceback.print_exc()
        sys.stderr.write(f"\n{REPORT}\n")
        sys.exit(1)
    finally:
        if _unsaid:
            _discard_stdout()


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether NumPy, OpenCV, TensorFlow, JAX or PyTorch ran out of memory, on a GPU or not."""
    while error is not None:
        name, text = type(error).__name__, str(error)
        if "No space left" in text:  # TensorFlow has one error for a full disk and full memory
            return False
        if isinstance(error, MemoryError) or name in ("ResourceExhaustedError", "OutOfMemoryError"):
            return True
        if "RESOURCE_EXHAUSTED" in text or "DefaultCPUAllocator: can't allocate memory" in text:
            return True
        if name == "error" and "Insufficient memory" in text:  # cv2.error
            return True
        error = error.__cause__ or error.__context__
    return False
