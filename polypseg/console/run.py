"""Running a command: a user's mistake becomes one line and exit code 2."""

import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from polypseg.errors import InputError, Note

REPORT = "This is an error in polypseg, not in your input: please report it with the lines above."


def program() -> str:
    """How the command was called, for its messages: `train.py`, or `polypseg train`."""
    return os.path.basename(sys.argv[0])


def option(argument: str) -> str:
    """What the user types for an argument: `--input-size`; a positional one is in capitals."""
    return argument if argument.isupper() else "--" + argument.replace("_", "-")


def with_options(message: str) -> str:
    """A message whose arguments, in backquotes, are what the user types."""
    return re.sub("`([a-z_]+)`", lambda match: option(match[1]), message)


def one_line(text: str) -> str:
    r"""The text with line breaks and other control characters as escapes (`\n`)."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def warn(text: str) -> None:
    """One line on stderr that begins with the command's name."""
    print(f"{program()}: {one_line(text)}", file=sys.stderr, flush=True)


def print_notes() -> None:
    """Let each `Note` of a library appear as one line."""
    show = warnings.showwarning

    def show_note(message: Warning | str, category: type[Warning], *where: Any, **to: Any) -> None:
        if issubclass(category, Note):
            warn(f"note: {with_options(str(message))}")
        else:
            show(message, category, *where, **to)

    warnings.showwarning = show_note
    # Pillow's, of an image that is refused for its size.
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")


def tolerate_encoding() -> None:
    """Let output that the terminal cannot show appear as escapes, and what goes to a closed stream
    vanish, rather than end the command.
    """
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def run(main: Callable[[], object]) -> None:
    """Run a command's main function.

    An `InputError` ends in one line and exit code 2, and so does a lack of memory; Ctrl-C in one
    line and 130; everything else in its traceback and 1.
    """
    tolerate_encoding()
    print_notes()
    try:
        main()
    except InputError as error:
        prefix = f"{option(error.argument)}: " if error.argument else ""
        warn(f"error: {prefix}{with_options(error.message)}")
        sys.exit(2)
    except KeyboardInterrupt as stop:
        warn("stopped" + (f"; {stop}" if str(stop) else ""))
        sys.exit(getattr(stop, "exit_code", 130))
    except BrokenPipeError:  # what read our output has ended, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except Exception as error:
        if is_out_of_memory(error):
            warn("error: out of memory; try a smaller --batch-size or --input-size")
            sys.exit(2)
        traceback.print_exc()
        sys.stderr.write(f"\n{REPORT}\n")
        sys.exit(1)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether NumPy, OpenCV, TensorFlow, JAX or PyTorch lacked memory, here or on a GPU."""
    while error is not None:
        name, text = type(error).__name__, str(error)
        if isinstance(error, MemoryError) or name in ("ResourceExhaustedError", "OutOfMemoryError"):
            return True
        if "RESOURCE_EXHAUSTED" in text or "DefaultCPUAllocator: can't allocate memory" in text:
            return True
        if name == "error" and "Insufficient memory" in text:  # cv2.error
            return True
        error = error.__cause__ or error.__context__
    return False
