"""Variants of `cifar10-small` from scratch at equal CPU time: architecture and training, one change each.

    python -m ddpmcodec.eval.studies.ablation --data train-0.webp --data train-1.webp --minutes 15 --workers 2 \\
      -o results/ablation.json

Every variant trains for the same minutes on one thread, so a costlier network or a smaller batch sees fewer images; --batch
and --lr change the preset's recipe for all of them. What counts is the bound on held-out training images, which no variant
sees: ideal bits/dim of a chain of many steps over the trained levels, of the averaged weights and of the last ones, with the
same noise for all.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.models.unet import UNet
from ddpmcodec.training import Goal, Processes, Trainer, TrainingImages, preset, training_images
from ddpmcodec.training.objective import denoising_errors, draw_levels

VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # changes to the network, changes to the recipe
    "as embedded": ({}, {}),
    "channels 24, 48, 96": ({"channels": (24, 48, 96)}, {}),
    "channels 40, 80, 160": ({"channels": (40, 80, 160)}, {}),
    "channels 48, 64, 96": ({"channels": (48, 64, 96)}, {}),
    "a fourth level of 128": ({"channels": (32, 64, 128, 128)}, {}),
    "two blocks a level": ({"blocks": 2}, {}),
    "two middle blocks": ({"middle_blocks": 2}, {}),
    "six middle blocks": ({"middle_blocks": 6}, {}),
    "attention at 16x16": ({"attention_levels": (1,)}, {}),
    "attention at 8x8": ({"attention_levels": (2,)}, {}),
    "no preconditioning": ({"knots": 0}, {}),
    "dropout 0.1": ({"dropout": 0.1}, {}),
    "batch 16": ({}, {"batch": 16}),
    "batch 32": ({}, {"batch": 32}),
    "batch 128": ({}, {"batch": 128}),
    "learning rate 5e-4": ({}, {"lr": 5e-4}),
    "learning rate 2e-3": ({}, {"lr": 2e-3}),
    "learning rate 4e-3": ({}, {"lr": 4e-3}),
    "learning rate constant": ({}, {"decay": False}),
    "EMA 0.99": ({}, {"ema": 0.99}),
    "EMA 0.9995": ({}, {"ema": 0.9995}),
}
HELD_OUT = 512  # images, the last of the data
_LEVELS = 4  # noise levels an image
_BATCH = 64


@dataclass(frozen=True)
class Outcome:
    """What one variant reached."""

    variant: str
    parameters: int
    images: int  # seen in training
    steps: int
    images_per_second: float
    bits_per_dim: float  # the averaged weights
    bits_per_dim_last: float  # the last weights
    standard_error: float  # of bits_per_dim over held-out images; noise and images are common to all variants


def train_variant(
    name: str, images: NDArray[np.uint8], held_out: NDArray[np.uint8], goal: Goal, common: dict[str, Any]
) -> Outcome:
    """Trains VARIANTS[name] from scratch on images (n, h, w, 3) on this process's threads, and measures it on held_out.

    `common` changes the recipe of every variant; the variant's own changes come after.
    """
    network, recipe = VARIANTS[name]
    chosen = preset("cifar10-small", network, common | recipe)
    pictures = TrainingImages(images, chosen.network.window, chosen.recipe.seed)
    trainer = Trainer(chosen.network, chosen.recipe, pictures, Processes(0, 1, torch.device("cpu")))
    with tempfile.TemporaryDirectory() as directory:
        trainer.run(goal, Path(directory))
    last, _ = bound(trainer.net, held_out)
    trainer.net.load_state_dict(trainer.average)
    average, error = bound(trainer.net, held_out)
    parameters = sum(p.numel() for p in trainer.net.parameters())
    seen = trainer.seen, trainer.step, trainer.seen / trainer.seconds
    return Outcome(name, parameters, *seen, average, last, error)


@torch.no_grad()
def bound(network: UNet, images: NDArray[np.uint8], seed: int = 0) -> tuple[float, float]:
    """Ideal bits/dim of a chain of many steps over the trained levels, on images (n, h, w, 3), and its standard error.

    The mean over log-SNRs drawn uniformly, _LEVELS an image, of ε-MSE times what it is worth (Kingma et al. 2021, eq. 17).
    """
    config, generator = network.config, torch.Generator().manual_seed(seed)
    levels = draw_levels(preset("cifar10-small").recipe, config, _LEVELS * len(images), generator)
    order = torch.randperm(len(levels.log_snr), generator=generator)  # strata in turn would tie levels to pictures
    network.eval()
    bits: list[Tensor] = []
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().repeat_interleave(_LEVELS, 0) / 127.5 - 1
    for part, x_0 in zip(torch.split(order, _BATCH), torch.split(pixels, _BATCH), strict=True):
        eps = torch.randn(x_0.shape, generator=generator)
        bits.append(denoising_errors(network, x_0, levels.log_snr[part], eps) * levels.bits[part])
    a_picture = torch.cat(bits).double().reshape(len(images), _LEVELS).mean(1)
    return float(a_picture.mean()), float(a_picture.std() / len(images) ** 0.5)


def outcomes(names: Sequence[str], workers: int, *arguments: Any) -> Iterator[Outcome]:
    """Outcomes of `train_variant(name, *arguments)` as they come, `workers` at a time, each on one thread."""
    if workers == 1:
        yield from (train_variant(name, *arguments) for name in names)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        running = [pool.submit(train_variant, name, *arguments) for name in names]
        for done in as_completed(running):
            yield done.result()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="training images of 32x32; may be repeated")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training, each variant")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--workers", type=int, default=1, help="variants at a time, one thread each")
    parser.add_argument("--batch", type=int, help="of all variants but those of another")
    parser.add_argument("--lr", type=float, help="of all variants but those of another")
    parser.add_argument("--no-bf16", dest="bf16", action="store_false", help="train in float32")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    try:
        images = training_images(args.data, 32)
        if not isinstance(images, np.ndarray) or len(images) <= HELD_OUT:
            raise DdpmCodecError(f"expected a mosaic of more than {HELD_OUT} images of 32x32, or cifar10")
        torch.set_num_threads(1)
        done: list[Outcome] = []
        given = {"batch": args.batch, "lr": args.lr, "bf16": args.bf16}
        common = {k: v for k, v in given.items() if v is not None}
        recipe = asdict(preset("cifar10-small", {}, common).recipe)
        found = provenance() | {"minutes": args.minutes, "held_out": HELD_OUT, "workers": args.workers, "recipe": recipe}
        parts = images[:-HELD_OUT], images[-HELD_OUT:]
        for outcome in outcomes(args.variants, args.workers, *parts, Goal(minutes=args.minutes), common):
            done.append(outcome)
            done.sort(key=lambda o: args.variants.index(o.variant))
            write_json(args.output, found | {"outcomes": [asdict(o) for o in done]})
            print(
                f"{outcome.variant}: {outcome.bits_per_dim:.4f} bits/dim (last weights {outcome.bits_per_dim_last:.4f}), "
                f"{outcome.images} images",
                flush=True,
            )
    except DdpmCodecError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
