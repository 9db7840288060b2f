"""Optimisers at equal seconds: small networks from scratch by Muon and by AdamW, each at several learning rates."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ddpmcodec.eval.gpu.checks import card
from ddpmcodec.eval.gpu.clock import Setting
from ddpmcodec.eval.gpu.pictures import are_there, sources
from ddpmcodec.eval.gpu.training import SMALL_GOAL, held_out_of, settings
from ddpmcodec.training import Goal, HeldOut, Preset, Processes, Trainer, TrainingImages
from ddpmcodec.training.report import Reporter

_LEAST_SECONDS = 8.0  # that a run should have: several of them go into its first steps
_AROUND = 4.0  # seconds that it takes before and after
_AVERAGES = (0.98, 0.99, 0.997)  # short, for runs are


@dataclass(frozen=True)
class Way:
    """Way of training a preset; rates that aren't named are the preset's."""

    preset: str
    muon_lr: float | None = None
    lr: float | None = None
    batch: int | None = None

    @property
    def name(self) -> str:
        how = f"Muon {self.muon_lr:g}" if self.muon_lr is not None else f"AdamW {self.lr:g}"
        return f"{self.preset}, {how}" + (f", batch {self.batch}" if self.batch else "")


_PRESETS = ("photo-small", "cifar10-small")
WAYS = (
    *(Way(preset, muon_lr=0.01) for preset in _PRESETS),
    *(Way(preset, lr=rate) for rate in (1e-3, 2e-3) for preset in _PRESETS),
    *(Way(preset, muon_lr=0.02) for preset in _PRESETS),
    *(Way(preset, lr=5e-4) for preset in _PRESETS),
    *(Way(preset, muon_lr=0.005) for preset in _PRESETS),
    *(Way(preset, muon_lr=0.01, batch=288 if preset == "photo-small" else 256) for preset in _PRESETS),
    *(Way(preset, lr=1e-3, batch=288 if preset == "photo-small" else 256) for preset in _PRESETS),
)
SMALL = (Way("photo-small", muon_lr=0.01), Way("cifar10-small", lr=1e-3))


def compare(setting: Setting) -> None:
    """Report, way by way: the bound on held-out pictures after as many seconds of training from scratch, and the images
    seen in them. Presets whose pictures weren't brought along are left out.
    """
    ways = [w for w in (SMALL if setting.small else WAYS) if are_there(setting.data, w.preset.startswith("photo"))]
    found: dict[str, Any] = {"card": card(setting.device), "ways": {}}
    pools: dict[str, tuple[TrainingImages, HeldOut | None]] = {}
    where = Processes(0, 1, torch.device(setting.device))
    seconds = max(_LEAST_SECONDS, setting.seconds_left / max(1, len(ways)) - _AROUND)  # for each alike
    for way in ways:
        if not setting.small and setting.seconds_left < seconds:
            break
        chosen = as_told(way, setting.small)
        if way.preset not in pools:
            pictures = sources(setting.data, chosen.network.window, way.preset.startswith("photo"))
            images = TrainingImages(pictures.training, chosen.network.window, chosen.recipe.seed, where.device)
            pools[way.preset] = images, held_out_of(pictures, chosen, setting.small)
        goal = SMALL_GOAL if setting.small else Goal(minutes=seconds / 60)
        found["ways"][way.name] = _trained(setting, chosen, where, *pools[way.preset], goal)
        setting.report(found)


def as_told(way: Way, small: bool) -> Preset:
    """Return a way's preset, as a GPU trains it."""
    chosen = settings(way.preset, small)
    recipe = chosen.recipe if small or way.batch is None else chosen.recipe.with_batch(way.batch)
    told = replace(
        recipe,
        muon=way.muon_lr is not None,
        muon_lr=recipe.muon_lr if way.muon_lr is None else way.muon_lr,
        lr=recipe.lr if way.lr is None else way.lr,
        ema=_AVERAGES,
    )
    return replace(chosen, recipe=told)


def _trained(
    setting: Setting,
    chosen: Preset,
    where: Processes,
    images: TrainingImages,
    held_out: HeldOut | None,
    goal: Goal,
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=setting.scratch) as name:
        directory = Path(name)
        trainer = Trainer(chosen.network, chosen.recipe, images, where, record=setting.record)
        reporter = Reporter(directory, trainer, "a comparison", held_out)
        trainer.run(
            goal,
            directory,
            save_every_seconds=math.inf,
            on_record=lambda record: None,
            on_save=lambda: reporter.save(draw=False),
        )
    if where.device.type == "cuda":
        torch.cuda.empty_cache()
    return {
        "batch": chosen.recipe.batch,
        "seconds": trainer.seconds,
        "steps": trainer.step,
        "images": trainer.seen,
        "held_out_bits_per_dim": trainer.best,
        "bounds": reporter.bounds,
    }
