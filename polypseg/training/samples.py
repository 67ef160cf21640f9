"""A sheet of predictions: the worst, the middle and the best pictures."""

from polypseg.data.images import read_image, read_mask, write_png

from polypseg.scoring.evaluation import evaluate
from polypseg.drawing.overlay import sheet


def write_sheet(path, predictor, ranked, threshold=0.5, each=4):
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
    chosen = dict.fromkeys(ranked[:each] + ranked[middle:middle + each] + ranked[-each:])
    rows = []
    for scored in evaluate(predictor, [pair for _, pair in chosen], threshold, batch_size=each):
        pair, prediction = scored.pair, scored.probability >= threshold
        caption = f"{pair.stem[:16]}  Dice {scored.scores['dice']:.3f}"
        rows.append((read_image(pair.image), read_mask(pair.mask), prediction, caption))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, sheet(rows, columns=each))
