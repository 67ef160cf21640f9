"""The loop from images through the network to maps, as `test.py`, images and videos use it."""

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from stub_predictor import Stub

from polypseg.data.images import write_png
from polypseg.errors import InputError
from polypseg.inference import images as images_module
from polypseg.inference import predict as predict_module
from polypseg.inference.images import Job, segment
from polypseg.inference.predict import CallTimes, predict, predictions, read_ahead
from polypseg.inference.video import Frame
from polypseg.inference.video_stages import overlay_stages
from polypseg.scoring import evaluation
from polypseg.scoring.evaluation import Rules, evaluate, score_items
from polypseg.scoring.sources import Item

ROOT = Path(__file__).resolve().parent.parent
MOST = 4000  # pixels a call
SIZES = [(31, 45), (7, 9), (53, 71), (80, 61), (1, 1), (45, 31), (60, 50), (33, 33), (9, 90)]


class Batchwise(Stub):
    """The answer depends on the place in the batch and on its length, which `calls` records."""

    def __init__(self):
        self.calls = []

    def __call__(self, images):
        self.calls.append(count := len(images))
        maps = super().__call__(images)
        return [map_ * np.float32((i + 1) / (count + 1)) for i, map_ in enumerate(maps)]

    def all_maps(self, images):
        return [np.stack([map_ / 2, map_], axis=-1) for map_ in self(images)]


def noise(count, seed=0):
    random = np.random.default_rng(seed)
    sizes = (SIZES * count)[:count]
    return [random.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def draw(folder, count, broken=()):
    """Files of noise; returns `Item`s and the pixels, None for what is not an image."""
    folder.mkdir(exist_ok=True)
    items, pixels = [], noise(count)
    for index, image in enumerate(pixels):
        path = folder / f"{index:02}.png"
        write_png(path, image)
        if index in broken:
            path.write_bytes(path.read_bytes()[:40])
            pixels[index] = None
        items.append(Item(path.stem, path, path))
    return items, pixels


def chunks(images, size, most=np.inf):
    """The calls of the network: `size` files each, fewer where they are too large."""
    for start in range(0, len(images), size):
        call = []
        for image in images[start : start + size]:
            if image is None:
                continue
            area = sum(other[..., 0].size for other in call)
            if call and area + image[..., 0].size > most:
                yield call
                call = []
            call.append(image)
        if call:
            yield call


def bounded(monkeypatch, *modules):
    for module in modules:
        monkeypatch.setattr(module, "predictions", partial(predictions, max_pixels=MOST))


def flipped_mean(predictor, call):
    total = predictor(call)
    for flip in (np.fliplr, np.flipud, lambda image: np.flipud(np.fliplr(image))):
        maps = predictor([flip(image) for image in call])
        total = [one + flip(other) for one, other in zip(total, maps)]
    return [map_ / np.float32(4) for map_ in total]


@pytest.mark.parametrize("tta", [False, True])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_predict_gives_what_a_plain_loop_gives(size, tta, tmp_path, monkeypatch):
    bounded(monkeypatch, predict_module)
    items, pixels = draw(tmp_path, 13)
    plain, predictor = Batchwise(), Batchwise()
    expected = []
    for call in chunks(pixels, size, MOST):
        expected += flipped_mean(plain, call) if tta else plain(call)
    found = list(predict(predictor, iter(items), tta=tta, batch_size=size))
    assert len(found) == len(expected) == 13
    for map_, other in zip(found, expected):
        assert map_.dtype == np.float32
        np.testing.assert_array_equal(map_, other)
    assert predictor.calls == plain.calls
    if size == 4:
        assert len(set(plain.calls)) > 2, "full, split and last calls have to differ"


def test_predict_gives_the_maps_before_a_broken_file_and_then_its_error(tmp_path):
    items, pixels = draw(tmp_path, 9, broken=[7])
    maps = predict(Stub(), items, batch_size=3)
    for image in pixels[:6]:
        np.testing.assert_array_equal(next(maps), image[..., 0] / np.float32(255))
    with pytest.raises(InputError, match="07.png"):
        next(maps)


@pytest.mark.parametrize("all_maps", [False, True])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_segment_writes_what_a_plain_loop_writes(size, all_maps, tmp_path, monkeypatch):
    bounded(monkeypatch, images_module)
    broken = [4, 5, 6, 7, 9]  # a complete batch of four, and one in a batch
    items, pixels = draw(tmp_path / "in", 14, broken)
    plain, predictor = Batchwise(), Batchwise()
    jobs, problems = [], []
    for item in items:
        targets = {kind: tmp_path / kind / item.image.name for kind in ("masks", "probabilities")}
        jobs.append(Job(item.image, targets))
    rows = [
        row
        for batch in segment(iter(jobs), predictor, 0.3, problems, size, all_maps)
        for row in batch
    ]
    expected = [map_ for call in chunks(pixels, size, MOST) for map_ in plain(call)]
    whole = [item.image for index, item in enumerate(items) if index not in broken]
    assert [row["file"] for row in rows] == whole
    for path, row, map_ in zip(whole, rows, expected):
        mask = cv2.imread(str(tmp_path / "masks" / path.name), cv2.IMREAD_UNCHANGED)
        levels = cv2.imread(str(tmp_path / "probabilities" / path.name), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(mask, np.where(map_ >= 0.3, 255, 0))
        np.testing.assert_array_equal(levels, np.rint(map_ * 65535))
        assert row["area"] == (map_ >= 0.3).sum()
    assert len(problems) == len(broken)
    for line, index in zip(sorted(problems), broken):
        assert line.startswith(str(items[index].image))
    assert [length for length in predictor.calls if length] == plain.calls


@pytest.mark.parametrize("stride", [1, 3, 11])
@pytest.mark.parametrize("count", [1, 2, 12, 40])
def test_the_network_of_a_video_gives_what_a_plain_loop_gives(count, stride):
    frames = [Frame(image, pts, []) for pts, image in enumerate(noise(count))]
    chosen = [frame.image for frame in frames[::stride]]
    plain, predictor = Batchwise(), Batchwise()
    expected = plain(chosen[:1]) + [m for call in chunks(chosen[1:], 4) for m in plain(call)]
    network = overlay_stages([], predictor, [], 0.5, batch_size=4, stride=stride)["network"]
    found = list(network(iter(frames)))
    assert [frame.pts for frame, _ in found] == list(range(count))
    for index, (_, map_) in enumerate(found):
        if index % stride:
            assert map_ is None
        else:
            np.testing.assert_array_equal(map_, expected[index // stride])
    assert [length for length in predictor.calls if length] == plain.calls


def test_the_first_frame_of_a_video_waits_for_no_others():
    taken = []

    def frames():
        for pts, image in enumerate(noise(30)):
            taken.append(pts)
            yield Frame(image, pts, [])

    network = overlay_stages([], Stub(), [], 0.5, batch_size=4, stride=2)["network"]
    assert next(network(frames()))[0].pts == 0
    assert taken == [0, 1]


class SlowAtFirst(Stub):
    """The first call with each number of images takes 7 s of `now`, every other one 0.25 s."""

    def __init__(self):
        self.now, self.calls = 0.0, []

    def __call__(self, images):
        self.now += 0.25 if len(images) in self.calls else 7
        self.calls.append(len(images))
        return super().__call__(images)


def test_times_leave_out_the_first_call_of_each_length_and_cost_no_call(monkeypatch):
    network, times = SlowAtFirst(), CallTimes()
    monkeypatch.setattr(time, "perf_counter", lambda: network.now)
    pairs = list(enumerate(noise(9)))
    pairs[2:2] = [("no image", None), ("nor this", None)]  # a call of no images
    calls = list(predictions(pairs, network, 2, times=times))
    assert [found.item for call in calls for found in call] == [item for item, _ in pairs]
    for found in calls[2]:
        assert found.image is dict(pairs)[found.item]
    assert [length for length in network.calls if length] == [2, 2, 2, 2, 1]
    assert (times.first_images, times.first_seconds) == (2 + 1, 7 + 7)
    assert (times.images, times.seconds) == (6, 0.75)
    assert times.milliseconds == 125


def test_times_of_first_calls_alone_give_no_milliseconds():
    times = CallTimes()
    list(predictions(enumerate(noise(3)), Stub(), 2, times=times))
    assert times.first_images == 3 and times.milliseconds is None


@pytest.mark.parametrize("stride", [1, 3])
def test_times_of_a_video_leave_out_the_first_calls(stride, monkeypatch):
    """Calls of the first frame, of four, four, and of the three that are left."""
    network, times = SlowAtFirst(), CallTimes()
    monkeypatch.setattr(time, "perf_counter", lambda: network.now)
    frames = [Frame(image, pts, []) for pts, image in enumerate(noise(12 * stride))]
    stages = overlay_stages([], network, [], 0.5, batch_size=4, stride=stride, times=times)
    list(stages["network"](iter(frames)))
    assert network.calls == [1, 4, 4, 3]
    assert (times.first_images, times.first_seconds) == (1 + 4 + 3, 3 * 7)
    assert (times.images, times.milliseconds) == (4, 62.5)


@pytest.mark.parametrize("module", [predict_module, images_module])
def test_the_second_batch_is_read_while_the_network_runs_on_the_first(
    module, tmp_path, monkeypatch
):
    items, _ = draw(tmp_path, 9)
    read_image, reads, overlapped = module.read_image, threading.Event(), []

    def read(path, data=None, window=None):
        if path == items[5].image:
            reads.set()
        return read_image(path, data, window)

    class Waits(Stub):
        def __call__(self, images):
            overlapped.append(reads.wait(10))
            return super().__call__(images)

    monkeypatch.setattr(module, "read_image", read)
    if module is predict_module:
        list(predict(Waits(), items, batch_size=3))
    else:
        list(segment([Job(item.image, {}) for item in items], Waits(), 0.5, [], 3))
    assert overlapped and all(overlapped)


def test_the_network_runs_on_while_the_caller_uses_a_map(tmp_path):
    items, _ = draw(tmp_path, 9)
    second = threading.Event()

    class Tells(Stub):
        calls = 0

        def __call__(self, images):
            self.calls += 1
            if self.calls == 2:
                second.set()
            return super().__call__(images)

    maps = predict(Tells(), items, batch_size=3)
    next(maps)
    assert second.wait(10)
    maps.close()


def test_items_are_taken_a_few_batches_ahead(monkeypatch):
    monkeypatch.setattr(predict_module, "read_image", lambda image, window: image)
    taken = 0

    def items():
        nonlocal taken
        for image in noise(200):
            taken += 1
            yield Item("", None, image)

    maps = predict(Stub(), items(), batch_size=4)
    for given in range(1, 200):
        next(maps)
        if given % 50 == 1:
            time.sleep(0.1)
        # With the caller, waiting, in hand: three batches; ahead of them, two that are read.
        assert given <= taken <= given + 5 * 4
    maps.close()


def test_reading_ahead_is_bounded_in_order_and_ends_with_what_it_was_given():
    taken, slow = [], threading.Event()

    def numbers():
        for number in range(30):
            taken.append(number)
            yield number

    def read(number):
        if number == 0:
            assert slow.wait(10)  # the others overtake it
        if number == 4:
            slow.set()
        return number**2

    with ThreadPoolExecutor(5) as pool:
        pairs = read_ahead(numbers(), read, pool, 5)
        assert next(pairs) == (0, 0) and taken == [0, 1, 2, 3, 4]
        assert list(pairs) == [(number, number**2) for number in range(1, 30)]
        assert list(read_ahead([], read, pool, 5)) == []


def test_what_was_to_be_read_is_not_after_an_early_close():
    reads, go = [], threading.Event()

    def read(number):
        reads.append(number)
        if number:
            assert go.wait(10)

    with ThreadPoolExecutor(1) as pool:
        pairs = read_ahead(range(100), read, pool, 50)
        next(pairs)
        pairs.close()
        go.set()
    assert len(reads) <= 2


class Fails(Stub):
    def __call__(self, images):
        raise OSError("no device")


def test_threads_are_gone_after_an_early_close_and_after_errors(tmp_path):
    threads = threading.active_count()
    items, _ = draw(tmp_path / "in", 40)
    maps = predict(Stub(), items, batch_size=2)
    next(maps)
    assert threading.active_count() > threads
    maps.close()
    assert threading.active_count() == threads

    maps = predict(Stub(), items, batch_size=2)
    next(maps)
    with pytest.raises(KeyboardInterrupt):
        maps.throw(KeyboardInterrupt)
    assert threading.active_count() == threads

    with pytest.raises(OSError, match="no device"):
        list(predict(Fails(), items))
    assert threading.active_count() == threads

    rows = segment([Job(item.image, {}) for item in items], Stub(), 0.5, [], 2)
    next(rows)
    rows.close()
    assert threading.active_count() == threads

    with pytest.raises(OSError, match="no device"):
        list(segment([Job(item.image, {}) for item in items], Fails(), 0.5, []))
    assert threading.active_count() == threads


@pytest.mark.parametrize("workers", [1, 2])
def test_threads_are_gone_after_an_error_in_scoring(workers, tmp_path):
    items, pixels = draw(tmp_path, 40)
    for index, image in enumerate(pixels):
        items[index] = items[index]._replace(mask=tmp_path / f"mask_{index}.png")
        write_png(items[index].mask, np.full(image.shape[:2], 255, np.uint8))
    (tmp_path / "bad.png").write_text("no image")
    items[3] = items[3]._replace(mask=tmp_path / "bad.png")
    threads = threading.active_count()
    maps = predict(Stub(), items, batch_size=2)
    with pytest.raises(InputError, match="bad.png"):
        list(score_items(items, Rules(), maps, workers))
    assert threading.active_count() == threads
    with pytest.raises(InputError, match="bad.png"):
        list(evaluate(Stub(), items, batch_size=2))
    assert threading.active_count() == threads


@pytest.mark.parametrize("wait, alone", [(0.0, 3), (0.5, 9)])
def test_other_processes_do_not_help_a_slow_network(wait, alone, monkeypatch):
    """A score takes 0.4 s; after more than a second of them the others are shared out."""
    now, shared = 0.0, []

    def maps():
        nonlocal now
        for _ in range(9):
            now += wait
            yield None

    def score(item, map_, rules):
        nonlocal now
        now += 0.4
        return item

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "thread_time", lambda: now)
    monkeypatch.setattr(evaluation, "score_item", score)
    monkeypatch.setattr(
        evaluation, "_score_in_processes", lambda jobs, workers: shared.extend(jobs) or []
    )
    assert list(score_items(range(9), Rules(), maps(), workers=2)) == list(range(alone))
    assert len(shared) == 9 - alone


INTERRUPTED = """
import os, runpy, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, "tests")
from stub_predictor import Stub
from polypseg.inference.predictor import Predictor
from polypseg.scoring import evaluation

scored, score_item = threading.Event(), evaluation.score_item

def noted(*arguments):
    result = score_item(*arguments)
    scored.set()
    return result

evaluation.score_item = noted

class Interrupted(Stub):
    calls = 0

    def __call__(self, images):
        self.calls += 1
        if self.calls == 2:
            scored.wait(30)  # the main thread scores, and no longer imports
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.5)
        return super().__call__(images)

Predictor.load = staticmethod(lambda path, input_size=None, engine="auto": Interrupted())
runpy.run_path("test.py", run_name="__main__")
"""


def test_ctrl_c_ends_test_py_in_one_line(tmp_path):
    (tmp_path / "masks").mkdir()
    # Of the images' sizes: an error about sizes could come before the signal.
    for item, image in zip(*draw(tmp_path / "images", 60), strict=True):
        write_png(tmp_path / "masks" / item.image.name, np.zeros(image.shape[:2], np.uint8))
    (tmp_path / "stub.onnx").touch()
    options = "--model", tmp_path / "stub.onnx", "--data-path", tmp_path, "--subset", "all"
    result = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *map(str, options)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        # Ignored, and so by children, where the tests run in the background.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert (result.returncode, result.stdout) == (130, ""), result.stderr
    assert result.stderr.endswith(": stopped\n") and result.stderr.count("\n") == 1
