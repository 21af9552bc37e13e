"""Threads that start at one moment, and threads that start from nothing."""

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
"""An axis of one value: which build of Python the cases ran on."""


def together(work: Callable[[int], T], count: int = THREADS) -> list[Union[T, BaseException]]:
    """Run ``work(0)`` to ``work(count - 1)``, each in a thread of its own, from one moment on.

    What each returned or raised, in order. The interpreter switches threads as often as it can meanwhile.
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
    """A thread beside this one, which has done nothing before; it lives as long as this object."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], Any], list[Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(self._tasks,), daemon=True).start()

    def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` there; what it raises is raised here.

        This thread waits awake: who watches it would take it for blocked if it slept.
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
        del task, work, ended  # until the next one comes, nothing of this one may live on here


def elsewhere(work: Callable[[], T]) -> T:
    """Run ``work`` in a thread that has done nothing before; what it raises is raised here."""
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
