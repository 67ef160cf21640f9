"""Published data sets, one file each: the layout of their archives, and their terms of use."""

from .base import Preset
from .cvc_clinicdb import PRESET as CVC_CLINICDB
from .kvasir_seg import PRESET as KVASIR_SEG

# To add a data set, write a file with a `PRESET` and add a line here.
PRESETS: dict[str, Preset] = {
    "kvasir-seg": KVASIR_SEG,
    "cvc-clinicdb": CVC_CLINICDB,
}
