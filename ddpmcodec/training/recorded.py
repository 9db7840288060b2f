"""A step that is the same work every time: on a GPU recorded once and replayed, so that the host has next to nothing to do."""

from __future__ import annotations

from collections.abc import Callable

import torch

_WARM_UP = 3  # runs before the recording: allocators, autotuning and optimiser states settle


class Recorded:
    """Calls `work`, which takes and gives tensors in place; on a GPU as a CUDA graph from the fourth call on.

    work: draws random numbers from `generator` only, and never reads a value back to the host. On a CPU, or with several
    processes, it is simply called.
    """

    def __init__(self, work: Callable[[], None], device: torch.device, generator: torch.Generator, record: bool):
        self._work, self._generator = work, generator
        self._record = record and device.type == "cuda"
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if not self._record:
            self._work()
            return
        if self._graph is None and self._calls >= _WARM_UP:
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            graph.register_generator_state(self._generator)
            with torch.cuda.graph(graph):
                self._work()
            self._graph = graph
        if self._graph is not None:
            self._graph.replay()
            return
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._work()
        torch.cuda.current_stream().wait_stream(side)
        self._calls += 1
