"""Draw CT volumes of the abdomen, with the labels of their organs, to try the toolkit without data.

    python -m polypseg.data.synthetic --ct --out datasets/phantoms --count 60 --size 96

A patient is a list of shapes in millimetres: ellipsoids and bent tubes, whose sizes and positions
vary, in coordinates that are turned and warped, so that no organ is a perfect ellipsoid. They are
painted one over the other with soft edges (partial volume), then blurred, and noise is added. The
patient lies on the back: gas rises to the front. The origin is in front of the first lumbar
vertebra; x grows to the right, y to the front and z to the head.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from .volume import load_nibabel

Floats = NDArray[np.float32]

MIN_SHAPE = 48, 48, 16
PANCREAS = 7
# TotalSegmentator's numbers, of its version 2.
LABELS = {
    "spleen": 1,
    "right kidney": 2,
    "left kidney": 3,
    "gallbladder": 4,
    "liver": 5,
    "stomach": 6,
    "pancreas": PANCREAS,
    "small bowel": 18,
    "duodenum": 19,
    "colon": 20,
    "vertebrae": 26,
    "aorta": 52,
    "vena cava": 63,
    "portal vein": 64,
}
# Hounsfield units. The scan is made while the contrast agent is in the veins.
_AIR, _GAS, _LUNG, _FAT, _MUSCLE, _BONE, _MARROW, _WATER = -1000, -950, -840, -104, 56, 480, 190, 8
_FAR = 1e3  # mm: a distance where it was not computed
# Axis codes of the stored axes, for one file after the other. LPS is that of most scanners; LAS and
# ASL are left-handed; the last two have other axes first.
_STORED = "LPS", "RAS", "LAS", "RPI", "PIR", "ASL"


def draw_abdomen(
    index: int, shape: tuple[int, int, int] = (96, 96, 32), seed: int = 0
) -> tuple[NDArray[np.int16], NDArray[np.uint8], tuple[float, float, float]]:
    """Draw the upper abdomen of one patient.

    The volume shows about 380 x 380 x 160 mm. The pancreas has 0.25 to 1 % of the voxels, and
    differs little from the bowel and the liver beside it: 85 HU on average, with noise of 8 to
    14 HU. The result depends only on the arguments.

    Args:
        index: number of the patient, 0 or more.
        shape: voxels to the right, to the front, to the head; at least 48, 48 and 16. All shapes
            show the same patient, with other noise.
        seed: number of the set, 0 or more.

    Returns:
        Hounsfield units `(X, Y, Z)` int16 and labels `(X, Y, Z)` uint8 (`LABELS`; 7 is the
        pancreas), the index growing to the right, front and head, and the spacing in mm.

    Raises:
        ValueError: an argument is too small or no integer.

    >>> hu, label, spacing = draw_abdomen(3)
    >>> hu.shape, bool((label == 7).any())
    ((96, 96, 32), True)
    """
    _check(0, index=index, seed=seed)
    for side, least in zip(shape, MIN_SHAPE, strict=True):
        _check(least, shape=side)
    rng = np.random.default_rng([seed, index])
    canvas = _Canvas(rng, shape)
    contrast = rng.uniform(0.85, 1.1)
    cavity = _trunk(rng, canvas)
    below = _lungs(rng, canvas, cavity)
    _spine(rng, canvas)
    _colon(rng, canvas)
    _bowel(rng, canvas, contrast)
    _solid_organs(rng, canvas, cavity, below, contrast)
    _stomach(rng, canvas, contrast)
    _pancreas(rng, canvas, contrast)
    hu = ndimage.gaussian_filter(canvas.hu, 0.45)
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 0.5)
    hu += rng.uniform(8, 14) / noise.std() * noise
    hu = np.clip(np.rint(hu), -1024, 3071)  # the range of a scanner's 12 bits
    return hu.astype(np.int16), canvas.label, canvas.spacing


def write_volumes(
    folder: str | Path, count: int, shape: tuple[int, int, int] = (96, 96, 32), seed: int = 0
) -> None:
    """Write `volumes/phantom_0000.nii.gz` and so on, and labels of the same names in `labels/`.

    Each file has another oblique affine, and the axes are stored in six different orders and
    directions, some of them left-handed.

    Args:
        folder: made if it is missing.
        count: number of patients, 1 or more.
        shape, seed: as for `draw_abdomen`; the shape before the axes are reordered.

    Raises:
        ValueError: an argument is too small or no integer.
        InputError: nibabel is not installed.
        OSError: a file cannot be written.

    >>> write_volumes("datasets/phantoms", 60)  # doctest: +SKIP
    """
    nibabel = load_nibabel()
    codes, change = nibabel.orientations.axcodes2ornt, nibabel.orientations.ornt_transform
    _check(1, count=count)
    for index in range(count):
        hu, label, spacing = draw_abdomen(index, shape, seed)
        affine = _oblique(np.random.default_rng([seed, index, 1]), shape, spacing)
        stored = codes(_STORED[index % len(_STORED)])
        for name, array in (("volumes", hu), ("labels", label)):
            image = nibabel.Nifti1Image(array, affine)
            image = image.as_reoriented(change(codes("RAS"), stored))
            image.header.set_xyzt_units("mm")
            path = Path(folder, name, f"phantom_{index:04d}.nii.gz")
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(image, path)


def _check(least: int, **values: object) -> None:
    for name, value in values.items():
        if not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"expected a whole number of at least {least}, got {name}={value}")


def _oblique(rng: Generator, shape: Sequence[int], spacing: Sequence[float]) -> NDArray[np.float64]:
    """Affine `(4, 4)` of axes that are turned by 3 to 12 degrees about a random axis."""
    axis = rng.standard_normal(3)
    x, y, z = axis / np.linalg.norm(axis) * math.radians(rng.uniform(3, 12))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = math.hypot(x, y, z)
    turn = np.eye(3) + math.sin(angle) / angle * cross
    turn += (1 - math.cos(angle)) / angle**2 * cross @ cross  # Rodrigues
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(spacing)
    middle = affine[:3, :3] @ (np.array(shape) - 1) / 2
    affine[:3, 3] = rng.uniform((-20, -20, -300), (20, 20, 100)) - middle
    return affine


class _Canvas:
    """A volume that shapes are painted on. A distance is in mm, and negative inside the shape."""

    def __init__(self, rng: Generator, shape: tuple[int, int, int]) -> None:
        wide, high = rng.uniform(0.95, 1.05, 2).tolist()
        self.spacing = (384 * wide / shape[0], 384 * wide / shape[1], 160 * high / shape[2])
        self.shape = shape
        self.hu: Floats = np.full(shape, _AIR, np.float32)
        self.label = np.zeros(shape, np.uint8)
        self.edge = 0.8 * sum(self.spacing) / 3  # width of a soft edge
        self.medium, self.fine = (_noise(rng, shape, n) for n in ((30, 30, 14), (80, 80, 36)))
        across, front, up = (
            (np.arange(n, dtype=np.float32) + 0.5 - n / 2) * s
            for n, s in zip(shape, self.spacing, strict=True)
        )
        x, y, z = np.meshgrid(across, front, up, indexing="ij")
        table = np.maximum(np.abs(y + 138 - x**2 / 900) - 3, np.abs(x) - 185)
        self.paint(table, -550)  # it does not turn with the patient
        x, y, z = (axis - rng.uniform(-8, 8) for axis in (x, y, z))
        turn, lean = np.deg2rad(rng.normal(0, (4, 3))).tolist()
        size = rng.uniform((0.86, 0.88, 0.92), (1.08, 1.08, 1.06)).tolist()
        self.x = (x * math.cos(turn) + y * math.sin(turn) + z * math.sin(lean)) / size[0]
        self.y = (y * math.cos(turn) - x * math.sin(turn)) / size[1]
        self.z = (z - x * math.sin(lean)) / size[2]
        self.axes = self.x, self.y, self.z
        for axis in self.axes:
            axis += 4 * _noise(rng, shape, (7, 7, 5))
        others = (1, 2), (0, 2), (0, 1)
        self.range = [(a.min(o), a.max(o)) for a, o in zip(self.axes, others, strict=True)]

    def paint(
        self, distance: Floats, hu: float | Floats, organ: str | None = None, texture: float = 0
    ) -> None:
        """Paint inside a shape.

        Args:
            hu: Hounsfield units, one value or one for each voxel.
            texture: standard deviation of fine noise that is added.
            organ: name in `LABELS`; None for a part of what is there, "" for what has no label.
        """
        at = np.flatnonzero(distance < self.edge / 2)
        depth = distance.ravel()[at]
        value = hu.ravel()[at] if isinstance(hu, np.ndarray) else np.float32(hu)
        if texture:
            value = value + np.float32(texture) * self.fine.ravel()[at]
        voxels = self.hu.ravel()  # a view
        voxels[at] += np.minimum(0.5 - depth / self.edge, 1) * (value - voxels[at])
        if organ is not None:
            self.label.ravel()[at[depth < 0]] = LABELS.get(organ, 0)

    def box(self, low: ArrayLike, high: ArrayLike) -> tuple[slice, ...]:
        """The part of the volume that holds all points between two corners."""
        found = []
        for (least, most), a, b in zip(self.range, np.asarray(low), np.asarray(high), strict=True):
            inside = np.flatnonzero((most >= a) & (least <= b))
            found.append(slice(inside[0], inside[-1] + 1) if len(inside) else slice(0))
        return tuple(found)

    def ellipsoid(self, centre: ArrayLike, radii: ArrayLike) -> Floats:
        """About the distance to an ellipsoid: value over slope of its implicit function."""
        middle, radius = np.asarray(centre, np.float32), np.asarray(radii, np.float32)
        distance = np.full(self.shape, _FAR, np.float32)
        box = self.box(middle - radius - 12, middle + radius + 12)
        scaled = [(a[box] - m) / r for a, m, r in zip(self.axes, middle, radius, strict=True)]
        size = np.sqrt(sum(a**2 for a in scaled))
        slope = np.sqrt(sum((a / r) ** 2 for a, r in zip(scaled, radius, strict=True)) + 1e-9)
        distance[box] = size * (size - 1) / slope
        return distance

    def tube(self, points: ArrayLike) -> tuple[Floats, Floats]:
        """Distance to a bent tube, and height in mm over its axis, towards the front.

        Args:
            points: `(N, 4)`: x, y, z and radius in mm, from one end to the other.
        """
        axis = _curve(np.asarray(points, np.float32))
        distance = np.full(self.shape, _FAR, np.float32)
        height = np.zeros(self.shape, np.float32)
        for start in range(0, len(axis), 6):
            centres, radius = np.split(axis[start : start + 6], [3], axis=1)
            reach = radius.max() + 5
            box = self.box(centres.min(0) - reach, centres.max(0) + reach)
            voxels = np.stack([a[box].ravel() for a in self.axes])
            for middle, r in zip(centres, radius, strict=True):
                offset = voxels - middle[:, None]
                near = np.sqrt(np.einsum("ij,ij->j", offset, offset)) - r
                near = near.reshape(distance[box].shape)
                closer = near < distance[box]
                distance[box][closer] = near[closer]
                height[box][closer] = offset[1].reshape(near.shape)[closer]
        return distance, height


def _curve(points: Floats) -> Floats:
    """Points less than a radius apart on a Catmull-Rom spline through the rows of `points`."""
    before, after = 2 * points[0] - points[1], 2 * points[-1] - points[-2]
    points = np.vstack([before, points, after])
    parts = []
    for a, b, c, d in zip(points, points[1:], points[2:], points[3:]):
        step = max(2.0, 0.7 * min(b[3], c[3]))
        steps = 1 + math.ceil(np.linalg.norm((c - b)[:3]) / step)
        t = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[:, None]
        bends = 2 * a - 5 * b + 4 * c - d, 3 * (b - c) + d - a
        parts.append(b + 0.5 * t * (c - a + t * (bends[0] + t * bends[1])))
    return np.vstack([*parts, points[-2]]).astype(np.float32)


def _noise(rng: Generator, shape: Sequence[int], cells: tuple[int, int, int]) -> Floats:
    """Smooth noise `(X, Y, Z)` of mean 0 and variance 1, with `cells` random values an axis."""
    field = rng.standard_normal(cells, dtype=np.float32)
    for size in shape:  # the first axis goes, and comes back as the last one
        at = (np.arange(size) + 0.5) / size * (len(field) - 1)
        t = np.abs(at[:, None] - np.arange(len(field)))
        spline = (np.maximum(2 - t, 0) ** 3 - 4 * np.maximum(1 - t, 0) ** 3) / 6
        field = np.tensordot(field, spline.astype(np.float32), (0, 1))
    return (field - field.mean()) / field.std()


def _length(a: Floats, b: Floats) -> Floats:
    return np.sqrt(a * a + b * b)  # ten times as fast as np.hypot


def _trunk(rng: Generator, c: _Canvas) -> Floats:
    """Fat, and the wall with its ribs. Returns the distance to the cavity inside the wall."""
    side, front, back = rng.uniform((10, 8, 8), (30, 38, 20)).tolist()
    y = c.y - 8
    a, b = np.abs(c.x) / 140, np.abs(y) / 98
    from_middle = _length(c.x, y) + 1e-3
    wall = from_middle * (1 - (a * a * np.sqrt(a) + b * b * np.sqrt(b)) ** np.float32(-0.4))
    ahead = (y / from_middle) * np.abs(y / from_middle)  # -1 behind, 1 in front
    skin = wall - side - np.where(ahead > 0, front - side, side - back) * ahead
    fat = _FAT + 7 * c.medium + 12 * np.maximum(c.fine - 1.5, 0)
    c.paint(skin, 10)
    c.paint(skin + 2.5, fat)
    muscle = _MUSCLE + 6 * c.fine - 30 * np.maximum(c.medium - 1, 0)
    c.paint(wall, muscle)
    c.paint(np.abs(wall + 5 + c.medium) - 0.6, -40)  # fat between the layers of the wall
    cavity = np.maximum(wall + 13, -57 - c.y - 0.5 * np.maximum(np.abs(c.x) - 65, 0))
    c.paint(cavity, fat)

    # A rib descends from the spine to the front.
    angle = np.arctan2(np.abs(c.x), -y)
    beside = (c.z + 24 * angle + rng.uniform(0, 30)) % 30 - 15
    rib = (_length(beside / 6.5, (wall + 9) / 4.5) - 1) * 5
    rib = np.maximum(rib, np.maximum(45 * (angle - 2.2), 20 * angle - 55 - c.z))
    c.paint(rib, _BONE)
    c.paint(rib + 3.5, _MARROW)
    return cavity


def _spine(rng: Generator, c: _Canvas) -> None:
    """The muscles of the back, and vertebrae with discs between them."""
    for way in (-1, 1):
        c.paint(c.ellipsoid((way * 34, -74, 0), (29, 15, 1e4)), _MUSCLE, texture=6)
        low = np.float32(16) - np.clip(c.z + 20, 0, 60) / 5  # the psoas becomes thin above
        psoas = _length(c.x - way * 36, c.y + 36) - low
        c.paint(psoas, _MUSCLE, texture=6)
    level = (c.z + rng.uniform(0, 34)) % 34 - 17  # a vertebra and a disc every 34 mm
    body = c.ellipsoid((0, -38, 0), (22, 17, 1e4))
    c.paint(body, 85)
    bone = np.maximum(body, np.abs(level) - 13)
    arch = np.maximum(_length(c.x, c.y + 63) - 15, np.abs(level) - 13)
    spine = np.maximum(np.maximum(np.abs(c.x) - 3.5, np.abs(c.y + 82) - 12), np.abs(level) - 9)
    wings = np.maximum(np.maximum(np.abs(c.x) - 38, np.abs(c.y + 64) - 4), np.abs(level) - 6)
    for part in (arch, spine, wings, bone):
        c.paint(part, _BONE * 0.85, "vertebrae")
    c.paint(bone + 3.5, rng.uniform(0.7, 1.2) * _MARROW, texture=25)
    c.paint(_length(c.x, c.y + 63) - 9, 25, "")  # the canal


def _lungs(rng: Generator, c: _Canvas, cavity: Floats) -> Floats:
    """Paint the air above the diaphragm. Returns the distance to what is below it."""
    drop = 0.002 * ((np.abs(c.x) - 60) ** 2 + (c.y - 10) ** 2)  # two domes
    drop += 0.012 * (np.maximum(-c.y - 25, 0) ** 2 + np.maximum(c.y - 60, 0) ** 2)
    drop += 0.02 * np.maximum(np.abs(c.x) - 70, 0) ** 2
    top = rng.uniform(58, 74) - np.minimum(drop, 55)
    below = 0.6 * (c.z - top)
    lung = np.maximum(2 - below, cavity + 1)
    c.paint(lung, _LUNG + 25 * c.medium + 150 * np.maximum(c.fine - 1.6, 0))
    return below


def _hollow(
    c: _Canvas,
    tube: Floats,
    wall: tuple[float, float],
    content: float | Floats,
    gas: Floats,
    organ: str,
) -> None:
    """Paint a tube with a wall of (HU, mm), what is in it, and gas where `gas` is negative."""
    c.paint(tube, wall[0], organ, texture=6)
    c.paint(tube + wall[1], content, texture=10)
    c.paint(np.maximum(tube + wall[1], gas), _GAS)


def _colon(rng: Generator, c: _Canvas) -> None:
    points = rng.normal(
        [
            (97, -8, -100, 21),
            (100, 0, -64, 22),
            (94, 14, -42, 21),
            (68, 58, -46, 17),
            (16, 76, -58, 17),
            (-38, 72, -44, 17),
            (-88, 48, -12, 18),
            (-106, 10, 2, 18),
            (-108, -16, -34, 15),
            (-106, -18, -100, 14),
        ],
        (4, 4, 6, 1.5),
    )
    tube, height = c.tube(points)
    tube += 2.2 * np.sin(c.x / 5 + c.y / 5 + c.z / 4)  # haustra
    content = 25 + 15 * c.fine - 500 * np.maximum(c.fine - 1.2, 0)
    level = rng.uniform(-2, 14) + 2 * c.medium
    _hollow(c, tube, (75, 3), content, level - height, "colon")


def _bowel(rng: Generator, c: _Canvas, contrast: float) -> None:
    """Loops below the pancreas and to the left of it, and thin vessels between them."""
    for loop in range(18):
        low, high = ((-92, 6, -42), (-28, 60, 0)) if loop < 4 else ((-88, 4, -100), (78, 84, -34))
        start = rng.uniform(low, high)
        steps = np.cumsum(rng.normal(0, (22, 14, 11), (6, 3)), 0)
        path = np.clip(start + steps - steps.mean(0), low, high)
        tube, height = c.tube(np.c_[path, rng.uniform(9.5, 15, 6)])
        gas = (6 if rng.random() < 0.2 else 100) + 2 * c.medium - height
        wall = (rng.uniform(80, 100) * contrast, 2.5)
        content = rng.uniform(25, 75)
        _hollow(c, tube, wall, content, gas, "small bowel")
        ends = start + rng.normal(0, (20, 12, 14), (2, 3))
        if loop % 2:
            vessel = np.array([(0, 12, -40), *ends])
            c.paint(c.tube(np.c_[vessel, (2.8, 2.2, 1.8)])[0], 120 * contrast, "")


def _solid_organs(
    rng: Generator, c: _Canvas, cavity: Floats, below: Floats, contrast: float
) -> None:
    inside = np.maximum(cavity + 2.5, below + 2.5)
    right = c.ellipsoid(rng.normal((70, 14, 20), (5, 5, 6)), rng.normal((72, 82, 72), 5))
    left = c.ellipsoid(rng.normal((-2, 58, 40), (8, 4, 6)), rng.normal((80, 34, 34), 5))
    near = np.clip(0.5 + (left - right) / 40, 0, 1)
    liver = left + near * (right - left) - 20 * near * (1 - near)  # a smooth minimum
    liver = np.maximum(liver, inside)
    c.paint(liver, contrast * rng.uniform(98, 112), "liver", texture=4)
    start = (24, 2, 58)
    for _ in range(7):
        end = rng.uniform((20, 0, -20), (130, 90, 60))
        bend = (np.array(start) + end) / 2 + rng.normal(0, 10, 3)
        vein = c.tube(np.c_[(start, bend, end), (5, 3.5, 1.5)])[0]
        c.paint(np.maximum(vein, liver + 4), contrast * 146)
    gallbladder = c.ellipsoid(rng.normal((50, 56, -26), 5), rng.uniform((11, 18, 14), (17, 28, 22)))
    c.paint(gallbladder - 1.5, 60, "")
    c.paint(gallbladder, _WATER, "gallbladder")

    spleen = c.ellipsoid(rng.normal((-102, -18, 32), (4, 5, 7)), rng.normal((36, 54, 46), 4))
    hollow = c.ellipsoid((-62, 12, 34), (34, 44, 46))
    spleen = np.maximum(np.maximum(spleen, inside), -hollow)
    c.paint(spleen, contrast * rng.uniform(112, 126), "spleen", texture=4)

    for way, organ, height in ((1, "right kidney", -32), (-1, "left kidney", -16)):
        x, y, z = rng.normal((way * 63, -30, height), (4, 3, 7)).tolist()
        radii = rng.uniform((24, 22, 46), (30, 27, 56))
        kidney = c.ellipsoid((x, y, z), radii)
        around = c.ellipsoid((x - way * 7, y - 7, z), radii + 11) + 2 * c.medium
        c.paint(np.maximum(around, cavity), _FAT, "")
        c.paint(kidney, contrast * 178, organ)
        pyramids = kidney + 8 + 3 * c.medium
        c.paint(pyramids, contrast * 138)
        sinus = c.ellipsoid((x - way * 14, y + 4, z), (15, 9, 27))
        c.paint(np.maximum(sinus, kidney), -70 + 45 * c.medium, "")


def _stomach(rng: Generator, c: _Canvas, contrast: float) -> None:
    """The stomach, and the duodenum, which begins where it ends."""
    pylorus = rng.normal((36, 46, -16, 12), (3, 3, 4, 0.5))
    bend = [(-66, 8, 70, 28), (-78, 28, 46, 30), (-66, 52, 16, 24), (-30, 68, -8, 19)]
    bend += [(8, 62, -20, 16)]
    fill = rng.uniform(0.85, 1.15)
    points = np.vstack([rng.normal(bend, (5, 5, 5, 0)) * (1, 1, 1, fill), pylorus])
    tube = c.tube(points)[0]
    wall = 4 + 0.8 * c.medium
    c.paint(tube, 85 * contrast, "stomach")
    c.paint(tube + wall, rng.uniform(12, 45), texture=rng.uniform(2, 14))
    c.paint(np.maximum(tube + wall, rng.uniform(34, 62) - c.y), _GAS)

    loop = [(54, 30, -14, 12), (62, 14, -32, 12.5), (56, 6, -58, 12), (30, 4, -74, 12)]
    loop += [(-6, 10, -72, 11), (-34, 18, -54, 11), (-48, 30, -46, 12)]
    points = np.vstack([pylorus, rng.normal(loop, (3, 3, 4, 0.8))])
    tube, height = c.tube(points)
    content = rng.uniform(25, 75)
    gas = rng.uniform(3, 14) + 3 * c.medium - height
    _hollow(c, tube, (88 * contrast, 2.5), content, gas, "duodenum")


def _pancreas(rng: Generator, c: _Canvas, contrast: float) -> None:
    """The vessels around the pancreas, then the pancreas, so that nothing cuts it into two."""
    for organ, hu, points in (
        ("aorta", 158, [(-11, -9, 100, 11.5), (-10, -8, 0, 10.5), (-9, -10, -100, 9.5)]),
        ("vena cava", 128, [(26, 4, 100, 12), (24, -4, 0, 12), (20, -8, -100, 11)]),
        ("", 158, [(-9, 0, 0, 4), (-5, 12, -16, 4), (-3, 14, -50, 3.8), (0, 16, -100, 3.5)]),
    ):
        c.paint(c.tube(rng.normal(points, (2, 2, 0, 0.5)))[0], contrast * hu, organ)

    # Uncinate process, head, neck, body, tail.
    parts = [(20, 8, -54, 9), (38, 18, -40, 15), (34, 24, -22, 13), (15, 34, -8, 9.5)]
    parts += [(-10, 36, 0, 10.5), (-36, 24, 8, 10.5), (-60, 4, 18, 10), (-78, -8, 26, 7)]
    pancreas = rng.normal(parts, (3.5, 3.5, 4, 0.8))
    from_neck = np.maximum(15 - pancreas[:, 0], 0) / 95
    pancreas[:, 2] += rng.normal(0, 12) * from_neck  # the tail ascends, or does not
    wave = rng.uniform(0, 2 * math.pi, 2) + np.outer(np.arange(8), rng.uniform(1.4, 2.4, 2))
    pancreas[2:, 1:3] += rng.uniform(1, 5, 2) * np.sin(wave)[2:]
    pancreas[:, 3] *= rng.uniform(1.25, 1.45)

    splenic = pancreas[3:] + (0, -17, 3, 0)
    splenic[:, 3] = 4.5
    c.paint(c.tube(splenic)[0], contrast * 150, "portal vein")
    meeting = splenic[0, :3]
    below, above = meeting + (0, -3, -80), meeting + ((16, -6, 24), (32, 2, 44))
    c.paint(c.tube([(*below, 6), (*meeting, 6.5)])[0], contrast * 150, "portal vein")
    c.paint(c.tube(np.c_[(meeting, *above), (7, 7, 6)])[0], contrast * 150, "portal vein")

    tube = c.tube(pancreas)[0] + 1.1 * c.fine  # lobules
    pieces, count = ndimage.label(tube < 0)
    if count > 1:  # a voxel that the texture cut off
        tube[(pieces > 0) & (pieces != 1 + np.bincount(pieces.ravel())[1:].argmax())] = _FAR
    c.paint(tube - 3.5 - 1.5 * c.medium, _FAT, "")  # around it, thin or missing in places
    fat = np.float32(rng.uniform(0, 22)) * np.maximum(c.medium, 0)
    fat += np.float32(rng.uniform(0, 14)) * np.maximum(c.fine, 0)
    c.paint(tube, contrast * rng.uniform(92, 102) - fat, "pancreas")
