"""The training loop: Algorithm 1, an average of the weights, checkpoints; on one process or several."""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ddpmcodec.errors import TrainingError
from ddpmcodec.models.unet import UNet
from ddpmcodec.models.unet_config import UNetConfig
from ddpmcodec.training.batches import TrainingImages, mixed_seed
from ddpmcodec.training.checkpoint import NAME, Checkpoint
from ddpmcodec.training.failures import explained
from ddpmcodec.training.objective import denoising_errors, draw_levels
from ddpmcodec.training.processes import Processes
from ddpmcodec.training.recipe import Goal, Recipe

BINS = 35  # of the log-SNR range, in which losses are reported
_FLOOR = 0.01  # of the learning rate, where its decay ends


@dataclass(frozen=True)
class Record:
    """What is known of the steps since the last record."""

    step: int
    images: int  # seen so far
    seconds: float  # trained so far
    loss: float  # mean ε-MSE
    bits_per_dim: float  # ideal rate of a chain of many steps over the trained levels, as training images estimate it
    lr: float
    images_per_second: float
    log_snr: NDArray[np.float64] = field(repr=False)  # (BINS,) centres
    loss_by_log_snr: NDArray[np.float64] = field(repr=False)  # (BINS,) mean ε-MSE, nan where nothing was drawn


class Trainer:
    """A network in training. `run` until a goal; `checkpoint` whenever you like."""

    def __init__(self, network: UNetConfig, recipe: Recipe, images: TrainingImages, where: Processes, compiled: bool = False):
        self.config, self.recipe, self.images, self.where, self.compiled = network, recipe, images, where, compiled
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            net = UNet(network)
        net.zero_branches()
        with explained():
            net = net.to(where.device)
        self.net = net.train()
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = {k: v.detach().clone() for k, v in self.net.state_dict().items()}
        matrices = [p for p in self.net.parameters() if p.ndim > 1]
        others = [p for p in self.net.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, recipe.beta2))
        self.step, self.seen, self.seconds = 0, 0, 0.0
        # gradient_as_bucket_view keeps one copy of the gradients; the same mean over processes either way
        parallel = nn.parallel.DistributedDataParallel(self.net, gradient_as_bucket_view=True) if where.count > 1 else self.net
        self._forward: Callable[[Tensor, Tensor], Tensor] = torch.compile(parallel) if compiled else parallel
        self._sums = torch.zeros(3, BINS, dtype=torch.float64, device=where.device)  # images, losses, bits
        self._since = 0.0

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Starts from trained weights; TrainingError when they are another architecture's."""
        try:
            self.net.load_state_dict(weights)
        except RuntimeError as error:
            raise TrainingError(
                f"the weights to start from don't fit the network: {' '.join(str(error).split())[:300]}"
            ) from error
        self.average = {k: v.detach().clone() for k, v in self.net.state_dict().items()}

    def resume(self, state: Checkpoint) -> None:
        """Goes on where `state` was taken, to the same trajectory."""
        try:
            self.net.load_state_dict(state.weights)
            # In the network's own order: averages and weights are paired by place.
            self.average = {k: state.average[k].to(self.where.device).clone() for k in self.net.state_dict()}
            self.optimiser.load_state_dict(copy.deepcopy(state.optimiser))
        except (RuntimeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise TrainingError(f"the checkpoint doesn't fit the network it names: {reason}") from error
        self.step, self.seen, self.seconds = state.step, state.images, state.seconds
        self._since = state.seconds

    def checkpoint(self, goal: Goal) -> Checkpoint:
        """A copy of the state now."""
        weights = {k: v.detach().cpu().clone() for k, v in self.net.state_dict().items()}
        average = {k: v.cpu().clone() for k, v in self.average.items()}
        state = copy.deepcopy(self.optimiser.state_dict())
        pictures, processes = len(self.images), self.where.count
        at = self.step, self.seen, self.seconds
        return Checkpoint(self.config, self.recipe, *at, weights, average, state, goal, pictures, processes)

    def run(
        self,
        goal: Goal,
        directory: Path,
        *,
        log_every: int = 50,
        save_every_seconds: float = 300.0,
        on_record: Callable[[Record], None] = lambda record: None,
        on_save: Callable[[], None] = lambda: None,
    ) -> bool:
        """Trains to the goal, and saves there and on the way. True when it was reached, False when a signal stopped it.

        Signals (SIGINT, SIGTERM, SIGHUP) let the step finish and save. Raises TrainingError when the loss is no number any
        more, memory runs out, or a checkpoint can't be written; the last good checkpoint is then still in `directory`.
        on_record and on_save run in the first process only.
        """
        with _stop_requests() as stop, explained(self.compiled):
            started = saved = time.monotonic()
            before = self.seconds
            while True:
                self._train_step(goal)
                self.seconds = before + time.monotonic() - started
                stopped, self.seconds, due = self.where.most(
                    [
                        float(stop.is_set()),
                        self.seconds,
                        float(self.where.first and time.monotonic() - saved >= save_every_seconds),
                    ]
                )
                done = goal.progress(self.step, self.seconds) >= 1
                if done or stopped or due or self.step % log_every == 0:
                    record = self._record(directory)
                    if self.where.first:
                        on_record(record)
                if done or stopped or due:
                    self._require_finite_weights(directory)
                    if self.where.first:
                        self.checkpoint(goal).save(directory)
                        on_save()
                    saved = time.monotonic()
                if done or stopped:
                    return bool(done)

    def _train_step(self, goal: Goal) -> None:
        recipe, where = self.recipe, self.where
        size = recipe.batch * where.count
        mine = slice(where.rank * recipe.batch, (where.rank + 1) * recipe.batch)
        # Every process draws the whole batch's noise and takes its share: the same numbers whatever their count.
        generator = torch.Generator(where.device).manual_seed(mixed_seed(recipe.seed, self.step))
        levels = draw_levels(recipe, self.config, size, generator)
        window, channels = self.config.window, self.config.image_channels
        eps = torch.randn(size, channels, window, window, generator=generator, device=where.device)[mine]
        log_snr, worth = levels.log_snr[mine], levels.bits[mine]
        pixels = torch.from_numpy(self.images.batch(self.step, size, mine)).to(where.device)
        x_0 = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        if self.config.dropout:
            torch.manual_seed(mixed_seed(recipe.seed, self.step, where.rank + 1))
        with torch.autocast(where.device.type, torch.bfloat16, enabled=recipe.bf16):
            errors = denoising_errors(self._forward, x_0, log_snr, eps)
        for group in self.optimiser.param_groups:
            group["lr"] = self._lr(goal)
        self.optimiser.zero_grad(set_to_none=True)
        errors.mean().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.net.parameters(), recipe.clip)
        self.optimiser.step()
        self.step += 1
        self.seen += size
        self._update_average()
        place = (log_snr - self.config.min_log_snr) / (self.config.max_log_snr - self.config.min_log_snr) * BINS
        rows = torch.stack([torch.ones_like(errors), errors.detach(), errors.detach() * worth]).double()
        self._sums.index_add_(1, place.long().clamp(0, BINS - 1), rows)

    def _lr(self, goal: Goal) -> float:
        recipe = self.recipe
        warm = min(1.0, (self.step + 1) / recipe.warmup) if recipe.warmup else 1.0
        if not recipe.decay:
            return recipe.lr * warm
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, goal.progress(self.step, self.seconds))))
        return recipe.lr * warm * (_FLOOR + (1 - _FLOOR) * fall)

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.values()), list(self.net.state_dict().values()), 1 - decay)

    def _record(self, directory: Path) -> Record:
        count, loss, bits = self.where.sum(self._sums).cpu().numpy().copy()
        self._sums.zero_()
        if not math.isfinite(loss.sum()):
            raise self._diverged(directory, f"the loss is {loss.sum()}")
        images, seconds = count.sum(), self.seconds - self._since
        self._since = self.seconds
        edges = np.linspace(self.config.min_log_snr, self.config.max_log_snr, BINS + 1)
        with np.errstate(invalid="ignore"):
            by_level = loss / count
        return Record(
            self.step,
            self.seen,
            self.seconds,
            float(loss.sum() / images),
            float(bits.sum() / images),
            float(self.optimiser.param_groups[0]["lr"]),
            float(images / max(seconds, 1e-9)),
            (edges[1:] + edges[:-1]) / 2,
            by_level,
        )

    def _require_finite_weights(self, directory: Path) -> None:
        """A step can spoil the weights although its own loss was still a number."""
        if not all(bool(torch.isfinite(p).all()) for p in self.net.parameters()):
            raise self._diverged(directory, "the weights are no finite numbers")

    def _diverged(self, directory: Path, what: str) -> TrainingError:
        path = directory / NAME
        kept = f"the last good checkpoint is kept in {path}" if path.exists() else "no checkpoint had been saved yet"
        return TrainingError(f"{what} at step {self.step}: a lower learning rate may help; {kept}")


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C, SIGTERM or SIGHUP sets; the second acts as usual. Outside the main thread, nothing does.

    Under nohup SIGHUP stays ignored.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    signals = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    before = {s: signal.getsignal(s) for s in signals}

    def request(number: int, frame: object) -> None:
        event.set()
        for s in signals:
            signal.signal(s, before[s])

    for s in signals:
        signal.signal(s, request)
    try:
        yield event
    finally:
        for s in signals:
            signal.signal(s, before[s])
