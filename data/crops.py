"""Squares of images on which a network is trained beside complete images."""

from typing import NamedTuple

import numpy as np


class Crops(NamedTuple):
    """How training images are cropped.

    In a published data set each image may have a polyp. A crop anywhere may have none: it shows the
    network tissue without foreground.

    Attributes:
        side: of a crop, as a fraction of the image's height and width.
        share: the probability that an image is cropped; the others stay complete.
        foreground: the probability that a crop is placed around foreground, if there is any, and
            not anywhere in the image.
    """

    side: float
    share: float = 0.5
    foreground: float = 0.5

    def views(self, masks: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """The part of each image that is used.

        Around foreground means that a random pixel of it lies in the middle third of the crop's
        width and height, or beyond if the image ends. So it is nearly always still there after
        augmentation has zoomed, turned and moved the crop.

        Args:
            masks: `(B, H, W, 1)`, 1 is foreground.
            draws: `(B, 5)` in [0, 1): whether the image is cropped, whether around foreground, of
                which pixel, and the position in x and y.

        Returns:
            `(B, 3)` float32: side, and x and y of the centre, as fractions of the image.
        """
        views = np.full((len(masks), 3), (1.0, 0.5, 0.5), np.float32)
        low, high = self.side / 2, 1 - self.side / 2
        for view, mask, (chance, around, which, *position) in zip(views, masks[..., 0], draws):
            if chance >= self.share:
                continue
            centre = low + (high - low) * np.array(position)
            pixels = np.flatnonzero(mask == 1) if around < self.foreground else ()
            if len(pixels):
                row, column = divmod(pixels[int(which * len(pixels))], mask.shape[1])
                pixel = (column + 0.5) / mask.shape[1], (row + 0.5) / mask.shape[0]
                centre = pixel + self.side / 3 * (np.array(position) - 0.5)
            view[:] = self.side, *np.clip(centre, low, high)
        return views
