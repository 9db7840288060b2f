"""Training step: what the host prepares, and what the device does with it."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ddpmcodec.errors import TrainingError
from ddpmcodec.training.averages import Averages
from ddpmcodec.training.batches import TrainingImages, mixed_seed
from ddpmcodec.training.failures import explained
from ddpmcodec.training.handover import Handover
from ddpmcodec.training.objective import denoising_errors, draw_levels
from ddpmcodec.training.optimisers import Optimisers
from ddpmcodec.training.processes import Processes
from ddpmcodec.training.recipe import NetworkToTrain, Recipe, View
from ddpmcodec.training.recorded import Recorded

BINS = 35  # parts of the log-SNR range in which losses are reported


class TrainingStep:
    """Network, its optimisers and averages, and the step that changes them. Raises TrainingError for crops of a bad
    size.

    `sums` collects, for each bin of log-SNRs, the number of crops at full size, their losses, and what those are worth
    in bits/dim: (3, BINS). record: on a GPU of one process, whether the step becomes a CUDA graph.
    """

    def __init__(
        self,
        config: NetworkToTrain,
        recipe: Recipe,
        images: TrainingImages,
        where: Processes,
        compiled: bool = False,
        record: bool = True,
    ):
        self.config, self.recipe, self.images, self.where = config, recipe, images, where
        self.views = recipe.views_of(config)
        for view in self.views:
            if view.side % config.downsampling:
                raise TrainingError(f"crops of {view.side}: expected a multiple of the network's {config.downsampling}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            net = config.build()
        net.zero_branches()
        with explained():
            net = net.to(where.device)
        self.net = net.train()
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averages = Averages(self.net, recipe.ema)
        self.optimisers = Optimisers(self.net, recipe, where.device)
        self.sums = torch.zeros(3, BINS, dtype=torch.float64, device=where.device)
        # gradient_as_bucket_view keeps one copy of the gradients; the same mean over processes either way
        self._shared = (
            nn.parallel.DistributedDataParallel(self.net, gradient_as_bucket_view=True) if where.count > 1 else None
        )
        forward: nn.Module = self._shared or self.net
        # Views are of few shapes, each worth kernels of its own.
        self._forward = torch.compile(forward, dynamic=False) if compiled else forward
        self._generator = torch.Generator(where.device)
        self._handover = Handover((sum(v.count for v in self.views), 4), where.device)
        self._picks = torch.split(self._handover.values, [v.count for v in self.views])
        self.host_seconds = 0.0  # in `prepare`, all steps together, what it waited for the device included
        self._work = Recorded(self._update, where.device, self._generator, record and where.count == 1)

    def take(self, step: int, rate: float) -> None:
        """Take step number `step`, with this share of the peak learning rates."""
        start = time.perf_counter()
        self.prepare(step, rate)
        self.host_seconds += time.perf_counter() - start
        self._work()

    @property
    def waited_seconds(self) -> float:
        """Return for how much of `host_seconds` the host only waited for the device."""
        return self._handover.waited_seconds

    def prepare(self, step: int, rate: float) -> None:
        """Bring what changes from step to step to the device: seeds, picks, learning rates. All that the host does."""
        self._generator.manual_seed(mixed_seed(self.recipe.seed, step))
        self._handover.replace(lambda rows: self._pick(rows, step))
        self.optimisers.set_rate(rate)
        if getattr(self.config, "dropout", 0.0):
            torch.manual_seed(mixed_seed(self.recipe.seed, step, self.where.rank + 1))

    def _pick(self, rows: NDArray[np.int64], step: int) -> None:
        """Write which crops the step takes, view by view."""
        first = 0
        for stream, view in enumerate(self.views):
            whole, side = view.count * self.where.count, view.side * view.factor
            rows[first : first + view.count] = self.images.picks(step, whole, side, stream, self._mine(view))
            first += view.count

    def _update(self) -> None:
        """Do the device's work: it reads nothing back, and does the same every time, so that it can be recorded."""
        self.optimisers.zero_grad()
        pixels = sum(view.count * view.side**2 for view in self.views)
        for i, (view, picks) in enumerate(zip(self.views, self._picks, strict=True)):
            with self._gradients_kept(until_last=i < len(self.views) - 1):
                loss = self._losses(view, picks).sum() * (view.side**2 / pixels)
                loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip)
        self.optimisers.step()
        self.averages.update()

    def _losses(self, view: View, picks: Tensor) -> Tensor:
        """Return the losses of this process's crops of a view, (count,)."""
        recipe, where, mine = self.recipe, self.where, self._mine(view)
        # Every process draws the whole batch's noise and takes its share: the same numbers whatever their count.
        whole = view.count * where.count
        levels = draw_levels(recipe, view.levels, whole, self._generator)
        shape = (whole, self.config.image_channels, view.side, view.side)
        eps = torch.randn(shape, generator=self._generator, device=where.device)[mine]
        log_snr, worth = levels.log_snr[mine], levels.bits[mine]
        pixels = self.images.crops(picks, view.side * view.factor)
        x_0 = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        if view.factor > 1:
            x_0 = nn.functional.avg_pool2d(x_0, view.factor)
        with torch.autocast(where.device.type, torch.bfloat16, enabled=recipe.bf16):
            errors = denoising_errors(self._forward, x_0, log_snr, eps)
        if view.factor == 1:
            low, high = self.config.min_log_snr, self.config.max_log_snr
            place = ((log_snr - low) / (high - low) * BINS).long().clamp(0, BINS - 1)
            self.sums.index_add_(
                1, place, torch.stack([torch.ones_like(errors), errors, errors * worth]).detach().double()
            )
        return errors * (-recipe.tilt * log_snr).exp() if recipe.tilt else errors

    def _mine(self, view: View) -> slice:
        return slice(self.where.rank * view.count, (self.where.rank + 1) * view.count)

    def _gradients_kept(self, until_last: bool) -> AbstractContextManager[None]:
        """Add up several views' gradients before processes exchange them."""
        return self._shared.no_sync() if self._shared is not None and until_last else nullcontext()
