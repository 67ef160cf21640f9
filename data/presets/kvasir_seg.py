"""Kvasir-SEG: 1000 images of polyps. Jha et al., MMM 2020."""

from .base import Preset

PRESET = Preset(
    title="Kvasir-SEG",
    images="images",
    masks="masks",
    source="https://datasets.simula.no/kvasir-seg/",
    terms="research and education",
)
