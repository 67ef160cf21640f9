"""Counts which files Python opens, whoever opens them."""

import contextlib
import os
import sys
from collections import Counter
from pathlib import Path

_counters = []


def _hear(event, args):
    if event == "open" and isinstance(args[0], str | bytes | os.PathLike):
        for counter in _counters:
            counter[Path(os.fsdecode(args[0]))] += 1


sys.addaudithook(_hear)  # for good: there is no way to take one out


@contextlib.contextmanager
def opened():
    """Yields a `Counter` of the paths that are opened in this context."""
    counter = Counter()
    _counters.append(counter)
    try:
        yield counter
    finally:
        _counters.remove(counter)


def images_among(counter):
    """Those of the paths that are images or masks, with their counts."""
    return {path: n for path, n in counter.items() if path.parent.name in ("images", "masks")}


def images_in(folder):
    """All images and masks of a data set."""
    return {path for name in ("images", "masks") for path in Path(folder, name).iterdir()}
