"""Variants of a preset from scratch at equal CPU time: architecture and training, one change each.

    python -m ddpmcodec.eval.studies.ablation --preset photo-small --data photos/ --minutes 15 -o results/ablation.json

Every variant trains for the same minutes on one thread, so a costlier network or a smaller batch sees fewer images;
--batch and --lr change the preset's recipe for all of them. What counts is the bound on held-out training images, which
no variant sees: ideal bits/dim of a chain of many steps over the trained levels, of the best average of the weights and
of the last ones, with the same noise for all.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.training import Goal, HeldOut, Processes, Sources, Trainer, TrainingImages, preset, training_images
from ddpmcodec.training.held_out import level_errors

Changes = tuple[dict[str, Any], dict[str, Any]]  # to the network, to the recipe

_RECIPES: dict[str, Changes] = {
    "AdamW": ({}, {"muon": False}),
    "AdamW, learning rate 5e-4": ({}, {"muon": False, "lr": 5e-4}),
    "AdamW, learning rate 2e-3": ({}, {"muon": False, "lr": 2e-3}),
    "AdamW, learning rate 4e-3": ({}, {"muon": False, "lr": 4e-3}),
    "Muon, learning rate 0.005": ({}, {"muon_lr": 0.005}),
    "Muon, learning rate 0.02": ({}, {"muon_lr": 0.02}),
    "learning rate constant": ({}, {"decay": False}),
    "no weight decay": ({}, {"weight_decay": 0.0}),
}
VARIANTS: dict[str, dict[str, Changes]] = {
    "cifar10-small": {
        "as embedded": ({}, {}),
        "channels 24, 48, 96": ({"channels": (24, 48, 96)}, {}),
        "channels 40, 80, 160": ({"channels": (40, 80, 160)}, {}),
        "channels 48, 64, 96": ({"channels": (48, 64, 96)}, {}),
        "two blocks a level": ({"blocks": 2}, {}),
        "two middle blocks": ({"middle_blocks": 2}, {}),
        "attention at 16x16": ({"attention_levels": (1,)}, {}),
        "no preconditioning": ({"knots": 0}, {}),
        "dropout 0.1": ({"dropout": 0.1}, {}),
        "batch 16": ({}, {"batch": 16}),
        "batch 32": ({}, {"batch": 32}),
        "batch 128": ({}, {"batch": 128}),
        "AdamW, batch 32": ({}, {"muon": False, "batch": 32}),
        "AdamW, batch 16": ({}, {"muon": False, "batch": 16}),
        **_RECIPES,
    },
    "photo-small": {
        "as embedded": ({}, {}),
        "channels 48, 96, 192, 256": ({"channels": (48, 96, 192, 256)}, {}),
        "channels 80, 112, 144, 192": ({"channels": (80, 112, 144, 192)}, {}),
        "three levels": ({"channels": (64, 128, 256), "down_blocks": (1, 1, 2), "up_blocks": (1, 2, 0)}, {}),
        "more blocks where they are cheap": ({"down_blocks": (1, 1, 1, 3), "up_blocks": (1, 1, 2, 1)}, {}),
        "space to depth by 4": (
            {"fold": 4, "channels": (128, 192, 256), "down_blocks": (1, 1, 2), "up_blocks": (2, 2, 0)},
            {},
        ),
        "sines of x_t": ({"periods": (1, 2)}, {}),
        "no tilt": ({}, {"tilt": 0.0}),
        "tilt 0.4": ({}, {"tilt": 0.4}),
        "wide where it is fine": (
            {"channels": (96, 128, 192), "down_blocks": (1, 1, 1), "up_blocks": (1, 1, 1)},
            {},
        ),
        "batch 36": ({}, {"batch": 36}),
        "AdamW, batch 36": ({}, {"muon": False, "batch": 36}),
        **_RECIPES,
    },
    "photo-fine": {
        "as embedded": ({}, {}),
        "channels 64, seven blocks": ({"channels": (64,), "down_blocks": (7,)}, {}),
        "channels 72, 144": ({"channels": (72, 144), "down_blocks": (2, 1), "up_blocks": (2, 0)}, {}),
        "photo-small's network": (
            {"channels": (64, 128, 192, 224), "down_blocks": (1, 1, 1, 2), "up_blocks": (1, 2, 2, 0)},
            {},
        ),
        "batch 8": ({}, {"batch": 8}),
        **_RECIPES,
    },
}


@dataclass(frozen=True)
class Outcome:
    """Outcome of one variant."""

    variant: str
    parameters: int
    images: int  # crops seen in training
    steps: int
    images_per_second: float
    bits_per_dim: float  # the best average of the weights
    bits_per_dim_last: float  # the last weights
    bits_per_dim_to: dict[str, float]  # that average's, cumulative to a few log-SNRs


def train_variant(name: str, preset_name: str, images: Sources, goal: Goal, common: dict[str, Any]) -> Outcome:
    """Train a variant of a preset from scratch on this process's threads, and measure it on the held-out pictures.

    `common` changes the recipe of every variant; the variant's own changes come after.
    """
    network, recipe = VARIANTS[preset_name][name]
    chosen = preset(preset_name, network, common | recipe)
    pictures = TrainingImages(images.training, chosen.network.window, chosen.recipe.seed)
    trainer = Trainer(chosen.network, chosen.recipe, pictures, Processes(0, 1, torch.device("cpu")))
    with tempfile.TemporaryDirectory() as directory:
        trainer.run(goal, Path(directory), save_every_seconds=1e9)
    held_out = HeldOut.of(images.held_out, chosen.network.window, *chosen.recipe.views_of(chosen.network)[0].levels)
    if held_out is None:
        raise DdpmCodecError("no picture is held out: expected more of them, or larger ones")
    net = trainer.net.eval()
    last = bound(net, held_out)[0]
    found = []
    for average in trainer.averages().values():
        net.load_state_dict(average)
        found.append(bound(net, held_out))
    best, parts = min(found, key=lambda f: f[0])
    parameters = sum(p.numel() for p in net.parameters())
    return Outcome(name, parameters, trainer.seen, trainer.step, trainer.seen / trainer.seconds, best, last, parts)


def bound(network: torch.nn.Module, held_out: HeldOut) -> tuple[float, dict[str, float]]:
    """Return ideal bits/dim of a chain of many steps over the trained levels, and to a few of them on the way."""
    levels = np.arange(held_out.min_log_snr, held_out.max_log_snr + 0.25, 0.5)
    errors = level_errors(network, held_out.crops, levels, torch.device("cpu"))
    bits = np.concatenate([[0.0], np.cumsum(np.diff(levels) * (errors[1:] + errors[:-1]) / 2)]) / (2 * math.log(2))
    return float(bits[-1]), {f"{level:g}": float(b) for level, b in zip(levels, bits, strict=True) if level % 2 == 0}


def outcomes(names: Sequence[str], workers: int, *arguments: Any) -> Iterator[Outcome]:
    """Yield outcomes of `train_variant(name, *arguments)` as they come, `workers` at a time, each on one thread."""
    if workers == 1:
        yield from (train_variant(name, *arguments) for name in names)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        running = [pool.submit(train_variant, name, *arguments) for name in names]
        for done in as_completed(running):
            yield done.result()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=list(VARIANTS), default="cifar10-small")
    parser.add_argument("--data", action="append", required=True, help="training images; may be repeated")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training, each variant")
    parser.add_argument("--variants", nargs="+", help="names of variants; all by default")
    parser.add_argument("--workers", type=int, default=1, help="variants at a time, one thread each")
    parser.add_argument("--batch", type=int, help="of all variants but those of another")
    parser.add_argument("--lr", type=float, help="of AdamW, of all variants but those of another")
    parser.add_argument("--warmup", type=int, help="steps of the learning rates' rise, of all variants")
    parser.add_argument("--no-bf16", dest="bf16", action="store_false", help="train in float32")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    try:
        known = VARIANTS[args.preset]
        names = args.variants or list(known)
        if strange := [name for name in names if name not in known]:
            raise DdpmCodecError(f"variants {', '.join(strange)}: expected some of {', '.join(known)}")
        given = {"batch": args.batch, "lr": args.lr, "warmup": args.warmup, "bf16": args.bf16}
        common = {k: v for k, v in given.items() if v is not None}
        base = preset(args.preset, {}, common)
        images = training_images(args.data, base.network.window, hold_out=True)
        torch.set_num_threads(1)
        done: list[Outcome] = []
        found = provenance() | {"preset": args.preset, "minutes": args.minutes, "held_out": len(images.held_out)}
        found |= {"workers": args.workers, "recipe": base.recipe.to_dict(), "network": base.network.to_dict()}
        for outcome in outcomes(names, args.workers, args.preset, images, Goal(minutes=args.minutes), common):
            done.append(outcome)
            done.sort(key=lambda o: names.index(o.variant))
            write_json(args.output, found | {"outcomes": [asdict(o) for o in done]})
            print(
                f"{outcome.variant}: {outcome.bits_per_dim:.4f} bits/dim (last weights "
                f"{outcome.bits_per_dim_last:.4f}), {outcome.images} images",
                flush=True,
            )
    except DdpmCodecError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
