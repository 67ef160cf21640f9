"""Trainings of benchmarks, which are not repeated when a benchmark is started again."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def call(*words: object) -> None:
    """Run Python with these arguments. Raises `CalledProcessError` if it fails."""
    subprocess.run([sys.executable, *map(str, words)], check=True)


def trained(folder: Path, options: Sequence[object]) -> list[Path]:
    """The runs of `train.py OPTIONS`, which has `--seeds`, in a folder of their own.

    They are trained now, or resumed, unless they are complete.

    Returns:
        The run folder of each seed.
    """
    begun = next(folder.glob("*/config.json"), None)
    if begun is None:
        call("train.py", *options, "--trained-model-path", folder)
    elif not (begun.parent / "seeds.json").exists():
        call("train.py", "--resume", begun.parent)
    return sorted(folder.glob("*/seed-*"))
