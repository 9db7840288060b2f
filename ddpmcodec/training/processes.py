"""One process or several: what training needs of torch.distributed, under the same names either way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from ddpmcodec.errors import TrainingError


@dataclass(frozen=True)
class Processes:
    """Place of this process among those of one run."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Return whether this is the one process that writes files and reports."""
        return self.rank == 0

    @contextmanager
    def one_goes_first(self) -> Iterator[None]:
        """Have one process of each machine finish the block before the others enter it: what it downloads, they
        find.
        """
        first_here = int(os.environ.get("LOCAL_RANK", "0")) == 0
        if self.count > 1 and not first_here:
            dist.barrier()
        yield
        if self.count > 1 and first_here:
            dist.barrier()

    def sum(self, values: Tensor) -> Tensor:
        """Return the element-wise sum over all processes."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def most(self, values: list[float]) -> list[float]:
        """Return the element-wise maximum over all processes: what one of them saw, all act on."""
        if self.count == 1:
            return values
        together = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(together, dist.ReduceOp.MAX)
        return together.tolist()


@contextmanager
def processes(device: str) -> Iterator[Processes]:
    """Join the run that `torchrun` started, if it did; nccl for GPUs, each process its own, gloo for CPUs.

    Where the caller has a process group already, that one is used and left as it is. torchrun's store keeps the
    addresses of a group that has ended, so a process that runs twice should hold one group around both.

    Raises TrainingError for a device that isn't there.
    """
    try:
        count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        where = torch.device(device)
        if where.type == "cuda" and where.index is None and count > 1:
            where = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.zeros(1, device=where)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise TrainingError(f"device {device!r} can't be used here: {str(error).splitlines()[0]}") from error
    if count == 1:
        yield Processes(0, 1, where)
        return
    if device not in ("cpu", "cuda"):
        raise TrainingError(
            f"device {device!r} for {count} processes: expected cpu, or cuda, which gives each its own GPU"
        )
    if where.type == "cuda":
        torch.cuda.set_device(where)
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield Processes(rank, count, where)
    finally:
        if ours:
            dist.destroy_process_group()
