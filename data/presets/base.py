"""What is known of a published data set."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """A data set as its publishers lay it out.

    Attributes:
        title: its name.
        images, masks: the folders of its archive; files match by stem.
        source: where it is to be had.
        terms: for which use, as its publishers state it.
    """

    title: str
    images: str
    masks: str
    source: str
    terms: str
