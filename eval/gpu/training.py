"""Training against a clock: from the newest weights there are to better ones, which go home at every save."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch

from ddpmcodec.eval.gpu.checks import card, peak_memory
from ddpmcodec.eval.gpu.clock import Setting
from ddpmcodec.eval.gpu.pictures import initial_model, sources
from ddpmcodec.eval.gpu.weights import send_home
from ddpmcodec.models import model_names
from ddpmcodec.training import (
    Goal,
    HeldOut,
    Preset,
    Processes,
    Record,
    Sources,
    Trainer,
    TrainingImages,
    View,
    initial_weights,
    preset,
)
from ddpmcodec.training.report import Reporter

# Crops in a step. Its 1,100 kernels take 3 ms however small they are, the 2,400 of `photo-small`'s five views 6 ms
# (eval.studies.gpu_arithmetic); with these batches that is a quarter and a half of a step. The coarsest convolutions of
# `cifar10-small` are products of 64·batch × 128 matrices: 512 pictures make 256 tiles of 128 × 128, two for each of an
# H100's 132 multiprocessors. 576 crops of `photo-small`'s views have 2.5 million pixels, 9,600 positions at the
# coarsest level, where 224 channels make 150 tiles. `photo-fine` has no coarse level.
BATCHES = {"cifar10-small": 512, "photo-fine": 512, "photo-small": 576, "photo-last": 384, "cifar10-base": 512}
_SAVES = 5  # how often a job saves on the way
SMALL_GOAL = Goal(steps=2)


def train(setting: Setting) -> None:
    """Train the preset that the job is named after; reports speed, the held-out bound before, on the way and after.

    Raises TrainingError.
    """
    started = time.monotonic()
    chosen = settings(setting.name, setting.small)
    network, recipe = chosen.network, chosen.recipe
    pictures = sources(setting.data, network.window, setting.name.startswith("photo"))
    where = Processes(0, 1, torch.device(setting.device))
    images = TrainingImages(pictures.training, network.window, recipe.seed, where.device)
    trainer = Trainer(network, recipe, images, where, record=setting.record)
    start = initial_model(setting.data, setting.name, model_names())
    if start is not None:
        trainer.load_weights(initial_weights(start, network))
    held_out = held_out_of(pictures, chosen, setting.small)
    directory = setting.scratch / setting.name
    directory.mkdir(parents=True, exist_ok=True)
    reporter = Reporter(
        directory, trainer, "pictures brought along" if setting.data else "generated pictures", held_out
    )
    found: dict[str, Any] = {
        "card": card(setting.device),
        "init": start,
        "pictures": len(pictures.training),
        "recipe": recipe.to_dict(),
        "cuda_graph": setting.record and where.device.type == "cuda",
        "setup_seconds": time.monotonic() - started,
        "records": [],
        "saves": [],
    }

    def on_record(record: Record) -> None:
        reporter.record(record)
        line = {"step": record.step, "seconds": record.seconds, "images_per_second": record.images_per_second}
        found["records"].append(line | {"bits_per_dim": record.bits_per_dim})

    def on_save() -> None:
        reporter.save(draw=False)
        send_home(reporter.model, setting.output, setting.name)
        found["saves"].append({"step": trainer.step, "seconds": trainer.seconds, "bounds": reporter.bounds})
        found.update(trainer.host_times(), best_held_out_bits_per_dim=trainer.best, images=trainer.seen)
        setting.report(found)

    if held_out is not None and start is not None:
        with torch.autocast(where.device.type, torch.bfloat16, enabled=recipe.bf16):
            found["held_out_bits_per_dim_before"] = held_out.bound(trainer.net.eval(), where.device)
        trainer.net.train()
    setting.report(found)
    left = setting.seconds_left
    goal = SMALL_GOAL if setting.small else Goal(minutes=max(1.0, left - max(6.0, 0.03 * left)) / 60)
    with peak_memory(setting.device) as memory:
        trainer.run(goal, directory, save_every_seconds=left / _SAVES, on_record=on_record, on_save=on_save)
    setting.report(found | memory)


def held_out_of(pictures: Sources, chosen: Preset, small: bool) -> HeldOut | None:
    """Return what a run is measured on, at the levels of its views at full size. small: one crop, two levels."""
    views = chosen.recipe.views_of(chosen.network)
    held_out = HeldOut.of(pictures.held_out, chosen.network.window, *views[0].levels)
    if small and held_out is not None:
        held_out = replace(held_out, crops=held_out.crops[:1], min_log_snr=held_out.max_log_snr - 1)
    return held_out


def settings(name: str, small: bool) -> Preset:
    """Return a preset as a GPU trains it: bfloat16, batches that fill the card. small: same network, two crops a
    step.
    """
    if not small:
        return preset(name, None, {"batch": BATCHES[name], "bf16": True})
    found = preset(name)
    side = min(32, found.network.window)
    low, high = found.network.min_log_snr, found.network.max_log_snr
    views = (View(side, 1, 1, low, high), View(side // 2, 2, 1, low, 0.0)) if found.recipe.views else ()
    return Preset(found.network, replace(found.recipe, batch=2, views=views))
