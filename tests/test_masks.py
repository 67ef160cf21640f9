"""Label maps, and images without foreground, in training and in scoring."""

import dataclasses
import json
import pickle
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tiny
from PIL import Image

from polypseg.commands import image as image_command
from polypseg.commands import test as test_command
from polypseg.commands.train import parse
from polypseg.console.progress import TrainingProgress
from polypseg.data.images import read_image
from polypseg.data.loading import training_size
from polypseg.data.mask_rule import mask_rule
from polypseg.data.masks import read_mask
from polypseg.data.pairs import find_pairs
from polypseg.data.verify import verify
from polypseg.errors import InputError, Note
from polypseg.experiment.checkpoint import Saved, read_history, save_model
from polypseg.experiment.config import TrainConfig
from polypseg.inference.export import export
from polypseg.inference.inputs import as_image
from polypseg.inference.predictor import Predictor
from polypseg.metrics import overlap
from polypseg.scoring.evaluation import evaluate
from polypseg.training.datasets import BadFiles, load_data, load_folds
from polypseg.training.train import train


def scene(rng, *levels):
    """A label map with a rectangle of each level on 0, and maybe parts of it covered by another."""
    found = np.zeros(rng.integers(60, 80, 2), np.uint8)
    for level in levels:
        top, left = rng.integers(0, 40, 2)
        found[top : top + rng.integers(9, 20), left : left + rng.integers(9, 20)] = level
    return found


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def palette_of_voc():
    """The palette of PASCAL VOC: the bits of the index, spread over the channels."""
    colours = np.zeros((256, 3), np.uint8)
    for index in range(256):
        for bit in range(8):
            for channel in range(3):
                colours[index, channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
    return colours


KINDS = {
    "grey": lambda values: Image.fromarray(values),
    "palette": lambda values: Image.fromarray(values, "P"),
    "16 bits": lambda values: Image.fromarray(values.astype(np.uint16) * 200),
    "rgb": lambda values: Image.fromarray(np.dstack([values] * 3)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("label", [(1,), (2, 255), (7,)])
def test_the_given_levels_are_foreground(kind, label, rng, tmp_path):
    values = scene(rng, 1, 2, 3, 255)
    image = KINDS[kind](values)
    if kind == "palette":
        image.putpalette(palette_of_voc().ravel().tolist())
    image.save(tmp_path / "a.png")
    scale = 200 if kind == "16 bits" else 1
    given = [level * scale for level in label]
    expected = np.logical_or.reduce([values == level for level in label])
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", mask_rule(given)), expected)


def test_one_bit_has_the_labels_0_and_1(rng, tmp_path):
    values = scene(rng, 1)
    Image.fromarray(values.astype(bool)).save(tmp_path / "a.png")
    for label in (0, 1):
        np.testing.assert_array_equal(
            read_mask(tmp_path / "a.png", mask_rule([label])), values == label
        )


def test_a_label_map_without_a_label_is_refused_with_its_levels(rng, tmp_path):
    values = np.zeros((50, 80), np.uint8)
    values[10:30, 10:30], values[30:50, 10:60] = 1, 255
    cv2.imwrite(str(tmp_path / "a.png"), values)
    with pytest.raises(InputError) as raised:
        read_mask(tmp_path / "a.png")
    assert str(raised.value) == (
        f"{tmp_path / 'a.png'}: expected a black and white mask, got the levels 0 (65.0%), "
        "1 (10.0%), 255 (25.0%); `label` says which levels are foreground, `ignore` which do not "
        "count"
    )


@pytest.fixture
def data(rng, tmp_path):
    """16 images whose masks have the levels 0, 1, 2 and, to be ignored by some, 255."""
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for index in range(16):
        values = scene(rng, 255, 2, 1)
        image = rng.integers(0, 256, (*values.shape, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "data" / "images" / f"s{index:02}.png"), image)
        cv2.imwrite(str(tmp_path / "data" / "masks" / f"s{index:02}.png"), values)
    return tmp_path / "data"


def config_of(data, **options):
    options = {"model": "attention_unet", "input_size": 32, "augment": "full"} | options
    return TrainConfig(data_path=str(data), data_split=0.2, **options).resolved()


@pytest.mark.parametrize("load, options", [(load_data, {}), (load_folds, {"folds": 3})])
def test_training_takes_the_given_levels(load, options, data):
    found = load(config_of(data, label=[1, 255], **options))
    found = found[0] if options else found
    _, masks = found.arrays["train"].take(np.arange(found.arrays["train"].length))
    size = training_size(32, "full")
    for pair, mask in zip(found.subsets["train"], masks, strict=True):
        values = cv2.imread(str(pair.mask), cv2.IMREAD_UNCHANGED)
        white = (np.isin(values, [1, 255]) * 255).astype(np.uint8)
        expected = cv2.resize(white, (size, size), interpolation=cv2.INTER_AREA) > 127
        np.testing.assert_array_equal(mask[..., 0], expected)
    with pytest.raises(BadFiles, match="got 16 bad files; .*not black and white"):
        load(config_of(data, **options))


def test_given_lists_take_the_given_levels_too(data, tmp_path):
    (tmp_path / "train.txt").write_text("s00\ns01\ns02\n")
    (tmp_path / "val.txt").write_text("s03\n")
    found = load_data(config_of(data, label=[2], split_dir=str(tmp_path)))
    assert [len(part) for part in found.subsets.values()] == [3, 1, 0]


def test_a_run_keeps_its_label_and_is_scored_by_it(data, tmp_path, monkeypatch, capsys):
    tiny.install(monkeypatch.setitem)
    folder, _ = train(
        config_of(data, label=[1], epochs=1, batch_size=4, trained_model_path=str(tmp_path / "r"))
    )
    assert json.loads((folder / "config.json").read_text())["label"] == [1]
    assert parse(["--resume", str(folder)]).label == [1]
    white = tmp_path / "white"
    white.mkdir()
    for path in (data / "masks").iterdir():
        values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(white / path.name), (values == 1) * np.uint8(255))

    def scores(*arguments):
        arguments = [str(argument) for argument in (*arguments, "--out", tmp_path / "o")]
        monkeypatch.setattr("sys.argv", ["test.py", *arguments])
        test_command.main()
        found = json.loads((tmp_path / "o" / "metrics.json").read_text())
        return found["settings"]["label"], found["threshold"], found["pranet"]

    by_run = scores("--model", folder, "--subset", "all", "--save-predictions")
    maps = tmp_path / "maps"
    (tmp_path / "o" / "predictions").rename(maps)
    assert by_run[0] == [1]
    assert scores("--predictions", maps, "--masks", white)[2] == pytest.approx(by_run[2], abs=1e-6)
    given = scores("--predictions", maps, "--masks", data / "masks", "--label", 1)
    assert given[0] == [1] and given[2] == pytest.approx(by_run[2], abs=1e-6)
    other = scores("--model", folder, "--subset", "all", "--label", 2, 255)
    assert other[0] == [2, 255] and other[1] != by_run[1]
    with pytest.raises(InputError, match="not black and white|expected a black and white mask"):
        scores("--predictions", maps, "--masks", data / "masks")


@pytest.mark.parametrize("label", [[], [-1], [65536], [True], ["1"]])
def test_what_is_no_label_is_refused(label):
    with pytest.raises(InputError, match="expected levels from 0 to 65535"):
        config_of("d", label=label)


@pytest.fixture
def with_negatives(rng, tmp_path):
    """24 images, of which each third shows nothing."""
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for index in range(24):
        values = scene(rng, 255) * (index % 3 > 0)
        image = rng.integers(0, 100, (*values.shape, 3), np.uint8) + (values[..., None] // 2)
        cv2.imwrite(str(tmp_path / "data" / "images" / f"s{index:02}.png"), image)
        cv2.imwrite(str(tmp_path / "data" / "masks" / f"s{index:02}.png"), values)
    return tmp_path / "data"


@pytest.mark.parametrize("empty", ["skip", "one"])
def test_a_run_is_chosen_by_its_images_with_foreground(
    empty, with_negatives, tmp_path, monkeypatch, capsys
):
    tiny.install(monkeypatch.setitem)
    config = config_of(
        with_negatives,
        empty=empty,
        epochs=3,
        batch_size=4,
        lr=0.01,
        trained_model_path=str(tmp_path / "r"),
    )
    data = load_data(config)
    folder, best = train(config, data, progress=TrainingProgress())
    assert best["val_dice"] == max(row["val_dice"] for row in read_history(folder / "history.csv"))
    images, masks = data.arrays["val"].take(np.arange(data.arrays["val"].length))
    network = keras.saving.load_model(folder / "best.keras", compile=False)
    found = network.predict(images.astype("float32"), verbose=0)[..., -1] > 0
    positive = masks.any(axis=(1, 2, 3))
    assert 0 < positive.sum() < len(masks), "both kinds are validated on"
    dice = np.array([overlap(m[..., 0], f)["dice"] for m, f in zip(masks, found)])
    counts = positive if empty == "skip" else np.ones(len(masks), bool)
    assert best["val_dice"] == pytest.approx(dice[counts].mean(), abs=1e-5)
    said = capsys.readouterr().out
    if empty == "skip":
        alarms = found.any(axis=(1, 2))[~positive].mean()
        assert best["val_false_alarms"] == pytest.approx(alarms, abs=1e-6)
        assert said.count("false alarms") == 3
    else:
        assert "val_false_alarms" not in best and "false alarms" not in said


def test_a_run_of_an_earlier_version_counts_images_without_foreground(
    with_negatives, tmp_path, monkeypatch
):
    tiny.install(monkeypatch.setitem)
    folder, _ = train(config_of(with_negatives, epochs=1, trained_model_path=str(tmp_path / "r")))
    assert parse(["--resume", str(folder)]).empty == "skip"
    values = json.loads((folder / "config.json").read_text())
    del values["empty"], values["label"]
    (folder / "config.json").write_text(json.dumps(values))
    (folder / "digest.json").unlink()
    for name in ("best.keras", "last.keras"):
        save_model(keras.saving.load_model(folder / name), folder / name, Saved(1))
    with pytest.warns(Note, match="earlier version"):
        config = parse(["--resume", str(folder)])
    assert (config.empty, config.label) == ("one", None)


TURNED = [  # orientation of image and mask, height and width as stored, whether it is an error
    (1, 1, (40, 60), False),
    (6, 6, (40, 60), False),
    (3, 1, (40, 60), True),
    (1, 3, (40, 60), True),
    (2, 1, (40, 60), True),
    (6, 1, (50, 50), True),
    (6, 8, (40, 60), True),
    (6, 1, (40, 60), False),  # the mask is stored upright, 60 x 40
    (1, 8, (40, 60), False),
]


@pytest.mark.parametrize("image, mask, size, wrong", TURNED)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_a_mask_that_may_be_turned_against_its_image_is_refused(
    image, mask, size, wrong, suffix, rng, tmp_path
):
    def save(path, values, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path.parent.mkdir()
        Image.fromarray(values).save(path, **({"exif": exif} if orientation != 1 else {}))

    # Upright, both are of one size.
    mask_size = size if (mask >= 5) == (image >= 5) else size[::-1]
    pixels = rng.integers(0, 256, (*size, 3), np.uint8)
    values = np.zeros(mask_size, np.uint8)
    values[5:20, 8:30] = 255
    save(tmp_path / "images" / f"a.{suffix}", pixels, image)
    save(tmp_path / "masks" / "a.png", values, mask)
    pairs, _ = find_pairs(tmp_path)
    problems = [problem.message for problem in verify(pairs).errors]
    expected = f"the image has the EXIF orientation {image}, the mask {mask}: "

    def predictor(images):
        return [np.zeros(one.shape[:2], np.float32) for one in images]

    if not wrong:
        assert problems == []
        assert len(list(evaluate(predictor, pairs))) == 1
        return
    assert len(problems) == 1 and expected in problems[0]
    with pytest.raises(InputError, match=expected):
        list(evaluate(predictor, pairs))


def test_a_run_on_subfolders_is_scored_with_them(with_negatives, tmp_path, monkeypatch):
    tiny.install(monkeypatch.setitem)
    for name in ("images", "masks"):
        for index, path in enumerate(sorted((with_negatives / name).iterdir())):
            folder = with_negatives / name / f"p{index % 5}"
            folder.mkdir(exist_ok=True)
            path.rename(folder / f"{index // 5}.png")
    with pytest.raises(InputError, match="expected images and masks with equal stems"):
        load_data(config_of(with_negatives))
    config = config_of(with_negatives, recursive=True, group_by="^[^/]+", epochs=1, batch_size=4)
    folder, _ = train(dataclasses.replace(config, trained_model_path=str(tmp_path / "r")))
    tested = (folder / "split" / "test.txt").read_text().split()
    assert tested and len({stem.split("/")[0] for stem in tested}) == 1
    arguments = ["--model", str(folder), "--save-predictions", "--out", str(tmp_path / "o")]
    monkeypatch.setattr("sys.argv", ["test.py", *arguments])
    test_command.main()
    written = (tmp_path / "o" / "predictions").rglob("*.png")
    found = {path.relative_to(tmp_path / "o" / "predictions").with_suffix("") for path in written}
    assert found == {Path(stem) for stem in tested}
    saved = ["--predictions", str(tmp_path / "o" / "predictions"), "--recursive"]
    saved += ["--masks", str(with_negatives / "masks"), "--stems", str(folder / "split/test.txt")]
    by_network = json.loads((tmp_path / "o" / "metrics.json").read_text())["pranet"]
    monkeypatch.setattr("sys.argv", ["test.py", *saved, "--out", str(tmp_path / "o2")])
    test_command.main()
    by_maps = json.loads((tmp_path / "o2" / "metrics.json").read_text())["pranet"]
    assert by_maps == pytest.approx(by_network, abs=1e-6, nan_ok=True)


@pytest.fixture
def of_scanner(rng, tmp_path):
    """12 images of 12 bits in files of 16, and their masks of the levels 0 and 4095."""
    for name in ("images", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for index in range(12):
        values = scene(rng, 255)
        image = rng.integers(900, 1300, values.shape).astype(np.uint16) + values
        cv2.imwrite(str(tmp_path / "data" / "images" / f"s{index:02}.png"), image)
        cv2.imwrite(str(tmp_path / "data" / "masks" / f"s{index:02}.png"), values)
    return tmp_path / "data"


def test_twelve_bits_in_a_file_of_sixteen_need_a_window(of_scanner):
    path = of_scanner / "images" / "s00.png"
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    expected = rf"16-bit levels that use their range, got {values.min()} to {values.max()}, of "
    expected += rf"which {values.max() // 257 + 1} grey levels .*`window` .* as in 0 2047"
    with pytest.raises(InputError, match=expected):
        read_image(path)
    with pytest.raises(BadFiles, match="12 bad files; .*16-bit levels"):
        load_data(config_of(of_scanner))
    low, high = 950, 1500
    part = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    image = read_image(path, window=(low, high))
    np.testing.assert_allclose(image[..., 1], 255 * part, rtol=0, atol=0.5 + 1e-9)
    assert image[..., 1].max() > 200 and np.array_equal(image[..., 0], image[..., 2])


@pytest.mark.parametrize("top, good", [(2**14 - 1, False), (2**14, True), (0, True)])
def test_where_a_window_is_needed(top, good, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((9, 9), top, np.uint16))
    if good:
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), round(top / 257))
        return
    with pytest.raises(InputError, match="`window`"):
        read_image(tmp_path / "a.png")


def test_a_mask_of_twelve_bits_is_refused_with_its_levels(tmp_path, rng):
    values = scene(rng, 255).astype(np.uint16) // 255 * 4095
    cv2.imwrite(str(tmp_path / "a.png"), values)
    with pytest.raises(InputError, match=r"got the levels 0 \(.*%\), 4095 \(.*%\); `label`"):
        read_mask(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", mask_rule([4095])), values > 0)


def test_a_run_keeps_its_window_wherever_it_goes(of_scanner, tmp_path, monkeypatch):
    tiny.install(monkeypatch.setitem)
    options = {"epochs": 1, "batch_size": 4, "window": [900, 1600], "augment": "none"}
    config = config_of(of_scanner, trained_model_path=str(tmp_path / "r"), **options)
    data = load_data(config)
    images, _ = data.arrays["train"].take(np.arange(data.arrays["train"].length))
    expected = read_image(data.subsets["train"][0].image, window=(900, 1600))
    expected = cv2.resize(expected, (32, 32), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(images[0], expected)
    folder, _ = train(config, data)
    path = of_scanner / "images" / "s03.png"
    exported = export(folder, "savedmodel", tmp_path / "exported").path
    answers = []
    for model in (folder, exported):
        predictor = Predictor.load(model)
        assert predictor.window == (900, 1600)
        answers.append(predictor(path))
        np.testing.assert_array_equal(answers[-1], predictor(read_image(path, window=(900, 1600))))
        again = pickle.loads(pickle.dumps(predictor))
        np.testing.assert_array_equal(again(path), answers[-1])
    np.testing.assert_allclose(*answers, rtol=0, atol=1e-5)
    alone = Predictor.load(folder / "best.keras")
    with pytest.raises(InputError, match="`window`"):
        alone(path)
    alone.window = (900, 1600)
    np.testing.assert_array_equal(alone(path), answers[0])

    monkeypatch.setattr(
        "sys.argv", ["test.py", "--model", str(folder), "--out", str(tmp_path / "o")]
    )
    test_command.main()
    settings = json.loads((tmp_path / "o" / "metrics.json").read_text())["settings"]
    assert settings["window"] == [900, 1600]
    arguments = ["--model", str(folder / "best.keras"), "--image", str(path), "--window", "900"]
    monkeypatch.setattr("sys.argv", ["infer_image.py", *arguments, "1600", "--out", str(tmp_path)])
    image_command.main()
    mask = cv2.imread(str(tmp_path / "masks" / "s03.png"), 0) > 0
    np.testing.assert_array_equal(mask, answers[0] >= 0.5)


@pytest.mark.parametrize("window", [[], [5], [5, 5], [9, 5], [0, 65536], [-1, 5], [0.5, 2]])
def test_what_is_no_window_is_refused(window):
    with pytest.raises(InputError, match="window: expected LOW HIGH from 0 to 65535"):
        config_of("d", window=window)


def test_an_output_folder_goes_on_with_its_window_alone(of_scanner, tmp_path, monkeypatch, capsys):
    tiny.install(monkeypatch.setitem)
    config = config_of(
        of_scanner, epochs=1, batch_size=4, window=[900, 1600], trained_model_path=str(tmp_path)
    )
    folder, _ = train(config)

    def infer(*arguments):
        words = ["infer_image.py", "--model", folder, "--image", of_scanner / "images", *arguments]
        monkeypatch.setattr("sys.argv", [*map(str, words), "--out", str(tmp_path / "o")])
        image_command.main()
        return capsys.readouterr().out

    assert "12 done before" not in infer()
    assert "12 done before" in infer()
    with pytest.raises(InputError, match="900.*1600.*1000.*1600"):
        infer("--window", 1000, 1600)
    assert "12 done before" not in infer("--window", 1000, 1600, "--overwrite")


def test_a_pil_image_of_twelve_bits_needs_a_window_too(of_scanner):
    path = of_scanner / "images" / "s00.png"
    with Image.open(path) as image:
        with pytest.raises(InputError, match="a PIL image: expected 16-bit levels"):
            as_image(image)
        np.testing.assert_array_equal(
            as_image(image, window=(900, 1600)), read_image(path, window=(900, 1600))
        )
