"""Algorithm 1: training ε-models."""

from ddpmcodec.training.batches import TrainingImages
from ddpmcodec.training.checkpoint import Checkpoint, load_checkpoint
from ddpmcodec.training.held_out import HeldOut
from ddpmcodec.training.processes import Processes, processes
from ddpmcodec.training.recipe import Goal, Preset, Recipe, View, preset, presets
from ddpmcodec.training.sources import Sources, training_images
from ddpmcodec.training.start import initial_weights
from ddpmcodec.training.trainer import Record, Trainer

__all__ = [
    "Checkpoint",
    "Goal",
    "HeldOut",
    "Preset",
    "Processes",
    "Record",
    "Recipe",
    "Sources",
    "Trainer",
    "TrainingImages",
    "View",
    "initial_weights",
    "load_checkpoint",
    "preset",
    "presets",
    "processes",
    "training_images",
]
