"""Every colour that the application draws with, as RGB in 0..255."""

Colour = tuple[int, int, int]

PAGE = (17, 24, 39)  # of sheets and panels; dark, so that it does not outshine the images
INK = (229, 231, 235)
FAINT = (148, 163, 184)

MARK = (60, 255, 110)  # green, which mucosa lacks: where one mask is shown
TRUTH, PREDICTION = (64, 224, 255), (255, 230, 0)  # cyan and yellow stand out on mucosa
RIM = (0, 0, 0)  # around an outline, which would be lost on bright spots

# Told apart by eyes that confuse red and green, and on mucosa.
HIT, FALSE, MISSED = (18, 184, 134), (242, 183, 5), (108, 99, 255)
OUTLINE = (255, 255, 255)  # of the ground truth among these three

# Curves on white: training recedes, the other two differ for eyes that confuse red and green.
TRAINING, VALIDATION, BEST = (156, 163, 175), (37, 99, 235), (234, 88, 12)


def to_hex(colour: Colour) -> str:
    """The colour for CSS and matplotlib: `#12b886`."""
    return f"#{bytes(colour).hex()}"
