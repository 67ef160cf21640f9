"""Find the mask of each image."""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from polypseg.errors import InputError, reading

from .images import IMAGE_SUFFIXES
from .presets import IMAGE_PRESETS

# The folders of images and masks: names for the user's own data, then those of published data sets.
_FOLDERS = dict.fromkeys(
    [("images", "masks"), ("image", "mask")]
    + [(preset.images, preset.masks) for preset in IMAGE_PRESETS.values()]
)
IMAGE_FOLDERS = tuple(dict.fromkeys(images for images, _ in _FOLDERS))


class Pair(NamedTuple):
    """An image file and its mask, which have the same stem: `masks/a.png` for `images/a.jpg`."""

    stem: str
    image: Path
    mask: Path


def find_pairs(
    root: str | os.PathLike[str], recursive: bool = False, mask_suffix: str = ""
) -> tuple[list[Pair], list[Path]]:
    """Match the images below `root` with their masks by stem.

    The folders are `images` and `masks`, `image` and `mask`, or `Original` and `Ground Truth`, in
    any letter case. Hidden files are ignored.

    Args:
        root: folder of the data set.
        recursive: find files in subfolders too. The stem of `images/p1/a.jpg` is then `p1/a`.
        mask_suffix: what the stem of a mask has behind that of its image, as `_mask`.

    Returns:
        The pairs, sorted by stem, and the sorted paths of all that is in no pair: files without a
        partner, files that have no suffix of `IMAGE_SUFFIXES`, and folders that are not read.

    Raises:
        InputError: `root` or the folders in it are missing, there are no pairs, two files in a
            folder have the same stem (`a.jpg` and `a.png`), or an image has several masks
            (`a.png` and `a_1.png`).

    >>> pairs, orphans = find_pairs("datasets/kvasir-seg")  # doctest: +SKIP
    >>> pairs[0].mask  # doctest: +SKIP
    PosixPath('datasets/kvasir-seg/masks/cju0qkwl35piu0993l0dewei2.jpg')
    """
    image_folder, mask_folder = _find_folders(Path(root))
    images = files_by_stem(image_folder, recursive=recursive)
    masks = files_by_stem(mask_folder, recursive=recursive)
    _check_one_each(images, masks, mask_suffix)
    mask_of = {
        _composed(stem.removesuffix(mask_suffix)): path
        for stem, path in masks.items()
        if stem.endswith(mask_suffix)
    }
    pairs = []
    for stem, image in sorted(images.items()):
        mask = mask_of.pop(_composed(stem), None)
        if mask:
            pairs.append(Pair(stem, image, mask))
    if not pairs:
        raise InputError(
            "expected images and masks with equal stems, "
            f"got {_count(images)} in {image_folder} and {_count(masks)} in {mask_folder}"
            f"{_hint(images, masks)}"
        )
    used = {path for pair in pairs for path in pair[1:]}
    orphans = [path for path in (*images.values(), *masks.values()) if path not in used]
    for folder in (image_folder, mask_folder):
        orphans += unread_files(folder, recursive=recursive)
    return pairs, sorted(orphans)


def _composed(stem: str) -> str:
    """The stem with "é" as one character. Some systems store it as two."""
    return unicodedata.normalize("NFC", stem)


def _check_one_each(images: dict[str, Path], masks: dict[str, Path], mask_suffix: str) -> None:
    """Raise `InputError` if images have several masks, such as `a_mask.png` and `a_mask_1.png`.

    A mask belongs to the image with the longest stem that its own begins with, if no letter
    follows, and no digit behind a digit. But without `mask_suffix`, `a_2` is the mask of a missing
    image and not one of `a` if there are more images that are named so, as `a_1`.
    """
    image_of = {_composed(stem) + mask_suffix: path for stem, path in images.items()}
    masks_of: dict[str, list[Path]] = {}
    series: set[str] = set()
    if not mask_suffix:
        series.update(stem[:end] for stem in image_of for end in _ends(stem) if end < len(stem))
    for stem, path in sorted(masks.items()):
        whole = _composed(stem)
        owner = next((whole[:end] for end in _ends(whole) if whole[:end] in image_of), None)
        if owner is not None and (owner == whole or owner not in series):
            masks_of.setdefault(owner, []).append(path)
    several = {owner: paths for owner, paths in masks_of.items() if len(paths) > 1}
    if several:
        owner = min(several)
        first, second, *_ = sorted(several[owner], key=lambda path: (len(path.stem), path))
        choose = ", give a `mask_suffix` that only one of them has"
        if mask_suffix or _composed(second.stem).startswith(_composed(first.stem)):
            choose = ""
        raise InputError(
            f"expected one mask per image, got several for {len(several)} of {len(images)} images, "
            f"such as {first.name} and {second.name} for {image_of[owner].name}; join them into "
            f"one file each (docs/commands/train.md shows how){choose}, or move those that are "
            f"not meant out of {first.parent.name}/"
        )


def _ends(stem: str) -> Iterator[int]:
    """Where the stem of an image can end in that of its mask, from the last to the first."""
    yield len(stem)
    for end in range(len(stem) - 1, 0, -1):
        before, after = stem[end - 1], stem[end]
        if not after.isalpha() and not (before.isdigit() and after.isdigit()):
            yield end


def _hint(images: dict[str, Path], masks: dict[str, Path]) -> str:
    """A hint if the stems of all masks are those of images with one suffix."""
    for stem in sorted(images, key=len, reverse=True):
        found = [mask for mask in masks if mask.startswith(stem)]
        suffix = found[0][len(stem) :] if found else ""
        if suffix and all(mask.removesuffix(suffix) in images for mask in masks):
            return f"; `mask_suffix` {suffix} would match them"
    return ""


def _find_folders(root: Path) -> tuple[Path, Path]:
    folders: dict[str, Path] = {}
    for path in _inside(root):
        if path.is_dir():
            folders.setdefault(path.name.lower(), path)
    for images, masks in _FOLDERS:
        if images.lower() in folders and masks.lower() in folders:
            return folders[images.lower()], folders[masks.lower()]
    found = ", ".join(path.name for path in folders.values()) or "no folders"
    first, *others = (f"{images} and {masks}" for images, masks in _FOLDERS)
    raise InputError(
        f"expected the folders {first} (or {', or '.join(others)}), got {found} in {root}"
    )


def refuse_data_set(folder: str | os.PathLike[str], argument: str) -> None:
    """Raise `InputError` if an output folder is a data set, or its folder of images or masks.

    Args:
        folder: the output folder, which may not exist yet.
        argument: name of the argument that gave the folder.
    """
    folder = Path(os.path.realpath(folder))
    for images, masks in _FOLDERS:
        images_folder = _entry(folder, images)
        if images_folder is None and folder.name.lower() in (images.lower(), masks.lower()):
            images_folder = _entry(folder.parent, images)
        if images_folder is not None:
            raise InputError(
                f"expected a folder outside the data set, got {folder}, which is beside or above "
                f"{images_folder.name}/",
                argument,
            )


def _entry(folder: Path, name: str) -> Path | None:
    """The folder with this name, in any letter case, inside `folder`; None if there is none."""
    if not os.path.isdir(folder):
        return None
    return next(
        (path for path in _inside(folder) if path.name.lower() == name.lower() and path.is_dir()),
        None,
    )


def files_by_stem(
    folder: str | os.PathLike[str],
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES,
    recursive: bool = False,
) -> dict[str, Path]:
    """The files in a folder that have one of the suffixes, by stem. Hidden files are ignored.

    Args:
        folder: of the files.
        suffixes: in lower case.
        recursive: find files in subfolders too. The stem of `p1/a.jpg` is then `p1/a`.

    Raises:
        InputError: the folder is missing, two files have the same stem, or a stem cannot be a line
            of a UTF-8 text file, such as the lists of a split.
    """
    files: dict[str, Path] = {}
    for path in _visible(Path(folder), recursive):
        if path.suffix.lower() not in suffixes:
            continue
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in files:
            raise InputError(
                f"expected one file per stem, got {files[stem].name} and {path.name} in "
                f"{path.parent}"
            )
        if stem.encode(errors="replace").decode().splitlines() != [stem]:
            raise InputError(f"expected names in UTF-8 without line breaks, got {path}")
        files[stem] = path
    return files


def unread_files(
    folder: str | os.PathLike[str],
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES,
    recursive: bool = False,
) -> list[Path]:
    """What `files_by_stem` leaves out: files with another suffix, and folders.

    If `recursive`, only those folders that are symbolic links, which may lead round in circles.
    Hidden files, and those with which Windows describes a folder, are left out here too.
    """
    return [
        path
        for path in _visible(Path(folder), recursive)
        if path.suffix.lower() not in suffixes
        and path.name.lower() not in ("thumbs.db", "desktop.ini")
        and not (recursive and path.is_dir() and not path.is_symlink())
    ]


def _visible(folder: Path, recursive: bool) -> list[Path]:
    """What is in a folder and, if `recursive`, in its folders, without hidden files and folders."""
    found = []
    for path in _inside(folder):
        if not path.name.startswith("."):
            found.append(path)
            if recursive and path.is_dir() and not path.is_symlink():
                found += _visible(path, recursive)
    return found


def _inside(folder: Path) -> list[Path]:
    if not os.path.isdir(folder):
        found = "a file" if os.path.isfile(folder) else "nothing"
        raise InputError(f"expected a folder, got {found} at {folder}")
    with reading(folder, "a readable folder"):
        return sorted(folder.iterdir())


def _count(files: dict[str, Path]) -> str:
    example = f" ({min(files.values()).name}, ...)" if files else ""
    return f"{len(files)} file(s){example}"
