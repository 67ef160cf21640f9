"""A DICOM series is read as one volume, whatever the order and the coding of its files."""

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("SimpleITK")

from polypseg.data.volumes import find_volumes, read_volume, write_nifti  # noqa: E402
from polypseg.errors import InputError, Note  # noqa: E402
from tests.dicom_series import IDENTIFYING, write_series  # noqa: E402
from tests.test_volumes import rotation  # noqa: E402


def hounsfield(seed=0, shape=(9, 7, 5)):
    return np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)


@pytest.mark.parametrize("turn", ["axial", "coronal", "sagittal", "oblique", "feet first"])
def test_each_voxel_is_read_where_it_lies(turn, tmp_path):
    # Columns: the directions of a row, of a column, of the slices, in LPS.
    axes = {
        "axial": np.eye(3),
        "coronal": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]),
        "sagittal": np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]]),
        "oblique": rotation(np.random.default_rng(3)),
        "feet first": np.diag([-1, 1, -1]),
    }[turn]
    units = hounsfield()
    to_lps = write_series(tmp_path / "s", units, (0.7, 0.9, 2.5), axes, (12.5, -40, 300))
    volume = read_volume(tmp_path / "s")
    assert volume.array.dtype == np.int16 and sorted(volume.spacing) == pytest.approx(
        [0.7, 0.9, 2.5], abs=1e-5
    )
    for index in np.ndindex(units.shape):
        world = np.diag([-1, -1, 1, 1]) @ to_lps @ [*index, 1]
        there = np.linalg.solve(volume.grid.ras_affine, world)[:3]
        place = tuple(np.rint(there).astype(int))
        assert np.abs(there - place).max() < 1e-3 and volume.array[place] == units[index]
    # The files are in the order of the slices of the stored grid.
    stored = volume.grid.from_ras(volume.array)
    for number, path in enumerate(volume.files):
        header = pydicom.dcmread(path)
        assert np.array_equal(header.pixel_array.T - 1024, stored[:, :, number])


@pytest.mark.parametrize("slope, intercept", [(1, -1024), (2, -1024), (0.3, -900.5)])
def test_units_are_hounsfield(slope, intercept, tmp_path):
    units = hounsfield()
    write_series(tmp_path / "s", units, slope=slope, intercept=intercept)
    expected = np.rint((units - np.float64(intercept)) / slope) * slope + intercept
    volume = read_volume(tmp_path / "s")
    stored = volume.grid.from_ras(volume.array)
    assert np.abs(stored - expected).max() < 1e-3
    assert volume.array.dtype == (np.float32 if slope == 0.3 else np.int16)


@pytest.mark.parametrize(
    "syntax",
    [
        "ExplicitVRBigEndian",
        "ImplicitVRLittleEndian",
        "DeflatedExplicitVRLittleEndian",
        "RLELossless",
    ],
)
def test_transfer_syntaxes_that_can_be_read(syntax, tmp_path):
    units = hounsfield(shape=(16, 14, 5))
    write_series(tmp_path / "s", units)
    little = syntax != "ExplicitVRBigEndian"
    for path in (tmp_path / "s").glob("*.dcm"):
        header = pydicom.dcmread(path)
        if syntax == "RLELossless":
            header.compress(pydicom.uid.RLELossless)
            header.save_as(path)
            continue
        if not little:
            header.PixelData = np.frombuffer(header.PixelData, "<i2").astype(">i2").tobytes()
        header.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
        implicit = syntax == "ImplicitVRLittleEndian"
        pydicom.dcmwrite(
            path, header, implicit_vr=implicit, little_endian=little, force_encoding=True
        )
    volume = read_volume(tmp_path / "s")
    assert np.array_equal(volume.grid.from_ras(volume.array), units)


def refused(folder, series=None):
    with pytest.raises(InputError) as error:
        read_volume(folder, series)
    message = str(error.value)
    assert "\n" not in message and "SECRET" not in message, message
    return message


def changed(folder, change, only=slice(None)):
    """Change the headers of files, in the order of their instances."""
    headers = [(pydicom.dcmread(path), path) for path in folder.glob("*.dcm")]
    headers.sort(key=lambda pair: pair[0].InstanceNumber)
    for header, path in headers[only]:
        change(header, path)
        if path.exists():
            header.save_as(path)
    return folder


@pytest.fixture
def series(tmp_path):
    write_series(tmp_path / "s", hounsfield(), (0.7, 0.9, 2.5), **IDENTIFYING)
    return tmp_path / "s"


def test_a_missing_slice(series):
    changed(series, lambda header, path: path.unlink(), slice(2, 3))
    assert "2.5 mm and, between" in refused(series) and "missing?" in refused(series)


def test_a_slice_that_is_there_twice(series):
    (path, *_) = series.glob("*.dcm")
    (series / "copy.dcm").write_bytes(path.read_bytes())
    assert "is a slice there twice?" in refused(series)


def test_unequal_spacing(series):
    def move(header, path):
        header.ImagePositionPatient[2] += 1

    assert "equal distances between slices" in refused(changed(series, move, slice(4, 5)))


def test_two_series(series, tmp_path):
    other = hounsfield(1, (9, 7, 4))
    uid = pydicom.uid.generate_uid()
    write_series(tmp_path / "more", other, series=uid)
    for path in (tmp_path / "more").glob("*.dcm"):
        path.rename(series / f"other_{path.name}")
    message = refused(series)
    assert uid in message and "(5 CT files of 9 x 7)" in message and "`series`" in message
    assert read_volume(series, uid).array.shape == (9, 7, 4)
    assert "got 1.2.3" in refused(series, "1.2.3")


@pytest.mark.parametrize("modality", ["US", "MR", "PT", "", "A^NAME"])
def test_other_modalities(series, modality):
    def change(header, path):
        header.Modality = modality

    known = modality if len(modality) == 2 else "an unknown modality"
    assert f"got {known} in" in refused(changed(series, change))


def test_colour(series):
    def change(header, path):
        header.SamplesPerPixel, header.PhotometricInterpretation = 3, "RGB"
        header.BitsAllocated = header.BitsStored = 8
        header.HighBit, header.PlanarConfiguration = 7, 0
        header.PixelData = bytes(3 * 7 * 9)

    assert "an image in colour" in refused(changed(series, change))


def test_several_frames(series):
    def change(header, path):
        header.NumberOfFrames = 2
        header.PixelData *= 2

    assert "2 frames in" in refused(changed(series, change))


@pytest.mark.parametrize("tag", ["PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"])
def test_no_geometry(series, tag):
    assert f"without {tag}" in refused(changed(series, lambda header, path: delattr(header, tag)))


def test_slices_that_differ(series):
    def turn(header, path):
        header.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]

    message = refused(changed(series, turn, slice(2, 3)))
    assert "slices of one size, spacing, orientation and rescaling" in message


def test_one_slice_without_rescaling(series):
    def change(header, path):
        del header.RescaleIntercept

    message = refused(changed(series, change, slice(2, 3)))
    assert "orientation and rescaling" in message


def test_slices_off_the_grid(tmp_path):
    """Gaps that grow a little, and slices moved sideways."""
    write_series(tmp_path / "s", hounsfield(shape=(9, 7, 40)), (0.7, 0.9, 2.5))

    def drift(header, path):
        number = header.InstanceNumber - 1
        header.ImagePositionPatient[2] = 2.5 * number + 0.2 * max(0, number - 20)

    # The last of 40 slices lies at 101.3 mm, so the grid has gaps of 101.3 / 39 mm, and slice 20
    # at 50 mm lies 1.95 mm off.
    assert "lies 1.95 mm off" in refused(changed(tmp_path / "s", drift))

    write_series(tmp_path / "t", hounsfield(shape=(9, 7, 6)), (0.7, 0.9, 2.5))

    def aside(header, path):
        header.ImagePositionPatient[0] += 1.5

    assert "lies 1.5 mm off" in refused(changed(tmp_path / "t", aside, slice(2, 4)))


def test_positions_may_be_rounded(tmp_path):
    units = hounsfield()
    write_series(tmp_path / "s", units, (0.7, 0.9, 0.625))

    def rounded(header, path):
        header.ImagePositionPatient[2] = round(float(header.ImagePositionPatient[2]), 1)

    volume = read_volume(changed(tmp_path / "s", rounded))
    assert np.array_equal(volume.grid.from_ras(volume.array), units)


def test_inverted_grey_levels(tmp_path):
    write_series(tmp_path / "s", hounsfield(), PhotometricInterpretation="MONOCHROME1")
    assert "inverted grey levels" in refused(tmp_path / "s")


@pytest.mark.parametrize("content", [b"", b"no DICOM" * 100])
def test_a_file_that_should_be_dicom(content, series):
    (path, *_) = series.glob("*.dcm")
    path.write_bytes(content)
    assert path.name in refused(series)


def test_other_files_are_told(series):
    (series / "notes").write_text("no DICOM")
    (series / "._hidden.dcm").write_text("what macOS adds")
    with pytest.warns(Note, match="not read: 1 file in .* that are not DICOM"):
        assert read_volume(series).array.shape == (9, 7, 5)


def test_contours_beside_the_scan_are_told(series, tmp_path):
    write_series(tmp_path / "more", hounsfield(1, (9, 7, 2)), Modality="RTSTRUCT")
    for path in (tmp_path / "more").glob("*.dcm"):
        path.rename(series / f"other_{path.name}")
    with pytest.warns(Note, match="not read: 2 RTSTRUCT in .*, beside the CT"):
        assert read_volume(series).array.shape == (9, 7, 5)


def test_the_folder_that_is_given_is_the_patient(tmp_path):
    """TCIA's folders below that of a patient have dates and numbers of studies in their names."""
    write_series(tmp_path / "PATIENT-1" / "11-24-2015-SECRET" / "1.2.3", hounsfield())
    found = find_volumes([tmp_path / "PATIENT-1"], "volumes")
    assert found == {"PATIENT_1": tmp_path / "PATIENT-1"}
    assert read_volume(found["PATIENT_1"]).array.shape == (9, 7, 5)


def test_no_rescale(tmp_path):
    write_series(
        tmp_path / "s", hounsfield() + 1024, intercept=0, RescaleIntercept=None, RescaleSlope=None
    )
    assert "Hounsfield units" in refused(tmp_path / "s")


def test_a_compressed_syntax_that_cannot_be_read(series):
    def change(header, path):
        header.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
        header.PixelData = pydicom.encaps.encapsulate([b"no JPEG 2000 at all!"])
        header["PixelData"].VR = "OB"

    message = refused(changed(series, change))
    assert "SimpleITK can decode" in message and "JPEG 2000" in message


def test_a_truncated_file(series):
    (path, *_) = series.glob("*.dcm")
    path.write_bytes(path.read_bytes()[:-20])
    assert "complete" in refused(series)


def test_folders_of_patients(tmp_path):
    write_series(tmp_path / "all" / "case-1" / "study" / "series", hounsfield())
    write_series(tmp_path / "all" / "case-2", hounsfield(1))
    (tmp_path / "all" / "case-2" / "notes.txt").write_text("no DICOM")
    (tmp_path / "all" / "other").mkdir()
    found = find_volumes([tmp_path / "all"], "volumes")
    assert found == {
        name.replace("-", "_"): tmp_path / "all" / name for name in ("case-1", "case-2")
    }
    assert find_volumes([tmp_path / "all" / "case-2"], "volumes") == {
        "case_2": tmp_path / "all" / "case-2"
    }
    first = read_volume(found["case_1"])
    assert np.array_equal(first.grid.from_ras(first.array), hounsfield())


def test_nifti_of_a_series_lies_at_the_same_place(tmp_path):
    nib = pytest.importorskip("nibabel")
    units, turn = hounsfield(), rotation(np.random.default_rng(4))
    to_lps = write_series(tmp_path / "s", units, (0.7, 0.9, 2.5), turn, (1, 2, 3))
    volume = read_volume(tmp_path / "s")
    write_nifti(tmp_path / "m.nii.gz", volume.array > 0, volume)
    written = nib.load(tmp_path / "m.nii.gz")
    assert np.array_equal(np.asarray(written.dataobj), units > 0)
    assert np.allclose(written.affine, np.diag([-1, -1, 1, 1]) @ to_lps, atol=1e-4)
    assert written.header.get_xyzt_units()[0] == "mm"
