"""The sentences that stand beside the tables."""

from collections import Counter
from collections.abc import Sequence

from polypseg.errors import one_line
from polypseg.metrics.bootstrap import FEW_UNITS, LEVEL, RESAMPLES
from polypseg.metrics.table import Metric

from .columns import SIZE
from .comparison import compare
from .row_scores import RowScores
from .source_scores import SourceScores
from .strata import Stratum

ON_INTERVALS = f"{100 * LEVEL:.0f} % intervals, from {RESAMPLES:,} bootstrap resamples"
_MOST_SENTENCES = 6  # all pairs of four models


def protocol_words(protocol: str, rows: Sequence[RowScores]) -> str:
    """One line that says how the numbers of a table were computed."""
    if protocol == "pranet":
        return (
            "Protocol pranet: each map stretched to [0, 1], 256 thresholds "
            "(as the authors of PraNet evaluate)"
        )
    if protocol == "volume":
        words = (
            "Protocol volume: all voxels of a patient together, foreground where probability >= "
            f"{_thresholds(rows)}; mean and standard deviation over the patients"
        )
        if rows[0].rules.boundary is not None:
            words += f"; surface Dice within {rows[0].rules.boundary:g} mm"
        return words
    words = (
        f"Protocol threshold: the map as it is, foreground where probability >= {_thresholds(rows)}"
    )
    if rows[0].rules.boundary is not None:
        words += f"; HD95 in pixels, surface Dice within {rows[0].rules.boundary:g} pixels"
    return words


def _thresholds(rows: Sequence[RowScores]) -> str:
    return ", ".join(dict.fromkeys(f"{row.rules.threshold:g}" for row in rows))


def lesion_words(rows: Sequence[SourceScores]) -> str:
    """One line that says how lesions were counted."""
    rules = rows[0].rules
    specks = sum({row.source.data: row.lesion_counts.specks for row in rows}.values())
    left_out = f" ({specks} smaller ones do not count)" if specks else ""
    return (
        f"Lesions: connected components of the masks of at least {rules.lesion_pixels} pixels"
        f"{left_out}, found if their IoU with a component of the prediction (probability >= "
        f"{_thresholds(rows)}) is above {rules.lesion_iou:g}; not under pranet, whose stretched "
        "maps always find something"
    )


def interval_note(rows: Sequence[RowScores]) -> list[str]:
    """A warning for each data set that is too small for its intervals."""
    notes = {}
    for row in rows:
        unit = row.noun if row.group_of_image is None else "group"
        if row.units == 1:
            notes[row.source.data] = f"{row.source.data}: no intervals, since it is one {unit}"
        elif row.units < FEW_UNITS:
            notes[row.source.data] = (
                f"The intervals of {row.source.data} are unreliable, often too short: {row.units} "
                f"{unit}s, fewer than {FEW_UNITS}"
            )
        else:
            few = [
                f"{metric.heading} ({row.defined[part][metric.key]} {unit}s)"
                for part, metrics in row.tables.items()
                for metric in metrics
                if metric.column and 0 < row.defined[part].get(metric.key, 0) < FEW_UNITS
            ]
            if few:
                notes[row.source.data] = (
                    f"These intervals of {row.source.data} are unreliable: {', '.join(few)}"
                )
    return [on_one_line(note) for note in notes.values()]


def parts_note(rows: Sequence[SourceScores]) -> list[str]:
    """A warning if a part of a data set is too small for its intervals."""
    small = any(
        part.images < FEW_UNITS for row in rows for parts in row.strata.values() for part in parts
    )
    return [f"Intervals of parts with fewer than {FEW_UNITS} images are unreliable"] * small


def comparison_sentences(rows: Sequence[RowScores], protocol: str) -> list[str]:
    """What the first score of a protocol says about each pair of models, and about their ranking;
    with boundary scores also HD95.

    With more than four models only the pairs with the best one are told.
    """
    first, *others = rows[0].tables[protocol]
    told = [first, *(m for m in others if m.key == "hd95" and m.key in rows[0].total[protocol])]
    return [on_one_line(line) for metric in told for line in _sentences_on(rows, protocol, metric)]


def _sentences_on(rows: Sequence[RowScores], protocol: str, metric: Metric) -> list[str]:
    comparisons, rankings = compare(rows, {protocol: [metric]})
    several = len({pair.data for pair in comparisons}) > 1
    sentences = []
    for data in dict.fromkeys(pair.data for pair in comparisons):
        pairs = [pair for pair in comparisons if pair.data == data]
        order = [ranking for ranking in rankings if ranking.data == data]
        if len(pairs) > _MOST_SENTENCES:
            wins = Counter(pair.better for pair in pairs)
            pairs = [pair for pair in pairs if pair.better == wins.most_common(1)[0][0]]
        found = [pair.sentence for pair in pairs] + [ranking.sentence for ranking in order]
        sentences += [f"{data}: {sentence}" if several else sentence for sentence in found]
    return sentences


def stratum_name(stratum: Stratum, column: str) -> str:
    """The name with its limits, such as "small (0.5 % to 3.2 %)"."""
    if stratum.limits is None:
        return stratum.name
    factor, unit = (100.0, " %") if column == SIZE else (1.0, "")
    low, high = (f"{factor * limit:.3g}{unit}" for limit in stratum.limits)
    return f"{stratum.name} ({low} to {high})"


def on_one_line(text: str) -> str:
    """The text without line breaks, and without what a terminal would take for a command."""
    return one_line(" ".join(text.split()))
