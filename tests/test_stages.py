"""Threads between decoder and encoder; maps over time."""

import threading
import time

import numpy as np
import pytest

from polypseg.inference import stages as stages_module
from polypseg.inference.stages import Stages
from polypseg.inference.temporal import fill_in, smooth


def test_results_come_in_order_and_stages_overlap():
    """While the third stage is at its first number, the others go on to their next ones."""
    one_goes_on, two_goes_on, overlapped = threading.Event(), threading.Event(), []

    def adding(happens):
        def stage(numbers):
            for index, number in enumerate(numbers):
                happens(index)
                yield number + 1

        return stage

    stages = {
        "source": lambda: iter(range(20)),
        "one": adding(lambda index: index == 2 and one_goes_on.set()),
        "two": adding(lambda index: index == 1 and two_goes_on.set()),
        "three": adding(
            lambda index: overlapped.append(one_goes_on.wait(10) and two_goes_on.wait(10))
        ),
    }
    assert list(Stages(stages)) == list(range(3, 23))
    assert all(overlapped)


def test_the_seconds_of_a_stage_are_those_of_its_own_work(monkeypatch):
    """Each thread has a clock, which goes on by 100 s while it waits for a number."""
    clock, get = threading.local(), stages_module._Queue.get

    def now():
        return getattr(clock, "now", 0.0)

    def spend(seconds):
        clock.now = now() + seconds

    def slow_get(queue):
        item = get(queue)
        spend(100)
        return item

    def working(seconds):
        def stage(numbers=range(20)):
            for number in numbers:
                spend(seconds)
                yield number

        return stage

    monkeypatch.setattr(time, "perf_counter", now)
    monkeypatch.setattr(stages_module._Queue, "get", slow_get)
    stages = Stages({"source": working(0.5), "one": working(2), "two": working(3)})
    assert list(stages) == list(range(20))
    assert stages.seconds == {"source": 10, "one": 40, "two": 60}


def test_at_most_depth_results_wait():
    made = []

    def source():
        for number in range(100):
            made.append(number)
            yield number

    threads = threading.active_count()
    results = iter(Stages({"source": source, "same": lambda numbers: numbers}, depth=3))
    assert next(results) == 0
    time.sleep(0.1)
    assert len(made) <= 1 + 3 + 1 + 3 + 1  # taken, waiting, in hand, waiting, in hand
    results.close()
    assert threading.active_count() == threads


@pytest.mark.parametrize("broken", ["source", "middle", "last"])
def test_an_error_of_any_stage_is_raised_and_all_threads_end(broken):
    def fails(name):
        def stage(numbers=range(1000)):
            for number in numbers:
                if name == broken and number == 5:
                    raise OSError("disk")
                yield number

        return stage

    threads = threading.active_count()
    with pytest.raises(OSError, match="disk"):
        list(Stages({name: fails(name) for name in ("source", "middle", "last")}))
    assert threading.active_count() == threads


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 12])
@pytest.mark.parametrize("width", [1, 3, 5, 9])
def test_smooth_is_the_mean_of_the_frames_around(count, width):
    maps = np.random.default_rng(0).random((count, 3, 4)).astype(np.float32)
    result = list(smooth(enumerate(maps), width))
    assert [frame for frame, _ in result] == list(range(count))
    for index, (_, found) in enumerate(result):
        expected = maps[max(index - width // 2, 0) : index + width // 2 + 1].astype(float).mean(0)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert found.dtype == np.float32


def test_fill_in_draws_lines_and_holds_the_last_map():
    stream = [("a", np.float32([0])), ("b", None), ("c", None), ("d", np.float32([3])), ("e", None)]
    assert [(frame, float(value[0])) for frame, value in fill_in(stream)] == [
        ("a", 0),
        ("b", 1),
        ("c", 2),
        ("d", 3),
        ("e", 3),
    ]
