"""The list of scores. `metrics.json`, `per_image.csv`, the tables and the report are made from it.

To add a score, add an entry here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """One score under one protocol.

    Attributes:
        key: name of the score in `metrics.json` and `per_image.csv`.
        heading: heading of its column.
        latex: heading in LaTeX.
        better: whether a `"higher"` or a `"lower"` value is better.
        words: explanation in a sentence or two, for the report's glossary.
        function: function from a `ThresholdView` or `PranetView` of one image to the score; nan
            where the score is not defined.
        column: whether the tables have a column for it.
        per_image: whether the report lists it for each image.
        max_of_curve: None if the value for a data set is the mean over images. Otherwise the name
            of a curve in `CURVES`: the curve is averaged over images, and the value is its maximum.
    """

    key: str
    heading: str
    latex: str
    better: str
    words: str
    function: Callable[[Any], float]
    column: bool = True
    per_image: bool = True
    max_of_curve: str | None = None


def _overlap(key: str) -> Callable[[Any], float]:
    return lambda view: view.overlap[key]


def _mean(curve: str) -> Callable[[Any], float]:
    return lambda view: view.curves[curve].mean()


def _max(curve: str) -> Callable[[Any], float]:
    return lambda view: view.curves[curve].max()


_DICE = "Twice the area that mask and prediction share, divided by the sum of their areas."
_IOU = "The area that mask and prediction share, divided by the area that they cover together."
_WFB = (
    "Weighted F: precision and recall of the map. An error counts less near the mask's outline and "
    "where the pixels around it are right (Margolin et al., CVPR 2014)."
)
_S = "S-measure: how similar map and mask are as objects and by regions (Fan et al., ICCV 2017)."
_E = (
    "E-measure: how well prediction and mask agree at each pixel and as a whole "
    "(Fan et al., IJCAI 2018)."
)
_MAE = "Mean absolute difference between map and mask, over all pixels."
_MEAN = " Mean over 256 thresholds."
_MAX = " The highest point of the mean curve over 256 thresholds."

THRESHOLD = (
    Metric("dice", "Dice", "Dice", "higher", _DICE, _overlap("dice")),
    Metric("iou", "IoU", "IoU", "higher", _IOU, _overlap("iou")),
    Metric("wfb", "wFb", r"$F_\beta^w$", "higher", _WFB, lambda view: view.weighted_f),
    Metric("s_measure", "Sm", r"$S_\alpha$", "higher", _S, lambda view: view.s_measure),
    Metric("e_measure", "E", r"$E_\phi$", "higher", _E, lambda view: view.e_measure),
    Metric("mae", "MAE", "MAE", "lower", _MAE, lambda view: view.mae),
    Metric(
        "precision",
        "precision",
        "precision",
        "higher",
        "The share of the predicted foreground that is in the mask.",
        _overlap("precision"),
    ),
    Metric(
        "recall",
        "recall",
        "recall",
        "higher",
        "The share of the mask that was found; also called sensitivity.",
        _overlap("recall"),
    ),
)


def _pranet(
    key: str, heading: str, words: str, function: Callable[[Any], float], **options: Any
) -> Metric:
    default: dict[str, Any] = {
        "latex": heading,
        "better": "higher",
        "column": False,
        "per_image": False,
    }
    return Metric(key=key, heading=heading, words=words, function=function, **(default | options))


PRANET = (
    _pranet("mean_dice", "mDice", _DICE + _MEAN, _mean("dice"), column=True, per_image=True),
    _pranet(
        "max_dice", "max Dice", _DICE + _MAX, _max("dice"), per_image=True, max_of_curve="dice"
    ),
    _pranet("mean_iou", "mIoU", _IOU + _MEAN, _mean("iou"), column=True),
    _pranet("max_iou", "max IoU", _IOU + _MAX, _max("iou"), max_of_curve="iou"),
    _pranet("wfb", "wFb", _WFB, lambda view: view.weighted_f, column=True, latex=r"$F_\beta^w$"),
    _pranet("s_measure", "Sm", _S, lambda view: view.s_measure, column=True, latex=r"$S_\alpha$"),
    _pranet(
        "mean_e_measure",
        "mean E",
        _E + _MEAN,
        _mean("e_measure"),
        column=True,
        latex=r"mean $E_\phi$",
    ),
    _pranet(
        "max_e_measure",
        "max E",
        _E + _MAX,
        _max("e_measure"),
        column=True,
        latex=r"max $E_\phi$",
        max_of_curve="e_measure",
    ),
    _pranet("mae", "MAE", _MAE, lambda view: view.mae, column=True, better="lower"),
    _pranet(
        "mean_sensitivity",
        "mSensitivity",
        "The share of the mask that was found." + _MEAN,
        _mean("sensitivity"),
    ),
    _pranet(
        "mean_specificity",
        "mSpecificity",
        "The share of the background that was not marked as foreground." + _MEAN,
        _mean("specificity"),
    ),
)

METRICS: dict[str, tuple[Metric, ...]] = {"threshold": THRESHOLD, "pranet": PRANET}
