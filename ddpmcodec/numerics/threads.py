"""Several blocks or pictures at once: native code releases the GIL, so that threads share the processors."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from ddpmcodec.numerics import native

WORTH_THREADS = 1 << 20  # values that are moved or transformed, from which on threads share them

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return `function` of each item, in order, by as many threads as `workers` says; by none for a single item, or
    where numpy searches.
    """
    count = min(workers(), len(items)) if native.enabled() else 1
    if count <= 1:
        return [function(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    # A pool of its own each time: starting it takes 0.1 ms, and none is left behind in a process that forks.
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, items))


def workers() -> int:
    """Return how many processors this process may use: those the system allows, and no more than torch was told to
    (OMP_NUM_THREADS).
    """
    import torch  # here, for who parses a stream has no need of it

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, torch.get_num_threads()))
