"""Write videos: H.264 that plays in a browser, or lossless masks. Timestamps and sound are those of
the source.
"""

import contextlib
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from polypseg.data.images import write_png
from polypseg.data.pairs import refuse_data_set
from polypseg.errors import InputError
from polypseg.files import cannot_write, part_path

from .video import VideoReader

# FFmpeg's number of a colour matrix -> conversion to it. For other matrices, BT.601 is used.
_MATRICES = {1: Colorspace.ITU709, 4: Colorspace.FCC, 7: Colorspace.SMPTE240M, 9: Colorspace.BT2020}
_UNSPECIFIED, _BT601 = 2, 6
# The network needs the processor, so the preset is ultrafast. It takes half the time of superfast,
# and its files are a fifth larger at the same quality.
_H264 = {"preset": "ultrafast", "crf": "20", "x264-params": "cabac=1:deblock=0,0"}
_PLAYS_IN_MP4 = ("aac", "mp3", "opus", "flac")
_AAC_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


class FrameWriter(Protocol):
    """An output of a video. Call `write_frame` for each frame, then `finish` and `commit`.

    Call `discard` last, also after an error. It removes what was not committed.
    """

    def write_frame(self, image: np.ndarray, pts: int, sound: Iterable[Any] = ()) -> None: ...

    def finish(self) -> None: ...

    def commit(self) -> None: ...

    def discard(self) -> None: ...


class VideoWriter:
    """An .mp4 file with H.264 (yuv420p, index in front), or an .mkv file with lossless grey FFV1.

    The file has a temporary name beside `path` until `commit`.

    Args:
        path: ends in .mp4 or .mkv.
        height, width: size of the frames in pixels. yuv420p needs even sizes. If a size is odd,
            the last row or column is repeated.
        like: the source video. Its frame rate, time base, colours and pixel shape are used.
        sound: whether to copy the source's sound.

    Attributes:
        padded: number of columns and of rows that are added, `(0, 0)` to `(1, 1)`.

    Raises:
        InputError: the file cannot be written. Any method may raise this.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        height: int,
        width: int,
        like: VideoReader,
        sound: bool = False,
    ):
        self.path = Path(path)
        self._temporary = part_path(self.path)
        self.padded = width % 2, height % 2
        self._convert = VideoReformatter()
        self._like, self._pts = like, 0
        lossless = self.path.suffix == ".mkv"
        self._argument = "masks_out" if lossless else "out"
        with self._writing():
            self._temporary.parent.mkdir(parents=True, exist_ok=True)
            options = {} if lossless else {"movflags": "faststart"}
            self._container = av.open(
                str(self._temporary.absolute()),
                "w",
                format="matroska" if lossless else "mp4",
                options=options,
            )
            if lossless:
                stream = self._container.add_stream(
                    "ffv1", rate=like.rate, width=width, height=height, pix_fmt="gray"
                )
                self.padded = 0, 0
            else:
                stream = self._container.add_stream(
                    "libx264",
                    rate=like.rate,
                    options=_H264,
                    width=width + self.padded[0],
                    height=height + self.padded[1],
                    pix_fmt="yuv420p",
                )
                self._colour(stream.codec_context, like.colour)
            context = stream.codec_context
            context.time_base = stream.time_base = like.time_base
            # A player can jump to a frame every two seconds.
            context.gop_size = min(max(1, round(2 * like.rate)), 250)
            context.thread_type = "SLICE" if lossless else "AUTO"
            if like.sample_aspect_ratio:
                context.sample_aspect_ratio = like.sample_aspect_ratio
            self._stream = stream
            self._sound = (
                _Sound(self._container, like.sound, like.start) if sound and like.sound else None
            )

    def _colour(self, context: Any, colour: Mapping[str, int]) -> None:
        matrix = colour["colorspace"]
        self._matrix = _MATRICES.get(matrix, Colorspace.ITU601)
        context.colorspace = matrix if matrix in (*_MATRICES, _UNSPECIFIED, 5) else _BT601
        context.color_primaries, context.color_trc = colour["color_primaries"], colour["color_trc"]
        context.color_range = ColorRange.MPEG

    def write_frame(self, image: np.ndarray, pts: int, sound: Iterable[Any] = ()) -> None:
        """Write a frame.

        Args:
            image: uint8, `(H, W, 3)` RGB, or `(H, W)` grey for .mkv.
            pts: presentation time in units of the source's `time_base`.
            sound: sound packets that come before this frame.
        """
        right, bottom = self.padded
        if right or bottom:
            image = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        with self._writing():
            if image.ndim == 2:
                frame = av.VideoFrame.from_ndarray(image, "gray")
            else:
                frame = self._convert.reformat(
                    av.VideoFrame.from_ndarray(image, "rgb24"),
                    format="yuv420p",
                    threads=1,
                    dst_colorspace=self._matrix,
                    dst_color_range=ColorRange.MPEG,
                )
            frame.pts, frame.time_base = pts, self._like.time_base
            self._pts = pts
            self._container.mux(self._stream.encode(frame))
            if self._sound:
                self._sound.add(sound)
                self._sound.write_until(float(pts * self._like.time_base))

    @property
    def damaged_sound(self) -> int:
        """Number of sound packets that were left out, because they are damaged."""
        return self._sound.damaged if self._sound else 0

    def finish(self, rest: Iterable[Any] = (), complete: bool = True) -> None:
        """Write the end of the file. `commit` then gives the file its name.

        Args:
            rest: sound packets after the last frame.
            complete: whether the source was read to its end. If not, the sound ends with the
                frames.
        """
        with self._writing():
            self._container.mux(self._stream.encode(None))
            if self._sound:
                self._sound.add(rest)
                end = float(self._pts * self._like.time_base + 1 / self._like.rate)
                self._sound.write_until(float("inf") if complete else end)
                self._sound.end()
            self._container.close()

    def commit(self) -> None:
        """Give the finished file its name."""
        with self._writing():
            os.replace(self._temporary, self.path)

    def discard(self) -> None:
        """Remove the file, unless it was committed."""
        with contextlib.suppress(Exception):
            self._container.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            self.discard()
            raise cannot_write(self.path, error, self._argument) from error


class _Sound:
    """Writes the sound of a source: copies it, or encodes it as AAC if browsers cannot play it."""

    def __init__(self, container: Any, source: Any, start: float):
        self._container, self._source = container, source
        self._waiting: deque[Any] = deque()
        self._last: int | None = None  # timestamp of the last packet that was copied
        self.damaged = 0
        self._start = round(start / self._source.time_base)
        self._copied = self._source.codec_context.codec.canonical_name in _PLAYS_IN_MP4
        if self._copied:
            self._stream = container.add_stream_from_template(self._source)
        else:
            rate = self._source.codec_context.sample_rate
            layout = "mono" if self._source.codec_context.channels == 1 else "stereo"
            self._stream = container.add_stream(
                "aac", rate=rate if rate in _AAC_RATES else 48000, layout=layout
            )

    def add(self, packets: Iterable[Any]) -> None:
        self._waiting.extend(packets)

    def write_until(self, seconds: float) -> None:
        """Write the waiting packets that begin before this time."""
        while (
            self._waiting
            and float((self._waiting[0].pts - self._start) * self._waiting[0].time_base) < seconds
        ):
            packet = self._waiting.popleft()
            packet.pts -= self._start
            try:
                if self._copied:
                    self._copy(packet)
                else:
                    for frame in packet.decode():
                        self._container.mux(self._stream.encode(frame))
            except av.FFmpegError as error:
                if isinstance(error, OSError):  # of the file that is written
                    raise
                self.damaged += 1  # its part is silent

    def _copy(self, packet: Any) -> None:
        if self._last is not None and packet.pts <= self._last:  # where parts were joined
            return
        self._last = packet.dts = packet.pts
        packet.stream = self._stream
        self._container.mux(packet)

    def end(self) -> None:
        if not self._copied:
            # Frames that the decoder still has.
            for frame in self._source.codec_context.decode(None):
                self._container.mux(self._stream.encode(frame))
            self._container.mux(self._stream.encode(None))


def check_mask_folder(folder: Path, source: Path) -> None:
    """Raise `InputError` if the masks of a video would replace files that are read.

    Args:
        folder: folder of the masks.
        source: path of the video. FFmpeg also reads an image, or a pattern of image names.
    """
    refuse_data_set(folder, "masks_out")
    same = os.path.realpath(source.parent) == os.path.realpath(folder)
    if same and source.name.startswith("frame_"):
        raise InputError(
            f"expected a folder other than that of the input frames, got {folder}",
            "masks_out",
        )


class MaskFolder:
    """Masks as PNG files, `frame_000000.png` and so on, with values in {0, 255}.

    They are in a temporary folder until `commit`, so that either all of them exist or none.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(os.path.abspath(path))  # absolute: `.` has no name
        self._count = 0
        self._temporary = part_path(self.path)
        with self._writing():
            self._temporary.mkdir(parents=True)

    def write_frame(self, image: np.ndarray, pts: int = 0, sound: Iterable[Any] = ()) -> None:
        with self._writing():
            write_png(self._temporary / f"frame_{self._count:06d}.png", image)
        self._count += 1

    def finish(self) -> None:
        """Nothing is left to write."""

    def commit(self) -> None:
        """Replace the frames of an earlier run; other files in the folder are not touched."""
        with self._writing():
            if not self.path.exists():
                os.replace(self._temporary, self.path)
                return
            for old in self.path.glob(f"frame_{'[0-9]' * 6}*.png"):
                old.unlink()
            for new in sorted(self._temporary.iterdir()):
                os.replace(new, self.path / new.name)
            self._temporary.rmdir()

    def discard(self) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.discard()
            raise cannot_write(self.path, error, "masks_out") from error
