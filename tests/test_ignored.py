"""Pixels that are ignored, and masks in colour: in reading, training and scoring."""

import json

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from PIL import Image
from test_losses import expected_loss, numpy_weights

from polypseg.commands import test as test_command
from polypseg.commands.train import parse
from polypseg.data.augment import DRAWS, augment
from polypseg.data.images import resize_mask
from polypseg.data.loading import Arrays
from polypseg.data.maps import read_map
from polypseg.data.mask_rule import mask_rule
from polypseg.data.masks import read_mask, read_masks
from polypseg.data.pairs import Pair
from polypseg.data.pipeline import training_batches
from polypseg.errors import InputError
from polypseg.experiment.checkpoint import read_history
from polypseg.experiment.config import TrainConfig
from polypseg.layers.types import IGNORED
from polypseg.losses import LOSSES
from polypseg.metrics import FalseAlarms, GroundTruth, MeanDice, MeanIoU, overlap, score
from polypseg.training.datasets import BadFiles, load_data
from polypseg.training.train import train


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def levels_of(rng, shape, shares=(0.6, 0.3, 0.1)):
    """Random pixels of background, foreground and ignored ones."""
    return rng.choice(np.uint8([0, 1, IGNORED]), shape, p=shares)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_that_of_the_pixels_that_count(name, rng):
    mask = levels_of(rng, (2, 39, 45, 1))
    logits = rng.normal(scale=3, size=(2, 39, 45, 3)).astype("float32")
    foreground = (mask == 1).astype(float)
    weights = numpy_weights(foreground)
    found = np.array(LOSSES[name](mask, logits))
    for index in range(2):
        counts = mask[index, ..., 0] < IGNORED
        m, x, w = (part[index][counts][None, None] for part in (foreground, logits, weights))
        expected = expected_loss(name, m.astype(float), x, w)
        np.testing.assert_allclose(found[index], expected[0], rtol=1e-5, atol=1e-6)
    logits[np.broadcast_to(mask == IGNORED, logits.shape)] = 50
    np.testing.assert_array_equal(LOSSES[name](mask, logits), found)
    nothing = np.full_like(mask, IGNORED)
    np.testing.assert_allclose(LOSSES[name](nothing, logits), 0, atol=1e-6)


def test_streaming_metrics_leave_ignored_pixels_out(rng):
    mask = levels_of(rng, (6, 17, 23, 1))
    mask[:3][mask[:3] == 1] = 0
    logits = rng.normal(size=(6, 17, 23, 2)).astype("float32")
    logits[0][mask[0, ..., 0] != IGNORED] = -1
    metrics = MeanDice(empty="skip"), MeanIoU(empty="skip"), FalseAlarms()
    for metric in metrics:
        metric.update_state(mask, logits)
    scores, alarms = [], []
    for truth, map_ in zip(mask[..., 0], logits[..., -1]):
        counts = truth != IGNORED
        found = overlap(truth[counts][None], map_[counts][None] >= 0, empty="skip")
        scores.append((found["dice"], found["iou"]))
        if not (truth == 1).any():
            alarms.append((map_[counts] >= 0).any())
    expected = [*np.nanmean(scores, axis=0), np.mean(alarms)]
    assert alarms == [False, True, True]
    assert [float(metric.result()) for metric in metrics] == pytest.approx(expected, abs=1e-6)


def numbers(scores):
    return {
        (part, key): value
        for part in ("threshold", "pranet")
        for key, value in getattr(scores, part).items()
    } | {("area", ""): scores.area}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_scores_with_an_ignored_margin_are_those_of_the_crop(dtype, rng):
    mask = np.zeros((40, 52), bool)
    mask[8:20, 9:27], mask[14:26, 20:30] = True, True
    map_ = np.clip(0.6 * mask + rng.normal(0.3, 0.2, mask.shape), 0.1, 0.9)
    map_ = np.rint(255 * map_).astype(np.uint8) if dtype == np.uint8 else map_.astype(dtype)
    map_[-1, -1] = 0  # would change how the map is stretched
    ignored = np.ones_like(mask)
    ignored[:33, :38] = False
    found = numbers(score(GroundTruth(mask, ignored), map_))
    assert found == pytest.approx(numbers(score(mask[:33, :38], map_[:33, :38])), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shares", [(0.6, 0.3, 0.1), (0.7, 0, 0.3), (0, 0.7, 0.3)])
def test_what_is_ignored_changes_no_score(dtype, shares, rng):
    levels = levels_of(rng, (31, 29), shares)
    ignored = levels == IGNORED
    map_ = rng.uniform(0.2, 0.8, levels.shape)
    map_ = np.rint(255 * map_).astype(np.uint8) if dtype == np.uint8 else map_.astype(dtype)
    found = numbers(score(GroundTruth(levels == 1, ignored), map_))
    noise = rng.choice([0, 255 if dtype == np.uint8 else 1], map_.shape)
    other = np.where(ignored, noise, map_).astype(dtype)
    again = numbers(score(GroundTruth((levels == 1) | ignored, ignored), other))
    assert again == pytest.approx(found, abs=1e-12, nan_ok=True)
    # These do not depend on where a pixel is.
    flat = numbers(score(levels[~ignored][None], map_[~ignored][None]))
    for part, keys in (("threshold", "dice iou precision recall mae e_measure"), ("pranet", "mae")):
        for key in keys.split():
            assert found[part, key] == pytest.approx(flat[part, key], abs=1e-12)
    for key in found:
        if key[0] == "pranet" and key[1].startswith(("mean_", "max_")):
            assert found[key] == pytest.approx(flat[key], abs=1e-12, nan_ok=True)


def test_a_mask_that_is_ignored_everywhere_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected pixels that count"):
        GroundTruth([[0, 1]], [[1, 1]])
    Image.fromarray(np.full((9, 9), 255, np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="expected pixels that count"):
        read_mask(tmp_path / "a.png", mask_rule(ignore=[255]))


KINDS = {
    "grey": Image.fromarray,
    "palette": lambda values: Image.fromarray(values, "P"),
    "16 bits": lambda values: Image.fromarray(values.astype(np.uint16)),
    "rgb": lambda values: Image.fromarray(np.dstack([values] * 3)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_levels_are_read_as_the_options_say(kind, rng, tmp_path):
    values = np.kron(rng.integers(0, 4, (6, 7)), np.ones((9, 9))).astype(np.uint8)
    values[values == 3] = 255
    path = tmp_path / "a.png"
    image = KINDS[kind](values)
    if kind == "palette":
        image.putpalette(rng.integers(0, 256, 768).tolist())
    image.save(path)
    for label, ignore in (([1], [255]), ([2, 255], [1]), ([0], [7])):
        expected = np.isin(values, label).astype(np.uint8)
        expected[np.isin(values, ignore)] = IGNORED
        rule = mask_rule(label, ignore)
        np.testing.assert_array_equal(read_mask(path, rule), expected)
        stored = read_masks([Pair("a", path, path)], rule)["a"]
        np.testing.assert_array_equal(stored.mask(), expected)
        assert (stored.foreground, stored.background) == ((expected == 1).any(), 0 in expected)


@pytest.mark.parametrize("white", [1, 255])
def test_without_a_label_the_other_pixels_are_black_and_white(white, rng, tmp_path):
    values = np.kron(rng.choice([0, white, 9], (5, 5)), np.ones((8, 8))).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    found = read_mask(tmp_path / "a.png", mask_rule(ignore=[9]))
    np.testing.assert_array_equal(found, np.select([values == 9, values == white], [IGNORED, 1]))
    with pytest.raises(InputError, match="black and white mask, got the levels 0 .* 9 .*`ignore`"):
        read_mask(tmp_path / "a.png", mask_rule(ignore=[8]))


def test_a_resized_pixel_is_ignored_if_most_of_it_is(rng):
    mask = levels_of(rng, (20, 30), (0.1, 0.45, 0.45))
    shares = [(mask == level).reshape(4, 5, 5, 6).mean(axis=(1, 3)) for level in (0, 1, IGNORED)]
    expected = np.select([shares[1] > 0.5, shares[2] > 0.5], [1, IGNORED])
    decided = (shares[1] != 0.5) & (shares[2] != 0.5)
    assert set(expected.ravel()) == {0, 1, IGNORED}
    np.testing.assert_array_equal(resize_mask(mask, (4, 5))[decided], expected[decided])
    small = np.full((40, 40), IGNORED, np.uint8)
    small[0, 39] = 1
    assert (resize_mask(small, (4, 4)) == 1).sum() == 1


def test_augmentation_moves_ignored_pixels_with_the_image(rng):
    swapped = np.zeros((6, 40, 40, 1), np.uint8)
    swapped[:, 4:18, 5:17], swapped[:, 22:35, 20:36] = 1, IGNORED
    mask = np.where(swapped, 3 - swapped, 0).astype(np.uint8)
    images = rng.integers(0, 256, (6, 40, 40, 3), np.uint8)
    draws = tf.constant(rng.random((6, DRAWS)), tf.float32)
    (_, a), (_, b) = (augment(images, tf.constant(m), draws, 32) for m in (mask, swapped))
    a, b = a.numpy(), b.numpy()
    assert (a == IGNORED).any() and (a == 1).any()
    np.testing.assert_array_equal(a, np.where(b, 3 - b, 0))


def test_batches_of_several_sizes_keep_ignored_pixels(rng):
    mask = np.kron(levels_of(rng, (4, 4, 4, 1)), np.ones((1, 8, 8, 1), np.uint8))
    arrays = Arrays(rng.integers(0, 256, (4, 32, 32, 3), np.uint8), mask)
    found = training_batches(arrays, 32, 4, 1, 1, augmentation="none", sizes=[32, 63])
    (_, same), (_, larger) = found
    assert sorted(same.numpy().ravel()) == sorted(mask.ravel())
    # With align_corners, every second pixel of 63 lies on one of the 32.
    np.testing.assert_array_equal(larger.numpy()[:, ::2, ::2], same)
    assert set(np.unique(larger)) == {0, 1, IGNORED}


@pytest.fixture
def data(rng, tmp_path):
    """14 images with a square (1), which an uncertain rim (255) surrounds."""
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for index in range(14):
        values = np.zeros((48, 56), np.uint8)
        top, left = rng.integers(0, 25, 2)
        values[top : top + 20, left : left + 22] = 255
        values[top + 5 : top + 15, left + 5 : left + 16] = 1
        image = rng.integers(0, 99, (48, 56, 3), np.uint8) + 150 * (values == 1)[..., None]
        cv2.imwrite(str(tmp_path / "data" / "images" / f"s{index:02}.png"), image)
        cv2.imwrite(str(tmp_path / "data" / "masks" / f"s{index:02}.png"), values)
    return tmp_path / "data"


def config_of(data, folder, **options):
    return TrainConfig(
        **{
            "data_path": str(data),
            "model": "attention_unet",
            "input_size": 32,
            "epochs": 1,
            "batch_size": 4,
            "trained_model_path": str(folder),
        }
        | options
    ).resolved()


def test_a_run_keeps_what_it_ignores_and_is_scored_by_it(data, tmp_path, monkeypatch, capsys):
    tiny.install(monkeypatch.setitem)
    with pytest.raises(BadFiles, match="`ignore` which do not count"):
        load_data(config_of(data, tmp_path))
    config = config_of(data, tmp_path / "r", ignore=[255])
    loaded = load_data(config)
    folder, best = train(config, loaded)
    assert parse(["--resume", str(folder)]).ignore == [255]
    images, masks = loaded.arrays["val"].take(np.arange(loaded.arrays["val"].length))
    assert set(np.unique(masks)) == {0, 1, IGNORED}
    network = keras.saving.load_model(folder / "best.keras", compile=False)
    maps = network.predict(images.astype("float32"), verbose=0)[..., -1] >= 0
    dice = [
        overlap(m[m != IGNORED][None], found[m != IGNORED][None])["dice"]
        for m, found in zip(masks[..., 0], maps)
    ]
    assert best["val_dice"] == pytest.approx(np.mean(dice), abs=1e-5)
    assert read_history(folder / "history.csv")[0]["val_dice"] == best["val_dice"]
    assert (folder / "samples" / "validation.png").is_file()

    def scores(*arguments):
        arguments = [str(argument) for argument in (*arguments, "--out", tmp_path / "o")]
        monkeypatch.setattr("sys.argv", ["test.py", *arguments])
        test_command.main()
        return json.loads((tmp_path / "o" / "metrics.json").read_text())

    by_run = scores("--model", folder, "--subset", "all", "--save-predictions")
    assert by_run["settings"]["ignore"] == [255]
    report = (tmp_path / "o" / "report.html").read_text()
    assert "</i>ignored</span>" in report
    (tmp_path / "o" / "predictions").rename(tmp_path / "maps")
    saved = "--predictions", tmp_path / "maps", "--masks", data / "masks"
    assert scores(*saved, "--ignore", 255)["pranet"] == pytest.approx(by_run["pranet"], abs=1e-6)
    one = scores(*saved, "--label", 1)
    assert one["pranet"]["mae"] != by_run["pranet"]["mae"]
    assert "</i>ignored</span>" not in (tmp_path / "o" / "report.html").read_text()


@pytest.mark.parametrize(
    "options, named",
    [
        ({"label": [1], "ignore": [0, 1]}, "ignore: expected other levels than `label`, got 1"),
        ({"ignore": []}, "ignore: expected levels from 0 to 65535, got nothing"),
        ({"ignore": [65536]}, "ignore: expected levels from 0 to 65535, got 65536"),
        ({"mask_color": [255, 0]}, "mask_color: expected three numbers from 0 to 255"),
        ({"mask_color": [0, 0, 256]}, "mask_color: expected three numbers from 0 to 255"),
        ({"mask_color": []}, "mask_color: expected three numbers from 0 to 255"),
        ({"mask_color": [1, 2, 3], "label": [1]}, "label: expected either levels, or colours"),
        ({"mask_color": [1, 2, 3], "ignore": [1]}, "ignore: expected either levels, or colours"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        TrainConfig(data_path="d", **options).resolved()


# The background, three organs and two instruments in CholecSeg8k's colours; some are similar.
ORGANS = [(0, 0, 0), (255, 114, 114), (231, 70, 156), (255, 160, 165), (210, 140, 140)]


@pytest.mark.parametrize("kind", ["rgb", "rgba", "palette"])
def test_colours_of_a_lossless_file_are_told_apart_exactly(kind, rng, tmp_path):
    labels = np.kron(rng.integers(0, 5, (7, 8)), np.ones((11, 11), int))
    if kind == "palette":
        image = Image.fromarray(labels.astype(np.uint8), "P")
        image.putpalette(np.uint8(ORGANS).ravel().tolist())
    else:
        image = Image.fromarray(np.uint8(ORGANS)[labels]).convert(kind.upper())
    image.save(tmp_path / "a.png")
    for chosen in ([1], [2, 4], [0, 3]):
        rule = mask_rule(mask_color=[number for one in chosen for number in ORGANS[one]])
        np.testing.assert_array_equal(read_mask(tmp_path / "a.png", rule), np.isin(labels, chosen))


def test_thin_lines_of_other_colours_and_photographs_are_no_foreground(rng, tmp_path):
    image = np.zeros((50, 60, 3), np.uint8)
    image[5:20, 5:30], image[30], image[40, 10:50] = (255, 255, 0), (0, 255, 0), (255, 0, 0)
    Image.fromarray(image).save(tmp_path / "a.png")
    found = read_mask(tmp_path / "a.png", mask_rule(mask_color=[255, 255, 0]))
    np.testing.assert_array_equal(found, (image == (255, 255, 0)).all(axis=2))
    photo = cv2.resize(rng.integers(0, 256, (9, 9, 3), np.uint8), (90, 80))
    for suffix in ("png", "jpg"):
        Image.fromarray(photo).save(tmp_path / f"b.{suffix}")
        with pytest.raises(InputError, match="expected a mask in few colours, got"):
            read_mask(tmp_path / f"b.{suffix}", mask_rule(mask_color=[255, 0, 0]))


@pytest.mark.parametrize("quality", [75, 95])
def test_blurred_edges_of_a_jpeg_are_divided_in_their_middle(quality, tmp_path):
    rows, columns = np.ogrid[:300, :400]
    red = (rows - 120) ** 2 + (columns - 130) ** 2 < 80**2
    green = (rows - 180) ** 2 + (columns - 290) ** 2 < 90**2
    image = np.zeros((300, 400, 3), np.uint8)
    image[green], image[red] = (0, 255, 0), (255, 0, 0)
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=quality)
    for color, truth in (([255, 0, 0], red), ([0, 255, 0], green & ~red)):
        found = read_mask(tmp_path / "a.jpg", mask_rule(mask_color=color)) == 1
        near = cv2.morphologyEx(truth.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((5, 5))) > 0
        np.testing.assert_array_equal(found[~near], truth[~near])
        assert found.sum() == pytest.approx(truth.sum(), rel=0.01)


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (128, 0, 0), (200, 255, 60)])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_mask_in_colour_is_refused_without_the_option(colour, suffix, tmp_path):
    image = np.zeros((60, 70, 3), np.uint8)
    image[20:40, 10:45] = colour
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(image).save(path)
    for rule in (mask_rule(), mask_rule([1]), mask_rule(ignore=[0])):
        with pytest.raises(InputError, match="colours,? .*0 0 0 .*`mask_color` says which"):
            read_mask(path, rule)
    found = read_mask(path, mask_rule(mask_color=colour))
    assert (found[22:38, 12:43] == 1).all() and found.sum() == pytest.approx(700, abs=60)
    with pytest.raises(InputError, match="expected grey levels, got .*colours"):
        read_map(path)


def test_a_photograph_is_no_saved_map_in_colour(rng, tmp_path):
    grey = rng.integers(0, 256, (80, 90), np.uint8)
    Image.fromarray(np.dstack([cv2.GaussianBlur(grey, (0, 0), 3)] * 3)).save(tmp_path / "a.jpg")
    assert read_map(tmp_path / "a.jpg").shape == (80, 90)
