"""Published data sets, one file each: the layout of their archives, splits, and terms of use."""

from .base import ImagePreset, VolumePreset
from .ct82 import PRESET as CT82
from .cvc_clinicdb import PRESET as CVC_CLINICDB
from .kvasir_seg import PRESET as KVASIR_SEG
from .msd_pancreas import PRESET as MSD_PANCREAS
from .pranet import PRESET as PRANET

# To add a data set, write a file with a `PRESET` and add a line here.
IMAGE_PRESETS: dict[str, ImagePreset] = {
    "kvasir-seg": KVASIR_SEG,
    "cvc-clinicdb": CVC_CLINICDB,
    "pranet": PRANET,
}
VOLUME_PRESETS: dict[str, VolumePreset] = {
    "ct82": CT82,
    "msd-pancreas": MSD_PANCREAS,
}
PRESETS: dict[str, ImagePreset | VolumePreset] = {**VOLUME_PRESETS, **IMAGE_PRESETS}
