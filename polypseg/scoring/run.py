"""Score one source after the other; a source is a network or a folder of saved maps."""

from collections.abc import Callable, Sequence

from polypseg.data.mask_rule import MASK_OPTIONS, MaskRule, mask_rule
from polypseg.errors import expect, of_argument
from polypseg.inference.formats import AUTO
from polypseg.metrics.boundary import surface_distance_version

from .comparison import note_not_compared
from .evaluation import Result, Rules, score_items
from .gallery import draw_examples
from .opened import Opener
from .results_folder import ResultsFolder
from .source_scores import SourceScores
from .sources import Source, network_sources, saved_sources
from .strata import divide
from .tables import terminal_tables
from .volumes.patients import has_volumes

__all__ = [
    "ResultsFolder",
    "divide",
    "has_volumes",
    "network_sources",
    "saved_sources",
    "score_sources",
    "terminal_tables",
]


def score_sources(
    sources: Sequence[Source],
    *,
    threshold: float | None = None,
    empty: str = "one",
    resize: bool = False,
    masks: MaskRule | None = None,
    window: Sequence[int] | None = None,
    input_size: int | None = None,
    engine: str = AUTO,
    tta: bool = False,
    lesion_iou: float = 0.1,
    lesion_pixels: int = 10,
    boundary: float | None = None,
    folder: ResultsFolder | None = None,
    on_image: Callable[[], object] = lambda: None,
) -> list[SourceScores]:
    """Score sources. With a folder, also draw examples and save the networks' maps.

    Args:
        sources: from `network_sources` or `saved_sources`.
        threshold: from 0 to 1; default: the network's own, 0.5 for saved maps.
        empty: what an empty mask scores, see `metrics.score`.
        resize: scale a map whose size differs from its mask's.
        masks: what the levels of the masks mean; default: as for the run, if there is one.
        window: of images with 16 bits, see `read_image`; default: that of the run, if any.
        input_size: height and width at which networks run; default: their own.
        engine: what runs the network of a run folder, see `Predictor.load`.
        tta: average a network's maps over the image and its three flips.
        lesion_iou: a lesion is found if its IoU with a predicted component is above this.
        lesion_pixels: the smallest size of a lesion.
        boundary: tolerance in pixels of the surface Dice; None leaves HD95 and surface Dice out.
        folder: for the maps; the caller writes the tables with its `write_tables`.
        on_image: called after each image.

    Raises:
        InputError: a file that cannot be read or written, or that does not fit the others.
    """
    if boundary is not None:
        surface_distance_version()  # an error now if the package is missing, not after the network
    note_not_compared(sources, "image")
    opener = Opener(window, input_size, tta, engine)
    rows = []
    for source in sources:
        network, maps_of, argument, own_threshold = opener(source)
        maps = None
        if network:
            maps = iter(maps_of(source.items))
            maps = folder.save_maps(source, maps) if folder else maps
        rules = Rules(
            own_threshold if threshold is None else threshold,
            empty,
            resize,
            masks or mask_rule(*((source.config or {}).get(name) for name in MASK_OPTIONS)),
            network.window if network else None,
            lesion_iou,
            lesion_pixels,
            boundary,
        )
        results = []
        with of_argument(argument):
            for result in score_items(source.items, rules, maps):
                results.append(result)
                on_image()
        _check_rule_fits(rules, results)
        examples = (
            draw_examples(source.items, results, rules, maps_of, len(sources)) if folder else ()
        )
        rows.append(SourceScores(source, rules, results, network, examples))
    return rows


def _check_rule_fits(rules: Rules, results: Sequence[Result]) -> None:
    """Raise `InputError` if no mask has the levels or colours that are foreground."""
    given = rules.masks.label or rules.masks.color
    expect(
        not given or any(result.scores.area for result in results),
        "label" if rules.masks.label else "mask_color",
        f"masks with {' or '.join(map(str, given))}",
        f"{len(results)} without",
    )
