"""The single pass over the files: what is stored, hashed and refused."""

import csv
import hashlib
import re

import cv2
import numpy as np
import pytest
from opened import images_among, images_in, opened
from PIL import Image

from polypseg.data.loading import load
from polypseg.data.pairs import find_pairs
from polypseg.data.verify import verify
from polypseg.errors import InputError
from polypseg.experiment.config import TrainConfig
from polypseg.experiment.fingerprints import write_fingerprints
from polypseg.training.datasets import BadFiles, load_data, load_folds


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """17 images between 21 and 90 px, JPEG and PNG, grey and RGB, with masks of three kinds."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(8)
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    for index in range(17):
        height, width = rng.integers(21, 91, 2).tolist()
        shape = (height, width) if index % 5 == 4 else (height, width, 3)
        image = rng.integers(0, 256, shape).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"s{index:02}.{('jpg', 'png')[index % 2]}")
        mask = np.zeros((height, width), np.uint8)
        cv2.circle(mask, rng.integers(5, 21, 2).tolist(), int(rng.integers(4, 30)), 255, -1)
        mask = (mask, mask // 255, np.dstack([mask] * 3))[index % 3]
        Image.fromarray(mask).save(folder / "masks" / f"s{index:02}.png")
    return folder


def expected(pair, size):
    """Image and mask of a pair, read and resized by other means."""
    image = np.array(Image.open(pair.image).convert("RGB"))
    grey = np.array(Image.open(pair.mask).convert("L"))
    mask = np.where(grey >= (1 if grey.max() == 1 else 128), 255, 0).astype(np.uint8)
    method = cv2.INTER_AREA if size <= min(grey.shape) else cv2.INTER_LINEAR
    image, mask = (cv2.resize(array, (size, size), interpolation=method) for array in (image, mask))
    return image, mask >= 128


def assert_holds(arrays, pairs, size):
    images, masks = arrays.take(np.arange(arrays.length))
    assert images.shape == (len(pairs), size, size, 3) and images.dtype == np.uint8
    assert masks.shape == (len(pairs), size, size, 1) and masks.dtype == np.uint8
    for pair, image, mask in zip(pairs, images, masks, strict=True):
        wanted_image, wanted_mask = expected(pair, size)
        np.testing.assert_array_equal(image, wanted_image)
        np.testing.assert_array_equal(mask[..., 0], wanted_mask)


def test_one_look_at_each_file_gives_arrays_hashes_and_report(data):
    pairs, _ = find_pairs(data)
    order = [pairs[index] for index in np.random.default_rng(1).permutation(17)]
    first, second = order[:11], order[6:]
    with opened() as files:
        report, hashes, arrays = load(pairs, [(first, 37), (second, 48), (second[::-1], 37)])
    assert images_among(files) == dict.fromkeys(images_in(data), 1)
    assert report == verify(pairs)
    for found, (part, size) in zip(arrays, [(first, 37), (second, 48), (second[::-1], 37)]):
        assert_holds(found, part, size)
    assert len(arrays[0].images) == 17 and len(arrays[1].images) == 11
    assert arrays[0].images is arrays[2].images, "decoded pairs are kept once a size"
    assert hashes == {
        pair.stem: tuple(
            hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
            for path in (pair.image, pair.mask)
        )
        for pair in pairs
    }


def test_the_cache_counts_all_arrays_and_holds_the_same_on_disk(data):
    pairs, _ = find_pairs(data)
    wanted = [(pairs, 40), (pairs[:3], 32)]
    gigabytes = (17 * 40 * 40 * 4 + 3 * 32 * 32 * 4) / 1e9
    for cache_gb, on_disk in ((gigabytes, False), (gigabytes - 1e-9, True), (0, True)):
        for arrays, (part, size) in zip(load(pairs, wanted, cache_gb).arrays, wanted):
            assert isinstance(arrays.images, np.memmap) == on_disk
            assert isinstance(arrays.masks, np.memmap) == on_disk
            assert_holds(arrays, part, size)


def config_of(data, **options):
    options = {"model": "attention_unet", "input_size": 32} | options
    return TrainConfig(data_path=str(data), data_split=0.2, **options).resolved()


@pytest.mark.parametrize("augment, size", [("full", 40), ("flips", 32), ("none", 32)])
def test_a_run_keeps_what_it_trains_and_validates_on(data, augment, size):
    with opened() as files:
        found = load_data(config_of(data, augment=augment))
    assert images_among(files) == dict.fromkeys(images_in(data), 1)
    assert [len(part) for part in found.subsets.values()] == [11, 3, 3]
    assert_holds(found.arrays["train"], found.subsets["train"], size)
    assert_holds(found.arrays["val"], found.subsets["val"], 32)
    stored = {id(arrays.images): len(arrays.images) for arrays in found.arrays.values()}
    assert sum(stored.values()) == 14, "no room for those that are only tested on"


def test_folds_are_views_of_the_same_arrays(data):
    with opened() as files:
        folds = load_folds(config_of(data, folds=4))
    assert images_among(files) == dict.fromkeys(images_in(data), 1)
    assert sorted(pair.stem for fold in folds for pair in fold.subsets["test"]) == [
        f"s{index:02}" for index in range(17)
    ]
    for fold in folds:
        for name, size in (("train", 40), ("val", 32)):
            assert fold.arrays[name].images is folds[0].arrays[name].images
            assert_holds(fold.arrays[name], fold.subsets[name], size)


def copy_of(data, folder):
    """A copy with one image that is truncated and one mask that is a photograph; their names."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
        for path in (data / name).iterdir():
            (folder / name / path.name).write_bytes(path.read_bytes())
    image, mask = folder / "images" / "s04.jpg", folder / "masks" / "s06.png"
    image.write_bytes(image.read_bytes()[:-40])
    noise = np.random.default_rng(0).integers(0, 256, Image.open(mask).size[::-1])
    Image.fromarray(noise.astype(np.uint8)).save(mask)
    return image, mask


@pytest.mark.parametrize("load_it, options", [(load_data, {}), (load_folds, {"folds": 3})])
def test_bad_files_are_raised_with_the_report_of_all(data, tmp_path, load_it, options):
    bad = copy_of(data, tmp_path)
    with pytest.raises(BadFiles) as raised:
        load_it(config_of(tmp_path, **options))
    error = raised.value
    assert isinstance(error, InputError) and error.argument == "data_path"
    assert {problem.path for problem in error.report.errors} == set(bad)
    assert error.report.checked == 17
    first = error.report.errors[0].path
    assert f"got 2 bad files; the first: {first}: " in str(error) and "\n" not in str(error)


def test_a_file_that_changed_is_told_before_what_is_wrong_with_it(data, tmp_path):
    """A file that cannot be read is reported with its path and the reason."""
    copy_of(data, tmp_path / "data")
    run = tmp_path / "run"
    run.mkdir()
    pairs, _ = find_pairs(data)
    write_fingerprints(run, load(pairs, []).files)
    with open(run / "files.csv", newline="") as file:
        assert [row["stem"] for row in csv.DictReader(file)] == [pair.stem for pair in pairs]
    config = config_of(tmp_path / "data", folds=3, resume=str(run))
    with pytest.raises(InputError, match=r"got 2 changed \(s04, s06\)"):
        load_folds(config)
    for path in (data / "images" / "s04.jpg", data / "masks" / "s06.png"):
        (tmp_path / "data" / path.parent.name / path.name).write_bytes(path.read_bytes())
    unreadable = tmp_path / "data" / "masks" / "s02.png"
    unreadable.unlink()
    unreadable.mkdir()
    with pytest.raises(BadFiles, match=r"s02\.png: file cannot be read: .*directory"):
        load_folds(config)


def write(folder, images, masks):
    """A data set of arrays."""
    for name, arrays in (("images", images), ("masks", masks)):
        (folder / name).mkdir(parents=True)
        for index, array in enumerate(arrays):
            Image.fromarray(array).save(folder / name / f"s{index:02}.png")
    return folder


def noise(count, size=60):
    rng = np.random.default_rng(4)
    return [rng.integers(0, 256, (size, size, 3), np.uint8) for _ in range(count)]


def disc(size, radius):
    return cv2.circle(np.zeros((size, size), np.uint8), (size // 2, size // 2), radius, 255, -1)


def test_a_mask_too_small_for_the_network_keeps_a_pixel_and_is_told(tmp_path):
    masks = [disc(600, 40) for _ in range(12)]
    for index, side in ((3, 8), (7, 12)):
        masks[index] = np.zeros((600, 600), np.uint8)
        masks[index][101 : 101 + side, 303 : 303 + side] = 255
    data = write(tmp_path, noise(12, 600), masks)
    found = load_data(config_of(data, augment="flips"))
    lost = [pair for part in ("train", "val") for pair in found.subsets[part]]
    lost = [pair for pair in lost if pair.stem in ("s03", "s07")]
    assert lost, "drawn into the subsets that are decoded"
    for part in ("train", "val"):
        _, small = found.arrays[part].take(np.arange(found.arrays[part].length))
        for pair, mask in zip(found.subsets[part], small, strict=True):
            if pair in lost:
                assert np.argwhere(mask[..., 0]).tolist() == [[101 * 32 // 600, 303 * 32 // 600]]
    kind = "foreground below half a pixel at 32 px, so one pixel stands for it: "
    told = {p.path: p.message for p in found.report.warnings if p.message.startswith(kind)}
    assert told.keys() == {pair.mask for pair in lost}
    for path, message in told.items():
        size = int(message.removeprefix(kind).split()[0])
        mask = np.array(Image.open(path))
        kept = [
            side
            for side in range(32, 600, 32)
            if (cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA) > 127).any()
        ]
        assert size == kept[0]


DEGENERATE = {
    "full": (noise(12), [np.full((60, 60), 255, np.uint8)] * 12, "got 12 that are all foreground"),
    "empty": (noise(12), [np.zeros((60, 60), np.uint8)] * 12, "in the subset train, got 8 empty"),
    "one polyp": (
        noise(12),
        [disc(60, 9), *[np.zeros((60, 60), np.uint8)] * 11],
        "in the subset [a-z]+, got [28] empty masks",
    ),
    "of one colour": (
        [np.full((60, 60, 3), index, np.uint8) for index in range(12)],
        [disc(60, 9)] * 12,
        "expected images, got 12 of one colour each",
    ),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("load_it, options", [(load_data, {}), (load_folds, {"folds": 3})])
def test_data_from_which_nothing_can_be_learnt_are_refused(name, load_it, options, tmp_path):
    images, masks, expected = DEGENERATE[name]
    data = write(tmp_path, images, masks)
    if options:
        expected = re.sub(r"got .* empty", "got [0-9]+ empty", expected)
        expected = expected.replace("subset train", "subset [a-z]+")
    with pytest.raises(InputError, match=expected) as raised:
        load_it(config_of(data, **options))
    assert raised.value.argument == "data_path"


def test_a_given_split_whose_validation_has_no_foreground_is_refused(tmp_path):
    masks = [disc(60, 9)] * 6 + [np.zeros((60, 60), np.uint8)] * 3
    data = write(tmp_path / "data", noise(9), masks)
    (tmp_path / "train.txt").write_text("".join(f"s{i:02}\n" for i in range(6)))
    (tmp_path / "val.txt").write_text("".join(f"s{i:02}\n" for i in range(6, 9)))
    with pytest.raises(InputError, match="in the subset val, got 3 empty masks") as raised:
        load_data(config_of(data, split_dir=str(tmp_path)))
    assert raised.value.argument == "split_dir"
