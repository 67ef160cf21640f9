"""The stages that draw the network's masks on a video: decode, network, draw, encode."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from polypseg.drawing.overlay import overlay

from .lasting import keep_lasting
from .predict import CallTimes, Network, predictions
from .temporal import Stream, fill_in, smooth
from .video import Frame
from .video_writer import FrameWriter

Drawn = tuple[Frame, np.ndarray, np.ndarray]  # a frame, its mask, and the image with the mask


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
    support: int = 1,
    side_by_side: bool = False,
    times: CallTimes | None = None,
) -> dict[str, Callable[..., Any]]:
    """The functions for `Stages`, and the names under which their time is reported.

    Args:
        reader: the frames, a `VideoReader`.
        predictor: the network.
        writers: the first writer gets the overlays, the others get the masks, in {0, 255}.
        threshold: a pixel is foreground if its probability is at least this.
        stopped: function that is called before each frame. The video ends when it returns true.
        max_frames: largest number of frames.
        batch_size: number of frames in a call of the network.
        stride: N; the network runs on every Nth frame, and maps in between are interpolated.
        width: number of frames of the moving average, see `smooth`; 1 for no average.
        support: regions of the mask that last fewer frames are removed, see `keep_lasting`; 1 for
            no removal.
        side_by_side: whether to show the source to the left of the overlay.
        times: measures the calls of the network.

    Returns:
        Name -> function. The last function yields the `pts` of each frame that is written.
    """

    def decoding() -> Iterator[Frame]:
        frames = islice(reader, max_frames)
        while not stopped() and (frame := next(frames, None)):
            yield frame

    def network(frames: Iterator[Frame]) -> Iterator[tuple[Frame, np.ndarray | None]]:
        pairs = (
            (frame, None if index % stride else frame.image) for index, frame in enumerate(frames)
        )
        # The first frame is a batch of its own, so that it is written soon.
        first = predictions(islice(pairs, stride), predictor, stride, times=times)
        size = batch_size * stride
        rest = predictions(pairs, predictor, size, max_pixels=math.inf, times=times)
        for batch in chain(first, rest):
            yield from ((prediction.item, prediction.maps) for prediction in batch)

    def smoothing(stream: Iterator[tuple[Frame, np.ndarray | None]]) -> Stream:
        filled = fill_in(stream)
        return smooth(filled, width) if width > 1 else filled

    def drawing(stream: Stream) -> Iterator[Drawn]:
        masks = ((frame, (map_ >= threshold).astype(np.uint8)) for frame, map_ in stream)
        for frame, mask in keep_lasting(masks, support) if support > 1 else masks:
            image = overlay(frame.image, mask)
            if side_by_side:
                image = np.hstack([frame.image, image])
            yield frame, mask, image

    def encoding(stream: Iterator[Drawn]) -> Iterator[int]:
        for frame, mask, image in stream:
            writers[0].write_frame(image, frame.pts, frame.sound)
            for masks in writers[1:]:
                masks.write_frame(mask * np.uint8(255), frame.pts)
            yield frame.pts

    order: dict[str, Callable[..., Any]] = {
        "decoding": decoding,
        "network": network,
        "smoothing": smoothing,
        "drawing": drawing,
        "encoding": encoding,
    }
    if width == stride == 1:
        del order["smoothing"]
    return order
