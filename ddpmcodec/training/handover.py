"""Numbers that the host draws for every step, brought to the device without either waiting for the other."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

_AHEAD = 4  # steps that the host may be ahead of a GPU


class Handover:
    """Tensor of int64 on the device, whose `values` the host replaces before every step.

    To a GPU they go through page-locked buffers in turn: a copy from ordinary memory would wait for all that the GPU
    has yet to do, and leave it idle while the next step is prepared.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device):
        self.values = torch.zeros(shape, dtype=torch.int64, device=device)
        self.waited_seconds = 0.0  # while the device was behind
        self._buffers, self._copied, self._turn = [self.values], [], 0
        if device.type == "cuda":
            self._buffers = [torch.zeros(shape, dtype=torch.int64, pin_memory=True) for _ in range(_AHEAD)]
            with torch.cuda.device(device):
                self._copied = [torch.cuda.Event() for _ in self._buffers]  # type: ignore[no-untyped-call]

    def replace(self, write: Callable[[NDArray[np.int64]], None]) -> None:
        """Let `write` fill an array of the tensor's shape, and sends it off on the current stream."""
        buffer = self._buffers[self._turn]
        if self._copied:
            start = time.perf_counter()
            self._copied[self._turn].synchronize()  # the copy for the step that had this buffer last
            self.waited_seconds += time.perf_counter() - start
        write(buffer.numpy())
        if self._copied:
            with torch.cuda.device(self.values.device):
                self.values.copy_(buffer, non_blocking=True)
                self._copied[self._turn].record()
        self._turn = (self._turn + 1) % len(self._buffers)
