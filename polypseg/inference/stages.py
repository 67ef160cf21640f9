"""Stages of work that overlap: each has its own thread, with short queues between them."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_END = object()


class Stages:
    """A chain of generators, each of which runs in its own thread.

    Stages overlap only while they run code that releases Python's global interpreter lock:
    decoders, networks, OpenCV. An error in any stage ends all stages and is raised where the
    results are read.

    Args:
        stages: name -> function. The first function takes no argument. Every other function takes
            an iterator over the results of the stage before it. Each function returns an iterable.
        depth: number of results that may wait between two stages, which limits memory.

    Attributes:
        seconds: name -> time spent in the stage itself, without the time that it waits for others.

    Example:
        >>> stages = Stages({"count": lambda: range(3), "square": lambda ns: (n * n for n in ns)})
        >>> list(stages)
        [0, 1, 4]
    """

    def __init__(self, stages: Mapping[str, Callable[..., Any]], depth: int = 2):
        self.seconds = dict.fromkeys(stages, 0.0)
        self._stages, self._depth = stages, depth

    def __iter__(self) -> Iterator[Any]:
        queues = [_Queue(self._depth) for _ in self._stages]
        threads = []
        for index, (name, stage) in enumerate(self._stages.items()):
            before = queues[index - 1] if index else None
            arguments = (name, stage, before, queues[index])
            threads.append(
                threading.Thread(target=self._run, args=arguments, name=name, daemon=True)
            )
        for thread in threads:
            thread.start()
        try:
            while (item := queues[-1].get()) is not _END:
                if isinstance(item, _Failure):
                    raise item.error
                yield item
        finally:
            for queue in queues:
                queue.close()
            for thread in threads:
                thread.join()

    def _run(
        self, name: str, stage: Callable[..., Any], before: "_Queue | None", after: "_Queue"
    ) -> None:
        waited = 0.0

        def arriving(before: _Queue) -> Iterator[Any]:
            nonlocal waited
            while True:
                started = time.perf_counter()
                item = before.get()
                waited += time.perf_counter() - started
                if item is _END:
                    return
                if isinstance(item, _Failure):
                    raise item.error
                yield item

        try:
            results = iter(stage(arriving(before)) if before else stage())
            while True:
                started, waited = time.perf_counter(), 0.0
                item = next(results, _END)
                self.seconds[name] += time.perf_counter() - started - waited
                if not after.put(item) or item is _END:
                    break
        except BaseException as error:
            after.put(_Failure(error))
        finally:
            if before:
                before.close()


class _Failure:
    def __init__(self, error: BaseException):
        self.error = error


class _Queue:
    """A queue that its reader or its writer can close. The other one then stops waiting."""

    def __init__(self, depth: int):
        self._items: deque[Any] = deque()
        self._depth, self._closed = depth, False
        self._changed = threading.Condition()

    def put(self, item: Any) -> bool:
        """Wait until there is room and add the item. Return False if the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._depth)
            if not self._closed:
                self._items.append(item)
                self._changed.notify_all()
            return not self._closed

    def get(self) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items)
            if self._closed:
                return _END
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
