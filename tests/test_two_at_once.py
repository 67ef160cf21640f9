"""Two of each command on one output at once, twenty times: who ends with exit code 0 has written
all of it.
"""

import csv
import filecmp
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from polypseg.data.masks import read_mask
from polypseg.experiment.run import open_run
from polypseg.inference.predictor import Predictor

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
BEFORE = ROOT / "tests" / "data" / "before_rooms"
STUB = [sys.executable, str(ROOT / "tests" / "stub_predictor.py")]
TIMES = int(os.environ.get("TIMES", 20))
THRESHOLDS = 0.3, 0.6


def at_once(*commands):
    """Exit codes and what each said on stderr; the second starts up to half a second later."""
    processes = []
    for command in commands:
        processes.append(
            subprocess.Popen(
                [str(part) for part in command],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env=os.environ | {"STUB_SECONDS": "0.05"},
            )
        )
        time.sleep(random.choice([0, 0.01, 0.1, 0.5]) * random.random())
    ended = [(process.communicate()[1], process.returncode) for process in processes]
    for said, code in ended:
        assert code in (0, 2), said
        assert (code == 2) == ("error: " in said), said
        assert "Traceback" not in said
    assert any(code == 0 for _, code in ended), ended
    return [code for _, code in ended], [said for said, _ in ended]


def images(folder, count=6):
    drawn = {}
    for index in range(count):
        small = np.random.default_rng(index).integers(0, 256, (6, 6, 3), np.uint8)
        image = cv2.resize(small, (71, 53), interpolation=cv2.INTER_CUBIC)
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{index}.png"), image[..., ::-1])
        drawn[f"{index}.png"] = image[..., 0] / np.float32(255)
    return drawn


def nothing_else(folder):
    left = [path for path in folder.rglob(".*") if path.is_file()]
    assert left == []


def test_infer_image(tmp_path):
    drawn, refused = images(tmp_path / "in"), 0
    for _ in range(TIMES):
        out = tmp_path / "o"
        shutil.rmtree(out, ignore_errors=True)
        command = [*STUB, ROOT / "infer_image.py", "--model", "stub", "--image", tmp_path / "in"]
        command += ["--out", out, "--batch-size", 2]
        ways = [[*command, "--threshold", value, "--overwrite"] for value in THRESHOLDS]
        codes, _ = at_once(*ways)
        refused += 2 in codes
        masks = {name: read_mask(out / "masks" / name) for name in drawn}
        used = json.loads((out / "settings.json").read_text())["threshold"]
        assert codes[THRESHOLDS.index(used)] == 0
        for name, probability in drawn.items():
            np.testing.assert_array_equal(masks[name], probability >= used)
        with open(out / "regions.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["area"]) for row in rows] == [mask.sum() for mask in masks.values()]
        nothing_else(out)
    assert refused, "they were never at work at the same time"


def film(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, width=64, height=48, pix_fmt="yuv420p")
        for index in range(40):
            image = np.full((48, 64, 3), (index * 6, 40, 40), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("masks", ["masks", "masks.mkv"])
def test_infer_video(masks, tmp_path):
    film(tmp_path / "film.mp4")
    refused = 0
    for _ in range(TIMES):
        out = tmp_path / "o"
        shutil.rmtree(out, ignore_errors=True)
        command = [*STUB, ROOT / "infer_video.py", "--model", "stub", "--overwrite"]
        command += ["--video", tmp_path / "film.mp4", "--out", out / "a.mp4"]
        command += ["--masks-out", out / masks]
        codes, _ = at_once(*([*command, "--threshold", value] for value in THRESHOLDS))
        refused += 2 in codes
        facts = json.loads((out / "a.json").read_text())
        assert codes[THRESHOLDS.index(facts["threshold"])] == 0
        with av.open(str(out / "a.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) == facts["frames"] == 40
        if masks == "masks":
            found = [read_mask(path).mean() for path in sorted((out / masks).iterdir())]
        else:
            with av.open(str(out / masks)) as container:
                found = [frame.to_ndarray().mean() / 255 for frame in container.decode(video=0)]
        first = next(index for index, share in enumerate(found) if share == 1)
        assert len(found) == 40 and set(found) == {0, 1}
        assert first == pytest.approx(facts["threshold"] * 255 / 6, abs=2)
        nothing_else(out)
    assert refused


def test_score(tmp_path):
    images(tmp_path / "images")
    for name, probability in images(tmp_path / "maps").items():
        (tmp_path / "masks").mkdir(exist_ok=True)
        mask = (probability > 0.5).astype(np.uint8) * 255
        cv2.imwrite(str(tmp_path / "masks" / name), mask)
        cv2.imwrite(str(tmp_path / "maps" / name), np.uint8(np.rint(probability * 255)))
    refused = 0
    for _ in range(TIMES):
        out = tmp_path / "o"
        shutil.rmtree(out, ignore_errors=True)
        command = [sys.executable, ROOT / "test.py", "--predictions", tmp_path / "maps", "--masks"]
        command += [tmp_path / "masks", "--out", out]
        codes, _ = at_once(*([*command, "--threshold", value] for value in THRESHOLDS))
        refused += 2 in codes
        found = json.loads((out / "metrics.json").read_text())
        used = found["settings"]["threshold"]
        assert codes[THRESHOLDS.index(used)] == 0
        with open(out / "per_image.csv", newline="") as file:
            dice = np.mean([float(row["dice"]) for row in csv.DictReader(file)])
        assert dice == pytest.approx(found["threshold"]["dice"], abs=1e-6)
        assert f">= {used:g}" in (out / "table.md").read_text()
        nothing_else(out)
    assert refused


@pytest.mark.parametrize("kind, name", [("onnx", "a.onnx"), ("openvino", "a.xml")])
def test_export(kind, name, tmp_path):
    refused = 0
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    for _ in range(TIMES):
        out = tmp_path / "o" / name
        shutil.rmtree(out.parent, ignore_errors=True)
        command = [sys.executable, ROOT / "export.py", "--format", kind, "--out", out]
        command += ["--overwrite", "--model", BEFORE / "attention_unet.keras"]
        codes, _ = at_once(*([*command, "--threshold", value] for value in THRESHOLDS))
        refused += 2 in codes
        predictor = Predictor.load(out)
        assert codes[THRESHOLDS.index(predictor.threshold)] == 0
        assert np.isfinite(predictor([image])[0]).all()
        nothing_else(out.parent)
    assert refused


def test_convert(tmp_path):
    from polypseg.pranet import PraNet

    PraNet("res2net50", input_size=32).save(tmp_path / "a.keras")
    refused, first = 0, None
    for _ in range(TIMES):
        out = tmp_path / "o" / "a.safetensors"
        shutil.rmtree(out.parent, ignore_errors=True)
        command = [sys.executable, ROOT / "convert.py", tmp_path / "a.keras", "--to-pytorch"]
        codes, _ = at_once(*([*command, "--out", out] for _ in range(2)))
        refused += 2 in codes
        first = first or shutil.copy(out, tmp_path / "first.safetensors")
        assert filecmp.cmp(out, first, shallow=False)
        nothing_else(out.parent)
    assert refused


def test_train(tmp_path):
    """Two new runs get a folder each; of two that resume one run one is refused."""
    tiny = [sys.executable, ROOT / "tests" / "tiny.py", "--batch-size", 4]
    tiny += ["--data-path", BEFORE / "data", "--data-split", 0.2, "--input-size", 32]
    refused = 0
    for _ in range(TIMES):
        shutil.rmtree(tmp_path / "runs", ignore_errors=True)
        new = [*tiny, "--trained-model-path", tmp_path / "runs", "--epochs", 2, "--patience", 9]
        codes, said = at_once(new, new)
        assert codes == [0, 0], said
        names = sorted(path.name for path in (tmp_path / "runs").iterdir())
        assert len(names) == 2
        for name in names:
            assert len(open_run(tmp_path / "runs" / name).history) == 2
        run = tmp_path / "runs" / names[0]
        (run / "samples" / "validation.png").unlink()
        resume = [sys.executable, ROOT / "tests" / "tiny.py", "--resume", run]
        codes, _ = at_once(resume, resume)
        refused += 2 in codes
        assert (run / "samples" / "validation.png").is_file()
        nothing_else(run)
    assert refused
