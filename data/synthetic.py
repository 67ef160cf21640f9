"""Draw images that look like colonoscopy, with their masks, to try the toolkit without data.

    python -m polypseg.data.synthetic --out datasets/synthetic --count 200 --size 224

With `--ct`, CT volumes of the abdomen are drawn instead (`phantoms.py`).

A scene is a height map (bumps of the mucosa, domes of the polyps) under a lamp beside the lens. The
surface has a reflectance (tint, vessels, specks). The light on it depends on slope, folds and
distance. The origin is the centre of the image, and the unit of length is half of its shorter side,
so that a scene looks the same at every size.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator

from .images import write_png
from .phantoms import write_volumes

MIN_SIDE = 32
_CANVAS = 384  # shorter side in pixels at which thin objects are drawn, before resizing
# Reflectance of mucosa in percent (pink, salmon, red, pale, orange), and of polyps in percent of
# that of the mucosa.
_MUCOSA = (75, 46, 42), (71, 43, 33), (69, 33, 29), (78, 59, 53), (74, 49, 26)
_POLYP = (102, 62, 62), (80, 54, 56), (125, 140, 130), (120, 92, 62)
# What else is in the image: probability, largest number, spread and largest radius in pixels of the
# canvas, colour.
_STOOL = 0.3, 30, 33, 8, (0.66, 0.46, 0.12)
_SPOTS = 0.7, 5, 200, 6, (0.5, 0.1, 0.08)
_BUBBLES = 0.35, 16, 36, 12, (1, 0.92, 0.84)


def draw_scene(
    index: int, size: tuple[int, int] = (224, 224), seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image with one to three polyps, and its mask.

    The polyps cover 3 to 35 % of the image. The result depends only on the arguments. On another
    type of processor, one pixel in 100,000 may differ by one level.

    Args:
        index: number of the image in its set, 0 or more.
        size: (height, width) in pixels, 32 or more each. Sizes of the same aspect ratio show the
            same scene.
        seed: number of the set, 0 or more.

    Returns:
        image `(H, W, 3)` uint8 RGB, mask `(H, W)` uint8 in {0, 1}.

    Raises:
        ValueError: an argument is too small or no integer.

    >>> image, mask = draw_scene(7, size=(96, 128))
    >>> image.shape, mask.shape
    ((96, 128, 3), (96, 128))
    """
    _check(index=index, seed=seed)
    height, width = size
    for side in size:
        _check(MIN_SIDE, size=side)
    rng = np.random.default_rng([seed, index])
    scale = min(size) / 2
    extent = width / min(size), height / min(size)
    x = (np.arange(width, dtype=np.float32)[None] + 0.5) / scale - extent[0]
    y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / scale - extent[1]

    frame = _frame(rng, x / extent[0], y / extent[1], scale)
    coarse, medium, fine, drops = (_noise(rng, size, cells) for cells in (6, 20, 75, 44))
    light, folds = _tunnel(rng, x, y, coarse)
    lamp = rng.uniform(-0.4, 0.4, 2).tolist()
    relief = 0.03 * coarse + 0.004 * medium
    mucosa = _mix(rng, _MUCOSA)
    tint = mucosa * (1 + 0.06 * coarse + 0.04 * medium)
    tint *= 1 - _rgb(0.25, 0.6, 0.5) * (rng.uniform(0.15, 0.8) * _layer(rng, size, _vessels))
    covered = np.zeros(size, bool)

    for share, centre, radius in _places(rng, extent):
        across, down = (x - centre[0]) / radius, (y - centre[1]) / radius
        inside, steep = _polyp(rng, across, down)
        inside += 0.04 * coarse + 0.015 * medium
        # Shift the field so that the part above 0 has the wanted visible area. So a polyp at the
        # edge of the frame is not smaller than others.
        visible, rank = np.where(frame > 0.5, inside, -np.inf), -1 - int(share * frame.size)
        inside -= np.partition(visible, rank, axis=None)[rank]
        edge = 2 * max(rng.uniform(0.01, 0.03), 0.7 / scale) / radius
        alpha = _step(inside, -edge, edge)

        # The wall behind the polyp, as seen from the lamp, is in shadow.
        shadow = 0.4 + 0.7 * (across * (centre[0] - lamp[0]) + down * (centre[1] - lamp[1]))
        shadow = np.clip(shadow, 0, 1) * np.exp(4 * np.minimum(inside, 0))
        light *= 1 - 0.6 * (1 - alpha) * shadow
        light += alpha * np.maximum(0.5 * (1 - light), 0)  # nearer to the lamp
        folds *= 1 - 0.9 * alpha
        dome = np.sqrt(np.maximum(inside, 0) + 0.15) - math.sqrt(0.15)
        relief += radius * steep * dome + alpha * (0.001 * fine)
        colour = mucosa * _mix(rng, _POLYP) ** rng.uniform(0.7, 1.2)
        tint += alpha * (colour * (1 + 0.06 * medium + rng.uniform(0.01, 0.05) * fine) - tint)
        covered |= (inside > 0) & (frame > 0.5)

    for clutter in (_STOOL, _SPOTS, _BUBBLES):
        tint += _layer(rng, size, _scatter, *clutter[:4]) * (_rgb(*clutter[4]) - tint)
    slope_x, slope_y = (cv2.Sobel(relief, -1, dx, 1 - dx, scale=scale / 8) for dx in (1, 0))
    to_x, to_y = 0.8 * (lamp[0] - x), 0.8 * (lamp[1] - y)
    facing = (1 - slope_x * to_x - slope_y * to_y) / np.sqrt(1 + slope_x**2 + slope_y**2)
    light *= 1.3 * (0.35 + 0.65 * np.clip(facing, 0, 1.8)) * (1 + folds) / (1 + 0.3 * (x**2 + y**2))
    image = tint * light
    mirror = np.exp(-4 * ((slope_x - 0.5 * to_x) ** 2 + (slope_y - 0.5 * to_y) ** 2))
    wet = 0.8 * drops + 0.5 * coarse + 2.2 * mirror + 0.6 * covered
    glint = _step(wet, 3.7, 4.1) * np.minimum(light, 1)
    image += glint * (_rgb(1, 0.98, 0.95) - image)

    blur = max(0.3, scale * rng.uniform(0.003, 0.008))
    pixels = cv2.GaussianBlur(cv2.merge([*(255 * frame * image)]), (0, 0), blur)
    pixels += rng.uniform(1, 2.5) * rng.standard_normal(pixels.shape, dtype=np.float32)
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8), covered.astype(np.uint8)


def write_dataset(
    folder: str | Path, count: int, size: tuple[int, int] = (224, 224), seed: int = 0
) -> None:
    """Write `images/synthetic_0000.png` and so on, and masks of the same names in `masks/`.

    The levels of the masks are 0 and 255.

    Args:
        folder: made if it is missing.
        count: number of images, 1 or more.
        size, seed: as for `draw_scene`.

    Raises:
        ValueError: an argument is too small or no integer.
        OSError: a file cannot be written.

    >>> write_dataset("datasets/synthetic", 200)  # doctest: +SKIP
    """
    _check(1, count=count)
    for index in range(count):
        image, mask = draw_scene(index, size, seed)
        for name, pixels in (("images", image), ("masks", mask * np.uint8(255))):
            path = Path(folder, name, f"synthetic_{index:04d}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_png(path, pixels)


def _check(least: int = 0, **values: object) -> None:
    for name, value in values.items():
        if not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"expected a whole number of at least {least}, got {name}={value}")


def _rgb(*colour: float) -> np.ndarray:
    return np.array(colour, np.float32)[:, None, None]


def _mix(rng: Generator, colours: Sequence[tuple[int, int, int]]) -> np.ndarray:
    return _rgb(*(rng.dirichlet(np.full(len(colours), 0.5)) @ colours)) / 100


def _step(value: np.ndarray, low: float, high: float) -> np.ndarray:
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _noise(rng: Generator, size: tuple[int, int], cells: int) -> np.ndarray:
    """Smooth noise `(H, W)` of mean 0 and variance 1, with `cells` bumps along the longer side."""
    grid = rng.standard_normal((cells, cells), dtype=np.float32)
    rows, columns = (max(2, round(cells * side / max(size))) for side in size)
    return cv2.resize(grid[:rows, :columns], size[::-1], interpolation=cv2.INTER_CUBIC)


def _frame(rng: Generator, u: np.ndarray, v: np.ndarray, scale: float) -> np.ndarray:
    """1 in the field of view: an octagon, a circle or all, sometimes without a corner. Else 0."""
    radius = rng.uniform(1.45, 1.75)
    kinds = np.abs(u) + np.abs(v) - radius, np.hypot(u, v) - 0.75 * radius, 0 * (u + v) - 1
    outside = kinds[rng.choice(3, p=[0.55, 0.3, 0.15])]
    if rng.random() < 0.2:
        corner = rng.uniform(0.4, 0.5)
        outside = np.maximum(outside, np.minimum(-0.3 - corner - u, v - 0.6 + corner))
    return 1 - _step(outside, -1 / scale, 1 / scale)


def _tunnel(
    rng: Generator, x: np.ndarray, y: np.ndarray, warp: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Light on the wall `(H, W)`, which fades into the lumen, and the shading of the folds."""
    turn, far = rng.uniform(0, 2 * math.pi), rng.uniform(0.2, 1.8)
    across = x - far * math.cos(turn) + 0.03 * warp
    down = y - far * math.sin(turn) - 0.03 * warp
    angle = np.arctan2(down, across)
    first, second = rng.uniform(0, 2 * math.pi, 2).tolist()
    r = np.hypot(across, rng.uniform(0.8, 1.25) * down) * (1 + 0.12 * np.cos(3 * angle + first))
    light = 1 - 0.9 * np.exp(-((r / rng.uniform(0.35, 0.7)) ** 2))
    # Folds at equal distances along the tube are rings whose radii have equal ratios.
    # Each has a bright rim, then a slope.
    depth = rng.uniform(1.6, 3.2) * np.log(r + 0.1) + 0.05 * warp
    depth -= np.floor(depth)
    strength = rng.uniform(0.2, 1.0) * np.clip(0.6 + np.cos(2 * angle + second), 0, 1)
    return light, strength * _step(r, 0, 0.4) * (_step(depth, 0, 0.14) * (1 - depth) - 0.4)


def _places(rng: Generator, extent: tuple[float, float]) -> list[tuple[float, list[float], float]]:
    """Share of the image (4 to 32 %), centre and radius of each of one to three polyps."""
    count = 1 + rng.choice(3, p=[0.75, 0.17, 0.08])
    found: list[tuple[float, list[float], float]] = []
    for share in (0.04 * (8 if count == 1 else 2.5) ** rng.random(count)).tolist():
        # Of six random centres, take the one with the most room, so that polyps do not hide each
        # other.
        centres = (rng.uniform(-0.66, 0.66, (6, 2)) * extent).tolist()
        room = [min((math.dist(p, c) - r for _, c, r in found), default=0) for p in centres]
        centre = centres[room.index(max(room))]
        found.append((share, centre, math.sqrt(share * 4 * extent[0] * extent[1] / math.pi)))
    return found


def _polyp(rng: Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """A field `(H, W)`, 1 at the top of a polyp and 0 at its rim (radius near 1); its steepness."""
    kind = ("round", "long", "lobed", "flat", "stalked")[rng.integers(5)]
    steep = rng.uniform(0.25, 0.4) if kind == "flat" else rng.uniform(0.6, 0.9)
    turn, ratio = rng.uniform(0, 2 * math.pi), 1.1 + rng.random() * (kind in ("long", "flat"))
    x, y = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    x, y = x / math.sqrt(ratio), y * math.sqrt(ratio)
    for wave, bend in ((1.5, 0.08), (3.5, 0.10 if kind == "flat" else 0.02)):
        first, second = rng.uniform(0, 2 * math.pi, 2).tolist()
        x, y = x + bend * np.sin(wave * y + first), y + bend * np.sin(wave * x + second)

    if kind == "lobed":
        turns = np.arange(rng.integers(4, 8)) + rng.uniform(-0.3, 0.3)
        spots = [(t * 2 * math.pi / len(turns), rng.uniform(0.4, 0.75)) for t in turns.tolist()]
        balls = [(f * math.cos(a), f * math.sin(a), rng.uniform(0.36, 0.62)) for a, f in spots]
        balls.append((0, 0, 0.5))
    elif kind == "stalked":
        balls = [(0, 0, 0.9)] + [(d, 0, rng.uniform(0.26, 0.4)) for d in (0.8, 1.05, 1.3, 1.5)]
    else:
        return 1 - x**2 - y**2, steep
    fields = [np.maximum(1 - ((x - a) ** 2 + (y - b) ** 2) / r**2, -9) for a, b, r in balls]
    return np.log(sum(np.exp(8 * field) for field in fields)) / 8, steep


def _layer(
    rng: Generator, size: tuple[int, int], paint: Callable[..., None], *arguments: Any
) -> np.ndarray:
    """The opacity `(H, W)`, 0 to 1, of what `paint` draws on a canvas of grey levels."""
    canvas = np.zeros([round(_CANVAS * side / min(size)) for side in size], np.uint8)
    paint(rng, canvas, *arguments)
    cv2.GaussianBlur(canvas, (0, 0), 1.0, canvas)
    method = cv2.INTER_AREA if min(size) < _CANVAS else cv2.INTER_LINEAR
    return cv2.resize(canvas, size[::-1], interpolation=method).astype(np.float32) / 255


def _vessels(rng: Generator, canvas: np.ndarray) -> None:
    """Draw seven branching lines."""

    def grow(start: complex, heading: float, width: int, order: int) -> None:
        headings = heading + np.cumsum(0.22 * rng.standard_normal(30 - 6 * order))
        points = start + 10 * np.cumsum(np.exp(1j * headings))  # x + iy
        line = (16 * points.view(float)).astype(np.int32).reshape(-1, 2)  # sixteenths of a pixel
        cv2.polylines(canvas, [line], False, 90 + 50 * width, width, cv2.LINE_AA, 4)
        turns = rng.uniform(-1, 1, 3 if order < 2 else 0)
        for at, turn in zip(rng.integers(2, len(points), len(turns)), turns, strict=True):
            grow(points[at], headings[at] + turn, max(width - 1, 1), order + 1)

    for width in rng.integers(1, 4, 7).tolist():
        grow(complex(*rng.random(2) * canvas.shape[::-1]), rng.uniform(0, 2 * math.pi), width, 0)


def _scatter(
    rng: Generator, canvas: np.ndarray, chance: float, most: int, spread: float, largest: int
) -> None:
    """Draw blots around a random position; large ones are bubbles, which are rings with a glint."""
    middle = rng.random(2) * canvas.shape[::-1]
    for _ in range(rng.integers(1, most) if rng.random() < chance else 0):
        (x, y), turn = (16 * rng.normal(middle, spread)).astype(int).tolist(), rng.uniform(0, 180)
        a, b = (16 * largest * rng.uniform(0.25, 1, 2)).astype(int).tolist()
        if largest > 10:
            cv2.circle(canvas, (x, y), a, 120, 1, cv2.LINE_AA, 4)
            cv2.circle(canvas, (x - a // 3, y - a // 3), a // 5, 255, -1, cv2.LINE_AA, 4)
        else:
            cv2.ellipse(canvas, (x, y), (a, b), turn, 0, 360, 220, -1, cv2.LINE_AA, 4)


def main(arguments: list[str] | None = None) -> None:
    """Run the command of this module. On a mistake, print one line and exit with code 2."""
    parser = argparse.ArgumentParser("python -m polypseg.data.synthetic", allow_abbrev=False)
    parser.description = "Draw images that look like colonoscopy, and their masks; or CT volumes."
    parser.error = lambda message: parser.exit(  # type: ignore[method-assign]
        2, f"{parser.prog}: error: {message}\n"
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder for images/ and masks/, or volumes/ and labels/",
    )
    parser.add_argument("--count", type=int, help="number of images (200) or volumes (60)")
    parser.add_argument("--size", type=int, help="side in pixels (224; CT: 96)")
    parser.add_argument("--seed", type=int, default=0, help="number of the set (%(default)s)")
    parser.add_argument(
        "--ct",
        action="store_true",
        help="draw CT volumes of the abdomen into volumes/ and labels/ (.nii.gz), SIZE x SIZE x "
        "SIZE/3 voxels; label 7 is the pancreas",
    )
    given = parser.parse_args(arguments)
    count = (60 if given.ct else 200) if given.count is None else given.count
    size = (96 if given.ct else 224) if given.size is None else given.size
    try:
        if given.ct:
            write_volumes(given.out, count, (size, size, size // 3), given.seed)
        else:
            write_dataset(given.out, count, (size, size), given.seed)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    what = "volumes and label maps" if given.ct else "images and masks"
    sys.stdout.write(f"{count} {what} in {given.out}\n")


if __name__ == "__main__":
    main()
