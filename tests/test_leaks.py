"""Images that a split should keep together."""

import cv2
import numpy as np
import pytest
from PIL import Image

from polypseg.data.groups import group_names
from polypseg.data.leaks import SERIES, image_hash
from polypseg.data.pairs import find_pairs
from polypseg.data.verify import read_once, verify
from polypseg.experiment.config import TrainConfig
from polypseg.training.datasets import load_data, load_folds

NEAR = "nearly the same image in two subsets"
SERIES_TOLD = "series of images in several subsets"


def scenes(rng, count):
    """Smooth random images of random sizes."""
    return [
        cv2.resize(
            rng.integers(0, 256, (9, 9, 3), np.uint8),
            rng.integers(90, 140, 2).tolist(),
            interpolation=cv2.INTER_CUBIC,
        )
        for _ in range(count)
    ]


def write(folder, images):
    """A data set of images by stem."""
    for stem, image in images.items():
        for name in ("images", "masks"):
            path = folder / name / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            mask = cv2.circle(np.zeros(image.shape[:2], np.uint8), (30, 30), 9, 255, -1)
            Image.fromarray(image if name == "images" else mask).save(path)
    return folder


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def bits_that_differ(one, other):
    bits = [np.unpackbits(image_hash(image).view(np.uint8)) for image in (one, other)]
    return int((bits[0] != bits[1]).sum())


def test_the_hash_is_that_of_its_formula(rng):
    (image,) = scenes(rng, 1)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA)
    expected = [small[y, x + 1] > small[y, x] for y in range(16) for x in range(16)]
    found = np.unpackbits(image_hash(image).view(np.uint8))
    np.testing.assert_array_equal(found, np.array(expected))
    assert image_hash(np.full((50, 60, 3), 90, np.uint8)) is None


def test_small_changes_change_few_bits_and_other_images_many(rng):
    images = scenes(rng, 12)
    for image in images:
        brighter = cv2.convertScaleAbs(image, alpha=0.9, beta=12)
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
        smaller = cv2.resize(image, (70, 70), interpolation=cv2.INTER_AREA)
        for changed in (brighter, cv2.imdecode(encoded, cv2.IMREAD_COLOR), smaller):
            assert bits_that_differ(image, changed) <= 16
    distances = [
        bits_that_differ(one, other) for i, one in enumerate(images) for other in images[:i]
    ]
    assert min(distances) > 60


def test_nearly_equal_images_in_two_subsets_are_told(rng, tmp_path):
    images = dict(zip("abcdefgh", scenes(rng, 8)))
    images["near_b"] = cv2.convertScaleAbs(images["b"], alpha=0.95, beta=5)
    images["near_c"] = cv2.GaussianBlur(images["c"], (3, 3), 0)
    images["copy_d"] = images["d"]
    pairs, _ = find_pairs(write(tmp_path, images))
    split = {"train": ["a", "b", "c", "near_c", "d"], "val": ["near_b", "copy_d", "e"], "test": []}
    told = [p for p in verify(pairs, split=split).warnings if p.message.startswith(NEAR)]
    assert [(p.path.stem, p.message) for p in told] == [
        ("b", f"{NEAR}: train, also val as {tmp_path / 'images' / 'near_b.png'}")
    ]
    assert not [p for p in verify(pairs).warnings if p.message.startswith(NEAR)]


NAMES = {
    "patient and slice": [f"{p:04}-{s:03}" for p in range(1, 6) for s in (7, 12, 40, 41)],
    "sequence and frame": [f"seq{p}_frame{s}" for p in range(5) for s in range(4)],
    "folder and number": [f"p{p}/{s}" for p in range(5) for s in range(4)],
}
OTHER_NAMES = {
    "numbers": [str(n) for n in range(20)],
    "one name": [f"synthetic_{n:04}" for n in range(20)],
    "two names": [f"{'train' if n % 2 else 'val'}{n}" for n in range(20)],
    "hashes": [f"cju{n}k{7 * n}wl{n * n % 97}x{n}" for n in range(20)],
}


@pytest.mark.parametrize("name", NAMES)
def test_series_that_are_divided_are_told_with_what_keeps_them(name, rng, tmp_path):
    stems = NAMES[name]
    data = write(tmp_path, dict(zip(stems, scenes(rng, 20))))
    options = {"model": "attention_unet", "input_size": 32, "recursive": True}
    config = TrainConfig(data_path=str(data), data_split=0.2, **options)
    report = load_data(config.resolved()).report
    (told,) = [p for p in report.warnings if p.message.startswith(SERIES_TOLD)]
    assert told.path == data / "images" or told.path.parent == data / "images"
    groups = group_names(stems, SERIES)
    assert len(set(groups.values())) == 5
    assert f"`group_by` '{SERIES}' keeps" in told.message and " of 5, such as " in told.message
    grouped = load_data(TrainConfig(**(vars(config) | {"group_by": SERIES})).resolved())
    assert not [p for p in grouped.report.warnings if p.message.startswith(SERIES_TOLD)]
    where = {groups[stem]: set() for stem in stems}
    for subset, part in grouped.subsets.items():
        for pair in part:
            where[groups[pair.stem]].add(subset)
    assert all(len(subsets) == 1 for subsets in where.values())
    folds = load_folds(TrainConfig(**(vars(config) | {"folds": 4})).resolved())
    (told,) = [p for p in folds[0].report.warnings if p.message.startswith(SERIES_TOLD)]
    assert "(fold-" in told.message


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_names_without_series_are_not_told(name, rng, tmp_path):
    stems = OTHER_NAMES[name]
    pairs, _ = find_pairs(write(tmp_path, dict(zip(stems, scenes(rng, 20)))))
    split = {"train": stems[::2], "val": stems[1::4], "test": stems[3::4]}
    assert not read_once(pairs, split=split)[0].warnings
