"""What the levels or colours of mask files mean, from the options of a command."""

from collections.abc import Sequence
from typing import NamedTuple

from polypseg.errors import expect

Colour = tuple[int, int, int]

# The options that `mask_rule` takes, in this order.
MASK_OPTIONS = ("label", "ignore", "mask_color")


class MaskRule(NamedTuple):
    """What the levels or colours of mask files mean. By default, the files are black and white, and
    white is foreground.

    Attributes:
        label: the levels of a label map that are foreground.
        ignore: the levels of pixels that count neither in a loss nor in a score.
        color: the colours, red, green and blue in 0..255, that are foreground. The other colours
            of the file are background.
    """

    label: tuple[int, ...] = ()
    ignore: tuple[int, ...] = ()
    color: tuple[Colour, ...] = ()


BLACK_AND_WHITE = MaskRule()


def mask_rule(
    label: Sequence[int] | None = None,
    ignore: Sequence[int] | None = None,
    mask_color: Sequence[int] | None = None,
) -> MaskRule:
    """Make a rule from options.

    Args:
        label, ignore: see `MaskRule`; from 0 to 65535.
        mask_color: three numbers for each colour, see `MaskRule`; not with the others.

    Raises:
        InputError: an option is empty or out of range, or excludes another one.

    >>> mask_rule(mask_color=[255, 0, 0, 0, 255, 0]).color
    ((255, 0, 0), (0, 255, 0))
    """
    for name, levels in (("label", label), ("ignore", ignore)):
        _expect_numbers(levels, 2**16, name, "levels from 0 to 65535")
        expect(
            levels is None or mask_color is None,
            name,
            "either levels, or colours in `mask_color`",
            "both",
        )
    both = sorted(set(label or ()) & set(ignore or ()))
    expect(not both, "ignore", "other levels than `label`", " ".join(map(str, both)))
    colours = "three numbers from 0 to 255 for each colour: red, green and blue"
    _expect_numbers(mask_color, 256, "mask_color", colours, each=3)
    channels = iter(mask_color or ())
    return MaskRule(
        tuple(label or ()), tuple(ignore or ()), tuple(zip(channels, channels, channels))
    )


def _expect_numbers(
    numbers: Sequence[int] | None, below: int, name: str, expected: str, each: int = 1
) -> None:
    """Raise `InputError` unless these are whole numbers in range, or there are none."""
    if numbers is None:
        return
    good = len(numbers) > 0 and len(numbers) % each == 0
    good = good and all(type(number) is int and 0 <= number < below for number in numbers)
    expect(good, name, expected, " ".join(map(str, numbers)) or None)
