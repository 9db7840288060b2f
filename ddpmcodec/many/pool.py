"""Batches over processes: each with one thread of its own and the model loaded once; what a dead one had is done
again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import NamedTuple, Protocol

from ddpmcodec.io.places import Place
from ddpmcodec.many.coding import Coded

_WAITING = 2  # batches that are handed out beyond those in work


class Coding(Protocol):
    """Coding of a batch: `coding.Encoding` or `coding.Decoding`."""

    def __call__(self, sources: Sequence[bytes], wanted: Sequence[bool]) -> list[Coded]: ...


class Task(NamedTuple):
    """Batch's files, and which of them have no result yet."""

    paths: tuple[Place, ...]
    wanted: tuple[bool, ...]


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_tasks(tasks: Sequence[Task], coding: Coding, jobs: int) -> Iterator[tuple[Task, list[Coded]]]:
    """Yield each task with what became of its files, as they are done: in this process, or in `jobs` others.

    A process that ends in the middle (the system kills one where memory runs out) costs nothing but time: its batch is
    tried again alone, and only where that ends the process, too, are its files said to have failed.
    """
    if jobs == 1 or len(tasks) == 1:
        yield from ((task, work(coding, task)) for task in tasks)
        return
    left = dict(enumerate(tasks))
    for i, coded in _in_processes(left, coding, jobs):
        yield left.pop(i), coded
    for i in list(left):  # of a pool that broke: one after another
        alone = dict(_in_processes({i: left[i]}, coding, 1))
        died = "the process that coded it was ended by the system, twice; is there enough memory?"
        yield left[i], alone.get(i, [Coded(error=died) for _ in left[i].paths])


def _in_processes(tasks: dict[int, Task], coding: Coding, jobs: int) -> Iterator[tuple[int, list[Coded]]]:
    """Yield what is done, and stop where a process has died."""
    context = multiprocessing.get_context("spawn")  # forked children of a process with threads may hang
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin)
    waiting, running = list(tasks), dict[Future[list[Coded]], int]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs + _WAITING:
                i = waiting.pop(0)
                running[pool.submit(work, coding, tasks[i])] = i
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                i = running.pop(future)
                yield i, future.result()
    except BrokenProcessPool:
        return
    finally:
        processes = list((getattr(pool, "_processes", None) or {}).values())  # shutdown forgets them
        pool.shutdown(wait=False, cancel_futures=True)
        if running:  # interrupted: what is in work isn't waited for
            for process in processes:
                process.terminate()


def _begin() -> None:
    """Process's first deed: one thread, no keyboard, and an end when its parent has ended, however that was."""
    import torch

    torch.set_num_threads(1)
    with suppress(ValueError, AttributeError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def work(coding: Coding, task: Task) -> list[Coded]:
    """Return what becomes of a task's files, read here and coded in this process."""
    sources, errors = list[bytes](), dict[int, Coded]()
    for i, path in enumerate(task.paths):
        try:
            sources.append(path.read_bytes())
        except OSError as error:
            errors[i] = Coded(error=f"can't read it: {error.strerror or error}")
    wanted = [w for i, w in enumerate(task.wanted) if i not in errors]
    found = iter(coding(sources, wanted))
    return [errors[i] if i in errors else next(found) for i in range(len(task.paths))]
