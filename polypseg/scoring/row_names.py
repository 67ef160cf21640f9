"""Names for the rows of a table, taken from paths."""

from pathlib import Path

# Folder names that do not say whose maps or masks they hold.
_GENERIC = {
    "masks",
    "mask",
    "gt",
    "ground truth",
    "images",
    "predictions",
    "prediction",
    "maps",
    "pred",
    "preds",
}


def descriptive_name(folder: str | Path, data: str | None = None) -> str:
    """The last part of a path that is neither a generic folder name nor the data set's name.

    Args:
        folder: a folder of maps, of masks, or a data set.
        data: the name of the data set, if `folder` holds maps.

    >>> descriptive_name("/results/unet/Kvasir/maps", data="Kvasir")
    'unet'
    """
    parts = [part for part in Path(folder).resolve().parts[1:] if part.lower() not in _GENERIC]
    others = [part for part in parts if part != data]
    return (others or parts or [str(folder)])[-1]
