"""Recorded steps: a step that is the same work every time is recorded once on a GPU and replayed, so that the host has
next to nothing to do.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

_WARM_UP = 3  # runs before the recording: optimiser states are made, kernels chosen and compiled


class Recorded:
    """Calls `work`, which takes and gives tensors in place; on a GPU as a CUDA graph from the fourth call on.

    work: draws random numbers from `generator` and the device's own only, and never reads a value back to the host nor
    brings one from there: what changes from call to call lies in tensors that the caller writes before. The graph reads
    the generators' seeds as they are when it is replayed. record: False, or a device that is no GPU, simply calls it.
    """

    def __init__(self, work: Callable[[], None], device: torch.device, generator: torch.Generator, record: bool = True):
        self._work, self._device, self._generator = work, device, generator
        self._record = record and device.type == "cuda"
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self._device.type != "cuda":
            self._work()
            return
        with torch.cuda.device(self._device):
            if self._graph is not None:
                self._graph.replay()
            elif not self._record:
                with _convolutions_tried_out():
                    self._work()
            elif self._calls < _WARM_UP:
                self._warm_up()
            else:
                self._graph = self._recording()
                self._graph.replay()  # recording a graph doesn't run it
        self._calls += 1

    def _warm_up(self) -> None:
        """Run the work beside the default stream, which a recording can't be made of."""
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side), _convolutions_tried_out(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")  # so it will be
            self._work()
        torch.cuda.current_stream().wait_stream(side)

    def _recording(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        # The warm-up's memory goes back first (torch.cuda.graph sees to it): the graph has a pool of its own.
        with _convolutions_tried_out(), torch.cuda.graph(graph):
            self._work()
        return graph


@contextmanager
def _convolutions_tried_out() -> Iterator[None]:
    """Have cuDNN time its kernels the first time that it sees a shape, and keep to the fastest."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
