"""How much one set of maps scores under the practices of docs/comparability.md:

    python -m benchmarks.comparability --predictions maps --masks masks [--stems test.txt]

HD95 and surface Dice by MONAI are computed where MONAI and PyTorch are installed.
"""

import argparse
import statistics
from collections.abc import Callable

import cv2
import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt, generate_binary_structure

from polypseg.data.maps import read_map
from polypseg.data.masks import read_mask
from polypseg.metrics import DataSetScores, GroundTruth, score
from polypseg.metrics.boundary import boundary_scores
from polypseg.scoring.sources import saved_sources

BATCH = 16
ORDERS = 200


def dice(mask, found):
    return 2 * (mask & found).sum() / (mask.sum() + found.sum())


def mean_dice(pairs, threshold=0.5):
    return statistics.fmean(dice(mask, map_ >= threshold) for mask, map_ in pairs)


def pooled_dice(pairs):
    """One Dice from the sums over all pixels of all images."""
    hits = sum((mask & (map_ >= 0.5)).sum() for mask, map_ in pairs)
    return 2 * hits / sum(mask.sum() + (map_ >= 0.5).sum() for mask, map_ in pairs)


def soft_dice(pairs):
    """Dice of probabilities with a smoothing term, as a loss computes it: the mean over batches,
    for several random orders of the images.
    """
    rng = np.random.default_rng(0)
    small = at_size(pairs, 352)
    hits = np.array([(mask * map_).sum() for mask, map_ in small])
    areas = np.array([mask.sum() + map_.sum() for mask, map_ in small])
    means = []
    for _ in range(ORDERS):
        order = rng.permutation(len(small))
        batches = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
        means.append(
            statistics.fmean(
                (2 * hits[batch].sum() + 1) / (areas[batch].sum() + 1) for batch in batches
            )
        )
    return means


def at_size(pairs, size):
    """Masks and maps at the size of a network."""
    resized = []
    for mask, map_ in pairs:
        how = cv2.INTER_AREA if max(map_.shape) > size else cv2.INTER_LINEAR
        small = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
        resized.append((small >= 0.5, cv2.resize(map_, (size, size), interpolation=how)))
    return resized


def pranet_dice(pairs):
    """mDice of the protocol `pranet`."""
    scores = DataSetScores()
    for mask, map_ in pairs:
        scores.update_state(score(mask, np.rint(map_ * 255).astype(np.uint8)))
    return scores.result()["pranet"]["mean_dice"]


def binary(pairs):
    return [(mask, (map_ >= 0.5).astype(np.float32)) for mask, map_ in pairs]


def hd95_of_all_distances(mask, found):
    """HD95 as MedPy defines it: the percentile of the distances of both directions together."""
    cross = generate_binary_structure(2, 1)
    edges = [image ^ binary_erosion(image, cross) for image in (mask, found)]
    distances = [distance_transform_edt(~edge) for edge in edges]
    return np.percentile(np.hstack([distances[1][edges[0]], distances[0][edges[1]]]), 95)


def hd95_of_monai(mask, found):
    import torch
    from monai.metrics import compute_hausdorff_distance

    tensors = [torch.tensor(image[None, None].astype(np.float32)) for image in (found, mask)]
    return compute_hausdorff_distance(*tensors, include_background=True, percentile=95).item()


def hd95(mask, found):
    return boundary_scores(GroundTruth(mask), found, 2.0).hd95


def mean_over(pairs, function: Callable[[np.ndarray, np.ndarray], float]):
    found = [(mask, map_ >= 0.5) for mask, map_ in pairs]
    return statistics.fmean(function(mask, map_) for mask, map_ in found if map_.any())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--predictions", required=True)
    parser.add_argument("--masks", required=True)
    parser.add_argument("--stems")
    options = parser.parse_args()
    stems = [options.stems] if options.stems else None
    (source,) = saved_sources([options.predictions], [options.masks], stems)
    pairs = []
    for item in source.items:
        map_ = read_map(str(item.map))
        values = map_ / np.float32(255) if map_.dtype == np.uint8 else map_.astype(np.float32)
        pairs.append((read_mask(item.mask) == 1, values))
    print(f"{len(pairs)} images")
    soft = soft_dice(pairs)
    for name, function in {
        "Dice at 0.5, mean over images": lambda: mean_dice(pairs),
        "pooled over all pixels": lambda: pooled_dice(pairs),
        f"soft Dice at 352 px, mean over batches of {BATCH}": lambda: statistics.fmean(soft),
        f"the smallest of {ORDERS} orders": lambda: min(soft),
        f"the largest of {ORDERS} orders": lambda: max(soft),
        "at 256 px": lambda: mean_dice(at_size(pairs, 256)),
        "at 352 px": lambda: mean_dice(at_size(pairs, 352)),
        "mDice (pranet)": lambda: pranet_dice(pairs),
        "mDice (pranet) of binary maps": lambda: pranet_dice(binary(pairs)),
        "HD95, MedPy's definition": lambda: mean_over(pairs, hd95_of_all_distances),
        "HD95, MONAI": lambda: mean_over(pairs, hd95_of_monai),
        "HD95, surface-distance": lambda: mean_over(pairs, hd95),
    }.items():
        try:
            print(f"{name:50} {function():.4f}", flush=True)
        except ImportError as error:
            print(f"{name:50} not measured: {error}")


if __name__ == "__main__":
    main()
