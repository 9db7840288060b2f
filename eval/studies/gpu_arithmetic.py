"""Arithmetic of what a GPU should train: images a second, and whether the host can keep up.

    python -m ddpmcodec.eval.studies.gpu_arithmetic -o results/gpu-arithmetic.json

The host's part of a step (which crops, seeds, learning rates) is measured here; once a step is a CUDA graph there is no
other. The device's part is counted operation by operation, on tensors without contents, in bfloat16: each takes the
longest of its multiplications at a share of the card's peak, of its bytes read and written at the bandwidth seen on
such a card, and of the time that a kernel takes at the least. What is counted is the step as it runs, kernel by kernel,
without torch.compile. Group normalisation, which autocast leaves in float32 and CUDA does with channels first, counts
four times its bytes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.training import Preset, Processes, TrainingImages, preset
from ddpmcodec.training.objective import denoising_errors
from ddpmcodec.training.optimisers import Optimisers
from ddpmcodec.training.step import TrainingStep

BATCHES = {"cifar10-small": (64, 256, 512, 1024), "photo-small": (18, 144, 288, 576), "cifar10-base": (256, 512)}
TILES, PHOTOS = 50_000, 900  # training pictures, as many as there are
_VIEWS: tuple[str, ...] = ("aten.view", "aten.t.", "aten.transpose", "aten.permute", "aten.expand", "aten.slice")
_VIEWS += (
    "aten.split",
    "aten.unbind",
    "aten.detach",
    "aten.alias",
    "aten._unsafe_view",
    "aten.unsqueeze",
    "aten.squeeze",
    "aten.select",
    "aten.as_strided",
)


@dataclass(frozen=True)
class Card:
    """Card: a GPU in four numbers."""

    name: str = "NVIDIA H100"
    flop_a_second: float = 989e12  # bfloat16, dense, as the maker says
    share: float = 0.5  # the part of it that convolutions of these sizes are taken to reach
    bytes_a_second: float = 3.0e12  # read and written, of a large copy
    kernel_seconds: float = 2.5e-6  # from one small kernel of a CUDA graph to the next


class Work(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what passes: kernels, multiplications and additions, bytes, and the seconds that a card needs for them."""

    def __init__(self, card: Card):
        super().__init__()  # type: ignore[no-untyped-call]
        self.card, self.kernels, self.flop, self.bytes, self.seconds = card, 0, 0.0, 0.0, 0.0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        if not str(function).startswith(_VIEWS):
            tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor)]
            moved = float(sum(t.numel() * t.element_size() for t in tensors))
            moved *= 4 if "group_norm" in str(function) else 1
            count = flop_registry.get(function.overloadpacket)
            self.add(float(count(*args, **(kwargs or {}), out_val=out)) if count else 0.0, moved)
        return out

    def add(self, flop: float, moved: float) -> None:
        """Count a kernel with its operations and bytes."""
        card = self.card
        self.kernels, self.flop, self.bytes = self.kernels + 1, self.flop + flop, self.bytes + moved
        self.seconds += max(flop / (card.share * card.flop_a_second), moved / card.bytes_a_second, card.kernel_seconds)


def device_work(chosen: Preset, card: Card) -> Work:
    """Count one step's forward and backward passes over all views, and its optimisers."""
    recipe = chosen.recipe
    with torch.device("meta"):
        net = chosen.network.build()
        moved = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        work = Work(card)
        low = moved.bfloat16()
        for view in recipe.views_of(chosen.network):
            x_0 = torch.zeros(view.count, 3, view.side, view.side, dtype=torch.bfloat16)
            x_0 = x_0.contiguous(memory_format=torch.channels_last)
            log_snr = torch.zeros(view.count, dtype=torch.bfloat16)
            with work:
                loss = denoising_errors(low, x_0, log_snr, torch.zeros_like(x_0)).mean()
                loss.backward()  # type: ignore[no-untyped-call]
        weights = low.float()
        optimisers = Optimisers(weights, recipe, torch.device("cpu"))
        for p in weights.parameters():
            p.grad = torch.zeros_like(p)
        for part in optimisers.parts:
            if isinstance(
                part, torch.optim.AdamW
            ):  # fused on a GPU: weight, gradient and two moments, three written back
                work.add(0.0, 4.0 * 7 * sum(p.numel() for group in part.param_groups for p in group["params"]))
                continue
            part.step()  # makes the states
            with work:
                part.step()
    return work


def host_milliseconds(step: TrainingStep, steps: int = 300) -> dict[str, float]:
    """Return what `TrainingStep.prepare` takes of a processor, once tables are there: median and mean over consecutive
    steps.
    """
    for i in range(3):
        step.prepare(i, 0.5)
    taken = []
    for i in range(3, 3 + steps):
        start = time.thread_time()
        step.prepare(i, 0.5)
        taken.append(1e3 * (time.thread_time() - start))
    return {"median": statistics.median(taken), "mean": statistics.fmean(taken), "greatest": max(taken)}


def host_step(name: str, batch: int) -> TrainingStep:
    """Return a step on as many pictures as there are to train on, of the sizes that they have; all of them black."""
    chosen = preset(name, None, {"batch": batch})
    if not name.startswith("photo"):
        images: Any = np.zeros((TILES, chosen.network.window, chosen.network.window, 3), np.uint8)
    else:
        sides = np.random.default_rng(0).integers(256, 337, (PHOTOS, 2))
        images = [np.zeros((int(h), int(w), 3), np.uint8) for h, w in sides]
    source = TrainingImages(images, chosen.network.window, 0)
    return TrainingStep(chosen.network, chosen.recipe, source, Processes(0, 1, torch.device("cpu")))


def expected(name: str, batch: int, card: Card) -> dict[str, float]:
    """Return a step's counts, and the images a second that follow."""
    work = device_work(preset(name, None, {"batch": batch}), card)
    return {
        "kernels": work.kernels,
        "tflop": work.flop / 1e12,
        "gigabytes": work.bytes / 1e9,
        "ms_a_step": 1e3 * work.seconds,
        "images_per_second": batch / work.seconds,
        "share_of_peak": work.flop / work.seconds / card.flop_a_second,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", choices=list(BATCHES), default=list(BATCHES))
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    card = Card()
    found: dict[str, Any] = provenance() | {"card": vars(card), "presets": {}}
    for name in args.presets:
        rows = {str(batch): expected(name, batch, card) for batch in BATCHES[name]}
        host = {str(batch): host_milliseconds(host_step(name, batch)) for batch in BATCHES[name][1:3]}
        found["presets"][name] = {"expected": rows, "host_ms_a_step": host}
        for batch, row in rows.items():
            print(f"{name}, batch {batch}: {row['ms_a_step']:.1f} ms a step, {row['images_per_second']:.0f} images/s")
        for batch, ms in host.items():
            print(f"{name}, batch {batch}: the host takes {ms['median']:.2f} ms a step")
    write_json(args.output, found)


if __name__ == "__main__":
    main()
