"""A contact sheet of the worst, middle and best predictions of a run."""

from collections.abc import Sequence
from pathlib import Path

from polypseg.data.images import read_image, write_png
from polypseg.data.mask_rule import BLACK_AND_WHITE, MaskRule
from polypseg.data.pairs import Pair
from polypseg.drawing.contact_sheet import sheet
from polypseg.experiment.checkpoint import SaveError
from polypseg.inference.predictor import Predictor
from polypseg.layers.types import IGNORED
from polypseg.runtime import command
from polypseg.scoring.evaluation import evaluate

SAMPLES = Path("samples", "validation.png")


def write_samples(
    folder: Path, pairs: Sequence[Pair], rule: MaskRule = BLACK_AND_WHITE, most: int = 100
) -> None:
    """Write `samples/validation.png` in a run folder.

    Args:
        folder: of the run.
        pairs: validation images and their masks.
        rule: what the levels of the masks mean, see `data.masks.read_mask`.
        most: the samples are chosen from at most so many pairs, at equal distances.

    Raises:
        SaveError: an image cannot be read, or the file cannot be written.
    """
    predictor = Predictor.load(folder, engine="keras")
    pairs = pairs[:: -(-len(pairs) // most)]
    try:
        scores = [
            (scored.scores["dice"], scored.pair) for scored in evaluate(predictor, pairs, rule=rule)
        ]
        _write_sheet(folder / SAMPLES, predictor, scores, rule)
    except (OSError, ValueError) as error:
        raise SaveError(
            f"{folder}: the network is trained, but {SAMPLES} could not be drawn ({error}); "
            f"draw it with: {command('train')} --resume {folder}"
        ) from error


def _write_sheet(
    path: Path,
    predictor: Predictor,
    scores: Sequence[tuple[float, Pair]],
    rule: MaskRule,
    threshold: float = 0.5,
    each: int = 4,
) -> None:
    """Write a contact sheet of images, masks and predictions as PNG.

    Args:
        path: of the file; its folder is made.
        predictor: makes the predictions.
        scores: Dice of each pair that can be drawn.
        rule: as in `write_samples`.
        threshold: a pixel is foreground if its probability is at least this.
        each: how many of the worst, of the middle and of the best.
    """
    ranked = sorted(scores)
    middle = max(len(ranked) // 2 - each // 2, 0)
    chosen = dict.fromkeys(ranked[:each] + ranked[middle : middle + each] + ranked[-each:])
    rows = []
    pairs = [pair for _, pair in chosen]
    for scored in evaluate(predictor, pairs, threshold, batch_size=each, rule=rule):
        pair = scored.pair
        prediction = (scored.probability >= threshold) & (scored.mask != IGNORED)
        caption = f"{pair.stem}  Dice {scored.scores['dice']:.3f}"
        rows.append(
            (read_image(pair.image, window=predictor.window), scored.mask == 1, prediction, caption)
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, sheet(rows, columns=each))
