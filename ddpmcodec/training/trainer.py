"""Training loop: Algorithm 1, averages of the weights, checkpoints; on one process or several."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddpmcodec.errors import TrainingError
from ddpmcodec.training.batches import TrainingImages
from ddpmcodec.training.checkpoint import NAME, Checkpoint
from ddpmcodec.training.failures import explained
from ddpmcodec.training.interruption import stop_requests
from ddpmcodec.training.processes import Processes
from ddpmcodec.training.recipe import Goal, NetworkToTrain, Recipe
from ddpmcodec.training.step import BINS, TrainingStep

_FLOOR = 0.01  # part of the learning rate at which its decay ends


@dataclass(frozen=True)
class Record:
    """Record of the steps since the last one."""

    step: int
    images: int  # crops seen so far
    seconds: float  # trained so far
    loss: float  # mean ε-MSE of the views at full size
    bits_per_dim: float  # ideal rate of a chain of many steps over their levels, as training images estimate it
    lr: float  # AdamW's
    images_per_second: float
    log_snr: NDArray[np.float64] = field(repr=False)  # (BINS,) centres
    loss_by_log_snr: NDArray[np.float64] = field(repr=False)  # (BINS,) mean ε-MSE, nan where nothing was drawn


class Trainer:
    """Network in training. `run` until a goal; `checkpoint` whenever you like."""

    def __init__(
        self,
        network: NetworkToTrain,
        recipe: Recipe,
        images: TrainingImages,
        where: Processes,
        compiled: bool = False,
        record: bool = True,
    ):
        self.config, self.recipe, self.images, self.where, self.compiled = network, recipe, images, where, compiled
        self._step = TrainingStep(network, recipe, images, where, compiled, record)
        self.net = self._step.net
        self.step, self.seen, self.seconds = 0, 0, 0.0
        self.best: float | None = None  # the least held-out bound of any model written
        self._since = 0.0, 0
        self._taken = 0  # steps that this process has taken

    def averages(self) -> dict[float, dict[str, Tensor]]:
        """Return copies of the weights' averages as they are now, by decay."""
        return self._step.averages.after(self.step)

    def host_times(self) -> dict[str, float]:
        """Return how long the host prepares a step, and waits for the device to catch up, in milliseconds a step so
        far.
        """
        step, taken = self._step, max(1, self._taken)
        work = step.host_seconds - step.waited_seconds
        return {"host_ms_a_step": 1e3 * work / taken, "waited_ms_a_step": 1e3 * step.waited_seconds / taken}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Start from trained weights; TrainingError when they are another architecture's."""
        try:
            self.net.load_state_dict(weights)
        except RuntimeError as error:
            raise TrainingError(
                f"the weights to start from don't fit the network: {' '.join(str(error).split())[:300]}"
            ) from error

    def resume(self, state: Checkpoint) -> None:
        """Go on where `state` was taken, on the same trajectory."""
        try:
            self.net.load_state_dict(state.weights)
            self._step.averages.load_state(state.averages)
            self._step.optimisers.load_state_dict(copy.deepcopy(state.optimiser))
        except (RuntimeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise TrainingError(f"the checkpoint doesn't fit the network it names: {reason}") from error
        self.step, self.seen, self.seconds, self.best = state.step, state.images, state.seconds, state.best
        self._since = state.seconds, state.images

    def checkpoint(self, goal: Goal) -> Checkpoint:
        """Return a copy of the state now."""
        weights = {k: v.detach().cpu().clone() for k, v in self.net.state_dict().items()}
        averages = self._step.averages.state()
        state = copy.deepcopy(self._step.optimisers.state_dict())
        pictures, processes = len(self.images), self.where.count
        what = self.config, self.recipe, self.step, self.seen, self.seconds
        return Checkpoint(*what, weights, averages, state, goal, pictures, processes, self.best, self.images.digest)

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
        """Train to the goal, and save there and on the way. True when it was reached, False when a signal stopped it.

        Signals (SIGINT, SIGTERM, SIGHUP) let the step finish and save. Raises TrainingError when the loss is no number
        any more, memory runs out, or a checkpoint can't be written; the last good checkpoint is then still in
        `directory`. on_record and on_save run in the first process only.
        """
        with stop_requests() as stop, explained(self.compiled):
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
                        on_save()
                        self.checkpoint(goal).save(directory)
                    saved = time.monotonic()
                if done or stopped:
                    return bool(done)

    def _train_step(self, goal: Goal) -> None:
        self._step.take(self.step, self._rate(goal))
        self._taken += 1
        self.step += 1
        self.seen += self.recipe.batch * self.where.count

    def _rate(self, goal: Goal) -> float:
        """Return the share of the peak learning rates that this step has."""
        recipe = self.recipe
        warm = min(1.0, (self.step + 1) / recipe.warmup) if recipe.warmup else 1.0
        if not recipe.decay:
            return warm
        fall = 0.5 * (1 + math.cos(math.pi * min(1.0, goal.progress(self.step, self.seconds))))
        return warm * (_FLOOR + (1 - _FLOOR) * fall)

    def _record(self, directory: Path) -> Record:
        count, loss, bits = self.where.sum(self._step.sums.clone()).cpu().numpy()
        self._step.sums.zero_()
        if not math.isfinite(loss.sum()):
            raise self._diverged(directory, f"the loss is {loss.sum()}")
        images, seconds = self.seen - self._since[1], self.seconds - self._since[0]
        self._since = self.seconds, self.seen
        edges = np.linspace(self.config.min_log_snr, self.config.max_log_snr, BINS + 1)
        with np.errstate(invalid="ignore"):
            by_level = loss / count
        whole = count.sum()
        return Record(
            self.step,
            self.seen,
            self.seconds,
            float(loss.sum() / whole),
            float(bits.sum() / whole),
            self._step.optimisers.rate,
            float(images / max(seconds, 1e-9)),
            (edges[1:] + edges[:-1]) / 2,
            by_level,
        )

    def _require_finite_weights(self, directory: Path) -> None:
        """Raise where weights are no numbers: a step can spoil them although its own loss was still a number."""
        if not all(bool(torch.isfinite(p).all()) for p in self.net.parameters()):
            raise self._diverged(directory, "the weights are no finite numbers")

    def _diverged(self, directory: Path, what: str) -> TrainingError:
        path = directory / NAME
        kept = f"the last good checkpoint is kept in {path}" if path.exists() else "no checkpoint had been saved yet"
        return TrainingError(f"{what} at step {self.step}: a lower learning rate may help; {kept}")
