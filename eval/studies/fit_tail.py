"""Training of the lossless tail's networks of integers; the result ships with the package and is part of the format.

    python -m ddpmcodec.eval.studies.fit_tail --data cifar10-small=train-0.webp cifar10-small=train-1.webp \\
      photo-small=photos/ -o ddpmcodec/lossless/weights.npz

Training images, never test images, are brought to random levels of the chain near its end; the ε-model predicts them,
and the networks learn to code what the truth differs by. They see errors in units of the level's expected error, so
one set of networks serves several ε-models. A folder's pictures give random crops; those held out from training are
what is checked on.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ddpmcodec.diffusion.denoiser import x0_hat, x0_hat_of_both
from ddpmcodec.diffusion.gaussians import q_sample
from ddpmcodec.io.atomic import replacing
from ddpmcodec.io.datasets import load_tiles, named_pictures
from ddpmcodec.io.images import to_plane
from ddpmcodec.lossless.distribution import make_tables
from ddpmcodec.lossless.lattice import RADIUS, Group, groups, neighbours
from ddpmcodec.lossless.network import HIDDEN, INPUT, WEIGHT, inputs
from ddpmcodec.lossless.rounding import CELL, UNIT
from ddpmcodec.models import CodecModel, load_model
from ddpmcodec.training.held_out import is_held_out

LEVELS = (5.4, 9.56)  # log-SNRs trained on: RMSE from 4.5 to 0.88
UNITS_WIDE = 96  # width of each of the two hidden layers
BATCH = 2048
CROP = 64  # side of the crops of photographs
_LEAST = 2.0**-20  # probability, as `distribution` has it


class Examples:
    """Pictures of one model and their predictions, ready to cut neighbourhoods from. images: (n, h, w, 3)."""

    def __init__(self, model: CodecModel, images: NDArray[np.uint8], seed: int):
        rng = np.random.default_rng(seed)
        n = len(images)
        self.log_snr = LEVELS[0] + (LEVELS[1] - LEVELS[0]) * (rng.permutation(n) + rng.random(n)) / n
        self.scale = np.rint(127.5 * UNIT * np.sqrt(model.curve.expected_mse(self.log_snr))).astype(np.int64)
        self.truth = images.transpose(0, 3, 1, 2).astype(np.int64)
        margin = ((0, 0), (0, 0), (RADIUS, RADIUS), (RADIUS, RADIUS))
        self.predictions = np.empty(self.truth.shape, np.int64)
        for i, image in enumerate(images):
            level = float(self.log_snr[i])
            eps = rng.standard_normal(self.truth.shape[1:]).astype(np.float32)
            x_t = q_sample(to_plane(image), level, eps).astype(np.float32)[None]
            predicted = x0_hat(model, x_t, level)
            if model.mirrored:
                predicted = x0_hat_of_both(model, x_t, level, predicted)
            exact = (predicted[0].astype(np.float64) + 1.0) * (127.5 * UNIT)
            self.predictions[i] = np.rint(
                exact + rng.uniform(-CELL / 2, CELL / 2, exact.shape)
            )  # as dithered rounding does
        self.errors = np.pad(self.truth * UNIT - self.predictions, margin)
        self.around = np.pad(self.predictions, margin, mode="edge")

    def of(self, group: Group) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return inputs (n m, inputs), true levels, own predictions in levels, and scales in levels (n m,); m members a
        picture.
        """
        found, truth, own, scales = [], [], [], []
        for i in range(len(self.truth)):
            rows, columns = group.shape(*self.truth.shape[2:])
            whole, mine, scale = slice(0, rows), group.of(self.predictions[i]).reshape(-1), int(self.scale[i])
            known = neighbours(self.errors[i], group, group.known, whole, columns)
            texture = neighbours(self.around[i], group, group.around, whole, columns)
            x = inputs(known, texture, mine, scale, round(self.log_snr[i] * 65536))
            found.append(torch.from_numpy(x.astype(np.float32) / INPUT))
            truth.append(torch.from_numpy(group.of(self.truth[i]).reshape(-1).astype(np.float32)))
            own.append(torch.from_numpy(mine.astype(np.float32) / UNIT))
            scales.append(torch.full((len(mine),), scale / UNIT))
        return torch.cat(found), torch.cat(truth), torch.cat(own), torch.cat(scales)


def bits(out: Tensor, truth: Tensor, own: Tensor, scale: Tensor) -> Tensor:
    """Return -log2 of the mixture's probability of the true level. out: (n, 5) as the networks of integers give it."""
    centre = own[:, None] + scale[:, None] * out[:, :2]
    spread = scale[:, None] * torch.exp2(out[:, 2:4].clamp(-5, 3))
    share = torch.sigmoid(out[:, 4:])
    weight = torch.cat([share, 1 - share], 1)

    def below(edge: Tensor) -> Tensor:
        return 0.5 * (1 + torch.erf((edge[:, None] - centre) / (spread * math.sqrt(2))))

    upper = torch.where(truth[:, None] >= 255, 1.0, below(truth + 0.5))
    lower = torch.where(truth[:, None] <= 0, 0.0, below(truth - 0.5))
    return -torch.log2((weight * (upper - lower)).sum(1) + _LEAST)


def fit(x: Tensor, truth: Tensor, own: Tensor, scale: Tensor, epochs: float, seed: int) -> nn.Sequential:
    """Train a network for one group."""
    torch.manual_seed(seed)
    wide = UNITS_WIDE
    last = nn.Linear(wide, 5)
    with torch.no_grad():
        last.weight *= 0.1
        last.bias.copy_(torch.tensor([0, 0, -0.8, 0.6, 1.0]))
    net = nn.Sequential(nn.Linear(x.shape[1], wide), nn.ReLU(), nn.Linear(wide, wide), nn.ReLU(), last)
    steps = max(2, int(epochs * len(x) / BATCH))
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        i = torch.randint(len(x), (BATCH,), generator=generator)
        loss = bits(net(x[i]), truth[i], own[i], scale[i]).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        rate.step()
    return net


def whole_numbers(net: nn.Sequential) -> tuple[list[NDArray[np.int16]], list[NDArray[np.int32]]]:
    """Return weights (in, out) and biases in fixed point."""
    fractions = (6 + WEIGHT, HIDDEN + WEIGHT, HIDDEN + WEIGHT)  # the sums' fraction bits, and so the biases'
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    w = [np.rint(layer.weight.detach().numpy().T.astype(np.float64) * 2**WEIGHT) for layer in linear]
    b = [
        np.rint(layer.bias.detach().numpy().astype(np.float64) * 2**f)
        for layer, f in zip(linear, fractions, strict=True)
    ]
    return [np.clip(v, -32768, 32767).astype(np.int16) for v in w], [v.astype(np.int32) for v in b]


@dataclass(frozen=True)
class Chosen:
    """Pictures of one model, all of one size: to train on, and to check on."""

    model: CodecModel
    train: NDArray[np.uint8]
    check: NDArray[np.uint8]


def choose(name: str, paths: Sequence[Path], tiles: int, crops: int, seed: int) -> Chosen:
    """Choose `tiles` tiles of the model's mosaics, one in 25 of them to check on; or, of folders, `crops` crops of
    every photograph. Raises DdpmCodecError.
    """
    model, random = load_model(name), np.random.default_rng(seed)
    if not model.any_size:
        pool = np.concatenate([load_tiles(path, None, model.window) for path in paths])
        chosen = pool[random.permutation(len(pool))[:tiles]]
        held = max(1, len(chosen) // 25)
        return Chosen(model, chosen[held:], chosen[:held])
    found: dict[bool, list[NDArray[np.uint8]]] = {False: [], True: []}
    for path in paths:
        for file, picture in named_pictures(path):
            for _ in range(crops):
                top, left = (int(random.integers(side - CROP + 1)) for side in picture.shape[:2])
                found[is_held_out(file.name)].append(picture[top : top + CROP, left : left + CROP])
    return Chosen(model, np.stack(found[False]), np.stack(found[True]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, metavar="MODEL=PATH", help="mosaic of tiles, or folder")
    parser.add_argument("--tiles", type=int, default=6400, help="of all mosaics together")
    parser.add_argument("--crops", type=int, default=2, help="of each photograph")
    parser.add_argument("--epochs", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    paths: dict[str, list[Path]] = {}
    for name, _, path in (pair.rpartition("=") for pair in args.data):
        paths.setdefault(name, []).append(Path(path))
    chosen = [choose(name, where, args.tiles, args.crops, args.seed) for name, where in paths.items()]
    train = [Examples(c.model, c.train, args.seed) for c in chosen]
    check = {c.model.name: Examples(c.model, c.check, args.seed + 1) for c in chosen}
    arrays: dict[str, NDArray[np.generic]] = {k: v.astype(np.int32) for k, v in make_tables().items()}
    total = dict.fromkeys(check, 0.0)
    for g, group in enumerate(groups()):
        start = time.perf_counter()
        x, truth, own, scale = (torch.cat(parts) for parts in zip(*(t.of(group) for t in train), strict=True))
        net = fit(x, truth, own, scale, args.epochs, args.seed + g)
        for name, examples in check.items():
            x, *rest = examples.of(group)
            with torch.no_grad():
                held_bits = float(bits(net(x), *rest).mean())
            total[name] += held_bits / len(groups())
            print(f"group {g}: {name}: {held_bits:.4f} bits a sub-pixel held out", end=", ")
        print(f"{time.perf_counter() - start:.0f} s", flush=True)
        for k, (w, b) in enumerate(zip(*whole_numbers(net), strict=True)):
            arrays[f"w{g}.{k}"], arrays[f"b{g}.{k}"] = w, b
    for name, mean in total.items():
        print(f"{name}, all groups: {mean:.4f} bits/dim held out, log-SNR {LEVELS[0]} to {LEVELS[1]} evenly")
    with replacing(args.output) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
