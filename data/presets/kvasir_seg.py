"""Kvasir-SEG: 1000 images of polyps. Jha et al., MMM 2020."""

from .base import ImagePreset, RandomSplit

PRESET = ImagePreset(
    title="Kvasir-SEG",
    images="images",
    masks="masks",
    source="https://datasets.simula.no/kvasir-seg/",
    terms="research and education",
    layout="images/ and masks/, 1000 JPEG files each",
    listed_split="880_120",  # of the Medico task at MediaEval 2020
    # Of the README of the TensorFlow PraNet.
    random_split=RandomSplit("80_10_10", fraction=0.1, seed=12, images=1000),
)
