"""The engine of a run folder: which one runs, what is refused, and that Keras is not imported."""

import importlib.util
import json
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny

from polypseg.data.preparation import Preparation
from polypseg.errors import InputError
from polypseg.inference.export import export
from polypseg.inference.formats import AUTO, ENGINES, format_of
from polypseg.inference.predictor import Predictor

pytest.importorskip("tf2onnx")
# Run folders of the test without digests.
pytestmark = pytest.mark.filterwarnings("ignore::polypseg.errors.Note")
ROOT = Path(__file__).resolve().parent.parent
SIZE = 32
NAMES = {"onnx": "ONNX Runtime", "openvino": "OpenVINO", "tflite": "LiteRT", "keras": "Keras"}
rng = np.random.default_rng(3)
IMAGE = rng.integers(0, 256, (45, 61, 3), dtype=np.uint8)


def save_network(folder, seed):
    import keras

    keras.utils.set_random_seed(seed)
    model = tiny.Tiny(SIZE, stateless=True)
    model.save(folder / "best.keras")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run folder with a file for each engine."""
    folder = tmp_path_factory.mktemp("run")
    save_network(folder, 1)
    (folder / "config.json").write_text('{"data_path": "data"}')
    for kind in ENGINES:
        if kind != "keras" and all(map(pytest.importorskip, format_of(kind).packages)):
            export(folder, kind, all_maps=True)
    return folder


@pytest.fixture
def run(exported, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(exported, tmp_path / "run"))


@pytest.fixture(scope="module")
def answer(exported):
    return Predictor.load(exported / "best.keras")(IMAGE)


def loaded(run, *arguments, **options):
    """The predictor, and the notes on the files of engines."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        predictor = Predictor.load(run, *arguments, **options)
    return predictor, [str(note.message) for note in caught if "not used" in str(note.message)]


def test_the_first_that_can_is_taken(run, answer, monkeypatch):
    digest = Predictor.load(run / "best.keras").digest
    for number, kind in enumerate(ENGINES):
        predictor, notes = loaded(run)
        assert predictor.engine.startswith(NAMES[kind]) and not notes
        assert predictor.digest == digest, "results of another engine stay valid"
        tolerance = 0.03 if "bfloat16" in predictor.engine else 1e-4
        np.testing.assert_allclose(predictor(IMAGE), answer, atol=tolerance)
        if kind == "keras":
            break
        if number % 2:
            (run / f"best{format_of(kind).suffix}").unlink()
        else:  # the file is there, and the package is not
            missing = format_of(kind).runs_with
            find = importlib.util.find_spec
            monkeypatch.setattr(
                "importlib.util.find_spec",
                lambda name, missing=missing, find=find: None if name in missing else find(name),
            )


@pytest.mark.parametrize("kind", ENGINES)
def test_the_one_that_is_asked_for_runs(kind, run, answer):
    predictor, notes = loaded(run, engine=kind)
    assert predictor.engine.startswith(NAMES[kind]) and not notes
    tolerance = 0.03 if "bfloat16" in predictor.engine else 1e-4
    np.testing.assert_allclose(predictor(IMAGE), answer, atol=tolerance)
    again = pickle.loads(pickle.dumps(predictor))
    np.testing.assert_array_equal(again(IMAGE), predictor(IMAGE))


def test_the_file_of_another_network_never_runs(run):
    save_network(run, 2)
    predictor, notes = loaded(run)
    assert predictor.engine == "Keras"
    np.testing.assert_array_equal(predictor(IMAGE), Predictor.load(run / "best.keras")(IMAGE))
    assert len(notes) == len(ENGINES) - 1
    assert f"export.py --model {run} --format onnx --all-maps --overwrite" in notes[0]
    for kind in ENGINES[:-1]:
        with pytest.raises(InputError, match="engine: .*another network.*--overwrite"):
            Predictor.load(run, engine=kind)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"precision": "float16"}, "its weights are float16"),
        ({"all_maps": False}, "it lacks the side outputs"),
        ({"source": None}, "it was not made of"),
        ({"maps": "answer"}, "a list of names"),
    ],
)
def test_a_file_that_does_not_stand_for_the_run(change, reason, run):
    import onnx

    for suffix in (".xml", ".tflite"):
        (run / f"best{suffix}").unlink()
    model = onnx.load(run / "best.onnx")
    (stored,) = model.metadata_props
    onnx.helper.set_model_props(model, {"polypseg": json.dumps(json.loads(stored.value) | change)})
    onnx.save(model, run / "best.onnx")
    predictor, (note,) = loaded(run)
    assert predictor.engine == "Keras" and reason in note


def test_the_threshold_of_a_file_is_not_that_of_the_run(run):
    export(run, "onnx", threshold=0.3, all_maps=True, overwrite=True)
    assert Predictor.load(run / "best.onnx").threshold == 0.3
    predictor = Predictor.load(run)
    assert (predictor.engine, predictor.threshold) == ("ONNX Runtime", 0.5)


def test_how_images_are_read_is_taken_from_the_run(run):
    """Files that are exported from best.keras by its path do not know it."""
    (run / "config.json").write_text('{"data_path": "data", "window": [100, 4000]}')
    preparation = Preparation((-100, 240), neighbours=1)
    (run / "volume.json").write_text(preparation.to_json())
    for kind in ENGINES:
        predictor, notes = loaded(run, engine=kind)
        assert (predictor.window, predictor.preparation) == ((100, 4000), preparation) and not notes
    plain = Predictor.load(run / "best.onnx")
    assert plain.window is None and plain.preparation is None


def test_weights_of_another_file_never_run_in_openvino(run, tmp_path):
    save_network(tmp_path, 2)
    export(tmp_path / "best.keras", "openvino", all_maps=True)
    assert (tmp_path / "best.bin").stat().st_size == (run / "best.bin").stat().st_size
    shutil.copy(tmp_path / "best.bin", run)
    for path, engine in ((run / "best.xml", AUTO), (run, "openvino")):
        with pytest.raises(InputError, match="expected the weights of .*best.xml, got .*best.bin"):
            Predictor.load(path, engine=engine)
    (run / "best.onnx").unlink()
    predictor, (note,) = loaded(run)
    assert predictor.engine.startswith("LiteRT") and "best.bin" in note


def test_another_input_size_runs_in_keras(run):
    predictor, notes = loaded(run, 64)
    assert (predictor.engine, predictor.input_size) == ("Keras", 64) and not notes
    assert loaded(run, SIZE)[0].engine == "ONNX Runtime"
    with pytest.raises(InputError, match=f"input_size: expected {SIZE}"):
        Predictor.load(run, 64, "onnx")


def test_a_gpu_that_is_not_used_is_named(run, tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("polypseg.inference.engines.GPU", tmp_path / "nvidia0")
    expected = f"ONNX Runtime runs {run} on the CPU; with `engine` keras the GPU runs it"

    def notes(**options):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Predictor.load(run, **options)
        return [str(note.message) for note in caught if "GPU" in str(note.message)]

    assert not notes()
    (tmp_path / "nvidia0").touch()
    assert notes() == [expected]
    assert not notes(engine="onnx") and not notes(engine="keras")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not notes()


def test_what_cannot_run_in_an_engine_is_refused(run):
    other = shutil.copytree(run, run.parent / "other")
    for suffix in (".xml", ".bin"):
        (run / f"best{suffix}").unlink()
    for where, engine, reason in (
        (run, "tensorrt", "auto | onnx"),
        (run, "savedmodel", "auto | onnx"),
        (run, "openvino", f"best.xml .*export.py --model {run} --format openvino"),
        (run / "best.keras", "onnx", "expected keras, which runs .*best.keras"),
        (run / "best.onnx", "openvino", "expected onnx, which runs .*best.onnx"),
        ([run, other], "onnx", "expected keras, which runs several networks"),
    ):
        with pytest.raises(InputError, match=f"engine: .*{reason.replace('|', '.')}") as caught:
            Predictor.load(where, engine=engine)
        assert "\n" not in str(caught.value)
    assert Predictor.load(run / "best.onnx", engine="onnx").engine == "ONNX Runtime"
    assert Predictor.load([run, other], engine=AUTO).engine == "Keras, mean of 2 networks"


def infer(run, out, *arguments, heavy=("tensorflow", "keras", "torch", "jax", "matplotlib")):
    program = (
        "import sys\n"
        "from polypseg.commands import image\n"
        "from polypseg.console.run import run\n"
        "try:\n"
        "    run(image.main)\n"
        "finally:\n"
        f"    print('loaded:', sorted(set(sys.modules).intersection({heavy})))"
    )
    command = ["--model", run, "--image", out.parent / "images", "--out", out, *arguments]
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, command)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_images_are_segmented_without_keras(run, tmp_path):
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    cv2.imwrite(str(images / "a.png"), IMAGE[..., ::-1])
    result = infer(run, out)
    assert result.returncode == 0, result.stderr
    assert "engine: ONNX Runtime, 32 px" in result.stdout
    assert "loaded: []" in result.stdout
    probability = Predictor.load(run / "best.onnx")(IMAGE)
    mask = cv2.imread(str(out / "masks" / "a.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(mask == 255, probability >= 0.5)

    (run / "best.onnx").unlink()  # another engine goes on in the folder, and says so
    cv2.imwrite(str(images / "b.png"), IMAGE[::-1])
    again = infer(run, out, "--engine", "tflite")
    assert again.returncode == 0, again.stderr
    assert "by ONNX Runtime, and those that follow are by LiteRT" in again.stderr
    settings = json.loads((out / "settings.json").read_text())
    assert settings["engine"] == "ONNX Runtime; LiteRT"
    nothing_left = infer(run, out, "--engine", "tflite")
    assert "follow" not in nothing_left.stderr
    assert json.loads((out / "settings.json").read_text()) == settings
