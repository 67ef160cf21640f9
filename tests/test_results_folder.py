"""Maps are on the disk as they come, and have their names only when all is done."""

import tracemalloc

import cv2
import numpy as np
import pytest

from polypseg.errors import InputError
from polypseg.scoring.results_folder import ResultsFolder
from polypseg.scoring.sources import Item, Source


@pytest.fixture
def source(tmp_path):
    items = [Item(f"p{index:02}", tmp_path / "none.png", None) for index in range(20)]
    return Source("net", "bowel", items, tmp_path / "net.onnx")


def noise(count, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield rng.random((200, 300), np.float32)


def test_maps_get_their_names_at_the_end(source, tmp_path):
    out = tmp_path / "out"
    with ResultsFolder(out, [source], save_maps=True) as folder:
        for count, map_ in enumerate(folder.save_maps(source, noise(20)), 1):
            assert map_.shape == (200, 300)
            sizes = [path.stat().st_size for path in out.rglob("*.png")]
            assert len(sizes) == count and min(sizes) > 10_000  # already on the disk
            assert not list(out.rglob("p*.png"))
    assert sorted(path.name for path in (out / "predictions").iterdir()) == [
        f"p{index:02}.png" for index in range(20)
    ]
    for item, map_ in zip(source.items, noise(20)):
        saved = cv2.imread(str(out / "predictions" / f"{item.stem}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_allclose(saved / 255, map_, atol=0.5001 / 255)


@pytest.mark.parametrize("error", [OSError("no device"), InputError("bad mask"), KeyboardInterrupt])
def test_an_error_leaves_nothing(error, source, tmp_path):
    with pytest.raises(type(error) if isinstance(error, Exception) else error) as caught:
        with ResultsFolder(tmp_path / "out", [source], save_maps=True) as folder:
            for count, _ in enumerate(folder.save_maps(source, noise(20))):
                if count == 7:
                    raise error
    assert caught.value is error or isinstance(error, type)
    assert not (tmp_path / "out").exists()


def test_an_error_keeps_what_was_there(source, tmp_path):
    old = tmp_path / "out" / "predictions" / "p03.png"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    with pytest.raises(ValueError), ResultsFolder(tmp_path / "out", [source], True) as folder:
        list(folder.save_maps(source, noise(20)))
        raise ValueError
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [old]
    assert old.read_bytes() == b"old"


def test_maps_are_not_kept_in_memory(source, tmp_path):
    with ResultsFolder(tmp_path / "out", [source], save_maps=True) as folder:
        tracemalloc.start()
        maps = folder.save_maps(source, noise(20))
        next(maps)
        first, _ = tracemalloc.get_traced_memory()
        for _ in maps:
            pass
        last, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        written = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*.png"))
    assert written > 1e6 and last - first < 0.1 * written
