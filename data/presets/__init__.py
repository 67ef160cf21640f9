"""Published data sets, a file each: how their archives are laid out, and under which terms."""

from .base import Preset
from .cvc_clinicdb import PRESET as CVC_CLINICDB
from .kvasir_seg import PRESET as KVASIR_SEG

# A data set is a file with a `PRESET`, and a line here.
PRESETS: dict[str, Preset] = {
    "kvasir-seg": KVASIR_SEG,
    "cvc-clinicdb": CVC_CLINICDB,
}
