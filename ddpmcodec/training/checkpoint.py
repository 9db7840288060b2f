"""Checkpoints: one file that holds all a run needs to go on, replaced whole by the next."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpmcodec.errors import TrainingError
from ddpmcodec.io.atomic import replacing
from ddpmcodec.models.network_config import parse_config
from ddpmcodec.training.recipe import Goal, NetworkToTrain, Recipe

NAME = "checkpoint.pt"
_FORMAT = "ddpmcodec-checkpoint-2"


@dataclass(frozen=True)
class Checkpoint:
    """State of a run after `step` steps. Batches and noise are functions of (seed, step), so no generator is
    stored.
    """

    network: NetworkToTrain
    recipe: Recipe
    step: int
    images: int  # seen so far, all processes together
    seconds: float  # trained so far
    weights: dict[str, Tensor]
    averages: dict[float, dict[str, Tensor]]  # state of `Averages`, by decay
    optimiser: list[dict[str, Any]]
    goal: Goal  # the learning rate's decay is measured against it
    pictures: int  # training images there were
    processes: int  # how many shared each batch
    best: float | None  # the least held-out bound of any model this run has written, bits/dim
    data: str | None = None  # `TrainingImages.digest`; None in checkpoints of before it was stored

    def recipe_for(self, processes: int) -> Recipe:
        """Return the recipe for `processes` processes, with the same whole batch, hence the same trajectory. Raises
        TrainingError.
        """
        whole = self.recipe.with_batch(self.recipe.batch * self.processes)
        if any(part % processes for part in (whole.batch, *(v.count for v in whole.views))):
            raise TrainingError(
                f"the run's batches of {whole.batch} images came from {self.processes} processes and can't be shared "
                f"by {processes}: start as many again (torchrun --nproc-per-node "
                f"{self.processes}), or a number that divides {whole.batch}"
            )
        return whole.with_batch(whole.batch // processes)

    def save(self, directory: Path) -> None:
        """Write the checkpoint. Raises TrainingError when it can't be written; the one before is then still there."""
        values = {
            "format": _FORMAT,
            "architecture": self.network.architecture,
            "network": self.network.to_dict(),
            "recipe": self.recipe.to_dict(),
            "step": self.step,
            "images": self.images,
            "seconds": self.seconds,
            "weights": self.weights,
            "averages": self.averages,
            "optimiser": self.optimiser,
            "goal": {"steps": self.goal.steps, "minutes": self.goal.minutes},
            "pictures": self.pictures,
            "processes": self.processes,
            "best": self.best,
            "data": self.data,
        }
        try:
            with replacing(directory / NAME) as temporary, temporary.open("wb") as file:
                torch.save(values, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch.save reports a full disk as a RuntimeError
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
            raise TrainingError(f"can't write a checkpoint to {directory}: {reason}; the one before is kept") from error


def load_checkpoint(directory: Path) -> Checkpoint:
    """Read a checkpoint: tensors and numbers only, never code. Raises TrainingError."""
    path = directory / NAME
    try:
        _check_sums(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError(f"no checkpoint in {directory}: expected {path}, which training writes") from error
    except Exception as error:  # many kinds: torch stumbles over damaged files in its own ways
        raise TrainingError(f"{path} is not a readable checkpoint: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise TrainingError(f"{path} is not a checkpoint of this version: expected format {_FORMAT}")
    try:
        state = Checkpoint(
            _network(values["architecture"], values["network"]),
            Recipe.from_dict(values["recipe"]),
            values["step"],
            values["images"],
            values["seconds"],
            values["weights"],
            values["averages"],
            values["optimiser"],
            Goal(**values["goal"]),
            values["pictures"],
            values["processes"],
            values["best"],
            values.get("data"),
        )
        held, needed = sum(t.numel() for t in state.weights.values()), state.network.elements
        counts = (state.step, state.images, state.pictures, state.processes)
        if not isinstance(state.averages, dict) or set(state.averages) != set(state.recipe.ema):
            raise ValueError("its averages aren't those of its recipe")
        if held != needed or not all(isinstance(n, int) and n >= 0 for n in counts) or state.processes < 1:
            raise ValueError(f"{held} weights for a network of {needed}, counts {counts}")
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise TrainingError(f"{path} is not understood: {error!r}") from error
    return state


def _check_sums(path: Path) -> None:
    """Raise ValueError where a part of the file isn't as it was written: torch itself doesn't look."""
    with zipfile.ZipFile(path) as file:
        if damaged := file.testzip():
            raise ValueError(f"the check of {damaged} in it fails")


def _network(architecture: str, values: dict[str, Any]) -> NetworkToTrain:
    config = parse_config(architecture, values)
    if not isinstance(config, NetworkToTrain):
        raise ValueError(f"a {architecture} network, which ddpmcodec train doesn't make")
    return config
