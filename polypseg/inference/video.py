"""Read videos in every format of FFmpeg: upright frames, timestamps and sound."""

import contextlib
import os
import platform
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from typing import Any, NamedTuple

import av
import numpy as np

from polypseg.errors import InputError

from .timeline import Timeline, rate_of

_END_OF_PART = 4  # packets
_AHEAD = 12  # frames from which the rate is measured
_CAMERAS = {
    "Linux": ("v4l2", "/dev/video{}"),
    "Darwin": ("avfoundation", "{}"),
    "Windows": ("vfwcap", "{}"),
}


class Frame(NamedTuple):
    """One frame of a video.

    Attributes:
        image: `(H, W, 3)` uint8 RGB, upright.
        pts: presentation time in units of the video's `time_base`; 0 for the first frame.
        sound: sound packets that lie between the previous frame and this one in the file.
    """

    image: np.ndarray
    pts: int
    sound: list[Any]


class VideoReader:
    """The frames of a video file, a URL that FFmpeg can open, or a camera (`"0"`, `"1"`, ...).

    Frames are turned upright. If their size changes, they are resized to the size of the first
    frame. Damaged parts of the file are skipped and described in `problem`. If the timestamps start
    over, as in files that were joined, the parts follow each other. Interlaced frames are
    deinterlaced by FFmpeg's filter `bwdif`.

    Args:
        source: path of the file, URL, or number of the camera.
        deinterlace: whether interlaced frames are deinterlaced.
        timeout: seconds after which a camera or a server that sends nothing is an error.

    Attributes:
        height, width: size of the upright frames in pixels.
        rate: frames per second, a `Fraction`.
        time_base: the unit of `Frame.pts` in seconds, a `Fraction`.
        length: expected number of frames; None if it is not known.
        sound: the sound stream, or None.
        sample_aspect_ratio: width divided by height of a pixel, or None.
        colour: matrix, primaries and transfer curve, as FFmpeg's numbers.
        start: time of the first frame in the file, in seconds.
        rest: sound packets that lie after the last frame that was read.
        problem: what was wrong with the file, or None; known after the last frame.
        interlaced: whether the first frames are interlaced.

    Raises:
        InputError: `source` is not a video or a camera that can be opened.

    Example:
        >>> reader = VideoReader("colonoscopy.mp4")
        >>> for frame in reader:
        ...     probability = predictor(frame.image)
    """

    def __init__(self, source: str, deinterlace: bool = True, timeout: float = 10.0):
        self.source = source
        self._timeline = Timeline()
        self.problem: str | None = None
        self.rest: list[Any] = []
        name, form = source, None
        self.live = source.isdigit()
        if self.live:
            form, pattern = _CAMERAS.get(platform.system(), _CAMERAS["Linux"])
            name = pattern.format(source)
        elif "://" not in source:
            if not os.path.exists(source):
                raise InputError(
                    f"expected a video file or the number of a camera, got {source}, "
                    "which does not exist",
                    "video",
                )
            if not os.path.isfile(source):
                raise InputError(
                    f"expected a video file, got {source}, which is not a file", "video"
                )
            if not os.path.getsize(source):
                raise InputError(f"expected a video, got {source}, an empty file", "video")
            name = os.path.abspath(source)  # because FFmpeg takes `a:b.mp4` for a URL
        try:
            waits = self.live or "://" in source
            self._container = av.open(name, format=form, timeout=timeout if waits else None)
            self._packets = self._container.demux(*self._streams())
            self._decoded = self._decode()
            self._ahead: list[tuple[str, Any]] = []
            first = self._read_ahead()
        except InputError:
            raise
        except (av.FFmpegError, OSError, ValueError) as error:
            what = (
                f"a camera that can be opened, got number {source}"
                if self.live
                else f"a video, got {source}"
            )
            raise InputError(f"expected {what} ({_reason(error)})", "video") from error
        stream: Any = self._video
        self._matrix = _display_matrix(first)
        self._size = first.width, first.height
        turned = abs(self._matrix[1]) > abs(self._matrix[0])
        self.height, self.width = self._size if turned else self._size[::-1]
        ratio = stream.sample_aspect_ratio
        self.sample_aspect_ratio = 1 / ratio if ratio and turned else ratio
        self.colour = {
            "colorspace": first.colorspace,
            "color_primaries": first.color_primaries,
            "color_trc": first.color_trc,
        }
        self.time_base: Fraction = stream.time_base
        frames = [value for kind, value in self._ahead if kind == "frame"]
        times = [frame.pts * self.time_base for frame in frames if frame.pts is not None]
        stated = stream.average_rate or stream.guessed_rate
        self.rate = rate_of(times, Fraction(stated) if stated else None)
        self.interlaced = any(frame.interlaced_frame for frame in frames)
        self._filter = _deinterlacer(stream) if self.interlaced and deinterlace else None
        self.start = float((first.pts or 0) * self.time_base)
        self._step = max(1, round(1 / (self.rate * self.time_base)))
        # The container's duration may be that of the sound, so it is only used without sound.
        seconds = None
        if stream.duration:
            seconds = float(stream.duration * stream.time_base)
        elif self._container.duration and not self.sound:
            seconds = self._container.duration / av.time_base
        self._seconds = None if self.live else seconds
        expected = round(self._seconds * self.rate) if self._seconds else None
        self.length: int | None = stream.frames or expected

    def _streams(self) -> list[Any]:
        container = self._container
        videos = [
            stream
            for stream in container.streams.video
            if not stream.disposition & stream.disposition.attached_pic
        ]
        if not videos:
            raise ValueError("no video in it")
        self._video = videos[0]
        self._video.thread_type = "AUTO"
        self.sound = next(
            (stream for stream in container.streams.audio if stream.codec_context.codec), None
        )
        return [self._video] + ([self.sound] if self.sound else [])

    def _read_ahead(self) -> Any:
        """Decode some frames, of a camera one, and return the first.

        `__iter__` begins with what is read here.
        """
        frames = []
        for kind, value in self._decoded:
            self._ahead.append((kind, value))
            if kind == "frame":
                frames.append(value)
                if self.live or len(frames) == _AHEAD:
                    break
        if not frames:
            raise ValueError(self.problem or "no frames in it")
        return frames[0]

    def _decode(self) -> Iterator[tuple[str, Any]]:
        """Yield `("frame", frame)` and `("sound", packet)` in the order of the file."""
        count, bad = 0, list[int]()  # packets of pictures; the numbers of those that are damaged
        while True:
            try:
                packet = next(self._packets, None)
            except av.FFmpegError as error:
                self.problem = f"it cannot be read to its end ({_reason(error)})"
                break
            if packet is None:
                break
            begins = self._timeline.move(packet)
            if packet.stream is self.sound:
                if packet.size and packet.pts is not None:
                    yield "sound", packet
                continue
            if begins:  # the end of the part before seems to be damaged, since this does not fit
                bad = [number for number in bad if number < count - _END_OF_PART]
            damaged = packet.is_corrupt
            try:
                for frame in packet.decode():
                    damaged |= frame.is_corrupt
                    yield "frame", frame
            except av.FFmpegError:
                damaged = True
            bad += [count] if damaged else []
            count += 1
        if bad and not self.problem:
            self.problem = f"damaged packets in it: {len(bad)}"

    def __iter__(self) -> Iterator[Frame]:
        start, last, count = None, -1, 0
        for kind, value in self._deinterlaced(chain(self._ahead, self._decoded)):
            if kind == "sound":
                self.rest.append(value)
                continue
            time = value.pts
            if time is not None:  # a filter has its own unit
                time = round(time * value.time_base / self.time_base)
            start = time or 0 if start is None else start
            pts = last + self._step if time is None else time - start
            last = max(pts, last + 1)
            count += 1
            sound, self.rest = self.rest, []
            yield Frame(self._image(value), last, sound)
        self._check_length(count, float((last + self._step) * self.time_base))

    def _deinterlaced(self, decoded: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        if self._filter is None:
            yield from decoded
            return
        for kind, value in chain(decoded, [("frame", None)]):  # None: the end
            if kind == "sound":
                yield kind, value
                continue
            self._filter.push(value)
            # It needs more frames, or has given all of them.
            with contextlib.suppress(BlockingIOError, EOFError):
                while True:
                    yield "frame", self._filter.pull()

    @property
    def parts(self) -> int:
        """Number of joined parts so far."""
        return self._timeline.parts

    def _check_length(self, count: int, end: float) -> None:
        if self.length is None or not self._seconds:
            return
        missing = self.length - count
        if missing > 0 and end < self._seconds - 1.5 / float(self.rate):
            reason = f" ({self.problem})" if self.problem else ""
            self.problem = (
                f"expected {self.length} frames, the number in its header, got {count}; "
                f"the rest is missing or damaged{reason}"
            )

    def _image(self, frame: Any) -> np.ndarray:
        width, height = self._size
        image = frame.to_ndarray(format="rgb24", width=width, height=height)
        a, b, c, d = self._matrix
        if abs(b) > abs(a):
            image = image.transpose(1, 0, 2)
            a, d = c, b
        return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])

    def close(self) -> None:
        self._container.close()


def _deinterlacer(stream: Any) -> Any:
    """A filter for frames of the stream, which leaves those alone that are not interlaced."""
    graph = av.filter.Graph()
    source = graph.add_buffer(template=stream)
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph


def _display_matrix(frame: Any) -> tuple[int, int, int, int]:
    """`a, b, c, d`: x' = a x + c y, y' = b x + d y turns the frame upright."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    return a, b, c, d


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
