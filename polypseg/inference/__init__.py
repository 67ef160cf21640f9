"""Run a trained network on images and videos, with any engine.

The import of this package is quick, because each name is loaded when it is first used. So a command
can import it and still show its `--help` at once.
"""

from typing import TYPE_CHECKING

from polypseg.runtime import lazy

if TYPE_CHECKING:
    from .dicom_seg import check_highdicom
    from .images import find_images, plan_jobs, segment
    from .predict import CallTimes
    from .predictor import Predictor
    from .stages import Stages
    from .video import VideoReader
    from .video_stages import overlay_stages
    from .video_writer import MaskFolder, VideoWriter, check_mask_folder
    from .volumes import (
        Pass,
        VolumeJob,
        in_planes,
        read_job,
        segment_job,
        segment_volume,
        slices_of,
    )

__all__ = [
    "CallTimes",
    "MaskFolder",
    "Pass",
    "Predictor",
    "Stages",
    "VideoReader",
    "VideoWriter",
    "VolumeJob",
    "check_highdicom",
    "check_mask_folder",
    "find_images",
    "in_planes",
    "overlay_stages",
    "plan_jobs",
    "read_job",
    "segment",
    "segment_job",
    "segment_volume",
    "slices_of",
]

__getattr__ = lazy(
    __name__,
    {
        "CallTimes": "polypseg.inference.predict",
        "MaskFolder": "polypseg.inference.video_writer",
        "Predictor": "polypseg.inference.predictor",
        "Stages": "polypseg.inference.stages",
        "VideoReader": "polypseg.inference.video",
        "VideoWriter": "polypseg.inference.video_writer",
        "check_mask_folder": "polypseg.inference.video_writer",
        "find_images": "polypseg.inference.images",
        "overlay_stages": "polypseg.inference.video_stages",
        "plan_jobs": "polypseg.inference.images",
        "segment": "polypseg.inference.images",
        "check_highdicom": "polypseg.inference.dicom_seg",
        **dict.fromkeys(
            (
                "Pass",
                "VolumeJob",
                "in_planes",
                "read_job",
                "segment_job",
                "segment_volume",
                "slices_of",
            ),
            "polypseg.inference.volumes",
        ),
    },
)
