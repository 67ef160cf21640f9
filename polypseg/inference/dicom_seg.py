"""Write the mask of a DICOM series as a DICOM segmentation (PS3.3 A.51), through highdicom."""

import copy
import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from polypseg import __version__
from polypseg.data.volumes import Volume
from polypseg.errors import InputError, reading
from polypseg.files import atomic

if TYPE_CHECKING:
    from pydicom import Dataset

# Without these a segmentation cannot say which images it belongs to, and where it lies.
_NEEDED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "Modality",
)
# The fields of the modules Patient and General Study that every DICOM object has (type 2). The
# first one says how the texts of the others are encoded.
_PATIENT = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)
_EXPECTED = "a DICOM series to which a segmentation can refer"


def check_highdicom() -> None:
    """Raise `InputError` if highdicom is not installed."""
    if importlib.util.find_spec("highdicom") is None:
        raise InputError(
            "expected the package highdicom (pip install highdicom), got none installed",
            "dicom_seg",
        )


def read_headers(volume: Volume) -> list["Dataset"]:
    """What a segmentation needs of the files of a DICOM series, in the order of the slices.

    Raises:
        InputError: the volume is no DICOM series, or its files lack a field, or do not lie where
            the slices of the volume do. The message has no values of fields.
    """
    import pydicom

    if not volume.files:
        raise InputError(f"expected a DICOM folder, got {volume.path}", "dicom_seg")
    headers: list[Dataset] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that are not valid, which they would print
        for file in volume.files:
            header = pydicom.dcmread(
                file, stop_before_pixels=True, specific_tags=[*_NEEDED, *_PATIENT, "SliceThickness"]
            )
            for name in _NEEDED:
                if header.get(name) in (None, ""):
                    raise InputError(
                        f"expected {_EXPECTED}, got {volume.path} without {name}", "dicom_seg"
                    )
            headers.append(header)
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.grid.affine
    corners = np.array([to_lps @ (0, 0, index, 1) for index in range(len(headers))])[:, :3]
    positions = np.array([header.ImagePositionPatient for header in headers], np.float64)
    # Slices may lie a little unevenly, but none may take the place of another one.
    if np.abs(corners - positions).max() > min(volume.spacing) / 2:
        raise InputError(
            f"expected {_EXPECTED}, got {volume.path}, whose files do not lie on its grid",
            "dicom_seg",
        )
    return headers


def write_dicom_seg(
    path: Path,
    mask: NDArray[np.bool_],
    volume: Volume,
    headers: Sequence["Dataset"],
    network: str,
    anonymous: bool = False,
) -> None:
    """Write a binary segmentation with one segment, "foreground", completely or not at all.

    Slices without foreground are left out, as the standard allows, unless all are empty.

    Args:
        path: the file to write.
        mask: `(X, Y, Z)` in the order of the volume's array.
        volume: the DICOM series that was segmented.
        headers: of its files, from `read_headers`.
        network: digest of the network, written as the serial number of the device.
        anonymous: whether to leave the fields of patient and study empty that are else copied
            from the series. The UIDs of study, series, images and frame of reference remain,
            because they say what the segmentation belongs to.

    Raises:
        InputError: highdicom refuses the series.
        OSError: the file cannot be written.
    """
    import highdicom
    from pydicom.sr.codedict import codes

    stored = volume.grid.from_ras(mask)  # (columns, rows, slices)
    (kept,) = np.nonzero(stored.any(axis=(0, 1)))
    # highdicom would leave empty slices out, too, but makes several copies of what it gets.
    kept = kept if len(kept) else np.arange(len(headers))
    # Until the file is complete the fields are empty: highdicom checks their values, and its
    # messages would show them.
    blank = [_without_patient(headers[index], volume.grid.spacing[2]) for index in kept]
    segment = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="foreground",
        segmented_property_category=codes.SCT.Tissue,  # it is not known which organ it is
        segmented_property_type=codes.SCT.Tissue,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="polypseg", version=__version__, family=codes.DCM.ArtificialIntelligence
        ),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty mask
        with reading(volume.path, _EXPECTED, "dicom_seg"):
            dataset = highdicom.seg.Segmentation(
                source_images=blank,
                pixel_array=np.ascontiguousarray(stored[..., kept].transpose(2, 1, 0), np.uint8),
                segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=[segment],
                series_instance_uid=highdicom.UID(),
                series_number=1000,
                series_description="segmentation",
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer="polypseg",
                manufacturer_model_name="polypseg",
                software_versions=__version__,
                device_serial_number=network,
                content_label="FOREGROUND",
            )
        if not anonymous:
            for name in _PATIENT:
                if name in headers[0]:
                    dataset[name] = headers[0][name]
        with atomic(path) as temporary:
            dataset.save_as(temporary)


def _without_patient(header: "Dataset", thickness: float) -> Any:
    """A copy with the fields that highdicom needs: the thickness, if the file has none."""
    blank = copy.deepcopy(header)
    for name in _PATIENT[1:]:
        setattr(blank, name, "")
    if header.get("SliceThickness") is None:
        blank.SliceThickness = thickness
    if "SpecificCharacterSet" in blank:
        del blank.SpecificCharacterSet
    return blank
