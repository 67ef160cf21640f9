"""All colours of the application, as RGB in 0..255."""

Colour = tuple[int, int, int]

PAGE = (17, 24, 39)  # background of sheets and panels; dark, so that the images stand out
INK = (229, 231, 235)
FAINT = (148, 163, 184)

MARK = (60, 255, 110)  # a single mask; green does not occur in mucosa
TRUTH, PREDICTION = (64, 224, 255), (255, 230, 0)  # cyan, yellow: distinct on mucosa
RIM = (0, 0, 0)  # rim around outlines, so that they are visible on bright spots

# People who confuse red and green can tell these apart, and they are distinct on mucosa.
HIT, FALSE, MISSED = (18, 184, 134), (242, 183, 5), (108, 99, 255)
IGNORED = (71, 85, 105)
OUTLINE = (255, 255, 255)  # outline of the ground truth, drawn over these three

# Curves on white. People who confuse red and green can tell these apart, too.
TRAINING, VALIDATION, BEST = (156, 163, 175), (37, 99, 235), (234, 88, 12)


def to_hex(colour: Colour) -> str:
    """The colour for CSS and matplotlib: `#12b886`."""
    return f"#{bytes(colour).hex()}"
