"""Probability maps over time. A stream is an iterator of `(frame, (H, W) float32 probability)`."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

Stream = Iterator[tuple[Any, np.ndarray]]


def fill_in(stream: Iterable[tuple[Any, np.ndarray | None]]) -> Stream:
    """Replace each None by a line between the maps before and after it, by the last map at the end.

    The first map must be there. Holds the frames of one gap.
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
    """Mean over `width` frames, an odd number, the frame itself in the middle: what it shows lags
    behind nothing.

    At both ends the mean is over those of the frames that there are. Holds `width` maps.
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
