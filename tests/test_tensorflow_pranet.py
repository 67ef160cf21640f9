"""The commands of the TensorFlow PraNet's README, script names changed to ours."""

import shlex
import sys

import cv2
import keras
import numpy as np
import pytest
import tiny

from polypseg.commands import image, test, train, video
from polypseg.console.run import run
from polypseg.data.synthetic import write_dataset
from polypseg.inference.predictor import Predictor

COMMANDS = """
python train.py --data_path polyps_dataset/ --data_split 0.1 --epoch 25 --lr 1e-4 --batchsize 16 \
    --inputsize 352 --gclip 0.5 --trained_model_path trained_model/ --backbone resnet50
python test.py --data_path polyps_dataset/ --model_path trained_model/pranet_resnet/ --inputsize 352
python infer_image.py --model_path trained_model/pranet_resnet \
    --image_path sample_polyps/polyps1.jpg --inputsize 352
python infer_video.py --model_path trained_model/pranet_resnet/ \
    --video_path sample_polyps/PolypColon.mp4 --inputsize 352 --threshold 0.5
"""
MAIN = {"train.py": train, "test.py": test, "infer_image.py": image, "infer_video.py": video}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files that the commands name, and a network that is trained in seconds."""
    monkeypatch.chdir(tmp_path)
    tiny.install(monkeypatch.setitem)
    write_dataset("polyps_dataset", 12, size=(48, 60), seed=3)
    (tmp_path / "sample_polyps").mkdir()
    picture = cv2.imread("polyps_dataset/images/synthetic_0000.png")
    cv2.imwrite("sample_polyps/polyps1.jpg", picture)
    film = cv2.VideoWriter(
        "sample_polyps/PolypColon.mp4", cv2.VideoWriter_fourcc(*"mp4v"), 25, (60, 48)
    )
    for shift in range(3):
        film.write(np.roll(picture, shift, axis=1))
    film.release()
    yield tmp_path
    keras.config.set_dtype_policy("float32")


def execute(line, monkeypatch):
    """Exit code of one line of a README."""
    _, script, *arguments = shlex.split(line)
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    try:
        run(MAIN[script].main)
    except SystemExit as stop:
        return stop.code
    return 0


def test_they_run_with_the_name_of_our_run(folder, monkeypatch, capsys):
    training, *others = COMMANDS.strip().splitlines()
    assert execute(training, monkeypatch) == 0
    assert [path.name for path in (folder / "trained_model").iterdir()] == ["pranet_resnet50"]
    for line in others:
        capsys.readouterr()
        assert execute(line, monkeypatch) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert error.endswith(
            "which does not exist; did you mean 'trained_model/pranet_resnet50'?\n"
        )
    for line in others:
        assert execute(line.replace("pranet_resnet", "pranet_resnet50"), monkeypatch) == 0, line
    masks = folder / "predictions" / "masks" / "polyps1.png"
    image = cv2.imread("sample_polyps/polyps1.jpg")[..., ::-1]
    expected = Predictor.load("trained_model/pranet_resnet50", 352)([image])[0] >= 0.5
    np.testing.assert_array_equal(cv2.imread(str(masks), cv2.IMREAD_GRAYSCALE), expected * 255)
    assert (folder / "predictions" / "PolypColon.mp4").stat().st_size
