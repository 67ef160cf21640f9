"""The probability maps of many image files."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from polypseg.data.images import read_image

_FLIPS = ((1,), (0,), (0, 1))


def predict(predictor, items, tta=False, batch_size=8):
    """Yield the probability map `(H, W)` float32 of each item's image, one batch in memory at a
    time.

    Args:
        predictor: see `Predictor`.
        items: anything with `image`, a path.
        tta: average over the picture and its three flips.
    """
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(items), batch_size):
            images = list(
                pool.map(lambda item: read_image(item.image), items[start : start + batch_size])
            )
            maps = predictor(images)
            if tta:
                for axes in _FLIPS:
                    flipped = predictor(
                        [np.ascontiguousarray(np.flip(image, axes)) for image in images]
                    )
                    maps = [total + np.flip(map_, axes) for total, map_ in zip(maps, flipped)]
                maps = [total / np.float32(1 + len(_FLIPS)) for total in maps]
            yield from maps
