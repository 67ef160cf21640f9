"""A sheet of predictions: the worst, the middle and the best pictures."""

from pathlib import Path

from polypseg.data.images import read_image, write_png
from polypseg.data.masks import read_mask
from polypseg.drawing.contact_sheet import sheet
from polypseg.experiment.checkpoint import SaveError
from polypseg.inference.predictor import Predictor
from polypseg.runtime import command
from polypseg.scoring.evaluation import evaluate

SAMPLES = Path("samples", "validation.png")


def _write_sheet(path, predictor, ranked, threshold=0.5, each=4):
    """Write a contact sheet as PNG.

    Args:
        path: of the picture; its folder is made.
        predictor: what drew the predictions.
        ranked: `(dice, Pair)` of the pictures to choose from.
        threshold: a pixel is foreground where its probability is at least this.
        each: how many of the worst, of the middle and of the best.
    """
    ranked = sorted(ranked)
    middle = max(len(ranked) // 2 - each // 2, 0)
    chosen = dict.fromkeys(ranked[:each] + ranked[middle : middle + each] + ranked[-each:])
    rows = []
    for scored in evaluate(predictor, [pair for _, pair in chosen], threshold, batch_size=each):
        pair, prediction = scored.pair, scored.probability >= threshold
        caption = f"{pair.stem}  Dice {scored.scores['dice']:.3f}"
        rows.append((read_image(pair.image), read_mask(pair.mask), prediction, caption))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, sheet(rows, columns=each))


def write_samples(folder, pairs, most=100):
    """`samples/validation.png`, chosen from at most `most` of the pairs. Raises `SaveError`."""
    predictor = Predictor.load(folder)
    pairs = pairs[:: -(-len(pairs) // most)]
    try:
        ranked = [(scored.scores["dice"], scored.pair) for scored in evaluate(predictor, pairs)]
        _write_sheet(folder / SAMPLES, predictor, ranked)
    except (OSError, ValueError) as error:
        raise SaveError(
            f"{folder}: the network is trained, but {SAMPLES} could not be drawn ({error}); "
            f"draw it with: {command('train')} --resume {folder}"
        ) from error
