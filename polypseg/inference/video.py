"""Read videos in every format of FFmpeg: upright frames, timestamps and sound."""

import os
import platform
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import Any, NamedTuple

import av
import numpy as np

from polypseg.errors import InputError

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
    frame. Damaged parts of the file are skipped and described in `problem`.

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

    Raises:
        InputError: `source` is not a video or a camera that can be opened.

    Example:
        >>> reader = VideoReader("colonoscopy.mp4")
        >>> for frame in reader:
        ...     probability = predictor(frame.image)
    """

    def __init__(self, source: str):
        self.source = source
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
            self._container = av.open(name, format=form)
            self._packets = self._container.demux(*self._streams())
            self._decoded = self._decode()
            self._ahead: list[tuple[str, Any]] = []
            first = self._first()
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
        self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        self.time_base: Fraction = stream.time_base
        self.start = float((first.pts or 0) * self.time_base)
        self._step = max(1, round(1 / (self.rate * self.time_base)))
        seconds = None
        if stream.duration:
            seconds = float(stream.duration * stream.time_base)
        elif self._container.duration:
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

    def _first(self) -> Any:
        """Decode up to the first frame. `__iter__` begins with what is read here."""
        for kind, value in self._decoded:
            self._ahead.append((kind, value))
            if kind == "frame":
                return value
        raise ValueError(self.problem or "no frames in it")

    def _decode(self) -> Iterator[tuple[str, Any]]:
        """Yield `("frame", frame)` and `("sound", packet)` in the order of the file."""
        bad = 0
        while True:
            try:
                packet = next(self._packets, None)
            except av.FFmpegError as error:
                self.problem = f"it cannot be read to its end ({_reason(error)})"
                break
            if packet is None:
                break
            if packet.stream is self.sound:
                if packet.size and packet.pts is not None:
                    yield "sound", packet
                continue
            try:
                for frame in packet.decode():
                    yield "frame", frame
            except av.FFmpegError:
                bad += 1
        if bad and not self.problem:
            self.problem = f"{bad} packet{'s' * (bad > 1)} in it cannot be decoded"

    def __iter__(self) -> Iterator[Frame]:
        start, last, count = None, -1, 0
        for kind, value in chain(self._ahead, self._decoded):
            if kind == "sound":
                self.rest.append(value)
                continue
            start = value.pts or 0 if start is None else start
            pts = last + self._step if value.pts is None else value.pts - start
            last = max(pts, last + 1)
            count += 1
            sound, self.rest = self.rest, []
            yield Frame(self._image(value), last, sound)
        self._check_length(count, float((last + self._step) * self.time_base))

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


def _display_matrix(frame: Any) -> tuple[int, int, int, int]:
    """`a, b, c, d`: x' = a x + c y, y' = b x + d y turns the frame upright."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    return a, b, c, d


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
