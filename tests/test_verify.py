from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from polypseg.data.pairs import Pair, find_pairs
from polypseg.data.problems import Problem, Report
from polypseg.data.verify import verify


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def blob(height=60, width=80, scale=1.0):
    """A polyp-like mask: an ellipse of 255 on 0."""
    mask = np.zeros((height, width), np.uint8)
    axes = int(width * 0.25 * scale), int(height * 0.3 * scale)
    cv2.ellipse(mask, (width // 2, height // 2), axes, 20, 0, 360, 255, -1)
    return mask


def add(root, stem, image, mask, image_suffix=".png", mask_suffix=".png"):
    for folder, array, suffix in (("images", image, image_suffix), ("masks", mask, mask_suffix)):
        path = root / folder / f"{stem}{suffix}"
        path.parent.mkdir(exist_ok=True)
        if isinstance(array, bytes):
            path.write_bytes(array)
        else:
            Image.fromarray(array).save(path)


def picture(rng, height=60, width=80):
    return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)


def found(root, **options):
    report = verify(*find_pairs(root), **options)
    return [(p.severity, p.path.name, p.message.partition(": ")[0]) for p in report.problems]


def test_good_pairs_have_no_problems(tmp_path, rng):
    add(tmp_path, "a", picture(rng), blob(), ".jpg", ".jpg")
    add(tmp_path, "b", picture(rng), blob() // 255)
    add(tmp_path, "c", picture(rng), blob() > 0, ".tif", ".tif")
    add(tmp_path, "d", picture(rng), np.dstack([blob()] * 3), ".bmp", ".bmp")
    report = verify(*find_pairs(tmp_path))
    assert report == Report((), 4) and report.checked == 4
    assert str(report) == "checked 4 pairs: 0 errors, 0 warnings"


def test_every_unreadable_file_is_reported_and_none_is_raised(tmp_path, rng):
    for stem in "abcde":
        add(tmp_path, stem, picture(rng), blob())
    whole = (tmp_path / "images/a.png").read_bytes()
    (tmp_path / "images/a.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "masks/b.png").write_bytes(b"")
    (tmp_path / "masks/c.png").write_bytes(b"<html>404</html>")
    pairs, _ = find_pairs(tmp_path)
    (tmp_path / "images/e.png").unlink()  # removed after it was found
    report = verify(pairs)
    assert [problem.path.relative_to(tmp_path).as_posix() for problem in report.errors] == [
        "images/a.png",
        "masks/b.png",
        "masks/c.png",
        "images/e.png",
    ]
    assert report.warnings == () and report.checked == 5
    reasons = [problem.message for problem in report.errors]
    assert all(reason.startswith("file cannot be read: ") for reason in reasons)
    for reason, word in zip(reasons, ("truncated", "empty", "another", "No such"), strict=True):
        assert word in reason and str(tmp_path) not in reason


def test_different_sizes_are_told_both(tmp_path, rng):
    add(tmp_path, "a", picture(rng, 60, 80), blob(60, 81))
    report = verify(*find_pairs(tmp_path))
    (problem,) = report.errors
    assert problem.path.name == "a.png" and problem.path.parent.name == "masks"
    assert problem.message.endswith("(width x height): 80 x 60 and 81 x 60")


def jpeg(array, quality):
    return cv2.imdecode(cv2.imencode(".jpg", array, [1, quality])[1], cv2.IMREAD_GRAYSCALE)


def labels(*levels):
    mask = np.zeros((60, 80), np.uint8)
    for i, level in enumerate(levels):
        mask[10:30, 15 + 20 * i : 30 + 20 * i] = level
    return mask


GOOD_MASKS = {
    "jpeg": lambda rng: jpeg(blob(), 75),
    "poor jpeg": lambda rng: jpeg(blob(), 10),
    "small object, jpeg": lambda rng: jpeg(blob(scale=0.15), 50),
    "anti-aliased": lambda rng: cv2.resize(blob(240, 320), (80, 60), interpolation=cv2.INTER_AREA),
    "enlarged": lambda rng: cv2.resize(blob(), (240, 180), interpolation=cv2.INTER_CUBIC),
    "enlarged four times": lambda rng: cv2.resize(blob(), (320, 240)),
    "bright": lambda rng: blob() // 255 * np.uint8(200),
    "video range": lambda rng: np.where(blob() > 0, 235, 16).astype(np.uint8),
    "grey frame": lambda rng: cv2.copyMakeBorder(blob(), 4, 4, 4, 4, 0, value=128),
    "two labels": lambda rng: labels(1, 1),
    "best jpeg": lambda rng: jpeg(blob(), 100),
    "good jpeg": lambda rng: jpeg(blob(), 95),
    "noise of one level": lambda rng: np.maximum(blob(), rng.random((60, 80)) < 0.1),
}
BAD_MASKS = {
    "photograph": lambda rng: cv2.resize(picture(rng, 6, 8)[..., 1], (80, 60)),
    "high contrast photograph": lambda rng: cv2.resize(
        picture(rng, 6, 8)[..., 1] // 200 * 255, (80, 60)
    ),
    "noise": lambda rng: picture(rng)[..., 1],
    "dots": lambda rng: rng.choice(np.uint8([0, 128, 255]), (60, 80)),
    "soft map": lambda rng: cv2.GaussianBlur(blob(), (0, 0), 4),
    "small soft map": lambda rng: cv2.GaussianBlur(blob(scale=0.4), (0, 0), 4) * np.uint8(2),
    "faint map": lambda rng: blob() // 3,
    "labels 0 1 2": lambda rng: labels(1, 2),
    "labels 0 2": lambda rng: labels(2),
    "labels 0 128 255": lambda rng: labels(128, 255),
    "labels 0 85 170 255": lambda rng: labels(85, 170, 255),
    "a label and an ignored band": lambda rng: labels(1, 255),
    "a small label and an ignored band": lambda rng: np.where(
        labels(255) > 0, np.uint8(255), np.pad(np.ones((4, 4), np.uint8), ((50, 6), (40, 36)))
    ),
    "labels 0 254 255": lambda rng: labels(254, 255),
    "labels 0 20 255": lambda rng: labels(20, 255),
    "twenty labels and an ignored band": lambda rng: np.hstack(
        [np.full((60, 8), level, np.uint8) for level in [*range(20), 255]]
    ),
}


KIND = (
    "mask is not black and white (`label` says which levels are foreground, `ignore` which do not "
    "count)"
)


@pytest.mark.parametrize("name", GOOD_MASKS)
def test_masks_near_two_levels_pass(tmp_path, rng, name):
    mask = GOOD_MASKS[name](rng)
    add(tmp_path, "a", picture(rng, *mask.shape[:2]), mask)
    assert found(tmp_path) == []


@pytest.mark.parametrize("name", BAD_MASKS)
def test_masks_with_more_levels_do_not(tmp_path, rng, name):
    mask = BAD_MASKS[name](rng)
    add(tmp_path, "a", picture(rng, *mask.shape[:2]), mask)
    assert found(tmp_path) == [("error", "a.png", KIND)]


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (90, 90, 200)])
def test_masks_in_colour_do_not(tmp_path, rng, colour):
    mask = np.where(blob()[..., None] > 127, np.uint8(colour), 0).astype(np.uint8)
    add(tmp_path, "a", picture(rng, *mask.shape[:2]), mask)
    kind = "mask is in colour (`mask_color` says which colours are foreground)"
    assert found(tmp_path) == [("error", "a.png", kind)]


def test_the_message_about_levels_says_what_was_found(tmp_path, rng):
    mask = np.zeros((100, 100), np.uint8)
    mask[:40, :30], mask[60:, 60:] = 100, 250
    add(tmp_path, "a", picture(rng, 100, 100), mask)
    add(tmp_path, "b", picture(rng), labels(1, 7))
    add(tmp_path, "c", picture(rng), np.full((60, 80), 7, np.uint8))
    many = np.repeat(np.arange(0, 250, 5, dtype=np.uint8), 20).reshape(20, 50)
    many[0] = 255
    add(tmp_path, "d", picture(rng, 20, 50), many)
    details = [error.message.partition(": ")[2] for error in verify(*find_pairs(tmp_path)).errors]
    assert details == [
        "the levels 0 (72.0%), 100 (12.0%), 250 (16.0%)",
        "the levels 0 (87.5%), 1 (6.2%), 7 (6.2%)",
        "the level 7 (100.0%)",
        "49 levels, of which 255 (5.0%), 15 (2.0%), 20 (2.0%), 25 (2.0%) are the most frequent",
    ]


def test_empty_and_full_masks_and_orphans_are_warnings(tmp_path, rng):
    add(tmp_path, "a", picture(rng), np.zeros((60, 80), np.uint8))
    add(tmp_path, "b", picture(rng), np.full((60, 80), 255, np.uint8))
    add(tmp_path, "c", picture(rng), np.ones((60, 80), np.uint8))
    Image.fromarray(picture(rng)).save(tmp_path / "images" / "d.png")
    assert found(tmp_path) == [
        ("warning", "a.png", "mask without foreground"),
        ("warning", "b.png", "mask without background"),
        ("warning", "c.png", "mask without background"),
        ("warning", "d.png", "file without a partner"),
    ]


def test_equal_pictures_are_found_by_their_pixels(tmp_path, rng):
    add(tmp_path, "a", picture(rng), blob(), ".jpg")
    add(tmp_path, "b", picture(rng), blob())
    copy = np.asarray(Image.open(tmp_path / "images" / "a.jpg"))
    add(tmp_path, "c", copy, blob())  # re-encoded
    add(tmp_path, "d", copy.reshape(80, 60, 3), blob(80, 60))  # equal bytes, another shape
    pairs, _ = find_pairs(tmp_path)
    (problem,) = verify(pairs).problems
    assert problem == Problem("warning", pairs[0].image, f"same image twice: also {pairs[2].image}")


def test_with_a_split_only_pictures_in_two_subsets_are_told(tmp_path, rng):
    twin, other = picture(rng), picture(rng)
    for stem, image in {"a": twin, "b": twin, "c": twin, "d": other, "e": other}.items():
        add(tmp_path, stem, image, blob())
    pairs, _ = find_pairs(tmp_path)
    split = {"train": ["a", "b", "d", "e"], "val": ["c"], "test": []}
    (problem,) = verify(pairs, split=split).problems
    assert problem.severity == "warning" and problem.path == pairs[0].image
    assert problem.message == f"same image in two subsets: train, also val as {pairs[2].image}"
    assert not verify(pairs, split={"train": ["a", "b"], "val": ["d", "e"], "test": []}).problems
    assert len(verify(pairs).problems) == 2


def test_the_report_groups_kinds_and_is_short_unless_asked(tmp_path):
    problems = [Problem("error", Path(f"m/{i}.png"), f"too small: {i} x 1") for i in range(500)]
    problems.insert(3, Problem("warning", Path("i/long-name.png"), "without a partner"))
    problems.append(Problem("error", Path("i/a.png"), "cannot be read: x: y"))
    report = Report(tuple(problems), 600)
    assert (len(report.errors), len(report.warnings)) == (501, 1)
    assert str(report).splitlines() == [
        "checked 600 pairs: 501 errors, 1 warning",
        "",
        "500 errors: too small",
        "  m/0.png  0 x 1",
        "  m/1.png  1 x 1",
        "  m/2.png  2 x 1",
        "  m/3.png  3 x 1",
        "  m/4.png  4 x 1",
        "  and 495 more",
        "",
        "1 error: cannot be read",
        "  i/a.png  x: y",
        "",
        "1 warning: without a partner",
        "  i/long-name.png",
    ]
    complete = report.text(limit=None)
    assert "more" not in complete and all(f"m/{i}.png" in complete for i in range(500))


def test_one_thread_and_many_find_the_same(tmp_path, rng):
    for i in range(12):
        mask = b"" if i % 5 == 0 else blob(60, 80 + i % 3)
        add(tmp_path, f"{i:02d}", picture(rng) if i % 4 else picture(rng) * 0, mask)
    pairs, orphans = find_pairs(tmp_path)
    alone = verify(pairs, orphans, workers=1)
    assert alone == verify(pairs, orphans, workers=8) == verify(pairs, orphans)
    kinds = {problem.message.partition(": ")[0] for problem in alone.problems}
    assert len(kinds) == 4 and isinstance(pairs[0], Pair)
