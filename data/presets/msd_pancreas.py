"""Task07_Pancreas of the Medical Segmentation Decathlon. Antonelli et al., Nat. Commun. 2022."""

from pathlib import Path

from .base import VolumePreset


def find(source: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The volumes and labels in `imagesTr` and `labelsTr`, or in these of `Task07_Pancreas`."""
    root = source / "Task07_Pancreas"
    root = root if root.is_dir() else source
    volumes, labels = (
        {
            path.name.removesuffix(".nii.gz"): path
            for path in sorted((root / folder).glob("*.nii.gz"))
            if not path.name.startswith(".")  # the archive has files of macOS, ._pancreas_001
        }
        for folder in ("imagesTr", "labelsTr")
    )
    return volumes, labels


PRESET = VolumePreset(
    title="Pancreas of the Medical Segmentation Decathlon",
    source="http://medicaldecathlon.com/",
    terms="CC BY-SA 4.0",
    layout="imagesTr/ and labelsTr/ of Task07_Pancreas, 281 .nii.gz files each",
    window=(-100.0, 240.0),
    label=(1, 2),  # pancreas and tumour
    find=find,
)
