"""Speed of the scores, compared with PySODMetrics and with an earlier commit:
`python -m benchmarks.metrics`.
"""

import os

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
for name in THREADS:
    os.environ[name] = "1"  # read when NumPy is imported

import dataclasses
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
from pathlib import Path

import cv2
import numpy as np

from polypseg.commands.test import TestOptions
from polypseg.data.images import write_png
from polypseg.metrics import score
from polypseg.runtime import cores
from polypseg.scoring.evaluation import Rules, score_items
from polypseg.scoring.sources import saved_sources

ROOT = Path(__file__).resolve().parents[1]
EARLIER = "bf1bf05"  # the commit that `test.py` is compared with
ALL_ON = ("--boundary", "2", "--csv-long")  # the options of `test.py` that score and write more


def drawn_pair(shape, seed):
    """A mask `(H, W)` bool and a uint8 map that is close to it: soft edge, noise, a false spot."""
    rng = np.random.default_rng(seed)
    height, width = shape
    y, x = np.mgrid[:height, :width]
    centre, radius = rng.uniform(0.3, 0.7, 2) * shape, rng.uniform(0.12, 0.28, 2) * shape
    mask = ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2 < 1
    found = np.roll(mask, (height // 40, -width // 30), (0, 1)).astype(np.float32)
    found[: height // 12, : width // 9] = 0.6
    soft = cv2.GaussianBlur(found, (0, 0), min(shape) / 60) + rng.normal(0, 0.02, shape)
    return mask, (np.clip(soft, 0, 1) * 255).astype(np.uint8)


def by_pysodmetrics(mask, levels):
    """Six scores of PySODMetrics, three of them as means over thresholds."""
    import py_sod_metrics as pysod  # here, because the processes of the pool do not need it

    overlap = pysod.FmeasureV2(
        {
            "dice": pysod.DICEHandler(with_dynamic=True, with_adaptive=False),
            "iou": pysod.IOUHandler(with_dynamic=True, with_adaptive=False),
        }
    )
    measures = [overlap, pysod.WeightedFmeasure(), pysod.Smeasure(), pysod.Emeasure(), pysod.MAE()]
    grey = mask.astype(np.uint8) * 255
    for measure in measures:
        measure.step(levels, grey)
    curves, weighted, structure, enhanced, error = (measure.get_results() for measure in measures)
    return {
        "mean_dice": curves["dice"]["dynamic"].mean(),
        "mean_iou": curves["iou"]["dynamic"].mean(),
        "wfb": weighted["wfm"],
        "s_measure": structure["sm"],
        "mean_e_measure": enhanced["em"]["curve"].mean(),
        "mae": error["mae"],
    }


def milliseconds(functions, repeats):
    """Median processor time for each name, from a dict of name -> (function, pairs). They take
    turns, so that a change of the machine's load hits all of them.
    """
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for turn in zip(*(pairs for _, pairs in functions.values())):
            for (name, (function, _)), pair in zip(functions.items(), turn):
                start = time.process_time()
                function(*pair)
                times[name].append(time.process_time() - start)
    return {name: 1000 * statistics.median(values) for name, values in times.items()}


def main():
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    print(
        "median processor time of one pair on one thread; ours: all scores of both protocols; "
        "PySODMetrics: six of these scores"
    )
    for shape, count, repeats in (((352, 352), 8, 5), ((1080, 1920), 3, 3)):
        pairs = [drawn_pair(shape, seed) for seed in range(count)]
        grey = [(mask, levels) for mask, levels in pairs]
        floats = [(mask, (levels / 255).astype(np.float32)) for mask, levels in pairs]
        ours, reference = score(*pairs[0]).pranet, by_pysodmetrics(*pairs[0])  # this also warms up
        difference = max(abs(ours[name] - value) for name, value in reference.items())
        functions = {
            "PySODMetrics": (by_pysodmetrics, grey),
            "8-bit map": (score, grey),
            "float map": (score, floats),
        }
        times = milliseconds(functions, repeats)
        line = f"{shape[0]} x {shape[1]}: " + ", ".join(
            f"{name} {value:.1f} ms" for name, value in times.items()
        )
        ratios = (times["PySODMetrics"] / times[name] for name in ("8-bit map", "float map"))
        print(
            line
            + "; {:.1f} and {:.1f} times faster".format(*ratios)
            + f" (numbers within {difference:.0e})"
        )
    measure_data_set(1000)
    measure_command(1000, repeats=3)


def write_pairs(folder, shape, count):
    """Draw pairs and write them to `masks/` and `maps/` as PNG."""
    for name in ("masks", "maps"):
        Path(folder, name).mkdir()
    for seed in range(count):
        mask, levels = drawn_pair(shape, seed)
        write_png(Path(folder, "masks", f"{seed}.png"), mask.astype(np.uint8) * 255)
        write_png(Path(folder, "maps", f"{seed}.png"), levels)


def measure_data_set(count):
    """Score saved maps with one process and on all cores. The times include reading the files and
    starting the processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_pairs(folder, (352, 352), count)
        (source,) = saved_sources([Path(folder, "maps")], [Path(folder, "masks")])
        seconds = []
        for workers in (1, cores()):
            start = time.perf_counter()
            for _ in score_items(source.items, Rules(), workers=workers):
                pass
            seconds.append(time.perf_counter() - start)
    on_one_core, on_all_cores = (count / value for value in seconds)
    print(
        f"{count} saved maps of 352 x 352, with reading: {on_one_core:.0f} images/s on one core, "
        f"{on_all_cores:.0f} on {cores()}"
    )


def measure_command(count, repeats):
    """Time `test.py` of the earlier commit and of this checkout: complete processes that read
    maps and masks of 560 x 480 and write the report. They take turns, so that a change of the
    machine's load hits all of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        earlier = Path(folder, "earlier")
        if not export_commit(EARLIER, earlier):
            print(
                f"no comparison with commit {EARLIER}: git cannot export it (this is no clone of "
                "the repository, or a shallow one)"
            )
            return
        write_pairs(folder, (480, 560), count)
        commands = {f"commit {EARLIER}": [earlier / "test.py"], "defaults": [ROOT / "test.py"]}
        known = {field.name.replace("_", "-") for field in dataclasses.fields(TestOptions)}
        if unknown := [word for word in ALL_ON if word.startswith("--") and word[2:] not in known]:
            print(f"not measured with all of it on: test.py has no {', '.join(unknown)}")
        else:
            commands["all of it on"] = [ROOT / "test.py", *ALL_ON]
        seconds = {name: [] for name in commands}
        for turn in range(repeats):
            for name, command in commands.items():
                out = Path(folder, f"{name} {turn}")
                seconds[name].append(seconds_of(command, folder, out))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    first = medians[f"commit {EARLIER}"]
    print(
        f"test.py, {count} pairs of 560 x 480, median wall time of {repeats} runs: "
        + ", ".join(
            f"{name} {value:.1f} s" + (f" ({value / first:.2f} times)" if value != first else "")
            for name, value in medians.items()
        )
    )


def export_commit(commit, folder):
    """Write the files of a commit of this repository to a folder; False if git cannot."""
    archive = folder.with_suffix(".tar")
    command = ["git", "-C", str(ROOT), "archive", "--output", str(archive), commit]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return True


def seconds_of(command, folder, out):
    """Run a `test.py` with these options on the pairs in `folder`; the wall time."""
    pairs = ["--predictions", Path(folder, "maps"), "--masks", Path(folder, "masks"), "--out", out]
    # A script finds the packages beside it first. PYTHONPATH and PYTHONSAFEPATH could change that.
    # And the command chooses its threads, as for a user.
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PYTHON") and name not in THREADS
    }
    start = time.perf_counter()
    process = subprocess.run(
        [sys.executable, *command, *pairs],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed: {process.stderr.strip()}")
    return seconds


if __name__ == "__main__":
    main()
