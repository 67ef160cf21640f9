"""Give training images the colours of other training images, by their statistics in LAB."""

from collections.abc import Iterator

import cv2
import numpy as np

from .loading import Arrays

STEP = 4  # statistics are taken from every fourth pixel of every fourth row


class ColorExchange:
    """Exchange of colours between the images of a training set.

    In CIE LAB each channel of an image gets the mean and the standard deviation of another image:
    Reinhard et al., "Color transfer between images", 2001, used for polyps by Wei et al., "Shallow
    Attention Network for Polyp Segmentation" (SANet), MICCAI 2021 (arXiv:2108.00882). Both
    draw the other image from the whole training set. SANet exchanges the colours of every image, in
    8 bits, which wrap around; here they are clipped.

    The statistics are computed once, from complete images before augmentation, so that no second
    image has to be read.

    Args:
        arrays: N decoded pairs, the training set.
        share: the probability that an image gets other colours.

    Attributes:
        means, deviations: `(N, 3)` float64, of the channels L (0..100), a and b.

    >>> exchange = ColorExchange(arrays, share=0.5)  # doctest: +SKIP
    """

    def __init__(self, arrays: Arrays, share: float) -> None:
        self.share = share
        statistics = [
            cv2.meanStdDev(_to_lab(np.ascontiguousarray(image[::STEP, ::STEP])))
            for image in _images(arrays)
        ]
        self.means, self.deviations = np.array(statistics)[..., 0].swapaxes(0, 1)

    def __call__(self, images: np.ndarray, indices: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Exchange the colours of a batch.

        Args:
            images: `(B, H, W, 3)` uint8 RGB.
            indices: `(B,)`, the index of each image in the training set.
            draws: `(B, 2)` in [0, 1): whether an image gets other colours, and of which image.

        Returns:
            A new array like `images`.
        """
        images = images.copy()
        for image, index, (chance, other) in zip(images, indices, draws):
            if chance < self.share:
                self._give(image, index, int(other * len(self.means)))
        return images

    def _give(self, image: np.ndarray, index: int, other: int) -> None:
        """Give an image, which has this index, the colours of another one, in place."""
        # Below 1 there is little but noise, which would be amplified in images without colour.
        gain = self.deviations[other] / np.maximum(self.deviations[index], 1.0)
        offset = self.means[other] - gain * self.means[index]
        lab = cv2.transform(_to_lab(image), np.column_stack([np.diag(gain), offset]))
        rgb = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)  # in 0..1: OpenCV clips
        cv2.convertScaleAbs(rgb, dst=image, alpha=255.0)


def _to_lab(image: np.ndarray) -> np.ndarray:
    """uint8 sRGB to float32 CIE LAB (D65)."""
    return cv2.cvtColor(image.astype(np.float32) * np.float32(1 / 255), cv2.COLOR_RGB2LAB)


def _images(arrays: Arrays) -> Iterator[np.ndarray]:
    """The images one by one, since all of them may not fit in memory."""
    for index in range(arrays.length):
        yield arrays.take(np.array([index]))[0][0]
