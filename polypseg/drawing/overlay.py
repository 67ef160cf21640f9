"""Masks drawn on images."""

from collections.abc import Sequence

import cv2
import numpy as np

from .colours import MARK, RIM, Colour


def draw_contour(
    image: np.ndarray, mask: np.ndarray, colour: Colour, width: int | None = None
) -> np.ndarray:
    """Draw the outline of a mask, with a dark rim, on a copy of an image.

    Args:
        image: `(H, W, 3)` uint8 RGB.
        mask: `(H, W)` in {0, 1} or bool.
        colour: colour of the outline.
        width: width of the outline in pixels; default: 1/150 of the shorter side.

    Returns:
        `(H, W, 3)` uint8 RGB.
    """
    width = width or max(1, round(min(image.shape[:2]) / 150))
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    image = np.ascontiguousarray(image.copy())
    cv2.drawContours(image, contours, -1, RIM, width + 2, cv2.LINE_AA)
    cv2.drawContours(image, contours, -1, colour, width, cv2.LINE_AA)
    return image


def tint(image: np.ndarray, mask: np.ndarray, colour: Colour, strength: float = 0.3) -> np.ndarray:
    """Colour the pixels of a mask on a copy of an image.

    Args:
        image: `(H, W, 3)` uint8 RGB.
        mask: `(H, W)` in {0, 1} or bool.
        colour: colour that is blended with the pixels of the mask.
        strength: weight of the colour, from 0 to 1.

    Returns:
        `(H, W, 3)` uint8 RGB.
    """
    blended = image.astype(np.float32) * (1 - strength) + np.array(colour, np.float32) * strength
    return np.where(mask[..., None].astype(bool), np.rint(blended), image).astype(np.uint8)


def overlay(
    image: np.ndarray, mask: np.ndarray, colour: Colour = MARK, strength: float = 0.2
) -> np.ndarray:
    """Tint and outline a mask on a copy of an image.

    Exactly the mask's pixels are tinted. The outline and its dark rim lie outside the mask, so that
    the result shows the mask's exact extent.

    Args:
        image: `(H, W, 3)` uint8 RGB.
        mask: `(H, W)` in {0, 1} or bool.
        colour: colour of tint and outline.
        strength: weight of the colour in the tint, from 0 to 1.

    Returns:
        `(H, W, 3)` uint8 RGB: `(1 - strength) * image + strength * colour`, rounded, where the mask
        is 1.
    """
    mask = np.ascontiguousarray(mask, np.uint8)
    result = image.copy()
    left, top, width, height = cv2.boundingRect(mask)
    if not width:
        return result
    line = max(2, round(min(mask.shape) / 240))
    margin = line + 3
    rows = slice(max(top - margin, 0), top + height + margin)
    columns = slice(max(left - margin, 0), left + width + margin)
    inside = np.ascontiguousarray(mask[rows, columns])
    part = image[rows, columns].copy()
    tinted = cv2.addWeighted(part, 1 - strength, np.full_like(part, colour), strength, 0)

    contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    outline, rim = (_band(contours, inside.shape, reach) for reach in (line, line + 1))
    ring = np.flatnonzero((rim > 0) & (inside == 0))
    outline, rim = (band.ravel()[ring, None] / np.float32(255) for band in (outline, rim))
    pixels = part.reshape(-1, 3)
    drawn = pixels[ring] * (1 - 0.8 * rim)
    pixels[ring] = np.rint(drawn + (np.array(colour, np.float32) - drawn) * outline)
    cv2.copyTo(tinted, inside, part)
    result[rows, columns] = part
    return result


def _band(contours: Sequence[np.ndarray], shape: tuple[int, ...], reach: int) -> np.ndarray:
    """An opacity `(H, W)` uint8: 255 up to `reach` pixels from the contours, 0 further away.

    The edge is blurred, which takes less time than OpenCV's LINE_AA.
    """
    band = np.zeros(shape, np.uint8)
    cv2.drawContours(band, contours, -1, 255, 2 * reach + 1)
    return cv2.GaussianBlur(band, (3, 3), 0)
