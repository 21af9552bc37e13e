"""Threads that start together, and threads that have done nothing before."""

from __future__ import annotations

import sys
import threading

import pytest

from conformance.suite.concurrency import THREADS, elsewhere, together


def test_each_thread_gives_its_result_or_its_exception_in_order() -> None:
    """Whatever one of them does, the others are heard."""

    def work(index: int) -> int:
        if index == 2:
            raise ValueError("two")
        return index * index

    results = together(work, 4)
    assert [type(r).__name__ if isinstance(r, BaseException) else r for r in results] == [0, 1, "ValueError", 9]


def test_all_threads_are_at_work_at_once() -> None:
    """None can finish before the last has begun."""
    gate = threading.Barrier(THREADS, timeout=30)
    assert not any(isinstance(r, BaseException) for r in together(lambda _: gate.wait()))


def test_elsewhere_is_another_thread_and_raises_here() -> None:
    """And the interpreter switches threads as before afterwards."""
    usual = sys.getswitchinterval()
    assert elsewhere(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        elsewhere(lambda: 1 // 0)
    assert sys.getswitchinterval() == usual
