"""CVC-ClinicDB: 612 frames of 29 colonoscopy sequences. Bernal et al., CMIG 2015."""

from bisect import bisect_right
from collections.abc import Sequence

from .base import ImagePreset, Split

# The number of the first frame of each sequence.
FIRST = (
    *(1, 26, 51, 68, 79, 104, 127, 152, 178, 200, 206, 228, 253, 278, 298),
    *(318, 343, 364, 384, 409, 429, 448, 467, 479, 504, 529, 547, 572, 592),
)
FRAMES = 612


def sequence_of(stem: str) -> int:
    """The sequence, 1 to 29, of the frame with this number. Raises ValueError.

    >>> sequence_of("25"), sequence_of("26"), sequence_of("612")
    (1, 2, 29)
    """
    if not stem.isdecimal() or not 1 <= int(stem) <= FRAMES:
        raise ValueError(f"expected frames named 1 to {FRAMES}, got {stem}")
    return bisect_right(FIRST, int(stem))


def by_sequence(stems: Sequence[str]) -> dict[str, Split]:
    """A split that divides no sequence: neighbouring frames show the same polyp.

    The sequences whose numbers end in 8 are for validation (8, 18, 28: 66 frames), those that end
    in 5 for test (5, 15, 25: 70 frames). This split is ours; none by sequence was published with
    the data.
    """
    split: Split = {"train": [], "val": [], "test": []}
    for stem in stems:
        split[{8: "val", 5: "test"}.get(sequence_of(stem) % 10, "train")].append(stem)
    return {"sequences": split}


PRESET = ImagePreset(
    title="CVC-ClinicDB",
    images="Original",
    masks="Ground Truth",
    source="https://polyp.grand-challenge.org/CVCClinicDB/",
    terms="research",
    layout="Original/ and 'Ground Truth'/, 612 TIFF files each",
    sequence_of=sequence_of,
    splits={"": by_sequence},
)
