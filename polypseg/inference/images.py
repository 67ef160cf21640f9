"""Segment many image files: find them, run the network, write masks and overlays."""

import glob
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from polypseg.data.images import IMAGE_SUFFIXES, read_bytes, read_image, write_png
from polypseg.data.pairs import refuse_data_set, unread_files
from polypseg.drawing.overlay import overlay
from polypseg.drawing.panel import panel
from polypseg.errors import InputError, Note
from polypseg.files import digest, writing

from .predict import CallTimes, Prediction, predictions, read_ahead
from .predictor import Predictor
from .regions import find_regions
from .stages import Stages


class Job(NamedTuple):
    """An image to segment.

    Attributes:
        path: path of the image file.
        targets: kind -> path to write; the kinds are masks, overlays, panels, probabilities.
    """

    path: Path
    targets: dict[str, Path]


def find_images(arguments: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Find the image files at some paths. Each file is listed once.

    Args:
        arguments: files, folders (all images directly inside), or patterns such as `"a/**/*.jpg"`.

    A `Note` counts what is in a folder and not read: files of other types, and subfolders.

    Raises:
        InputError: nothing is found for one of the arguments.
    """
    found: dict[str, Path] = {}
    for argument in (os.fspath(argument) for argument in arguments):
        if os.path.isfile(argument):
            paths = [argument]
        else:
            pattern = (
                os.path.join(glob.escape(argument), "*") if os.path.isdir(argument) else argument
            )
            paths = sorted(
                path
                for path in glob.glob(pattern, recursive=True)
                if path.lower().endswith(IMAGE_SUFFIXES) and os.path.isfile(path)
            )
            if not paths:
                kind = (
                    "a folder with"
                    if os.path.isdir(argument)
                    else "a file, a folder or a pattern of"
                )
                folders = _folders_in(argument)
                raise InputError(
                    f"expected {kind} images ({' '.join(IMAGE_SUFFIXES)}), got {argument}"
                    + (f" with folders in it; {_pattern_of_all(argument)}" if folders else ""),
                    "image",
                )
        if os.path.isdir(argument):
            _note_unread(argument)
        for path in paths:
            found.setdefault(_identity(path), Path(path))
    return list(found.values())


def _folders_in(folder: str) -> list[Path]:
    """The folders in a folder that is not read recursively; [] if it is none."""
    return [path for path in unread_files(folder) if path.is_dir()] if os.path.isdir(folder) else []


def _pattern_of_all(folder: str) -> str:
    return f"the pattern '{os.path.join(glob.escape(folder), '**', '*')}' reads them too"


def _note_unread(folder: str) -> None:
    folders = _folders_in(folder)
    files = [path for path in unread_files(folder) if path not in folders]
    for kind, paths, why in (
        ("they are no images of a known type", files, ""),
        ("they are folders", folders, f"; {_pattern_of_all(folder)}"),
    ):
        if paths:
            names = ", ".join(path.name for path in paths[:3]) + ", ..." * (len(paths) > 3)
            warnings.warn(
                f"not read, because {kind}: {len(paths)} in {folder} ({names}){why}",
                Note,
                stacklevel=1,
            )


def _identity(path: str) -> str:
    """The absolute path of a file. It is the same if the folder is reached through a link."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


def output_names(paths: Sequence[Path]) -> list[Path]:
    """A name for the outputs of each image: its path below the folder that all images share.

    The name has no suffix, unless two images would have the same name without it: `a.jpg` and
    `a.png` become `a_jpg` and `a_png`. Names also differ if letter case is ignored.
    """
    full = [Path(os.path.abspath(path)) for path in paths]
    root = os.path.commonpath([path.parent for path in full])
    names = [path.relative_to(root) for path in full]
    bare = [str(name.with_suffix("")).casefold() for name in names]
    shared = Counter(bare)
    found, taken = [], {key for key, count in shared.items() if count == 1}
    for name, key in zip(names, bare):
        unique = name.with_suffix("")
        if shared[key] > 1:
            unique = plain = name.with_name(name.name.replace(".", "_"))
            number = 2
            while str(unique).casefold() in taken:
                unique, number = plain.with_name(f"{plain.name}_{number}"), number + 1
            taken.add(str(unique).casefold())
        found.append(unique)
    return found


def plan_jobs(paths: Sequence[Path], out: Path, kinds: Iterable[str]) -> list[Job]:
    """A `Job` for each image file, with the files to write for it below the folder `out`.

    Args:
        paths: the image files, as `find_images` returns them.
        out: the output folder.
        kinds: some of masks, overlays, panels and probabilities. Each kind is a folder in `out`.

    Raises:
        InputError: `out` is the folder of a data set, whose masks would be replaced.
    """
    refuse_data_set(out, "out")
    return [
        Job(path, {kind: out / kind / f"{name}.png" for kind in kinds})
        for path, name in zip(paths, output_names(paths))
    ]


def segment(
    jobs: Iterable[Job],
    predictor: Predictor,
    threshold: float,
    problems: list[str],
    batch_size: int = 8,
    all_maps: bool = False,
    begin: Callable[[], object] = lambda: None,
    times: CallTimes | None = None,
) -> Iterator[list[dict[str, Any]]]:
    """Run the network on images and write the files of each image.

    Reading, network and writing overlap in time.

    Args:
        jobs: a `Job` for each image.
        predictor: the network.
        threshold: a pixel is foreground if its probability is at least this.
        problems: a list that gets a line for each image that cannot be read. The other images are
            processed.
        batch_size: number of images in a call of the network.
        all_maps: whether panels show all maps of the network, not only the final prediction.
        begin: function that is called before the first file is written.
        times: measures the calls of the network.

    Yields:
        Lists of rows of the table. A row is a dict, for an image whose files are written.

    Raises:
        InputError: a file cannot be written.
    """
    run = predictor.all_maps if all_maps and len(predictor.maps) > 1 else predictor
    digests: dict[Path, str] = {}

    def read(job: Job) -> np.ndarray | None:
        try:
            data = read_bytes(job.path)
            digests[job.path] = digest(data)
            return read_image(job.path, data, predictor.window)
        except InputError as error:
            problems.append(str(error))
            return None

    def network() -> Iterator[list[Prediction]]:
        pairs = read_ahead(jobs, read, pool, 2 * batch_size)
        return predictions(pairs, run, batch_size, times=times)

    def write(job: Job, image: np.ndarray, maps: np.ndarray) -> dict[str, Any]:
        row = write_image_files(job, image, np.atleast_3d(maps), predictor, threshold)
        return row | {"digest": digests.pop(job.path)}

    def write_batches(batches: Iterator[list[Prediction]]) -> Iterator[list[dict[str, Any]]]:
        begun = False
        for batch in batches:
            readable = [prediction for prediction in batch if prediction.maps is not None]
            if not readable:
                continue
            if not begun:
                begin()
                begun = True
            yield list(pool.map(write, *zip(*readable)))

    with ThreadPoolExecutor() as pool:
        yield from Stages({"network": network, "writing": write_batches}, depth=1)


def write_image_files(
    job: Job, image: np.ndarray, maps: np.ndarray, predictor: Predictor, threshold: float
) -> dict[str, Any]:
    """Write the files of one image and return its row of the table.

    Args:
        job: the image and the paths of its files.
        image: `(H, W, 3)` uint8 RGB.
        maps: `(H, W, S)` float32 probabilities, the final prediction last.
        predictor: the network that made the maps.
        threshold: a pixel is foreground if its probability is at least this.
    """
    probability = maps[..., -1]
    mask = (probability >= threshold).astype(np.uint8)
    regions = find_regions(probability, threshold)
    height, width = mask.shape
    fraction = regions.area / mask.size
    confidence = f"{regions.confidence:.4f}" if regions.area else ""

    def draw_panel() -> np.ndarray:
        count = len(regions.boxes)
        facts = f"{width} x {height} pixels   ·   {predictor.engine}   ·   "
        facts += f"{count} region{'s' * (count != 1)}, {100 * fraction:.1f} % of the image"
        facts += f", mean probability {confidence}" if confidence else ""
        return panel(image, maps, predictor.maps, threshold, job.path.name, facts)

    contents = {
        "masks": lambda: mask * np.uint8(255),
        "overlays": lambda: overlay(image, mask),
        "probabilities": lambda: np.rint(probability * 65535.0).astype(np.uint16),
        "panels": draw_panel,
    }
    for kind, path in job.targets.items():
        with writing(path, "out"):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, contents[kind]())
    return {
        "file": job.path,
        "width": width,
        "height": height,
        "area": regions.area,
        "area_fraction": f"{fraction:.6f}",
        "regions": len(regions.boxes),
        "boxes": "; ".join(" ".join(map(str, box)) for box in regions.boxes),
        "confidence": confidence,
    }
