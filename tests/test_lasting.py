"""Regions that last, against labels of the whole volume by SciPy."""

import weakref

import numpy as np
import pytest
from scipy import ndimage

from polypseg.inference import lasting
from polypseg.inference.lasting import keep_lasting


def expected_masks(masks, frames):
    """By SciPy: components of the volume; 8 neighbours in a frame, one before and one after."""
    neighbours = np.zeros((3, 3, 3), int)
    neighbours[1] = 1
    neighbours[:, 1, 1] = 1
    labels, _ = ndimage.label(masks, neighbours)
    kept = np.zeros_like(masks)
    for number, where in enumerate(ndimage.find_objects(labels), start=1):
        if where[0].stop - where[0].start >= frames:
            kept[labels == number] = 1
    return kept


@pytest.mark.parametrize("share", [0.05, 0.15, 0.3, 0.5])
@pytest.mark.parametrize("frames", [1, 2, 3, 5, 40])
def test_equals_components_of_the_volume(frames, share):
    rng = np.random.default_rng([frames, int(100 * share)])
    removed = 0
    for shape in ((1, 5, 7), (4, 9, 3), (23, 13, 17), (31, 6, 5)):
        masks = (rng.random(shape) < share).astype(np.uint8)
        masks[rng.random(shape[0]) < 0.1] = 0  # some frames without a region
        numbers, found = zip(*keep_lasting(enumerate(masks), frames))
        expected = expected_masks(masks, frames)
        np.testing.assert_array_equal(found, expected)
        assert numbers == tuple(range(shape[0])) and found[0].dtype == np.uint8
        removed += (masks != expected).sum()
    assert (removed > 0) == (frames > 1)


def test_a_way_forward_in_time_and_back_counts():
    """Two objects that meet in the fourth frame are one: all of it lasts from 0 to 3."""
    masks = np.zeros((6, 1, 5), np.uint8)
    masks[:4, 0, 0] = 1
    masks[2:4, 0, 4] = 1  # alone, it would last two frames
    masks[3, 0, :] = 1
    np.testing.assert_array_equal([mask for _, mask in keep_lasting(enumerate(masks), 4)], masks)
    masks[3, 0, 2] = 0  # now they do not meet
    found = np.array([mask for _, mask in keep_lasting(enumerate(masks), 4)])
    assert found[:, 0, 0].tolist() == [1, 1, 1, 1, 0, 0] and not found[:, 0, 3:].any()


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_the_delay(frames):
    """A frame comes out as soon as `frames` - 1 frames after it are known."""
    read = []

    def stream():
        for number in range(20):
            read.append(number)
            yield number, np.ones((3, 4), np.uint8)

    delays = [len(read) - 1 - number for number, _ in keep_lasting(stream(), frames)]
    assert delays == [min(frames - 1, 19 - number) for number in range(20)]


def test_memory_does_not_grow_with_the_video(monkeypatch):
    """Objects begin and merge without end, while one lasts from the first frame to the last."""
    alive = weakref.WeakSet()

    class Counted(lasting._Track):
        def __init__(self, frame):
            super().__init__(frame)
            alive.add(self)

    monkeypatch.setattr(lasting, "_Track", Counted)
    rng = np.random.default_rng(0)

    def noise():
        for number in range(400):
            mask = (rng.random((16, 17)) < 0.2).astype(np.uint8)
            mask[0] = 1
            yield number, mask

    counts = [len(alive) for _ in keep_lasting(noise(), 3)]
    assert 0 < max(counts[200:]) <= 1.5 * max(counts[:200])
