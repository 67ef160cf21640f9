"""Write a CT series as DICOM files, as a scanner does."""

import warnings

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SECRET = "SECRET^NAME"
# Fields that identify a patient, of several modules and value representations, and a private one.
IDENTIFYING = {
    "PatientName": SECRET,
    "PatientID": "SECRET-ID",
    "PatientBirthDate": "SECRET",
    "PatientSex": "SECRET",
    "PatientComments": "SECRET comment",
    "OtherPatientNames": SECRET,
    "IssuerOfPatientID": "SECRET",
    "PatientAddress": "SECRET street",
    "AccessionNumber": "SECRET-1",
    "StudyID": "SECRET-2",
    "StudyDescription": "SECRET study",
    "StudyDate": "SECRET",
    "SeriesDescription": "SECRET series",
    "ReferringPhysicianName": SECRET,
    "OperatorsName": SECRET,
    "InstitutionName": "SECRET hospital",
    "StationName": "SECRET-STATION",
    "ProtocolName": "SECRET protocol",
    "ImageComments": "SECRET image",
}


def write_series(
    folder,
    array,
    spacing=(1.0, 1.0, 1.0),
    rotation=np.eye(3),
    origin=(0.0, 0.0, 0.0),
    slope=1.0,
    intercept=-1024.0,
    series=None,
    frame=None,
    **fields,
):
    """Write a file for each slice. Their names are not in the order of the slices.

    Args:
        folder: made if it does not exist.
        array: `(columns, rows, slices)` Hounsfield units.
        spacing: mm between the voxels along the three axes.
        rotation: `(3, 3)`, right-handed; its columns are the directions of the axes in DICOM's
            coordinates (to the patient's left, back, head).
        origin: the centre of voxel (0, 0, 0), in mm.
        series, frame: the series's and the frame of reference's UID; default: new ones.
        fields: more DICOM fields by their keywords, valid or not; None leaves a field out.

    Returns:
        `(4, 4)` from the index (column, row, slice) to mm in DICOM's coordinates.
    """
    folder.mkdir(parents=True, exist_ok=True)
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(rotation) * spacing
    matrix[:3, 3] = origin
    uids = {
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": series or generate_uid(),
        "FrameOfReferenceUID": frame or generate_uid(),
    }
    names = np.random.default_rng(0).permutation(array.shape[2])
    for index, number in enumerate(names):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{number:04d}.dcm"
        file = FileDataset(path, {}, file_meta=meta, preamble=b"\0" * 128)
        stored = np.rint((array[:, :, index].T - intercept) / slope).astype(np.int16)
        values = {
            "SpecificCharacterSet": "ISO_IR 192",
            "SOPClassUID": CTImageStorage,
            "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
            **uids,
            **dict.fromkeys(("PatientName", "PatientID", "PatientBirthDate", "PatientSex"), ""),
            **dict.fromkeys(("StudyDate", "StudyTime", "AccessionNumber", "StudyID"), ""),
            "ReferringPhysicianName": "",
            "Modality": "CT",
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "SeriesNumber": 2,
            "InstanceNumber": index + 1,
            "ImagePositionPatient": _decimals((matrix @ [0, 0, index, 1])[:3]),
            "ImageOrientationPatient": _decimals(np.asarray(rotation)[:, :2].T.ravel()),
            "PixelSpacing": _decimals((spacing[1], spacing[0])),
            "SliceThickness": spacing[2],
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": array.shape[1],
            "Columns": array.shape[0],
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 1,
            "RescaleSlope": slope,
            "RescaleIntercept": intercept,
            **fields,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some tests write fields that are not valid
            mode, pydicom.config.settings.writing_validation_mode = (
                pydicom.config.settings.writing_validation_mode,
                pydicom.config.IGNORE,
            )
            try:
                for keyword, value in values.items():
                    if value is not None:
                        setattr(file, keyword, value)
                if any("SECRET" in str(value) for value in fields.values()):
                    block = file.private_block(0x0029, "SECRET CREATOR", create=True)
                    block.add_new(0x10, "LO", SECRET)
                file.PixelData = np.ascontiguousarray(stored).tobytes()
                file.save_as(path)
            finally:
                pydicom.config.settings.writing_validation_mode = mode
    return matrix


def _decimals(values):
    """Numbers as DICOM writes them, with at most 16 characters."""
    return [f"{value:.10f}"[:16] for value in values]
