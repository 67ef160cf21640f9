"""Share a Predictor between threads for minutes: `python -m benchmarks.soak --seconds 600`.

For each engine eight threads call one Predictor, on single images and on batches of random length,
for an equal share of the time. Each map is compared with that of one thread, bit for bit. Memory is
read after a fifth of the time and at the end. The exit code is 1 if a map differs.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

THREADS = 8


def resident() -> float:
    """Memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def soak(path: Path, seconds: float) -> tuple[int, int, float, float]:
    """Calls, maps that differ, and MB of memory after a fifth of the time and at its end."""
    import numpy as np

    from polypseg.inference.predictor import Predictor

    numbers = np.random.default_rng(0)
    images = [
        numbers.integers(0, 256, (*numbers.integers(40, 200, 2), 3), np.uint8) for _ in range(24)
    ]
    lengths = (1, 2, 5)
    batches = [images[first : first + length] for length in lengths for first in range(0, 19, 3)]
    alone = Predictor.load(path)
    expected = [alone(batch) for batch in batches]
    shared = Predictor.load(path)
    calls, differing = [0] * THREADS, [0] * THREADS
    end = time.monotonic() + seconds

    def work(number: int) -> None:
        draw = random.Random(number)
        while time.monotonic() < end:
            index = draw.randrange(len(batches))
            found = shared(batches[index])
            calls[number] += 1
            pairs = zip(found, expected[index], strict=True)
            differing[number] += sum(not np.array_equal(one, other) for one, other in pairs)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    time.sleep(seconds / 5)
    early = resident()
    for thread in threads:
        thread.join()
    return sum(calls), sum(differing), early, resident()


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="(default: %(default)s)")
    given = parser.parse_args()

    from polypseg.runtime import load_tensorflow

    load_tensorflow()
    import keras

    from polypseg.attention_unet import AttentionUNet
    from polypseg.inference.export import export
    from polypseg.inference.formats import NAMES, format_of

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keras.utils.set_random_seed(0)
        AttentionUNet(filters=4, gate_channels=4, input_size=64).save(folder / "net.keras")
        paths = {"keras": folder / "net.keras"}
        for kind in NAMES:
            if format_of(kind).open:
                paths[kind] = export(
                    folder / "net.keras", kind, folder / f"net{format_of(kind).suffix or kind}"
                ).path
        wrong = 0
        for kind, path in paths.items():
            calls, differing, early, late = soak(path, given.seconds / len(paths))
            wrong += differing
            print(
                f"{kind:10} {calls} calls, {differing} maps differ, memory {early:.0f} and "
                f"{late:.0f} MB",
                flush=True,
            )
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
