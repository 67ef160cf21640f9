"""CVC-ClinicDB: 612 frames of 29 colonoscopy sequences. Bernal et al., CMIG 2015."""

from .base import Preset

PRESET = Preset(
    title="CVC-ClinicDB",
    images="Original",
    masks="Ground Truth",
    source="https://polyp.grand-challenge.org/CVCClinicDB/",
    terms="research",
)
