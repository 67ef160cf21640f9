"""Give damaged files to the commands: `python -m benchmarks.fuzz --seconds 100`.

Each turn damages one file of a small data set, run, video or exported network, and calls a command
on it in this process. The command has to end with exit code 0, or with exit code 2 and one line on
stderr. Anything else, or a call of more than 30 seconds, is an escape: it is printed with the seed
that repeats it, and the exit code is 1. The data, and the network, are drawn and trained at first.
"""

import argparse
import contextlib
import io
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

LIMIT = 30  # seconds of a call
VALUES = (b"nan", b"inf", b"-1", b"1e400", b"9" * 30, b'"', b"[]", b"\0", b"\xff", b"\n", b"null")


class TooSlow(BaseException):
    """A call took longer than `LIMIT`."""


def damage(data: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """The content of a file with one to three random changes."""
    for _ in range(draw.randint(1, 3)):
        start = draw.randrange(len(data) + 1)
        end = min(len(data), start + draw.choice((1, 4, 60, 2000)))
        noise = draw.randbytes(max(1, end - start))
        data = draw.choice(
            (
                lambda: data[:start],
                lambda: data[:start] + noise + data[end:],
                lambda: data[:start] + data[end:],
                lambda: data[:start] + noise + data[start:],
                lambda: data[:start] + bytes(end - start) + data[end:],
                lambda: data[:end] + data[start:],
                lambda: data[:start] + draw.choice(VALUES) + data[start:],
                lambda: data[:start] + draw.choice(others)[start:],
                lambda: draw.choice(others),
            )
        )()
    return data


def prepare(folder: Path) -> None:
    """Draw a data set, maps and videos, train a network on them and export it."""
    import av
    import numpy as np

    from polypseg.data.images import read_image, write_png
    from polypseg.data.synthetic import write_dataset
    from polypseg.experiment.config import TrainConfig
    from polypseg.inference.export import export
    from polypseg.training.train import train

    write_dataset(folder / "data", 12, size=(40, 48), seed=1)
    config = {"model": "attention_unet", "input_size": 32, "epochs": 1, "batch_size": 4}
    run, _ = train(
        TrainConfig(data_path=str(folder / "data"), trained_model_path=str(folder), **config)
    )
    run.rename(folder / "run")
    export(folder / "run", "onnx", folder / "net.onnx")
    (folder / "maps").mkdir()
    for index, path in enumerate(sorted((folder / "data" / "images").iterdir())):
        image = read_image(path)
        if index % 2:
            np.save(folder / "maps" / f"{path.stem}.npy", image[..., 0] / np.float32(255))
        else:
            write_png(folder / "maps" / path.name, image[..., 0])
    for name, codec in (("a.mp4", "libx264"), ("b.ts", "libx264"), ("c.mkv", "ffv1")):
        with av.open(str(folder / name), "w") as out:
            stream = out.add_stream(codec, rate=25, width=48, height=40, pix_fmt="yuv420p")
            for path in sorted((folder / "data" / "images").iterdir()):
                frame = av.VideoFrame.from_ndarray(read_image(path), "rgb24")
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    lists = folder / "run" / "split"
    shutil.copytree(lists, folder / "lists")
    shutil.copy(folder / "run" / "config.json", folder / "config.json")


def check_data(*arguments: str) -> None:
    """What `train.py` does before it builds the network."""
    from polypseg.commands.train import parse
    from polypseg.commands.training_run import load_and_report

    load_and_report(parse(arguments))


def calls(folder: Path) -> dict[str, tuple[list[Path], Callable[[], object]]]:
    """For each kind of call, the files that may be damaged, and the call."""
    from polypseg.commands import image, test, video
    from polypseg.experiment.run import open_run

    def command(main: Callable[[], object], *arguments: str) -> Callable[[], object]:
        def call() -> object:
            sys.argv = [main.__module__, *arguments]
            return main()

        return call

    data, net = folder / "data", folder / "net.onnx"
    images, masks = (sorted((data / name).iterdir()) for name in ("images", "masks"))
    network = ["--model", str(net), "--batch-size", "4"]
    small = ["--data-path", str(data), "--input-size", "32"]
    out = ["--out", str(folder / "out")]
    of_image = [*network, "--image", str(data / "images"), *out, "--overwrite"]
    of_test = ["--model", str(net), "--data-path", str(data), "--subset", "all", *out]
    of_maps = ["--predictions", str(folder / "maps"), "--masks", str(data / "masks"), *out]
    found = {
        "check": ([*images, *masks], lambda: check_data(*small)),
        "lists": (
            sorted((folder / "lists").iterdir()),
            lambda: check_data(*small, "--split-dir", str(folder / "lists")),
        ),
        "config": (
            [folder / "config.json"],
            lambda: check_data("--config", str(folder / "config.json")),
        ),
        "maps": (
            [*sorted((folder / "maps").iterdir()), *masks],
            command(test.main, *of_maps),
        ),
        "test": ([*images, *masks, net], command(test.main, *of_test)),
        "image": ([*images, net], command(image.main, *of_image)),
        "run": (
            [path for path in (folder / "run").rglob("*") if path.is_file()],
            lambda: open_run(folder / "run"),
        ),
    }
    for name in ("a.mp4", "b.ts", "c.mkv"):
        arguments = [*network, "--video", str(folder / name), "--overwrite"]
        arguments += ["--out", str(folder / "out" / "a.mp4")]
        found[name] = ([folder / name], command(video.main, *arguments))
    return found


def outcome(call: Callable[[], object]) -> tuple[int | str, str]:
    """Exit code of a call (or what it raised), and what it wrote to stderr."""
    from polypseg.console.run import run

    def stop(*_: object) -> None:
        raise TooSlow

    said = io.StringIO()
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT)
    code: int | str = 0
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            run(call)
    except SystemExit as ended:
        code = ended.code or 0
    except TooSlow:
        code = f"more than {LIMIT} s"
    finally:
        signal.alarm(0)
    return code, said.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=100.0, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first turn (%(default)s)")
    parser.add_argument("--turns", type=int, help="stop after so many turns, as 1 with a seed")
    given = parser.parse_args()

    from polypseg.runtime import load_tensorflow

    load_tensorflow()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        kinds = calls(folder)
        others = [path.read_bytes() for paths, _ in kinds.values() for path in paths[:2]]
        counts: Counter[tuple[str, int | str]] = Counter()
        escapes, turn, end = 0, 0, time.monotonic() + given.seconds
        while time.monotonic() < end and turn != given.turns:
            draw = random.Random(given.seed + turn)
            kind = draw.choice(list(kinds))
            paths, call = kinds[kind]
            path = draw.choice(paths)
            content = path.read_bytes()
            path.write_bytes(damage(content, draw, others))
            code, said = outcome(call)
            lines = [line for line in said.splitlines() if not line.startswith("note: ")]
            good = code == 0 or (code == 2 and len(lines) == 1)
            if not good:
                escapes += 1
                print(f"seed {given.seed + turn}: {kind}, {path.relative_to(folder)}: {code}")
                print("\n".join(lines[-12:]), flush=True)
            counts[kind, code] += 1
            path.write_bytes(content)
            turn += 1
    for (kind, code), count in sorted(counts.items(), key=str):
        print(f"{kind:7} exit code {code}: {count}")
    print(f"{turn} turns, {escapes} escapes")
    sys.exit(bool(escapes))


if __name__ == "__main__":
    main()
