"""`infer_volume.py`: a network that thresholds intensity gives the thresholded volume, in its grid.

The stub's probability is the level of a channel / 255. With the window -128 to 127 the level is the
Hounsfield units + 128, so that the probability is at least 0.5 where they are 0 or more.
"""

import contextlib
import gzip
import weakref
from unittest import mock

import numpy as np
import pytest
import tiny
from in_process import run_script
from scipy import ndimage
from scipy.spatial.transform import Rotation
from stub_predictor import ROOT, Stub

from polypseg.data.preparation import PLANES, Preparation
from polypseg.data.volumes import read_volume
from polypseg.inference.components import find_components
from polypseg.inference.dicom_seg import read_headers
from polypseg.inference.predict import CallTimes
from polypseg.inference.predictor import Predictor
from polypseg.inference.volumes import Pass, mean_of_passes, segment_volume

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")
pytest.importorskip("SimpleITK")
pytest.importorskip("highdicom")

from dicom_series import IDENTIFYING, SECRET, write_series  # noqa: E402

WINDOW = -128, 127
KNOWN = Preparation(WINDOW)


class Levels(Stub):
    """The probability is the level of one channel / 255."""

    def __init__(self, preparation=KNOWN, channel=1, threshold=0.5):
        self.preparation, self.channel, self.threshold = preparation, channel, threshold

    def __call__(self, images):
        return [np.float32(image[..., self.channel]) / np.float32(255) for image in images]


def infer(*arguments, network=None, cwd=None):
    """The command with a stub for a network, or with one for each path."""

    def load(path, input_size=None, engine="auto"):
        return network[path] if isinstance(network, dict) else network or Levels()

    model = () if "--ensemble" in arguments else ("--model", "stub")
    with mock.patch.object(Predictor, "load", staticmethod(load)):
        return run_script(ROOT / "infer_volume.py", *model, *arguments, cwd=cwd)


def fails(result, *words):
    """It ends with one line, which has the words."""
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr, result.stderr
    return True


def random_affine(random, spacing, left_handed):
    """Any orientation: axes in any order, oblique, of either handedness."""
    axes = Rotation.random(random_state=int(random.integers(2**31))).as_matrix()
    if left_handed:
        axes = axes[:, [1, 0, 2]]
    assert (np.linalg.det(axes) < 0) == left_handed
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = random.uniform(-200, 200, 3)
    return affine


def write_volume(path, array, affine, texts=""):
    image = nibabel.Nifti1Image(array.astype(np.int16), affine)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="aligned")
    image.header.set_xyzt_units("mm", "sec")
    for name in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[name] = texts[:18].encode()
    if texts:
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", texts.encode()))
    nibabel.save(image, path)


def units(random, shape):
    return random.integers(-1000, 1000, shape)


@pytest.mark.parametrize("neighbours", [0, 1])
@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("left_handed", [False, True])
def test_the_result_is_the_thresholded_volume(tmp_path, plane, neighbours, left_handed):
    random = np.random.default_rng([PLANES.index(plane), neighbours, left_handed])
    array, affine = units(random, (13, 17, 9)), random_affine(random, 2.0, left_handed)
    write_volume(tmp_path / "a.nii.gz", array, affine)
    network = Levels(Preparation(WINDOW, plane, None, neighbours))
    result = infer(
        *("--volume", "a.nii.gz", "--out", "mask.nii.gz", "--probability"),
        network=network,
        cwd=tmp_path,
    )
    assert not result.returncode, result.stderr
    source, mask = (nibabel.load(tmp_path / name) for name in ("a.nii.gz", "mask.nii.gz"))
    # File against file: this knows nothing of RAS order.
    np.testing.assert_array_equal(np.asarray(mask.dataobj), array >= 0)
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.affine, source.affine)
    for name in ("qform_code", "sform_code", "pixdim", "xyzt_units", "quatern_b", "srow_y", "dim"):
        np.testing.assert_array_equal(mask.header[name], source.header[name], name)
    probability = nibabel.load(tmp_path / "mask_probability.nii.gz")
    assert probability.get_data_dtype() == np.float32
    levels = np.clip(array, *WINDOW) + 128
    np.testing.assert_allclose(np.asarray(probability.dataobj), levels / 255, atol=1e-6)
    np.testing.assert_array_equal(probability.affine, source.affine)
    ml, regions = (array >= 0).sum() * 8 / 1000, ndimage.label(array >= 0, np.ones((3, 3, 3)))[1]
    assert f"a: {ml:.{1 if ml >= 1 else 3}f} ml in {regions} region" in result.stdout
    assert "(network " in result.stdout


@pytest.mark.parametrize("channel", [0, 2])
@pytest.mark.parametrize("plane", PLANES)
def test_neighbours_are_the_slices_below_and_above(tmp_path, plane, channel):
    """Towards the left, back and feet of the patient is below."""
    random = np.random.default_rng(channel)
    array = units(random, (8, 9, 10))
    write_volume(tmp_path / "a.nii", array, np.diag([2.0, 2.0, 2.0, 1.0]))  # RAS
    volume = read_volume(tmp_path / "a.nii")
    probability = segment_volume(
        Levels(channel=channel), volume, Preparation(WINDOW, plane, None, 1)
    )
    axis = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    indices = np.clip(np.arange(array.shape[axis]) + channel - 1, 0, array.shape[axis] - 1)
    np.testing.assert_array_equal(probability >= 0.5, np.take(array, indices, axis) >= 0)


SEEN = {  # a half of the slice -> where it lies in the patient (x to the right, y front, z head)
    ("axial", "left"): (0, 1),
    ("axial", "top"): (1, 1),
    ("coronal", "left"): (0, 1),
    ("coronal", "top"): (2, 1),
    ("sagittal", "left"): (1, 1),
    ("sagittal", "top"): (2, 1),
}


@pytest.mark.parametrize(("plane", "half"), SEEN)
def test_a_voxel_lies_where_the_network_saw_it(tmp_path, plane, half):
    random = np.random.default_rng(len(plane + half))
    affine = random_affine(random, (1.5, 2.0, 2.5), left_handed=True)
    write_volume(tmp_path / "a.nii", units(random, (12, 14, 16)), affine)

    class Half(Levels):
        def __call__(self, images):
            maps = [np.zeros(image.shape[:2], np.float32) for image in images]
            for map_ in maps:
                height, width = map_.shape
                map_[
                    : height // 2 if half == "top" else None,
                    : width // 2 if half == "left" else None,
                ] = 1
            return maps

    volume = read_volume(tmp_path / "a.nii")
    found = segment_volume(Half(), volume, Preparation(WINDOW, plane))
    stored = volume.grid.from_ras(found)
    points = np.indices(stored.shape).reshape(3, -1).T @ affine[:3, :3].T + affine[:3, 3]
    labelled = stored.ravel() >= 0.5
    assert 0.4 < labelled.mean() < 0.6
    axis, sign = SEEN[plane, half]
    # The axis of the file that is nearest to this one of the patient: oblique, so not equal to it.
    nearest = affine[:3, np.argmax(np.abs(affine[axis, :3] / (1.5, 2.0, 2.5)))]
    along = points @ nearest * np.sign(nearest[axis]) * sign
    assert along[labelled].min() > along[~labelled].max() - np.linalg.norm(nearest) ** 2


@pytest.mark.parametrize("spacing", [1.1, 3.7])
@pytest.mark.parametrize("plane", PLANES)
def test_resampled_slices_differ_only_at_the_edge(tmp_path, plane, spacing):
    random = np.random.default_rng(int(10 * spacing))
    smooth = ndimage.gaussian_filter(random.normal(size=(41, 37, 33)), 5)
    array = np.clip(smooth / np.abs(smooth).max() * 3000, -1000, 1000)
    write_volume(tmp_path / "a.nii.gz", array, random_affine(random, (2.0, 2.3, 2.8), True))
    result = infer(
        *("--volume", "a.nii.gz", "--out", "m.nii.gz"),
        *("--plane", plane, "--spacing", str(spacing)),
        cwd=tmp_path,
    )
    assert not result.returncode, result.stderr
    found = np.asarray(nibabel.load(tmp_path / "m.nii.gz").dataobj) > 0
    expected = array.astype(np.int16) >= 0
    touching = np.ones((3, 3, 3), bool)
    assert (found <= ndimage.binary_dilation(expected, touching)).all()
    assert (found >= ndimage.binary_erosion(expected, touching, border_value=1)).all()
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.9


def test_three_planes_of_one_network(tmp_path):
    random = np.random.default_rng(3)
    array = units(random, (9, 11, 13))
    write_volume(tmp_path / "a.nii.gz", array, random_affine(random, 1.5, True))
    calls = []

    class Counting(Levels):
        def __call__(self, images):
            calls.extend(image.shape[:2] for image in images)
            return super().__call__(images)

    result = infer(
        *("--volume", "a.nii.gz", "--out", "m.nii.gz", "--planes", "3"),
        network=Counting(),
        cwd=tmp_path,
    )
    assert not result.returncode, result.stderr
    assert len(calls) == 9 + 11 + 13
    np.testing.assert_array_equal(
        np.asarray(nibabel.load(tmp_path / "m.nii.gz").dataobj), array >= 0
    )


def test_three_networks_of_one_plane_each(tmp_path):
    random = np.random.default_rng(4)
    write_volume(tmp_path / "a.nii.gz", units(random, (7, 8, 9)), random_affine(random, 2.0, False))

    class Constant(Levels):
        def __call__(self, images):
            assert {image.shape[:2] for image in images} == self.sizes
            return [np.full(image.shape[:2], self.value, np.float32) for image in images]

    sizes = [read_volume(tmp_path / "a.nii.gz").array.shape[axis] for axis in range(3)]
    networks = {}
    for name, plane, axes, value in (
        ("c", "coronal", (2, 0), 0.9),
        ("a", "axial", (1, 0), 0.2),
        ("s", "sagittal", (2, 1), 0.5),
    ):
        networks[name] = Constant(Preparation(WINDOW, plane))
        networks[name].sizes = {tuple(sizes[axis] for axis in axes)}
        networks[name].value = value
    options = ("--volume", "a.nii.gz", "--planes", "3", "--probability", "--out", "m.nii.gz")
    result = infer(*options, "--ensemble", "c", "a", "s", network=networks, cwd=tmp_path)
    assert not result.returncode, result.stderr
    probability = np.asarray(nibabel.load(tmp_path / "m_probability.nii.gz").dataobj)
    np.testing.assert_allclose(probability, (0.9 + 0.2 + 0.5) / 3, rtol=1e-6)
    twice = infer(
        *options, "--overwrite", "--ensemble", "c", "a", "a", network=networks, cwd=tmp_path
    )
    assert fails(twice, "--ensemble", "coronal, axial, axial")
    networks["s"].threshold = 0.4
    networks["c"].sizes = {}  # the line comes before a network runs
    assert fails(
        infer(*options, "--overwrite", "--ensemble", "c", "a", "s", network=networks, cwd=tmp_path),
        "--threshold",
    )


def test_only_the_largest_component(tmp_path):
    array = np.full((20, 20, 20), -500)
    array[1:4, 1:4, 1:4] = 100  # 27 voxels
    array[4, 4, 4] = 100  # touches them at a corner
    array[10:13, 10:13, 10:12] = 100  # 18
    array[16, 2:7, 9] = 100  # 5
    write_volume(tmp_path / "a.nii.gz", array, np.diag([2.0, 2.0, 2.0, 1.0]))
    out = ("--volume", "a.nii.gz", "--out", "m.nii.gz")
    result = infer(*out, "--largest-component", cwd=tmp_path)
    assert f"a: {28 * 8 / 1000:.3f} ml in the largest of 3 regions" in result.stdout
    expected = np.zeros(array.shape)
    expected[1:5, 1:5, 1:5] = array[1:5, 1:5, 1:5] > 0
    np.testing.assert_array_equal(np.asarray(nibabel.load(tmp_path / "m.nii.gz").dataobj), expected)


@pytest.mark.parametrize("density", [0.02, 0.2])
def test_components_in_parts_of_a_volume(density):
    random = np.random.default_rng(int(100 * density))
    mask = np.asfortranarray(random.random((15, 16, 17)) < density)
    mask[:4] = mask[:, -3:] = False
    labels, expected = ndimage.label(mask, np.ones((3, 3, 3)))
    largest, count = find_components(mask, only_largest=True)
    assert count == expected
    sizes = np.bincount(labels.ravel())[1:]
    assert largest.sum() == sizes.max()
    assert len(np.unique(labels[largest])) == 1
    same, count = find_components(mask)
    assert count == expected
    np.testing.assert_array_equal(same, mask)


def test_empty_results(tmp_path):
    array = np.full((6, 7, 8), -500)
    array[0, 0, 0] = -800
    write_volume(tmp_path / "a.nii.gz", array, np.diag([2.0, 2.0, 2.0, 1.0]))
    result = infer(
        *("--volume", "a.nii.gz", "--out", "m.nii.gz", "--montage", "m.png"),
        "--largest-component",
        cwd=tmp_path,
    )
    assert "a: nothing found, " in result.stdout, result.stderr
    assert not np.asarray(nibabel.load(tmp_path / "m.nii.gz").dataobj).any()
    assert (tmp_path / "m.png").stat().st_size > 1000


def test_progress_and_times():
    volume = mock.Mock(array=np.zeros((5, 6, 11), np.int16), spacing=(1.0, 1.0, 1.0))
    counts, times = [], CallTimes()
    passes = [Pass(Levels(), Preparation(WINDOW, plane)) for plane in PLANES]
    mean_of_passes(passes, volume, batch_size=4, on_slices=counts.append, times=times)
    assert counts == [4, 4, 3, 4, 2, 4, 1]
    assert times.images + times.first_images == 5 + 6 + 11


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """A DICOM series that lies obliquely, with the matrix from its index to mm."""
    random = np.random.default_rng(5)
    folder = tmp_path_factory.mktemp("dicom") / "case-1"
    array = units(random, (12, 9, 7))
    array[:, :, 5] = -300  # a slice without foreground
    matrix = write_series(
        folder,
        array,
        spacing=(1.5, 1.5, 2.5),
        rotation=Rotation.from_euler("xyz", [12, -9, 25], degrees=True).as_matrix(),
        origin=(-10.5, 20.25, -300),
        **IDENTIFYING,
    )
    return folder, array, matrix


def points_of(dataset):
    """The point of each labelled pixel in mm, by position and orientation of its frame."""
    shared = dataset.SharedFunctionalGroupsSequence[0]
    orientation = np.float64(shared.PlaneOrientationSequence[0].ImageOrientationPatient)
    height, width = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    found = []
    for frame, groups in zip(dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence):
        position = np.float64(groups.PlanePositionSequence[0].ImagePositionPatient)
        rows, columns = np.nonzero(frame)
        found.append(
            position
            + np.outer(columns * width, orientation[:3])
            + np.outer(rows * height, orientation[3:])
        )
    return np.concatenate(found)


def in_order(points):
    return points[np.lexsort(np.round(points, 3).T)]


def test_a_dicom_series_becomes_a_dicom_segmentation(tmp_path, series):
    folder, array, matrix = series
    result = infer(
        *("--volume", folder, "--out", "m.nii.gz", "--dicom-seg", "seg.dcm"), cwd=tmp_path
    )
    assert not result.returncode, result.stderr
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    sources = {file.SOPInstanceUID: file for file in map(pydicom.dcmread, sorted(folder.iterdir()))}
    first = next(iter(sources.values()))
    assert dataset.SOPClassUID == pydicom.uid.SegmentationStorage
    for name in ("FrameOfReferenceUID", "StudyInstanceUID", "PatientID", "PatientName"):
        assert dataset[name].value == first[name].value
    expected = np.argwhere(array >= 0) @ matrix[:3, :3].T + matrix[:3, 3]
    np.testing.assert_allclose(in_order(points_of(dataset)), in_order(expected), atol=1e-3)
    assert dataset.NumberOfFrames == 6  # the empty one is left out
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        source = groups.DerivationImageSequence[0].SourceImageSequence[0]
        np.testing.assert_allclose(
            np.float64(groups.PlanePositionSequence[0].ImagePositionPatient),
            np.float64(sources[source.ReferencedSOPInstanceUID].ImagePositionPatient),
            atol=1e-6,
        )
    (segment,) = dataset.SegmentSequence
    assert segment.SegmentLabel == "foreground"
    # The NIfTI file lies at the same place: its coordinates grow to the right and to the front.
    mask = nibabel.load(tmp_path / "m.nii.gz")
    there = np.argwhere(np.asarray(mask.dataobj)) @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    np.testing.assert_allclose(in_order(there * (-1, -1, 1)), in_order(expected), atol=1e-3)


def contents(folder):
    """The bytes of all files below a folder, unpacked."""
    for path in (path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        yield path, data
        if path.suffix == ".gz":
            yield path, gzip.decompress(data)


def test_nothing_that_names_the_patient_is_written(tmp_path, series):
    folder, array, _ = series
    volumes, out = tmp_path / "volumes", tmp_path / "out"
    volumes.mkdir()
    write_volume(volumes / "b.nii.gz", array, np.diag([-2.0, 2.0, 2.0, 1.0]), f"{SECRET} descrip")
    assert any(SECRET.encode() in data for _, data in contents(volumes))
    both = infer(
        *("--volume", volumes, folder, "--out", out / "masks", "--probability"),
        *("--montage", out / "montages"),
    )
    one = infer(
        *("--volume", folder, "--out", out / "one.nii.gz", "--dicom-seg", out / "seg.dcm"),
        "--anonymous",
    )
    for result in (both, one):
        assert not result.returncode, result.stderr
        assert "SECRET" not in result.stdout + result.stderr
    names = {str(path.relative_to(out)) for path, _ in contents(out)}
    masks = {f"masks/{name}" for name in ("b.nii.gz", "case_1.nii.gz")}
    more = {f"masks/probabilities/{name}" for name in ("b.nii.gz", "case_1.nii.gz")}
    assert names == masks | more | {
        "montages/b.png",
        "montages/case_1.png",
        "one.nii.gz",
        "seg.dcm",
    }
    for path, data in contents(out):
        assert b"SECRET" not in data, path
    anonymous = pydicom.dcmread(out / "seg.dcm")
    for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "AccessionNumber"):
        assert name in anonymous and not anonymous[name].value


def test_a_segmentation_takes_only_patient_and_study_from_its_source(tmp_path, series):
    result = infer(
        *("--volume", series[0], "--out", "m.nii.gz", "--dicom-seg", "seg.dcm"), cwd=tmp_path
    )
    assert "SECRET" not in result.stdout + result.stderr
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    secret = {
        element.keyword for element in dataset.iterall() if "SECRET" in str(element.value)
    } - {"PatientName", "PatientID", "PatientBirthDate", "PatientSex"}
    assert secret == {"AccessionNumber", "StudyID", "StudyDate", "ReferringPhysicianName"}


def test_an_empty_result_of_a_bare_series(tmp_path):
    """All slices are there, though a field is not that is not needed."""
    write_series(tmp_path / "a", np.full((6, 7, 5), -500), SliceThickness=None, StudyDate=None)
    for file in (tmp_path / "a").iterdir():  # a voxel of air, because a CT has several levels
        header = pydicom.dcmread(file)
        header.PixelData = b"\0\0" + header.PixelData[2:]
        header.save_as(file)
    result = infer("--volume", "a", "--dicom-seg", "s.dcm", "--out", "m.nii.gz", cwd=tmp_path)
    assert not result.returncode and "nothing found" in result.stdout, result.stderr
    dataset = pydicom.dcmread(tmp_path / "s.dcm")
    assert not dataset.pixel_array.any() and len(dataset.pixel_array) == 5


def test_series_to_which_nothing_can_refer(tmp_path):
    random = np.random.default_rng(6)
    write_series(tmp_path / "a", units(random, (6, 7, 5)), FrameOfReferenceUID=None, **IDENTIFYING)
    result = infer("--volume", "a", "--dicom-seg", "s.dcm", "--out", "m.nii.gz", cwd=tmp_path)
    assert fails(result, "--dicom-seg", "FrameOfReferenceUID")
    assert "SECRET" not in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_files_that_are_not_where_the_slices_are(tmp_path):
    write_series(tmp_path / "a", units(np.random.default_rng(7), (6, 7, 5)))
    volume = read_volume(tmp_path / "a")
    assert len(read_headers(volume)) == 5
    swapped = mock.Mock(path=volume.path, grid=volume.grid, spacing=volume.spacing)
    swapped.files = volume.files[::-1]
    with pytest.raises(ValueError, match="do not lie on its grid"):
        read_headers(swapped)


def test_one_of_two_series(tmp_path):
    random = np.random.default_rng(8)
    for uid in ("1.2.3", "1.2.4"):
        array = units(random, (6, 7, 5))
        write_series(tmp_path / "a" / "ct" / uid, array, spacing=(2.0, 2.0, 2.0), series=uid)
    out = ("--out", "m.nii.gz")
    assert fails(infer("--volume", "a", *out, cwd=tmp_path), "--series", "1.2.3", "1.2.4")
    result = infer("--volume", "a", *out, "--series", "1.2.4", cwd=tmp_path)
    assert not result.returncode, result.stderr
    mask = nibabel.load(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), array >= 0)


@pytest.fixture
def one_volume(tmp_path):
    random = np.random.default_rng(9)
    write_volume(tmp_path / "a.nii.gz", units(random, (6, 7, 8)), np.diag([2.0, 2.0, 2.0, 1.0]))
    return tmp_path


def nothing_written(folder):
    return sorted(path.name for path in folder.iterdir()) == ["a.nii.gz"]


@pytest.mark.parametrize(
    ("preparation", "options", "missing"),
    [
        (None, (), "--window, --plane and --spacing"),
        (None, ("--plane", "axial"), "--window and --spacing"),
        (None, ("--planes", "3"), "--window and --spacing"),
        (Preparation(None), (), ": --window required"),
    ],
)
def test_a_network_that_does_not_say_how_its_slices_were_made(
    one_volume, preparation, options, missing
):
    network = Levels(preparation)
    result = infer("--volume", "a.nii.gz", *options, network=network, cwd=one_volume)
    assert fails(result, "stub does not say", missing)
    assert nothing_written(one_volume)


def test_options_in_place_of_volume_json(one_volume):
    options = ("--window", "-128", "127", "--plane", "coronal", "--spacing", "0")
    given = ("--volume", "a.nii.gz", *options)
    result = infer(*given, network=Levels(None), cwd=one_volume)
    assert not result.returncode and "note: each channel repeats the slice" in result.stdout
    more = ("--neighbours", "0", "--overwrite")
    result = infer(*given, *more, network=Levels(None), cwd=one_volume)
    assert not result.returncode and "note" not in result.stdout
    array = np.asarray(nibabel.load(one_volume / "a.nii.gz").dataobj)
    mask = nibabel.load(one_volume / "predictions" / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), array >= 0)


def test_an_option_counts_more_than_volume_json(one_volume):
    network = Levels(Preparation((-100, 240)))
    result = infer(
        *("--volume", "a.nii.gz", "--window", "-28", "227"), network=network, cwd=one_volume
    )
    assert "note: axial slices, -28 to 227 HU, as the options say" in result.stdout
    array = np.asarray(nibabel.load(one_volume / "a.nii.gz").dataobj)
    mask = nibabel.load(one_volume / "predictions" / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj), array >= 100)


def test_the_threshold_is_that_of_the_model_or_of_the_option(one_volume):
    array = np.asarray(nibabel.load(one_volume / "a.nii.gz").dataobj)
    for options, level in (((), 204), (("--threshold", "0.2"), 51)):
        result = infer(
            *("--volume", "a.nii.gz", "--out", "m.nii.gz", "--overwrite", *options),
            network=Levels(threshold=0.8),
            cwd=one_volume,
        )
        assert not result.returncode, result.stderr
        mask = np.asarray(nibabel.load(one_volume / "m.nii.gz").dataobj)
        np.testing.assert_array_equal(mask, array >= level - 128)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--plane", "oblique"), ["--plane", "axial, coronal, sagittal", "oblique"]),
        (("--window", "240", "-100"), ["--window", "the lower first, got 240 -100\n"]),
        (("--window", "nan", "240"), ["--window", "the lower first, got nan 240\n"]),
        (("--window", "240"), ["--window", "two Hounsfield units", "1 numbers"]),
        (("--spacing", "300"), ["--spacing", "0.1 to 20"]),
        (("--neighbours", "2"), ["--neighbours", "0 or 1"]),
        (("--planes", "2"), ["--planes", "1 or 3"]),
        (("--planes", "3", "--plane", "axial"), ["either --plane or --planes"]),
        (("--anonymous",), ["--anonymous requires --dicom-seg"]),
        (("--dicom-seg", "s.dcm"), ["--dicom-seg", "DICOM folders as volumes", "a.nii.gz"]),
        (("--montage", "a.nii.gz"), ["--montage", "ends in .png"]),
        (("--out", "scan.nrrd"), ["--out", "ends in .nii.gz, got scan.nrrd"]),
        (("--out", "m.nii.gzz"), ["--out", "ends in .nii.gz, got m.nii.gzz"]),
        (("--out", "m.png"), ["--out", "ends in .nii.gz, got m.png"]),
        (("--series", "1.2.3"), ["--series", "DICOM folder", "only NIfTI files: a.nii.gz"]),
        (("--out", "a.nii.gz"), ["--out", "not an input"]),
        (("--volume", "b.nii.gz"), ["--volume", "an existing file"]),
    ],
    ids=lambda value: " ".join(value[:2]),
)
def test_mistakes_are_found_before_the_network_loads(one_volume, options, words):
    with mock.patch.object(Predictor, "load", side_effect=AssertionError):
        arguments = ("--model", "x", "--volume", "a.nii.gz", *options)
        result = run_script(ROOT / "infer_volume.py", *arguments, cwd=one_volume)
    assert fails(result, *words)
    assert nothing_written(one_volume)


def test_a_trained_network(one_volume):
    """The probabilities are those of the Predictor for the windowed slices."""
    tiny.Tiny(32).save(one_volume / "tiny.keras")
    options = ("--window", "-100", "240", "--plane", "axial", "--spacing", "0", "--probability")
    command = ("--model", "tiny.keras", "--volume", "a.nii.gz", "--out", "m.nii.gz", *options)
    result = run_script(ROOT / "infer_volume.py", *command, cwd=one_volume)
    assert not result.returncode, result.stderr
    array = np.asarray(nibabel.load(one_volume / "a.nii.gz").dataobj)
    probability = np.asarray(nibabel.load(one_volume / "m_probability.nii.gz").dataobj)
    predictor = Predictor.load(one_volume / "tiny.keras")
    for index in range(array.shape[2]):
        grey = np.rint(np.clip((array[:, :, index] + 100) / 340, 0, 1) * 255).astype(np.uint8)
        expected = predictor(np.dstack([grey[::-1, ::-1].T] * 3))  # the right on the left
        np.testing.assert_allclose(probability[::-1, ::-1, index].T, expected, atol=1e-5)


def test_existing_files_are_kept(one_volume):
    (one_volume / "m.png").write_text("mine")
    options = ("--volume", "a.nii.gz", "--out", "m.nii.gz", "--montage", "m.png")
    with mock.patch.object(Predictor, "load", side_effect=AssertionError):
        result = run_script(ROOT / "infer_volume.py", "--model", "x", *options, cwd=one_volume)
    assert fails(result, "--montage", "m.png, which exists")
    assert (one_volume / "m.png").read_text() == "mine"
    assert not infer(*options, "--overwrite", cwd=one_volume).returncode
    assert (one_volume / "m.png").read_bytes()[:4] == b"\x89PNG"


def test_several_volumes_of_which_one_is_damaged(one_volume):
    data = (one_volume / "a.nii.gz").read_bytes()
    (one_volume / "b.nii.gz").write_bytes(data[: len(data) // 2])
    (one_volume / "c.nii.gz").write_bytes(data)
    result = infer("--volume", ".", "--out", "masks", cwd=one_volume)
    assert fails(result, "--volume", "b.nii.gz")
    assert sorted(path.name for path in (one_volume / "masks").iterdir()) == [
        "a.nii.gz",
        "c.nii.gz",
    ]
    assert "written: 2 volumes" in result.stdout
    assert fails(
        infer("--volume", ".", "--out", "m.nii.gz", cwd=one_volume), "--out", "a folder for several"
    )


def test_a_segmentation_inside_the_series_is_refused(tmp_path, series):
    folder = series[0]
    before = sorted(folder.iterdir())
    result = infer("--volume", folder, "--dicom-seg", folder, "--out", tmp_path / "m.nii.gz")
    assert fails(result, "--dicom-seg", "outside")
    assert sorted(folder.iterdir()) == before


def test_suffixes_in_capitals_and_folders_with_a_suffix(one_volume):
    array = np.asarray(nibabel.load(one_volume / "a.nii.gz").dataobj)
    (one_volume / "masks.v2").mkdir()
    options = ("--volume", "a.nii.gz", "--probability", "--montage", "P.PNG", "--overwrite")
    for out, mask, probability in (
        ("M.NII.GZ", "M.NII.GZ", "M_probability.NII.GZ"),
        ("masks.v2", "masks.v2/a.nii.gz", "masks.v2/probabilities/a.nii.gz"),
        ("new", "new/a.nii.gz", "new/probabilities/a.nii.gz"),
    ):
        result = infer(*options, "--out", out, cwd=one_volume)
        assert not result.returncode, result.stderr
        packed = gzip.decompress((one_volume / mask).read_bytes())
        found = np.asarray(nibabel.Nifti1Image.from_bytes(packed).dataobj)
        np.testing.assert_array_equal(found, array >= 0)
        assert (one_volume / probability).is_file()
    assert (one_volume / "P.PNG").is_file()


def test_a_folder_in_the_place_of_a_file(one_volume):
    (one_volume / "masks" / "a.nii.gz").mkdir(parents=True)
    with mock.patch.object(Predictor, "load", side_effect=AssertionError):
        options = ("--model", "x", "--volume", "a.nii.gz", "--out", "masks", "--overwrite")
        result = run_script(ROOT / "infer_volume.py", *options, cwd=one_volume)
    assert fails(result, "--out", "a file, got the folder masks/a.nii.gz")


class Broken(Levels):
    """Gives nan for one pixel of the fourth slice."""

    slices = 0

    def __call__(self, images):
        maps = super().__call__(images)
        for map_ in maps:
            if self.slices == 3:
                map_[1, 2] = np.nan
            self.slices += 1
        return maps


def test_a_network_that_gives_nan(one_volume):
    result = infer("--volume", "a.nii.gz", "--out", "m.nii.gz", network=Broken(), cwd=one_volume)
    assert fails(result, "--model", "probabilities, got nan in slice 3 of a.nii.gz")
    assert nothing_written(one_volume)


@pytest.fixture
def hard_volumes(one_volume):
    """a and d are good, b is damaged, and c has square pixels only in slices of 102400 x 40."""
    data = (one_volume / "a.nii.gz").read_bytes()
    (one_volume / "b.nii.gz").write_bytes(data[: len(data) // 2])
    array = units(np.random.default_rng(10), (512, 40, 40))
    write_volume(one_volume / "c.nii.gz", array, np.diag([20.0, 0.1, 0.1, 1.0]))
    (one_volume / "d.nii.gz").write_bytes(data)
    return one_volume


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_volume_that_cannot_be_sliced(hard_volumes):
    result = infer("--volume", ".", "--out", "masks", cwd=hard_volumes)
    damaged, sliced = result.stderr.splitlines()
    assert result.returncode == 2 and "--volume" in damaged and "b.nii.gz" in damaged
    assert "error: --volume: " in sliced and "102400 x 40 pixels in c.nii.gz" in sliced
    assert names(hard_volumes / "masks") == ["a.nii.gz", "d.nii.gz"]
    assert "written: 2 volumes" in result.stdout


def test_the_spacing_is_to_blame_if_it_is_given(hard_volumes):
    options = ("--volume", "c.nii.gz", "--out", "m.nii.gz")
    for spacing, blamed in (("0.1", "--spacing"), ("0", "--volume")):
        result = infer(*options, "--spacing", spacing, cwd=hard_volumes)
        assert fails(result, f"error: {blamed}: ", "102400 x 40")
    assert not infer(*options, "--spacing", "2", cwd=hard_volumes).returncode


def test_a_montage_that_cannot_be_drawn_is_found_before_the_network_runs(hard_volumes):
    """It has pixels of the volume's own size, whatever the spacing."""
    options = ("--volume", "c.nii.gz", "--out", "m.nii.gz", "--montage", "m.png", "--spacing", "2")
    with mock.patch.object(Levels, "__call__", side_effect=AssertionError):
        result = infer(*options, cwd=hard_volumes)
    assert fails(result, "error: --montage: ", "102400 x 40")


@pytest.mark.parametrize(
    ("network", "last"),
    [
        (Levels(Preparation(None)), "--window required"),
        (Broken(), "got nan in slice 3 of d.nii.gz"),
    ],
)
def test_errors_of_volumes_are_printed_before_one_that_ends_the_command(
    hard_volumes, network, last
):
    paths = ("--volume", "b.nii.gz", "d.nii.gz")
    result = infer(*paths, "--out", "masks", network=network, cwd=hard_volumes)
    damaged, ending = result.stderr.splitlines()
    assert result.returncode == 2 and "b.nii.gz" in damaged and last in ending
    assert not (hard_volumes / "masks").exists()


def test_a_file_of_a_run_whose_folder_says_how_slices_were_made(one_volume):
    run = one_volume / "runs" / "unet"
    run.mkdir(parents=True)
    (run / "best.keras").write_text("")
    (run / "volume.json").write_text(KNOWN.to_json())
    arguments = ("--model", "runs/unet/best.keras", "--volume", "a.nii.gz")
    with mock.patch.object(Predictor, "load", staticmethod(lambda *_: Levels(None))):
        result = run_script(ROOT / "infer_volume.py", *arguments, cwd=one_volume)
    assert fails(result, "required; its run folder runs/unet says it")


ALL_FILES = ("--out", "m.nii.gz", "--probability", "--montage", "m.png", "--dicom-seg", "s.dcm")


@pytest.mark.parametrize("failing", ["write_nifti", "write_dicom_seg", "write_montage"])
def test_a_full_disk_leaves_no_file_of_a_volume(tmp_path, series, failing):
    """Files that were there before stay as they were."""
    (tmp_path / "m.png").write_text("mine")
    written = []

    def fail(path, *values):
        if path.name != "m_probability.nii.gz":  # of the two NIfTI files, the one that comes last
            raise OSError(28, "No space left on device")
        path.write_text("partial")
        written.append(path)

    with mock.patch(f"polypseg.inference.volumes.{failing}", side_effect=fail):
        result = infer("--volume", series[0], *ALL_FILES, "--overwrite", cwd=tmp_path)
    argument = {"write_nifti": "--out", "write_dicom_seg": "--dicom-seg"}.get(failing, "--montage")
    assert fails(result, argument, "No space left")
    assert len(written) == (failing == "write_nifti")
    assert names(tmp_path) == ["m.png"] and (tmp_path / "m.png").read_text() == "mine"


def test_a_segmentation_is_written_with_little_memory(tmp_path, series):
    """Without the probabilities, and highdicom gets only slices with foreground."""
    import highdicom

    from polypseg.inference import volumes

    folder, array, matrix = series
    probabilities = []
    segmentation = highdicom.seg.Segmentation

    def remember(*values):
        probability = mean_of_passes(*values)
        probability[:] = 0
        stored = read_volume(folder).grid.from_ras(probability)
        stored[:, :, [1, 4]] = array[:, :, [1, 4]] >= 0
        probabilities.append(weakref.ref(probability))
        return probability

    def check(**values):
        assert [probability() for probability in probabilities] == [None]
        assert len(values["source_images"]) == len(values["pixel_array"]) == 2
        return segmentation(**values)

    with (
        mock.patch.object(volumes, "mean_of_passes", side_effect=remember),
        mock.patch.object(highdicom.seg, "Segmentation", side_effect=check) as checked,
    ):
        result = infer("--volume", folder, *ALL_FILES, cwd=tmp_path)
    assert not result.returncode, result.stderr
    assert checked.call_count == 1
    indices = np.argwhere(array >= 0)
    indices = indices[np.isin(indices[:, 2], [1, 4])]
    expected = indices @ matrix[:3, :3].T + matrix[:3, 3]
    found = points_of(pydicom.dcmread(tmp_path / "s.dcm"))
    np.testing.assert_allclose(in_order(found), in_order(expected), atol=1e-3)


def test_a_full_disk(one_volume):
    """The mask is written last, and nothing else is left as if it were complete."""
    full = OSError(28, "No space left on device")
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch("polypseg.inference.volumes.write_nifti", side_effect=full))
        result = infer("--volume", "a.nii.gz", "--out", "m.nii.gz", cwd=one_volume)
    assert fails(result, "--out", "No space left")
    assert nothing_written(one_volume)
