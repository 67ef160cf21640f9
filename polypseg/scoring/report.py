"""`report.html`: one file that opens offline, with table, charts, pictures and every image's
numbers.
"""

import datetime
import html
import json
import string
import sys
from pathlib import Path

import numpy as np

from polypseg.drawing.colours import FALSE, HIT, MISSED, OUTLINE, to_hex
from polypseg.metrics.table import METRICS

from .evaluation import resize_map
from .gallery import choose, picture
from .tables import PROTOCOLS, best_cells, cells, protocol_words, without_nan

_PICTURES = 64  # in all; each has some 20 to 40 kB
_TEMPLATE = Path(__file__).with_name("report.html")
_SHORT = {"precision": "prec."}


def pictures(source, results, rules, maps_of, sources=1):
    """Tiles of the images of lowest and of median Dice.

    Args:
        maps_of: function from items to their maps.
        sources: how many sources share the report.

    Returns:
        list of dicts: kind ("worst" or "median"), stem, dice, src (a data URL).
    """
    each = min(8, max(1, _PICTURES // (2 * sources)))
    chosen = [
        (kind, index)
        for kind, indices in zip(("worst", "median"), choose(results, each))
        for index in indices
    ]
    items = [source.items[index] for _, index in chosen]
    tiles = []
    for (kind, index), item, map_ in zip(chosen, items, maps_of(items)):
        scores = results[index].scores
        if map_.shape != (size := scores.size):
            map_ = resize_map(map_, size)
        tiles.append(
            {
                "kind": kind,
                "stem": item.stem,
                "dice": scores.threshold["dice"],
                "src": picture(item, map_, rules.threshold),
            }
        )
    return tiles


def report(rows, galleries, environment):
    """The page as text.

    Args:
        rows: `SourceScores`.
        galleries: for each of them what `pictures` returned.
        environment: dict of text, shown as it is.
    """
    one = rows[0].source
    models, datas = (
        list(dict.fromkeys(names))
        for names in zip(*((row.source.model, row.source.data) for row in rows))
    )
    title = (
        f"{one.model} on {one.data}"
        if len(rows) == 1
        else f"{_count(models, 'model')} on {_count(datas, 'data set')}"
    )
    images = sum(row.total["n"] for row in rows)
    now = datetime.datetime.now()
    data = json.dumps(
        without_nan([_data(*pair, environment) for pair in zip(rows, galleries)]),
        separators=(",", ":"),
    )
    return string.Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        hit=to_hex(HIT),
        false=to_hex(FALSE),
        missed=to_hex(MISSED),
        outline=to_hex(OUTLINE),
        title=html.escape(title),
        subtitle=html.escape(
            f"{images} images, scored at the masks' own size. {now.day} {now:%B %Y, %H:%M}."
        ),
        headline="\n".join(_headline(rows, protocol) for protocol in PROTOCOLS),
        glossary=_glossary(),
        columns=json.dumps(_columns()),
        of_pranet=html.escape(_of_pranet()),
        data=data.replace("<", "\\u003c"),
    )


def _per_image(protocol):
    """Of the table of images: heading, key in the page and key in `ImageScores` of each score."""
    others = {metric.heading for metric in METRICS["threshold"]} if protocol == "pranet" else ()
    prefix = "pranet_" if protocol == "pranet" else ""  # as in per_image.csv
    for metric in METRICS[protocol]:
        if metric.per_image:
            heading = _SHORT.get(metric.heading, metric.heading)
            if metric.heading in others:
                heading = f"{heading} (pranet)"
            yield heading, prefix + metric.key, metric.key


def _columns():
    """Of the table of images: key, heading and, where it is not 3, the number of digits."""
    metrics = [(key, heading) for protocol in METRICS for heading, key, _ in _per_image(protocol)]
    return [("stem", "image"), ("size", "size %", 2), *metrics]


def _of_pranet():
    """Which columns of the table of images are of the protocol `pranet`."""
    headings = [heading for heading, _, _ in _per_image("pranet")]
    return f"; {', '.join(headings)}: protocol pranet" if headings else ""


def _glossary():
    """Each score once, as a definition list; one of both protocols twice if its words differ."""
    entries = dict.fromkeys(
        (metric.heading, f"{metric.words} {metric.better.capitalize()} is better.")
        for protocol in PROTOCOLS
        for metric in METRICS[protocol]
    )
    return "".join(
        f"<dt>{html.escape(heading)}</dt><dd>{html.escape(text)}</dd>" for heading, text in entries
    )


def _count(names, what):
    return names[0] if len(names) == 1 else f"{len(names)} {what}s"


def _headline(rows, protocol):
    heads, lines = cells(rows, protocol, 3)
    best = best_cells(rows, lines, protocol)
    skip = 3 if len(rows) == 1 else 0  # the title says model, data and number
    mark = ' class="name"'
    names = "".join(
        f"<th scope='col'{mark if index < 2 else ''}>{html.escape(_SHORT.get(head, head))}</th>"
        for index, head in enumerate(heads)
        if index >= skip
    )
    body = "".join(
        "<tr>"
        + "".join(
            f"<td{mark if column < 2 else ''}>{_bold(cell, (row, column) in best)}</td>"
            for column, cell in enumerate(line)
            if column >= skip
        )
        + "</tr>"
        for row, line in enumerate(lines)
    )
    name, words = protocol_words(protocol, rows).split(": ", 1)
    kind = "single" if skip else "several"
    empty = sum(row.empty for row in rows)
    note = f" {empty} empty mask(s): --empty {rows[0].rules.empty}." if empty else ""
    return (
        f'<section class="card"><h2>{html.escape(name)}</h2>'
        f'<p class="soft">{html.escape(words[0].upper() + words[1:])}.{html.escape(note)}</p>'
        f'<div class="scroll"><table class="headline {kind}"><thead><tr>{names}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        "</section>"
    )


def _bold(text, best):
    text = html.escape(text)
    return f"<b>{text}</b>" if best else text


def _data(row, gallery, environment):
    source, rules = row.source, row.rules
    scoring = {
        "maps" if source.items[0].map else "model": source.path,
        "data": source.data,
        "images": row.total["n"],
        "threshold": f"{rules.threshold:g}",
        **source.network,
        "--empty": rules.empty,
        "--resize": "yes" if rules.resize else "no",
        "empty masks": row.empty,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }
    parts = [
        ("Scoring", scoring),
        ("Training run", source.config or {}),
        ("Environment", environment),
    ]
    return {
        "model": source.model,
        "data": source.data,
        "threshold": rules.threshold,
        "curves": {
            protocol: {
                short: _rounded(curves[name])
                for short, name in (("dice", "dice"), ("iou", "iou"), ("e", "e_measure"))
            }
            for protocol, curves in row.curves.items()
        },
        "images": [_image(result) for result in row.results],
        "gallery": gallery,
        "config": [
            [title, [[key, "–" if value is None else str(value)] for key, value in part.items()]]
            for title, part in parts
        ],
    }


def _image(result):
    scores = result.scores
    numbers = {
        key: round(getattr(scores, protocol)[name], 5)
        for protocol in METRICS
        for _, key, name in _per_image(protocol)
    }
    return {"stem": result.stem, "size": round(100 * scores.area, 4)} | numbers


def _rounded(curve):
    return [round(float(value), 5) for value in np.asarray(curve)]
