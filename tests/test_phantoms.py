"""The drawn CT volumes: plausible organs, a connected pancreas, files that hold what was drawn."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from polypseg.data.phantoms import LABELS, PANCREAS, draw_abdomen, write_volumes
from polypseg.data.synthetic import main
from polypseg.data.volumes import check_same_grid, read_labels, read_volume

nibabel = pytest.importorskip("nibabel")
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def drawn():
    return [draw_abdomen(index) for index in (*range(9), 49)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_volumes(folder, 6, (56, 50, 20), seed=5)
    return folder


def inner(label, organ):
    """The voxels of an organ whose six neighbours belong to it too."""
    return ndimage.binary_erosion(label == LABELS[organ])


@pytest.mark.parametrize(
    ("organ", "low", "high"),
    [  # of a scan in the portal venous phase
        ("liver", 75, 130),
        ("spleen", 85, 145),
        ("right kidney", 110, 210),
        ("left kidney", 110, 210),
        ("gallbladder", -5, 25),
        ("pancreas", 60, 115),
        ("aorta", 110, 200),
        ("vena cava", 85, 160),
        ("vertebrae", 120, 350),
    ],
)
def test_organs_have_plausible_hounsfield_units(drawn, organ, low, high):
    means = [hu[inner(label, organ)].mean() for hu, label, _ in drawn]
    assert low < min(means) and max(means) < high


def test_there_are_air_lungs_fat_and_gas(drawn):
    for hu, label, _ in drawn:
        assert abs(np.median(hu[:8, -8:]) + 1000) < 5  # beside the patient
        inside = ndimage.binary_fill_holes((hu > -300).any(2))[..., None] & (hu > -1024)
        for low, high, least in ((-950, -700, 0.005), (-140, -70, 0.1), (20, 130, 0.2)):
            assert ((hu > low) & (hu < high) & inside).sum() > least * inside.sum()
        assert hu[label == LABELS["stomach"]].min() < -700
        assert hu.dtype == np.int16 and label.dtype == np.uint8


def test_gas_rises_to_the_front(drawn):
    for hu, label, _ in drawn:
        front = [
            np.nonzero((label == LABELS["stomach"]) & part)[1] for part in (hu < -500, hu > -50)
        ]
        assert front[0].mean() > front[1].mean() + 2


def test_the_pancreas_is_connected_and_small(drawn):
    shares = []
    for _, label, _ in drawn:
        # By faces of voxels; of patient 49 the texture would cut off two voxels.
        assert ndimage.label(label == PANCREAS)[1] == 1
        shares.append(100 * (label == PANCREAS).mean())
    assert 0.2 < min(shares) and max(shares) < 1.2
    assert max(shares) > 1.5 * min(shares)  # patients differ


def test_the_pancreas_differs_little_from_the_bowel_and_the_liver(drawn):
    """By HU alone it cannot be found: a threshold keeps more of the neighbours than of it."""
    for hu, label, _ in drawn:
        pancreas = hu[label == PANCREAS]
        low, high = np.percentile(pancreas, (10, 90))
        others = np.isin(label, [LABELS[name] for name in ("liver", "small bowel", "duodenum")])
        chosen = (hu >= low) & (hu <= high)
        assert (chosen & others).sum() > 2 * (chosen & (label == PANCREAS)).sum()


def test_organs_are_where_they_belong(drawn):
    for _, label, _ in drawn:
        at = {
            name: np.mean(np.nonzero(label == number), 1) / label.shape
            for name, number in LABELS.items()
        }
        right, front, up = 0, 1, 2
        for one, two, axis in (
            ("liver", "spleen", right),
            ("liver", "stomach", right),
            ("right kidney", "vertebrae", right),
            ("vertebrae", "left kidney", right),
            ("vena cava", "aorta", right),
            ("duodenum", "pancreas", right),
            ("aorta", "vertebrae", front),
            ("pancreas", "aorta", front),
            ("pancreas", "left kidney", front),
            ("liver", "small bowel", up),
        ):
            assert at[one][axis] > at[two][axis], (one, two)


def test_a_volume_depends_on_index_seed_and_shape_alone():
    shape = (52, 48, 17)
    first = draw_abdomen(3, shape, seed=2)
    draw_abdomen(4, shape, seed=2)
    again = draw_abdomen(np.int64(3), list(shape), seed=2)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    for other in (draw_abdomen(4, shape, seed=2), draw_abdomen(3, shape, seed=1)):
        assert (other[1] != first[1]).mean() > 0.05
        assert other[2] != first[2]


def test_a_finer_grid_shows_the_same_patient():
    _, label, spacing = draw_abdomen(1, (64, 64, 20))
    _, finer, half = draw_abdomen(1, (128, 128, 40))
    np.testing.assert_allclose(half, np.array(spacing) / 2)
    # The share of each voxel that the finer labels cover, for a label of about the same volume.
    for organ in ("liver", "pancreas", "left kidney"):
        share = (finer == LABELS[organ]).reshape(64, 2, 64, 2, 20, 2).mean((1, 3, 5))
        one, two = label == LABELS[organ], share >= 0.5
        assert 2 * (one & two).sum() / (one.sum() + two.sum()) > 0.9


@pytest.mark.parametrize(
    ("index", "shape", "seed", "name"),
    [
        (-1, (64, 64, 20), 0, "index=-1"),
        (0.5, (64, 64, 20), 0, "index=0.5"),
        (0, (64, 64, 20), -1, "seed=-1"),
        (0, (64, 47, 20), 0, "shape=47"),
        (0, (64, 64, 15), 0, "shape=15"),
    ],
)
def test_draw_abdomen_refuses(index, shape, seed, name):
    with pytest.raises(ValueError, match=f"got {name}"):
        draw_abdomen(index, shape, seed)


def test_files_hold_what_was_drawn(files):
    names = [f"phantom_{index:04d}.nii.gz" for index in range(6)]
    assert sorted(path.name for path in (files / "volumes").iterdir()) == names
    assert sorted(path.name for path in (files / "labels").iterdir()) == names
    for index, name in enumerate(names):
        hu, label, spacing = draw_abdomen(index, (56, 50, 20), seed=5)
        # nibabel's own reorientation, which polypseg does not use.
        stored = nibabel.load(files / "volumes" / name)
        assert stored.get_data_dtype() == np.int16 and stored.header.get_xyzt_units()[0] == "mm"
        np.testing.assert_array_equal(nibabel.as_closest_canonical(stored).dataobj, hu)
        # Ours.
        volume = read_volume(files / "volumes" / name)
        labels = read_labels(files / "labels" / name)
        check_same_grid(volume, labels)
        np.testing.assert_array_equal(volume.array, hu)
        np.testing.assert_array_equal(labels.array, label)
        np.testing.assert_allclose(volume.spacing, spacing, rtol=1e-5)


def test_affines_are_oblique_and_some_are_left_handed_or_permuted(files):
    affines, codes = [], []
    for path in sorted((files / "volumes").iterdir()):
        image = nibabel.load(path)
        affines.append(image.affine)
        codes.append("".join(nibabel.aff2axcodes(image.affine)))
        directions = image.affine[:3, :3] / nibabel.affines.voxel_sizes(image.affine)
        np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-6)
        largest = np.sort(np.abs(directions), axis=1)[:, -1]
        assert 1 - largest.min() > 1e-4  # no axis of the file is an axis of the world
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-3)
    assert codes == ["LPS", "RAS", "LAS", "RPI", "PIR", "ASL"]
    handed = [np.linalg.det(affine[:3, :3]) > 0 for affine in affines]
    assert handed == [True, True, False, True, True, False]


def test_the_liver_is_on_the_right_in_the_world(files):
    """The affine, not the order of the voxels, says where an organ is: RAS+, in mm."""
    for path in sorted((files / "labels").iterdir()):
        image = nibabel.load(path)
        stored = np.asarray(image.dataobj)
        world = {
            name: nibabel.affines.apply_affine(
                image.affine, np.mean(np.nonzero(stored == LABELS[name]), 1)
            )
            for name in ("liver", "spleen", "vertebrae", "stomach", "small bowel")
        }
        assert world["liver"][0] > world["spleen"][0] + 80  # right
        assert world["stomach"][1] > world["vertebrae"][1] + 50  # in front
        assert world["liver"][2] > world["small bowel"][2] + 20  # above


def test_the_command(tmp_path, capsys):
    main(["--ct", "--out", str(tmp_path / "ct"), "--count", "1", "--size", "48", "--seed", "3"])
    assert capsys.readouterr().out.startswith("1 volumes and label maps in ")
    hu = draw_abdomen(0, (48, 48, 16), seed=3)[0]
    stored = nibabel.load(tmp_path / "ct" / "volumes" / "phantom_0000.nii.gz")
    np.testing.assert_array_equal(nibabel.as_closest_canonical(stored).dataobj, hu)
    main(["--out", str(tmp_path / "polyps"), "--count", "1", "--size", "32"])
    assert (tmp_path / "polyps" / "images" / "synthetic_0000.png").exists()
    for given, message in ((["--size", "40"], "got shape=40"), (["--count", "0"], "got count=0")):
        with pytest.raises(SystemExit) as stop:
            main(["--ct", "--out", str(tmp_path / "bad"), *given])
        assert stop.value.code == 2 and not (tmp_path / "bad").exists()
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and message in error


def test_without_nibabel_there_is_one_line(tmp_path):
    code = (
        "import sys; sys.modules['nibabel'] = None\n"
        "from polypseg.data.synthetic import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "--ct", "--out", str(tmp_path / "ct")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2 and not (tmp_path / "ct").exists()
    assert result.stderr.count("\n") == 1 and "nibabel" in result.stderr
