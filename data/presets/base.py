"""The description of a published data set."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """A published data set.

    Attributes:
        title: name of the data set.
        images, masks: folders of its archive, whose files match by stem.
        source: address of its web page.
        terms: permitted use, as stated by its publishers.
    """

    title: str
    images: str
    masks: str
    source: str
    terms: str
