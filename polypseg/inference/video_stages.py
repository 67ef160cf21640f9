"""From the frames of a video to the video with what is found on them, in stages that overlap."""

import math
from itertools import chain, islice

import numpy as np

from polypseg.drawing.overlay import overlay

from .predict import predictions
from .temporal import fill_in, smooth


def overlay_stages(
    reader,
    predictor,
    writers,
    threshold,
    stopped=lambda: False,
    max_frames=None,
    batch_size=8,
    stride=1,
    width=1,
    side_by_side=False,
    times=None,
):
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

    def decoding():
        frames = islice(reader, max_frames)
        while not stopped() and (frame := next(frames, None)):
            yield frame

    def network(frames):
        pairs = (
            (frame, None if index % stride else frame.image) for index, frame in enumerate(frames)
        )
        # The first frame by itself, so that it is out soon.
        first = predictions(islice(pairs, stride), predictor, stride, times=times)
        size = batch_size * stride
        rest = predictions(pairs, predictor, size, most=math.inf, times=times)
        for batch in chain(first, rest):
            yield from ((found.item, found.maps) for found in batch)

    def smoothing(stream):
        stream = fill_in(stream)
        return smooth(stream, width) if width > 1 else stream

    def drawing(stream):
        for frame, probability in stream:
            mask = (probability >= threshold).astype(np.uint8)
            picture = overlay(frame.image, mask)
            if side_by_side:
                picture = np.hstack([frame.image, picture])
            yield frame, mask, picture

    def encoding(stream):
        for frame, mask, picture in stream:
            writers[0].write(picture, frame.pts, frame.sound)
            for masks in writers[1:]:
                masks.write(mask * np.uint8(255), frame.pts)
            yield frame.pts

    order = {
        "decoding": decoding,
        "network": network,
        "smoothing": smoothing,
        "drawing": drawing,
        "encoding": encoding,
    }
    if width == stride == 1:
        del order["smoothing"]
    return order
