"""The authors' PraNet through the converter: their keys, their outputs, and back."""

import importlib.util
import json
import os
import pickle
import subprocess
import sys
import zlib
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from polypseg.attention_unet import AttentionUNet
from polypseg.commands.convert import main as run_convert
from polypseg.console.run import run
from polypseg.inference.formats.keras import load_model
from polypseg.layers.features import build_backbone
from polypseg.pranet import PraNet, convert, official

ROOT = Path(__file__).resolve().parent.parent
OFFICIAL = Path(__file__).resolve().parent / "data" / "pranet_official"
KEYS = {
    key: tuple(shape) for key, shape in json.loads((OFFICIAL / "state_dict_keys.json").read_text())
}
COUNT = "num_batches_tracked"


def drawn(key, shape, seed=2020):
    """The weight with which the stored outputs were computed; each key has its own generator."""
    rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
    if key.endswith(COUNT):
        return np.zeros(shape, "int64")
    if key.endswith("running_mean"):
        value = 0.1 * rng.standard_normal(shape)
    elif key.endswith("running_var"):
        value = rng.uniform(0.5, 1.5, shape)
    elif len(shape) == 4:
        value = rng.standard_normal(shape) * np.sqrt(1.6 / np.prod(shape[1:]))
    elif key.endswith(".weight"):
        value = rng.uniform(0.5, 0.9, shape)
    else:
        value = 0.1 * rng.standard_normal(shape)
    return value.astype("float32")


@pytest.fixture(scope="module")
def state():
    """The counts are not zero, because outputs do not depend on them and would not show a loss."""
    state = {key: drawn(key, shape) for key, shape in KEYS.items()}
    return state | {key: np.array(i + 1) for i, key in enumerate(state) if key.endswith(COUNT)}


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("converted") / "pranet.keras"
    official.pranet_from(state).save(path)
    return path


@pytest.fixture(scope="module")
def network(file):
    return load_model(file)


@pytest.fixture
def reuse(monkeypatch):
    """A function that makes the converter use a given network; a new one takes seconds."""

    def fill(model):
        monkeypatch.setattr(official, "PraNet", lambda *args, **kwargs: model)

    return fill


def assert_same(ours, theirs, order=True):
    assert list(ours) == list(theirs) if order else set(ours) == set(theirs)
    for key, array in theirs.items():
        assert ours[key].dtype == array.dtype and ours[key].shape == array.shape, key
        np.testing.assert_array_equal(ours[key], array, key)


def test_outputs_equal_the_authors(network):
    with np.load(OFFICIAL / "expected_seed2020_352x352.npz") as expected:
        shape = (1, int(expected["height"]), int(expected["width"]), 3)
        normalised = np.random.default_rng([int(expected["seed"]), 999]).standard_normal(shape)
        image = 255 * (normalised.astype("float32") * [0.229, 0.224, 0.225] + [0.485, 0.456, 0.406])
        assert network.input_size == 352
        maps = network.predict_on_batch(image.astype("float32"))  # as the predictor does
        assert maps.shape == (*shape[:3], 4)
        for answer, theirs in zip(
            np.moveaxis(maps[0, ::8, ::8], -1, 0), np.moveaxis(expected["maps"], -1, 0)
        ):
            assert np.abs(answer - theirs).max() < 2e-5  # 2e-6 on one processor
        np.testing.assert_allclose(maps.mean((0, 1, 2)), expected["mean"], atol=1e-5)
        np.testing.assert_allclose(maps.std((0, 1, 2)), expected["std"], atol=1e-5)


def test_round_trip_through_a_keras_file_is_exact(state, network):
    assert_same(official.state_dict(network), state)


def test_a_network_of_ours_has_the_authors_keys_and_comes_back(reuse):
    ours = PraNet("res2net50")
    weights, state = ours.get_weights(), official.state_dict(ours)
    assert {key: array.shape for key, array in state.items()} == KEYS and list(state) == list(KEYS)
    assert not state["resnet.fc.weight"].any(), "what the authors' network never uses is zero"
    ours.set_weights([np.full_like(weight, 9) for weight in weights])
    reuse(ours)
    for again, weight in zip(official.pranet_from(state).get_weights(), weights, strict=True):
        np.testing.assert_array_equal(again, weight)


def test_faults_are_listed(state, network, reuse):
    reuse(network)
    wrong = {
        key: array
        for key, array in state.items()
        if key not in ("ra2_conv1.bn.bias", f"resnet.bn1.{COUNT}")
    }
    wrong |= {
        "module.extra": np.zeros(3, "float32"),
        "resnet.conv1.0.weight": np.zeros((32, 3, 3, 4), "float32"),
        "agg1.conv5.bias": np.array([np.nan], "float32"),
        "resnet.conv1.3.weight": np.zeros((32, 32, 3, 3), "float32"),
    }
    with pytest.raises(ValueError) as error:
        official.pranet_from(wrong)
    for part in (
        f"2 missing: resnet.bn1.{COUNT}, ra2_conv1.bn.bias;",
        "1 unknown: module.extra;",
        "1 of another shape: resnet.conv1.0.weight (32, 3, 3, 4) instead of (32, 3, 3, 3);",
        "1 not finite: agg1.conv5.bias",
    ):
        assert part in str(error.value)
    with pytest.raises(
        ValueError, match="922 missing: resnet.conv1.0.weight, .* and 910 more; 1 unknown: x"
    ):
        official.pranet_from({"x": np.zeros(1)})
    assert_same(official.state_dict(network), state)  # nothing was assigned


def command(capsys, *arguments):
    """Exit code and both outputs, in this process."""
    try:
        with mock.patch("sys.argv", ["convert.py", *map(str, arguments)]):
            run(run_convert)
    except SystemExit as stop:
        return stop.code, *capsys.readouterr()
    return 0, *capsys.readouterr()


def test_command_with_pytorch(state, tmp_path, capsys):
    torch = pytest.importorskip("torch")
    tensors = {key: torch.from_numpy(array) for key, array in state.items()}
    torch.save(
        tensors, tmp_path / "PraNet-19.pth", _use_new_zipfile_serialization=False
    )  # as before PyTorch 1.6
    result = subprocess.run(
        [sys.executable, ROOT / "convert.py", "PraNet-19.pth", "--out", "new/pranet.keras"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == ("new/pranet.keras: PraNet-Res2Net50, 922 arrays\n")
    assert (
        command(
            capsys,
            tmp_path / "new" / "pranet.keras",
            "--to-pytorch",
            "--out",
            tmp_path / "back.pth",
        )[0]
        == 0
    )
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert_same({key: tensor.numpy() for key, tensor in back.items()}, state)
    assert not [path for path in tmp_path.rglob("*") if "part" in path.name]


def test_command_with_safetensors(state, network, reuse, tmp_path, capsys, monkeypatch):
    pytest.importorskip("safetensors")
    from safetensors.numpy import load_file, save_file

    with monkeypatch.context() as patch:
        patch.setattr(network, "temperature", 2.5)
        network.save(tmp_path / "a.keras")
    options = ("--to-pytorch", "--out", tmp_path / "a.safetensors")
    code, line, _ = command(capsys, tmp_path / "a.keras", *options)
    assert code == 0 and "temperature is left out: divide the logits by 2.5" in line
    assert_same(
        load_file(tmp_path / "a.safetensors"), state, order=False
    )  # the format has an order of its own
    reuse(network)
    save_file(
        {key: array for key, array in state.items() if key != "resnet.fc.bias"},
        tmp_path / "b.safetensors",
    )
    code, _, errors = command(capsys, tmp_path / "b.safetensors", "--out", tmp_path / "b.keras")
    assert code == 2 and errors.count("\n") == 1
    assert f"1 missing: resnet.fc.bias in {tmp_path}/b.safetensors" in errors
    assert not (tmp_path / "b.keras").exists()


def test_imagenet_checkpoint_becomes_backbone_weights(state, tmp_path, capsys, monkeypatch):
    given = {
        key.removeprefix("resnet."): array
        for key, array in state.items()
        if key.startswith("resnet.")
    }
    monkeypatch.setattr(convert, "_expect_package", lambda package: None)
    monkeypatch.setattr(convert, "_read_state_dict", lambda path: given)
    (tmp_path / "a.pth").touch()
    code, line, _ = command(capsys, tmp_path / "a.pth", "--out", tmp_path / "a.weights.h5")
    assert code == 0 and line == (
        f"{tmp_path}/a.weights.h5: Res2Net50, {len(given) - 2} arrays; "
        "left out, because a backbone has no classifier: fc.weight, fc.bias\n"
    )
    backbone = build_backbone("res2net50", tmp_path / "a.weights.h5")
    features = backbone.get_layer("features")
    kernel, norm = (
        features.get_layer("stage4_block3").scales[1].conv.kernel,
        features.get_layer("stem3").norm,
    )
    np.testing.assert_array_equal(kernel, given["layer4.2.convs.1.weight"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(norm.moving_variance, given["bn1.running_var"])

    monkeypatch.setattr(official, "build_backbone", lambda name: backbone)
    official.backbone_from(
        {key: array for key, array in given.items() if not key.startswith("fc.")}
    )
    with pytest.raises(ValueError, match="1 missing: bn1.weight"):
        official.backbone_from({key: array for key, array in given.items() if key != "bn1.weight"})


def test_mistakes_are_one_line(tmp_path, capsys, monkeypatch, file):
    (tmp_path / "broken.keras").write_bytes(b"PK")
    (tmp_path / "a.pth").touch()
    (tmp_path / "a.safetensors").touch()
    AttentionUNet(filters=2).save(tmp_path / "other.keras")
    monkeypatch.setattr(
        convert, "_read_state_dict", lambda path: {"layer1.0.conv1.weight": np.zeros(1)}
    )
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "safetensors" else True
    )
    for arguments, expected in (
        (
            ("absent.pth", "--out", "x.keras"),
            "FILE: expected a file, got absent.pth, which does not exist",
        ),
        (
            (file, "--out", "x.keras"),
            "FILE: expected a name that ends in .pth or .pt or .safetensors unless",
        ),
        (
            (tmp_path / "a.pth", "--out", "x.h5"),
            "--out: expected a name that ends in .keras or .weights.h5 unless",
        ),
        (
            (tmp_path / "a.pth", "--out", "x.keras"),
            "--out: expected a name that ends in .weights.h5 for a Res2Net50",
        ),
        (
            (tmp_path / "a.pth", "--to-pytorch", "--out", "x.pth"),
            "FILE: expected a name that ends in .keras with",
        ),
        (
            (file, "--to-pytorch", "--out", "x.npz"),
            "--out: expected a name that ends in .pth or .pt or",
        ),
        (
            (tmp_path / "broken.keras", "--to-pytorch", "--out", "x.pth"),
            "FILE: expected a .keras file of this toolkit",
        ),
        (
            (tmp_path / "other.keras", "--to-pytorch", "--out", "x.pth"),
            "expected a PraNet with the res2net50",
        ),
        (
            (tmp_path / "a.safetensors", "--out", "x.keras"),
            "the package safetensors to be installed (pip install saf",
        ),
        ((tmp_path / "a.pth",), "--out"),
    ):
        code, output, errors = command(capsys, *arguments)
        assert code == 2 and not output and errors.count("\n") == 1, errors
        assert expected in errors
        assert not list(Path().glob("x.*"))


class Code:
    """What a malicious checkpoint holds."""

    def __reduce__(self):
        return os.mkdir, ("run",)


@pytest.mark.parametrize("content", ["code", "broken"])
def test_code_in_a_checkpoint_is_not_run(content, tmp_path, capsys, monkeypatch, recwarn):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    if content == "code":
        torch.save({"resnet.conv1.0.weight": Code()}, "a.pth")
        with open("a.pth", "rb") as file:
            assert b"mkdir" in file.read(), "it is in there"
    else:
        Path("a.pth").write_bytes(pickle.dumps({"a": 1})[:-3])
    code, _, errors = command(capsys, "a.pth", "--out", "a.keras")
    assert code == 2 and errors.count("\n") == 1 and not len(recwarn)
    assert not Path("run").exists() and not Path("a.keras").exists()
    assert (
        "FILE: expected a state dict (names and tensors only), got a.pth (PyTorch refuses it"
        in errors
    )


def test_help_waits_for_nothing_heavy():
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "convert.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0 and "--to-pytorch" in result.stdout
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert "argparse" in imported and not imported & {"keras", "numpy", "tensorflow", "torch"}


def test_the_command_of_earlier_versions_works_with_a_hint(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "pranet.convert", "absent.pth", "--out", "x.keras"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    lines = result.stderr.splitlines()
    assert result.returncode == 2
    assert (
        lines[-2] == "note: python -m pranet.convert is now: python convert.py, or polypseg convert"
    )
    assert (
        lines[-1]
        == "polypseg convert: error: FILE: expected a file, got absent.pth, which does not exist"
    )
