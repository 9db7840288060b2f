"""Checkpoints: one file that holds all a run needs to go on, replaced whole by the next."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpmcodec.errors import TrainingError
from ddpmcodec.io.atomic import replacing
from ddpmcodec.models.unet_config import UNetConfig
from ddpmcodec.training.recipe import Goal, Recipe

NAME = "checkpoint.pt"
_FORMAT = "ddpmcodec-checkpoint-1"


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after `step` steps. Batches and noise are functions of (seed, step), so no generator is stored."""

    network: UNetConfig
    recipe: Recipe
    step: int
    images: int  # seen so far, all processes together
    seconds: float  # trained so far
    weights: dict[str, Tensor]
    average: dict[str, Tensor]  # EMA
    optimiser: dict[str, Any]
    goal: Goal  # the learning rate's decay is measured against it
    pictures: int  # training images there were
    processes: int = 1  # that shared each batch

    def recipe_for(self, processes: int) -> Recipe:
        """The recipe for so many processes, with the same whole batch, hence the same trajectory. Raises TrainingError."""
        whole = self.recipe.batch * self.processes
        if whole % processes:
            raise TrainingError(
                f"the run's batches of {whole} images came from {self.processes} processes and can't be shared by {processes}: "
                f"start as many again (torchrun --nproc-per-node {self.processes}), or a number that divides {whole}"
            )
        return replace(self.recipe, batch=whole // processes)

    def save(self, directory: Path) -> None:
        """Raises TrainingError when it can't be written; the one before is then still there."""
        values = {
            "format": _FORMAT,
            "network": self.network.to_dict(),
            "recipe": self.recipe.to_dict(),
            "step": self.step,
            "images": self.images,
            "seconds": self.seconds,
            "weights": self.weights,
            "average": self.average,
            "optimiser": self.optimiser,
            "goal": {"steps": self.goal.steps, "minutes": self.goal.minutes},
            "pictures": self.pictures,
            "processes": self.processes,
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
    """Reads tensors and numbers only, never code. Raises TrainingError."""
    path = directory / NAME
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrainingError(f"no checkpoint in {directory}: expected {path}, which training writes") from error
    except Exception as error:  # of many kinds: torch stumbles over damaged files in its own ways
        raise TrainingError(f"{path} is not a readable checkpoint: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        raise TrainingError(f"{path} is not a checkpoint of this version: expected format {_FORMAT}")
    try:
        state = Checkpoint(
            UNetConfig.from_dict(values["network"]),
            Recipe(**values["recipe"]),
            values["step"],
            values["images"],
            values["seconds"],
            values["weights"],
            values["average"],
            values["optimiser"],
            Goal(**values["goal"]),
            values["pictures"],
            values.get("processes", 1),
        )
        held, needed = sum(t.numel() for t in state.weights.values()), state.network.elements
        counts = (state.step, state.images, state.pictures, state.processes)
        if held != needed or not all(isinstance(n, int) and n >= 0 for n in counts) or state.processes < 1:
            raise ValueError(f"{held} weights for a network of {needed}, counts {counts}")
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise TrainingError(f"{path} is not understood: {error!r}") from error
    return state
