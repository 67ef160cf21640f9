"""Timestamps of a video that starts over, and the rate of its frames, both from the packets."""

import statistics
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

_BACK = 0.1  # seconds; the decoding times of a stream never decrease, but for rounding


class Timeline:
    """Moves the timestamps of packets so that those of joined parts follow each other.

    Files that were joined byte by byte, as some recorders do, have timestamps that start over. The
    sound and the pictures of a part are moved alike.

    Attributes:
        parts: number of joined parts so far.
    """

    def __init__(self) -> None:
        self._offsets = [Fraction(0)]  # of each part, in seconds
        self._part: dict[int, int] = {}  # stream index -> part of its last packet
        self._last: dict[int, Fraction] = {}  # stream index -> decoding time of its last packet
        self._end = Fraction(0)

    @property
    def parts(self) -> int:
        return len(self._offsets)

    def move(self, packet: Any) -> bool:
        """Move the timestamps of a packet of the file; call it for each, in order.

        Returns:
            Whether a part begins with the packet, in its stream.
        """
        if packet.dts is None or packet.time_base is None:
            return False
        stream, unit = packet.stream_index, packet.time_base
        time = packet.dts * unit
        part = self._part.setdefault(stream, 0)
        begins = False
        if time < self._last.get(stream, time) - Fraction(_BACK):
            begins, part = True, part + 1
            self._part[stream] = part
            if part == len(self._offsets):
                first = packet.dts if packet.pts is None else packet.pts
                self._offsets.append(self._end - first * unit)
        self._last[stream] = time
        shift = round(self._offsets[part] / unit)
        packet.dts += shift
        if packet.pts is not None:
            packet.pts += shift
            self._end = max(self._end, (packet.pts + (packet.duration or 0)) * unit)
        return begins


def rate_of(times: Sequence[Fraction], stated: Fraction | None) -> Fraction:
    """The frames per second of a video.

    Args:
        times: of its first frames, in seconds, rising.
        stated: the rate in the file's header, or None. Some headers have the unit of the
            timestamps there, 1000 or 90000. So it is used only if it lies between half and one and
            a half times the rate of these frames.
    """
    steps = [later - earlier for earlier, later in pairwise(times) if later > earlier]
    if not steps:
        return stated or Fraction(25)
    measured = 1 / Fraction(statistics.median(steps))
    if stated and abs(stated - measured) <= measured / 2:
        return stated
    return measured.limit_denominator(1001)
