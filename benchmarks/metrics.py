"""Speed of the scores, compared with PySODMetrics: `python -m benchmarks.metrics`."""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"  # read when NumPy is imported

import statistics
import tempfile
import time
import warnings
from pathlib import Path

import cv2
import numpy as np

from polypseg.data.images import write_png
from polypseg.metrics import score
from polypseg.runtime import cores
from polypseg.scoring.evaluation import Rules, score_items
from polypseg.scoring.sources import saved_sources


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


def milliseconds(function, pairs, repeats):
    times = []
    for _ in range(repeats):
        for pair in pairs:
            start = time.process_time()
            function(*pair)
            times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


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
        times = {
            "PySODMetrics": milliseconds(by_pysodmetrics, grey, repeats),
            "8-bit map": milliseconds(score, grey, repeats),
            "float map": milliseconds(score, floats, repeats),
        }
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


def measure_data_set(count):
    """Score saved maps with one process and on all cores. The times include reading the files and
    starting the processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name in ("masks", "maps"):
            (Path(folder) / name).mkdir()
        for seed in range(count):
            mask, levels = drawn_pair((352, 352), seed)
            write_png(Path(folder, "masks", f"{seed}.png"), mask.astype(np.uint8) * 255)
            write_png(Path(folder, "maps", f"{seed}.png"), levels)
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


if __name__ == "__main__":
    main()
