"""Regions of a video's masks that last: support from neighbouring frames, against false alarms."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


class _Track:
    """The regions of several frames that are connected in time.

    Attributes:
        first, last: numbers of its first and last frame so far.
        joined: the track that it became a part of, or None.
    """

    def __init__(self, frame: int) -> None:
        self.first = self.last = frame
        self.joined: _Track | None = None

    def whole(self) -> "_Track":
        """The track that this one is a part of, or itself."""
        track = self
        while track.joined is not None:
            track = track.joined
        if track is not self:
            self.joined = track  # a short way for the next call
        return track

    def join(self, other: "_Track") -> None:
        """Make the other track, and all that it is a part of, a part of this one."""
        ours, theirs = self.whole(), other.whole()
        if ours is not theirs:
            ours.first, ours.last = min(ours.first, theirs.first), max(ours.last, theirs.last)
            theirs.joined = ours


def keep_lasting(
    stream: Iterable[tuple[Any, NDArray[np.uint8]]], frames: int
) -> Iterator[tuple[Any, NDArray[np.uint8]]]:
    """Remove the regions of masks that do not continue for a number of frames in a row.

    A region is a connected component of a mask; pixels that touch at a corner are connected. It
    continues in a region of the next frame if the two have a pixel in common. Regions that are
    connected so, over any number of frames and also by splitting and merging, are one object, and
    last from its first frame to its last. These objects are the connected components of the volume
    of masks `(T, H, W)` whose pixels have 8 neighbours in their frame, and one in the frame before
    and one in the frame after. The regions of an object of fewer than `frames` frames are removed.

    A frame is yielded when `frames` - 1 frames after it are known, or the video has ended: by then
    an object that is too short has ended too, so the result is exact. As many frames, with the
    labels of their regions, are held in memory.

    Args:
        stream: pairs of a frame and its mask, `(H, W)` uint8 in {0, 1}, all of one size.
        frames: 1 or more; with 1 nothing is removed.

    Yields:
        The frames and their masks, in {0, 1}.

    >>> blink = np.uint8([[[1, 0, 0]], [[1, 0, 1]], [[1, 0, 0]]])
    >>> [mask.tolist() for _, mask in keep_lasting(enumerate(blink), 2)]
    [[[1, 0, 0]], [[1, 0, 0]], [[1, 0, 0]]]
    """
    waiting: deque[tuple[Any, NDArray[np.int32], list[_Track]]] = deque()
    for number, (frame, mask) in enumerate(stream):
        count, found = cv2.connectedComponents(mask, connectivity=8)
        labels = np.asarray(found, np.int32)
        tracks = [_Track(number) for _ in range(count - 1)]
        if waiting:
            _, before, tracks_before = waiting[-1]
            for old, new in _pairs(before, labels):
                tracks_before[old - 1].join(tracks[new - 1])
        waiting.append((frame, labels, tracks))
        if len(waiting) == frames:
            yield _oldest(waiting, frames)
    while waiting:
        yield _oldest(waiting, frames)


def _pairs(first: NDArray[np.int32], second: NDArray[np.int32]) -> list[list[int]]:
    """The pairs of labels above 0 that occur at the same pixel."""
    both = (first > 0) & (second > 0)
    codes = np.unique(first[both].astype(np.int64) << 32 | second[both])
    return np.stack([codes >> 32, codes & 0xFFFFFFFF], axis=1).tolist()


def _oldest(
    waiting: deque[tuple[Any, NDArray[np.int32], list[_Track]]], frames: int
) -> tuple[Any, NDArray[np.uint8]]:
    """Take the first of the frames that wait, and its mask without regions that do not last."""
    frame, labels, tracks = waiting.popleft()
    wholes = [track.whole() for track in tracks]
    kept = [False] + [whole.last - whole.first + 1 >= frames for whole in wholes]
    return frame, np.array(kept, np.uint8)[labels]
