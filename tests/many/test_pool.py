"""What a worker process does first, and how many of them there are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from ddpmcodec.many import pool
from ddpmcodec.many.coding import Coded
from ddpmcodec.many.pool import Task, run_tasks, usable_cores


def test_usable_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 8}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == 64
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Threads that were started, and don't run."""
    found: list[Any] = []
    monkeypatch.setattr(threading.Thread, "start", lambda thread: found.append(thread))
    return found


def test_a_worker_has_one_thread_no_keyboard_and_an_eye_on_its_parent(
    started: list[Any], monkeypatch: pytest.MonkeyPatch
):
    threads: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    before = signal.getsignal(signal.SIGINT)
    try:
        pool._begin()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert threads == [1]
    (thread,) = started
    assert thread.daemon, "it must not keep a worker alive whose work is done"
    assert thread._target is pool._end_with_parent


def test_a_worker_begins_where_signals_can_t_be_set(started: list[Any], monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise ValueError("signal only works in main thread")

    monkeypatch.setattr(signal, "signal", refuse)
    pool._begin()
    assert len(started) == 1


def test_a_worker_ends_after_its_parent_and_not_before(monkeypatch: pytest.MonkeyPatch):
    events: list[object] = []
    parent = SimpleNamespace(join=lambda: events.append("the parent has ended"))
    monkeypatch.setattr(os, "_exit", events.append)
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: parent)
    pool._end_with_parent()
    assert events == ["the parent has ended", 1]


def test_who_has_no_parent_goes_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "_exit", lambda status: pytest.fail("it ended"))
    assert multiprocessing.parent_process() is None
    pool._end_with_parent()


def test_one_task_needs_no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Any):
    monkeypatch.setattr(pool, "ProcessPoolExecutor", lambda *_, **__: pytest.fail("a process was started"))
    (tmp_path / "a").write_bytes(b"a")
    task = Task((tmp_path / "a", tmp_path / "none"), (True, True))

    def coding(sources: Any, wanted: Any) -> list[Coded]:
        assert (sources, wanted) == ([b"a"], [True]), "what can't be read is nothing to code"
        return [Coded(b"coded")]

    found = [Coded(b"coded"), Coded(error="can't read it: No such file or directory")]
    assert list(run_tasks([task], coding, 4)) == [(task, found)]
