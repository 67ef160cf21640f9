"""The drawn images: reproducible, in range, learnable, and the same scene at every size."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from polypseg.data.images import read_image
from polypseg.data.masks import read_mask
from polypseg.data.synthetic import draw_scene, main, write_dataset

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def drawn():
    return [draw_scene(index, (112, 112)) for index in range(50)]


def test_an_image_depends_on_index_seed_and_size_alone():
    image, mask = draw_scene(5, (64, 80), seed=3)
    draw_scene(6, (64, 80), seed=3)
    again, again_mask = draw_scene(np.int64(5), [64, 80], seed=3)
    np.testing.assert_array_equal(again, image)
    np.testing.assert_array_equal(again_mask, mask)
    for other, other_mask in (draw_scene(6, (64, 80), seed=3), draw_scene(5, (64, 80), seed=4)):
        assert np.abs(other.astype(int) - image).mean() > 5
        assert (other_mask != mask).any()


def test_another_processor_draws_the_same_but_for_a_level_here_and_there():
    code = (
        "import sys, polypseg.data.synthetic as s\n"
        "sys.stdout.buffer.write(s.draw_scene(2)[0].tobytes())"
    )
    older = {**os.environ, "OPENCV_CPU_DISABLE": "AVX2,FMA3", "PYTHONHASHSEED": "1"}
    command = [sys.executable, "-c", code]
    got = subprocess.run(command, cwd=ROOT, env=older, capture_output=True, check=True).stdout
    difference = np.abs(np.frombuffer(got, np.uint8).astype(int) - draw_scene(2)[0].ravel())
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-3


def test_the_images_do_not_change():
    # To be changed with the style of the scene, not for a new version of NumPy or OpenCV.
    image, mask = draw_scene(1, (64, 64))
    assert abs(int(mask.sum()) - 513) <= 2
    np.testing.assert_allclose(image.mean((0, 1)), [193.245, 117.758, 94.015], atol=0.02)


def test_masks_are_binary_and_cover_3_to_35_percent(drawn):
    shares = []
    for image, mask in drawn:
        assert image.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 1}
        shares.append(mask.mean())
    assert 0.03 <= min(shares) and max(shares) <= 0.35
    assert min(shares) < 0.06 and max(shares) > 0.22  # and the range is used


def border_contrast(image, mask):
    """Colour distance of a band inside the mask's border to the same band outside, in levels."""
    kernel = np.ones((3, 3), np.uint8)
    inner = cv2.erode(mask, kernel) - cv2.erode(mask, kernel, iterations=4)
    outer = cv2.dilate(mask, kernel, iterations=4) - cv2.dilate(mask, kernel)
    seen = cv2.blur(image, (3, 3)).max(-1) > 16  # not the black corners
    return np.linalg.norm(image[(inner == 1) & seen].mean(0) - image[(outer == 1) & seen].mean(0))


def test_polyps_differ_from_what_is_around_them(drawn):
    contrasts = np.array([border_contrast(image, mask) for image, mask in drawn])
    # Sensor noise has a deviation of at most 2.5 levels; these are means of 50 pixels and more.
    assert np.mean(contrasts > 10) > 0.9
    assert np.median(contrasts) > 30
    # The masks of other images show no such border.
    masks = [mask for _, mask in drawn[1:] + drawn[:1]]
    others = [border_contrast(image, mask) for (image, _), mask in zip(drawn, masks, strict=True)]
    assert np.median(contrasts) > 2 * np.median(others)


@pytest.mark.parametrize("size", [(32, 32), (33, 97), (127, 61), (150, 40)])
def test_any_size(size):
    image, mask = draw_scene(3, size)
    assert image.shape == (*size, 3) and mask.shape == size
    assert 0.03 <= mask.mean() <= 0.35
    assert image.std((0, 1)).min() > 10


def test_the_scene_scales():
    for index in range(6):
        small, mask = draw_scene(index, (96, 120))
        large, large_mask = draw_scene(index, (192, 240))
        halved = cv2.resize(large_mask * 255, (120, 96), interpolation=cv2.INTER_AREA) > 127
        assert (halved & (mask == 1)).sum() / (halved | (mask == 1)).sum() > 0.9
        halved = cv2.resize(large, (120, 96), interpolation=cv2.INTER_AREA).astype(float)
        assert np.abs(halved - small).mean() < 8  # two other scenes differ by about 40


@pytest.mark.parametrize(
    ("index", "size", "seed", "name"),
    [
        (-1, (64, 64), 0, "index=-1"),
        (1.5, (64, 64), 0, "index=1.5"),
        (0, (64, 64), -2, "seed=-2"),
        (0, (31, 64), 0, "size=31"),
        (0, (64, 64.0), 0, "size=64.0"),
    ],
)
def test_draw_scene_refuses(index, size, seed, name):
    with pytest.raises(ValueError, match=f"got {name}"):
        draw_scene(index, size, seed)


def test_files_hold_what_was_drawn(tmp_path):
    write_dataset(tmp_path / "set", 3, size=(40, 52), seed=9)
    stems = ["synthetic_0000", "synthetic_0001", "synthetic_0002"]
    for folder in ("images", "masks"):
        assert sorted(path.stem for path in (tmp_path / "set" / folder).iterdir()) == stems
    for index, stem in enumerate(stems):
        image, mask = draw_scene(index, (40, 52), seed=9)
        np.testing.assert_array_equal(read_image(tmp_path / f"set/images/{stem}.png"), image)
        np.testing.assert_array_equal(read_mask(tmp_path / f"set/masks/{stem}.png"), mask)
    levels = cv2.imread(str(tmp_path / "set/masks/synthetic_0001.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(levels)) == {0, 255}  # white in a picture viewer
    with pytest.raises(ValueError, match="got count=0"):
        write_dataset(tmp_path / "none", 0)
    assert not (tmp_path / "none").exists()


def test_the_command(tmp_path):
    command = [sys.executable, "-m", "polypseg.data.synthetic", "--out", tmp_path / "set"]
    options = ["--count", "2", "--size", "48", "--seed", "5"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"2 images and masks in {tmp_path / 'set'}\n"
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*"))
    names = ("synthetic_0000.png", "synthetic_0001.png")
    assert written == [str(Path("set", f, name)) for f in ("images", "masks") for name in names]
    image, mask = draw_scene(1, (48, 48), seed=5)
    np.testing.assert_array_equal(read_image(tmp_path / "set/images/synthetic_0001.png"), image)
    np.testing.assert_array_equal(read_mask(tmp_path / "set/masks/synthetic_0001.png"), mask)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--size", "16"], "size=16"),
        (["--size", "large"], "--size"),
        (["--count", "0"], "count=0"),
        (["--seed", "-1"], "seed=-1"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, capsys, options, said):
    with pytest.raises(SystemExit) as stop:
        main(["--out", str(tmp_path / "set"), *options])
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err
    assert not (tmp_path / "set").exists()


def test_an_out_that_cannot_be_a_folder_is_a_mistake_too(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stop:
        main(["--out", str(tmp_path / "file"), "--count", "1", "--size", "32"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_out_is_required(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert stop.value.code == 2 and "--out" in capsys.readouterr().err
