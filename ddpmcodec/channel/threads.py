"""Several blocks or pictures at once: native code releases the GIL, so threads share the processors out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`function` of each item, in order. As many threads as `workers`; none where there is one item."""
    count = min(workers(), len(items))
    if count <= 1:
        return [function(item) for item in items]
    # A pool of its own each time: starting it takes 0.1 ms, and none is left behind in a process that forks.
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, items))


def workers() -> int:
    """Processors that this process may use: by the system's leave, and no more than torch has been told to (OMP_NUM_THREADS)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, torch.get_num_threads()))
