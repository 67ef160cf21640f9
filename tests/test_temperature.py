"""The temperature of a network: how it is fitted, saved, and applied by every engine."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny
from scipy import optimize, special

from polypseg.experiment.checkpoint import read_saved
from polypseg.inference.export import export
from polypseg.inference.formats import NAMES, format_of
from polypseg.inference.predictor import Predictor
from polypseg.layers.types import IGNORED
from polypseg.training.temperature import fit_temperature

# Run folders of the test without digests.
pytestmark = pytest.mark.filterwarnings("ignore::polypseg.errors.Note")
rng = np.random.default_rng(8)
T = 2.7  # of the networks below


def drawn(temperature, shape, spread=4.0):
    """Logits, and masks of which each pixel is foreground with sigmoid(z / temperature)."""
    z = rng.normal(-1, spread, shape).astype(np.float32)
    return z, (rng.uniform(size=shape) < special.expit(z / temperature)).astype(np.uint8)


@pytest.mark.parametrize("temperature", [0.3, 0.8, 1.0, 2.5, 6.0])
def test_a_known_temperature_is_found(temperature):
    batches = [drawn(temperature, (3, 71, 90)), drawn(temperature, (2, 71, 90))]
    assert fit_temperature(iter(batches)) == pytest.approx(temperature, rel=0.03)


def test_it_is_the_minimum_of_the_cross_entropy():
    """Of images that count alike whatever they ignore, without bins and by another method."""
    z, masks = drawn(1.7, (4, 37, 53), spread=7.0)
    masks[0, :, 5:] = IGNORED
    masks[2, 10:] = IGNORED
    masks[3] = IGNORED
    z[1] *= 3  # an image of another kind, so that the weights of images matter

    def cross_entropy(temperature):
        each = []
        for logits, mask in zip(z.astype(np.float64), masks):
            kept = mask != IGNORED
            if kept.any():
                p = special.expit(logits[kept] / temperature)
                right = np.where(mask[kept] == 1, p, 1 - p)
                each.append(-np.log(np.maximum(right, 1e-300)).mean())
        return np.mean(each)

    grid = np.geomspace(0.2, 9, 200)
    near = grid[np.argmin([cross_entropy(t) for t in grid])]
    found = optimize.brent(cross_entropy, brack=(near / 1.05, near, near * 1.05))
    assert fit_temperature([(z, masks)]) == pytest.approx(found, rel=1e-3)


def test_limits():
    ones = np.ones((1, 5, 5), np.uint8)
    z = np.full((1, 5, 5), 3, np.float32)
    assert fit_temperature([]) == fit_temperature([(z, ones * IGNORED)]) == 1
    assert fit_temperature([(z, ones)]) == pytest.approx(0.1, rel=1e-2), "every pixel is right"
    assert fit_temperature([(z, ones * 0)]) == pytest.approx(10, rel=1e-2), "every pixel is wrong"
    with pytest.raises(ValueError, match="masks of the shape of the logits"):
        fit_temperature([(z, ones[..., None])])


def stirred(model, temperature):
    """The model, away from the symmetry of a new one."""
    random = np.random.default_rng(6)
    model.set_weights(
        [
            old if weight.path.endswith("variance") else old + random.normal(0, 0.1, old.shape)
            for weight, old in zip(model.weights, model.get_weights())
        ]
    )
    model.temperature = temperature
    return model


def run_folder(folder, temperature):
    import keras

    folder.mkdir()
    keras.utils.set_random_seed(6)
    stirred(tiny.Tiny(48), temperature).save(folder / "best.keras")
    (folder / "config.json").write_text('{"data_path": "data"}')
    return folder


@pytest.fixture(scope="module")
def tempered(tmp_path_factory):
    return run_folder(tmp_path_factory.mktemp("tempered") / "run", T)


@pytest.fixture(scope="module")
def images():
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((61, 45), (48, 48))]


@pytest.fixture(scope="module")
def raw(tmp_path_factory, images):
    """Logits of the network without temperature, at the images' size."""
    maps = Predictor.load(run_folder(tmp_path_factory.mktemp("raw") / "run", 1.0))(images)
    return [special.logit(map_.astype(np.float64)) for map_ in maps]


def test_keras_divides_and_no_pixel_crosses_one_half(tempered, images, raw):
    for found, z in zip(Predictor.load(tempered)(images), raw):
        assert z.std() > 0.3
        np.testing.assert_allclose(found, special.expit(z / T), atol=1e-5)
        np.testing.assert_array_equal(found >= 0.5, z >= 0)


@pytest.mark.parametrize("kind", NAMES)
def test_it_is_in_every_export(kind, tempered, images, raw, tmp_path):
    for module in format_of(kind).packages:
        pytest.importorskip(module)
    path = export(tempered, kind, tmp_path / f"file{format_of(kind).suffix}").path
    predictor = Predictor.load(path)
    for found, z in zip(predictor(images), raw):
        tolerance = 0.03 if "bfloat16" in predictor.engine else 1e-4
        np.testing.assert_allclose(found, special.expit(z / T), atol=tolerance)


def test_members_of_an_ensemble_have_their_own(tempered, images, raw, tmp_path):
    other = run_folder(tmp_path / "other", 0.5)
    for found, z in zip(Predictor.load([tempered, other])(images), raw):
        np.testing.assert_allclose(found, special.expit((z / T + z / 0.5) / 2), atol=1e-5)


def test_it_is_saved_with_the_model_which_returns_raw_logits(tmp_path):
    from polypseg.attention_unet import AttentionUNet
    from polypseg.inference.formats.keras import load_model

    same = stirred(AttentionUNet(filters=4, gate_channels=8, input_size=48), T)
    same.save(tmp_path / "best.keras")
    with zipfile.ZipFile(tmp_path / "best.keras") as archive:
        assert json.loads(archive.read("config.json"))["config"]["temperature"] == T
    model = load_model(tmp_path / "best.keras")
    assert model.temperature == T
    same.temperature = 1.0
    batch = rng.uniform(0, 255, (1, 48, 48, 3)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(model(batch)), np.asarray(same(batch)), atol=1e-5)


def test_files_of_earlier_versions_have_none():
    from polypseg.inference.formats.keras import load_model

    path = Path(__file__).parent / "data" / "before_rooms" / "attention_unet.keras"
    assert load_model(path).temperature == 1.0
    assert read_saved(path).temperature == 1.0
