"""From the frames of a video to the video with what is found on them, in stages that overlap."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice

import numpy as np

from polypseg.drawing.overlay import overlay

from .predict import CallTimes, Network, predictions
from .temporal import Stream, fill_in, smooth
from .video import Frame
from .video_writer import FrameWriter

Drawn = tuple[Frame, np.ndarray, np.ndarray]  # with its mask and the image that shows it


def overlay_stages(
    reader: Iterable[Frame],
    predictor: Network,
    writers: Sequence[FrameWriter],
    threshold: float,
    stopped: Callable[[], object] = lambda: False,
    max_frames: int | None = None,
    batch_size: int = 8,
    stride: int = 1,
    width: int = 1,
    side_by_side: bool = False,
    times: CallTimes | None = None,
) -> dict[str, Callable]:
    """The functions for `Stages`; each runs in its own thread.

    Args:
        reader: see `VideoReader`.
        predictor: see `Predictor`.
        writers: the first gets the overlays, the others the masks as 0 and 255.
        threshold: foreground is a probability of at least that.
        stopped: whether to end before the next frame.
        max_frames: end after so many.
        batch_size: frames a call of the network.
        stride: the network runs on every so many frames.
        width: of the running mean over frames, see `smooth`.
        side_by_side: the source on the left of the overlay.
        times: `CallTimes` that counts the calls of the network.
    """

    def decoding() -> Iterator[Frame]:
        frames = islice(reader, max_frames)
        while not stopped() and (frame := next(frames, None)):
            yield frame

    def network(frames: Iterator[Frame]) -> Iterator[tuple[Frame, np.ndarray | None]]:
        pairs = (
            (frame, None if index % stride else frame.image) for index, frame in enumerate(frames)
        )
        # The first frame by itself, so that it is out soon.
        first = predictions(islice(pairs, stride), predictor, stride, times=times)
        size = batch_size * stride
        rest = predictions(pairs, predictor, size, most=math.inf, times=times)
        for batch in chain(first, rest):
            yield from ((found.item, found.maps) for found in batch)

    def smoothing(stream: Iterator[tuple[Frame, np.ndarray | None]]) -> Stream:
        filled = fill_in(stream)
        return smooth(filled, width) if width > 1 else filled

    def drawing(stream: Stream) -> Iterator[Drawn]:
        for frame, probability in stream:
            mask = (probability >= threshold).astype(np.uint8)
            picture = overlay(frame.image, mask)
            if side_by_side:
                picture = np.hstack([frame.image, picture])
            yield frame, mask, picture

    def encoding(stream: Iterator[Drawn]) -> Iterator[int]:
        for frame, mask, picture in stream:
            writers[0].write_frame(picture, frame.pts, frame.sound)
            for masks in writers[1:]:
                masks.write_frame(mask * np.uint8(255), frame.pts)
            yield frame.pts

    order: dict[str, Callable] = {
        "decoding": decoding,
        "network": network,
        "smoothing": smoothing,
        "drawing": drawing,
        "encoding": encoding,
    }
    if width == stride == 1:
        del order["smoothing"]
    return order
