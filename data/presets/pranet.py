"""The training set and the five test sets of PraNet. Fan et al., MICCAI 2020.

The training set has 900 images of Kvasir-SEG and 550 of CVC-ClinicDB.
"""

from collections.abc import Sequence

from .base import ImagePreset, Split
from .cvc_clinicdb import sequence_of

_TESTS = ("CVC-300", "CVC-ClinicDB", "CVC-ColonDB", "ETIS-LaribPolypDB", "Kvasir")


def split_training_set(stems: Sequence[str]) -> dict[str, Split]:
    """Choose images for validation; the authors had none. The test sets are folders of their own.

    Every tenth image of Kvasir-SEG, and the frames of CVC-ClinicDB, whose names are numbers, of
    the sequences 8, 18 and 28, since neighbouring frames show the same polyp.
    """
    frames = [stem for stem in stems if stem.isdecimal()]
    images = [stem for stem in stems if not stem.isdecimal()]
    val = {*images[::10], *(stem for stem in frames if sequence_of(stem) % 10 == 8)}
    split: Split = {
        "train": [stem for stem in stems if stem not in val],
        "val": sorted(val),
        "test": [],
    }
    return {"pranet": split}


PRESET = ImagePreset(
    title="PraNet's training and test sets",
    images="image",
    masks="mask",
    source="https://github.com/DengPingFan/PraNet",
    terms="research",
    layout="TrainDataset/{image,mask} and TestDataset/{" + ",".join(_TESTS) + "}/{images,masks}",
    parts={"train": "TrainDataset"} | {name: f"TestDataset/{name}" for name in _TESTS},
    splits={"train": split_training_set},
)
