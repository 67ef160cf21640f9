"""Probability maps over time. A stream yields pairs of a frame and its `(H, W)` float32 map."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

Stream = Iterator[tuple[Any, np.ndarray]]


def fill_in(stream: Iterable[tuple[Any, np.ndarray | None]]) -> Stream:
    """Replace each None by linear interpolation between the maps before and after it.

    After the last map, this map is repeated. The first map must not be None. The frames between two
    maps are held in memory.
    """
    before: Any = None
    waiting: list[Any] = []
    for frame, probability in stream:
        if probability is None:
            waiting.append(frame)
            continue
        for index, skipped in enumerate(waiting, start=1):
            yield skipped, before + (probability - before) * np.float32(index / (len(waiting) + 1))
        yield frame, probability
        before, waiting = probability, []
    for frame in waiting:
        yield frame, before


def smooth(stream: Iterable[tuple[Any, np.ndarray]], width: int) -> Stream:
    """Moving average of the maps over `width` frames, centred on each frame, without delay.

    Args:
        stream: pairs of a frame and its map.
        width: an odd number. At both ends of the video, the average is over fewer frames. `width`
            maps are held in memory.

    Example:
        >>> [float(map_) for _, map_ in smooth(enumerate(np.float32([0, 3, 6])), 3)]
        [1.5, 3.0, 4.5]
    """
    reach = width // 2
    frames: deque[Any] = deque()
    maps: deque[np.ndarray] = deque(maxlen=width)
    for frame, probability in stream:
        frames.append(frame)
        maps.append(probability)
        if len(frames) > reach:
            yield frames.popleft(), _mean(maps)
    while frames:
        while len(maps) > reach + len(frames):
            maps.popleft()
        yield frames.popleft(), _mean(maps)


def _mean(maps: Iterable[np.ndarray]) -> np.ndarray:
    first, *others = maps
    total = first.copy()
    for other in others:
        total += other
    return total / np.float32(1 + len(others))
