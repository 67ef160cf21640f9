"""The contract of all networks on three backends, and the properties of each network."""

import importlib.util
import inspect
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
from contract import LARGE, LONG_UNDER_JAX, NETWORKS, REGISTERED

from polypseg.attention_unet import AttentionUNet
from polypseg.attention_unet.layers import AttentionGate
from polypseg.errors import InputError
from polypseg.experiment.config import TrainConfig
from polypseg.layers.backbones import BACKBONES, STRIDES
from polypseg.layers.features import build_backbone
from polypseg.pranet import PraNet
from polypseg.pranet.layers import ReverseAttention

HERE = Path(__file__).resolve().parent
SMALL = sorted(set(NETWORKS) - set(LARGE))


def run_contract(backend, networks, folder):
    """Logits by (network, backend). One process for all networks: it takes seconds to start."""
    result = subprocess.run(
        [sys.executable, HERE / "contract.py", folder, *networks],
        capture_output=True,
        text=True,
        # The images are so small that threads would mostly wait for one another.
        env=os.environ
        | {"KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return {
        (network, backend): dict(np.load(folder / f"{network}_{backend}.npz"))
        for network in networks
    }


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Logits by (network, backend), and the folder with the saved models."""
    folder = tmp_path_factory.mktemp("contract")
    results = run_contract("tensorflow", SMALL, folder)
    others = {"jax": sorted({*SMALL} - {*LONG_UNDER_JAX}), "torch": SMALL}
    installed = {name: of for name, of in others.items() if importlib.util.find_spec(name)}
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda item: run_contract(*item, folder), installed.items()):
            results |= found
    return folder, results


@pytest.mark.parametrize("network", SMALL)
def test_contract_under_tensorflow(network, outputs):
    logits = outputs[1][network, "tensorflow"]
    assert logits["32x96"].shape == (
        2,
        32,
        96,
        REGISTERED[network if network in REGISTERED else network.rpartition("_")[0]].maps,
    )
    assert all(np.ptp(array) > 0 for array in logits.values())


@pytest.mark.parametrize("network", SMALL)
def test_a_training_step_lowers_the_loss(network, outputs):
    before, after = outputs[1][network, "tensorflow"]["losses"]
    assert 0 < after < before


@pytest.mark.slow
def test_contract_of_large_networks(tmp_path):
    found = run_contract("tensorflow", LARGE, tmp_path)
    for network in LARGE:
        before, after = found[network, "tensorflow"]["losses"]
        assert 0 < after < before


def test_the_default_network_is_among_them():
    config = TrainConfig()
    assert f"{config.model}_{config.backbone}" in NETWORKS
    assert inspect.signature(PraNet).parameters["backbone"].default == config.backbone


def assert_same_logits(logits, expected):
    for size in expected.keys() - {"losses"}:
        atol = 2e-4 * np.abs(expected[size]).max()
        np.testing.assert_allclose(logits[size], expected[size], atol=atol)


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_contract_under_other_backends(network, backend, outputs):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    if backend == "jax" and network in LONG_UNDER_JAX:
        pytest.skip("a slow test does this")
    assert_same_logits(outputs[1][network, backend], outputs[1][network, "tensorflow"])


@pytest.mark.slow
def test_contract_under_jax_of_networks_that_it_compiles_long(outputs):
    pytest.importorskip("jax")
    found = run_contract("jax", LONG_UNDER_JAX, outputs[0])
    for network in LONG_UNDER_JAX:
        before, after = found[network, "jax"]["losses"]
        assert 0 < after < before
        assert_same_logits(found[network, "jax"], outputs[1][network, "tensorflow"])


def test_saved_models_load_in_a_new_process_without_our_arguments(outputs):
    folder, expected = outputs
    program = (
        "import json, sys, zipfile, keras, numpy as np\n"
        "import attention_unet, pranet  # registers the classes\n"
        "x = np.random.default_rng(64 * 64).uniform(0, 255, (2, 64, 64, 3)).astype('float32')\n"
        "for path in sys.argv[1:]:\n"
        "    model = keras.saving.load_model(path)\n"
        "    saved = json.loads(zipfile.ZipFile(path).read('config.json'))['config']\n"
        "    assert json.loads(json.dumps(model.get_config())) == saved, path\n"
        "    np.save(path + '.npy', model(x, training=False))\n"
    )
    paths = [folder / f"{network}.keras" for network in SMALL]
    result = subprocess.run(
        [sys.executable, "-c", program, *paths], cwd=HERE.parent, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    for network, path in zip(SMALL, paths):
        array = expected[network, "tensorflow"]["64x64"]
        np.testing.assert_allclose(
            np.load(f"{path}.npy"), array, atol=1e-5 * max(1, np.abs(array).max())
        )


def test_attention_unet_has_the_published_number_of_parameters():
    model = AttentionUNet(filters=32)
    assert model.count_params() == 7_951_369
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 7_945_479


def test_attention_gate_weighs_the_skip():
    rng = np.random.default_rng(3)
    skip, gating = (
        rng.normal(size=(1, 6, 8, 4)).astype("float32"),
        rng.normal(size=(1, 3, 4, 5)).astype("float32"),
    )
    gate = AttentionGate(channels=7)
    result = np.asarray(gate([skip, gating]))
    (a, b), (c, d), (e, f) = (
        (w[0, 0], bias)
        for w, bias in (gate.theta.get_weights(), gate.phi.get_weights(), gate.psi.get_weights())
    )
    hidden = np.maximum(skip[:, ::2, ::2] @ a + b + gating @ c + d, 0)
    weights = 1 / (1 + np.exp(-(hidden @ e + f)))
    np.testing.assert_allclose(
        result, skip * weights.repeat(2, axis=1).repeat(2, axis=2), atol=1e-5
    )


def test_reverse_attention_sees_only_what_the_coarse_map_left_out():
    rng = np.random.default_rng(4)
    features = rng.normal(size=(1, 5, 6, 8)).astype("float32")
    layer = ReverseAttention(channels=4)
    certain, half = np.full((1, 5, 6, 1), 40, "float32"), np.zeros((1, 5, 6, 1), "float32")
    blind = layer([features, certain])  # 1 - sigmoid(40) = 0: the features do not matter
    np.testing.assert_allclose(
        blind, layer([rng.normal(size=features.shape).astype("float32"), certain]), atol=1e-5
    )
    np.testing.assert_allclose(
        layer([features, half]), layer([features / 2, half - 80]) + 80, atol=1e-4
    )


CHANNELS = {  # at strides 2, 4, 8, 16 and 32
    "resnet50": (64, 256, 512, 1024, 2048),
    "resnet101": (64, 256, 512, 1024, 2048),
    "mobilenetv2": (96, 144, 192, 576, 1280),
    "efficientnet_lite0": (16, 24, 40, 112, 1280),
    "efficientnet_lite2": (16, 24, 48, 120, 1280),
    "res2net50": (64, 256, 512, 1024, 2048),
}


@pytest.mark.parametrize("name", BACKBONES)
def test_taps_of_every_backbone(name):
    shapes = build_backbone(name, strides=STRIDES).compute_output_shape((1, 64, 96, 3))
    assert [tuple(shape) for shape in shapes] == [
        (1, 64 // s, 96 // s, channels) for s, channels in zip(STRIDES, CHANNELS[name])
    ]


@pytest.mark.parametrize(
    "name",
    # The smaller ones go through the same code.
    [pytest.param(n, marks=pytest.mark.slow if "50" in n or "101" in n else ()) for n in BACKBONES],
)
def test_pranet_of_every_backbone_is_saved_and_loaded(name, tmp_path):
    keras.utils.set_random_seed(1)
    model = PraNet(name, channels=8, reverse_channels=(8, 9, 7), input_size=64)
    x = np.random.default_rng(1).uniform(0, 255, (1, 32, 64, 3)).astype("float32")
    expected = np.asarray(model(x, training=False))
    assert expected.shape == (1, 32, 64, 4) and np.ptp(expected) > 0
    model.save(tmp_path / "a.keras")
    again = keras.saving.load_model(tmp_path / "a.keras")
    assert again.get_config() == model.get_config()
    np.testing.assert_array_equal(again(x, training=False), expected)


# All that Keras has weights of; the larger ones take long to build.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "mobilenetv2" else pytest.mark.slow)
        for name, spec in BACKBONES.items()
        if spec.downloads
    ],
)
def test_backbone_equals_keras_applications(name, tmp_path):
    """With all weights random, including biases and moving statistics, and with normalisation."""
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    spec = BACKBONES[name]
    theirs = getattr(keras.applications, spec.constructor.split(":")[1])(
        input_shape=(None, None, 3), include_top=False, weights=None
    )
    for variable in theirs.weights:
        if len(variable.shape) == 1:
            low, high = (0.5, 1.5) if variable.path.endswith(("gamma", "variance")) else (-0.5, 0.5)
            variable.assign(rng.uniform(low, high, variable.shape))
    theirs.save_weights(tmp_path / f"{name}.weights.h5")
    ours = build_backbone(name, tmp_path / f"{name}.weights.h5", STRIDES)
    assert not any(variable.path.endswith("bias") for variable in ours.trainable_weights)
    taps = keras.Model(theirs.input, [theirs.get_layer(tap).output for tap in spec.taps])
    module = {
        "resnet50": keras.applications.resnet50,
        "resnet101": keras.applications.resnet,
        "mobilenetv2": keras.applications.mobilenet_v2,
    }[name]
    theirs = taps(module.preprocess_input(image.copy()))
    for mine, expected in zip(ours(image), theirs, strict=True):
        np.testing.assert_allclose(
            mine, expected, rtol=1e-3, atol=1e-4 * float(np.abs(expected).max())
        )


def test_backbone_weights_from_a_file(tmp_path):
    theirs = keras.applications.MobileNetV2(
        input_shape=(None, None, 3), include_top=False, weights=None
    )
    theirs.save_weights(tmp_path / "w.weights.h5")
    for name in ("weights", "backbone_weights"):
        ours = PraNet("mobilenetv2", **{name: str(tmp_path / "w.weights.h5")})
        np.testing.assert_array_equal(
            ours.get_layer("mobilenetv2").get_layer("features").get_layer("Conv1").get_weights()[0],
            theirs.get_layer("Conv1").get_weights()[0],
        )
        with pytest.raises(ValueError, match=f"^{name}: expected a file .*, got absent.h5"):
            PraNet("mobilenetv2", **{name: "absent.h5"})
    with pytest.raises(ValueError, match="expected one of weights and backbone_weights, got both"):
        PraNet("mobilenetv2", weights="absent.h5", backbone_weights="absent.h5")
    with pytest.raises(ValueError, match="does not fit"):
        build_backbone("resnet50", tmp_path / "w.weights.h5")
    with pytest.raises(ValueError, match="expected a file"):
        build_backbone("resnet50", tmp_path / "absent.h5")


def test_backbone_weights_that_a_file_has_in_part_are_refused(tmp_path, monkeypatch):
    theirs = keras.applications.MobileNetV2(
        input_shape=(None, None, 3), include_top=False, weights=None
    )
    theirs.save_weights(tmp_path / "w.weights.h5")
    load = keras.Model.load_weights

    def in_part(self, path):  # as Keras, which warns of some groups that a file lacks, and goes on
        before = self.get_layer("Conv1").get_weights()
        load(self, path)
        self.get_layer("Conv1").set_weights(before)

    monkeypatch.setattr(keras.Model, "load_weights", in_part)
    with pytest.raises(ValueError, match="which lacks 1 of 260 arrays, among them Conv1/kernel"):
        build_backbone("mobilenetv2", tmp_path / "w.weights.h5")


def test_imagenet_weights_that_cannot_be_downloaded(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("URL fetch failure: offline")

    monkeypatch.setattr(keras.applications, "MobileNetV2", fail)
    with pytest.raises(
        ValueError, match="^weights: expected ImageNet weights .* give the path of a file"
    ):
        PraNet("mobilenetv2", weights="imagenet")


@pytest.mark.parametrize(
    "build, stride", [(lambda: AttentionUNet(filters=2), 16), (lambda: PraNet("mobilenetv2"), 32)]
)
def test_images_of_another_size_than_multiples_of_the_stride(build, stride):
    model = build()
    model.compile("adam", "mse")
    for height, width in ((100, 2 * stride), (stride, stride + 1)):
        x = np.zeros((1, height, width, 3), "float32")
        for call in (
            model,
            lambda x: model(keras.Input(x.shape[1:])),
            lambda x: model.predict(x, verbose=0),
            lambda x: model.fit(x, x[..., :1], verbose=0),
        ):
            with pytest.raises(InputError) as caught:
                call(x)
            assert str(caught.value) == (
                f"expected images whose height and width are multiples of {stride}, got {height} x "
                f"{width} pixels"
            )


def test_unknown_backbone():
    with pytest.raises(ValueError, match="one of resnet50, .*, res2net50, got backbone=vgg16"):
        PraNet("vgg16")
