"""Every registered data set is found in the layout of its publishers."""

from dataclasses import asdict

import numpy as np
import pytest

from polypseg.data.images import write_png
from polypseg.data.pairs import find_pairs
from polypseg.data.presets import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_its_archive_is_read_as_it_is(name, tmp_path):
    preset = PRESETS[name]
    assert all(asdict(preset).values())
    rng = np.random.default_rng(0)
    for folder, shape in ((preset.images, (7, 9, 3)), (preset.masks, (7, 9))):
        (tmp_path / folder).mkdir()
        for stem in ("b", "a"):
            array = rng.integers(0, 256, shape).astype(np.uint8)
            write_png(tmp_path / folder / f"{stem}.png", array)
    pairs, orphans = find_pairs(tmp_path)
    assert not orphans and [pair.stem for pair in pairs] == ["a", "b"]
    assert pairs[0].image == tmp_path / preset.images / "a.png"
    assert pairs[0].mask == tmp_path / preset.masks / "a.png"
