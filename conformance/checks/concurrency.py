"""Run work in several threads at the same moment, or in a new thread."""

from __future__ import annotations

import queue
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, Union

T = TypeVar("T")

THREADS = 8
_SWITCH_SECONDS = 1e-4

BUILDS = ("free-threaded",) if sysconfig.get_config_var("Py_GIL_DISABLED") else ("gil",)
"""The build of this Python, as an axis with one value for the ids of cases."""


def together(work: Callable[[int], T], count: int = THREADS) -> list[Union[T, BaseException]]:
    """Run ``work(0)`` to ``work(count - 1)`` in threads that start together, and return their results or exceptions in order.

    Meanwhile, the interpreter switches threads as often as it can.
    """
    gate = threading.Barrier(count)
    results: list[Union[T, BaseException, None]] = [None] * count

    def run(index: int) -> None:
        gate.wait()
        try:
            results[index] = work(index)
        except BaseException as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(count)]
    with _switching_often():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return results  # type: ignore[return-value]


class Beside:
    """A new thread that runs work on request, as long as this object is alive."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], Any], list[Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(self._tasks,), daemon=True).start()

    def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in the other thread, and return its result or raise its exception.

        The calling thread polls and does not sleep, because an observer would report a sleeping thread as blocked.
        """
        ended: list[Any] = []
        self._tasks.put((work, ended))
        while not ended:
            time.sleep(0)
        if isinstance(ended[0], BaseException):
            raise ended[0]
        return ended[0]  # type: ignore[no-any-return]

    def __del__(self) -> None:
        self._tasks.put(None)


def _serve(tasks: queue.SimpleQueue[tuple[Callable[[], Any], list[Any]] | None]) -> None:
    while True:
        task = tasks.get()
        if task is None:
            return
        work, ended = task
        try:
            ended.append(work())
        except BaseException as error:
            ended.append(error)
        del task, work, ended  # the loop must not keep objects of this task alive until the next one


def elsewhere(work: Callable[[], T]) -> T:
    """Run ``work`` in a new thread, and return its result or raise its exception."""
    (result,) = together(lambda _: work(), 1)
    if isinstance(result, BaseException):
        raise result
    return result


@contextmanager
def _switching_often() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
