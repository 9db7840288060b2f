"""Levels where values are whole: what a chain that goes on there would spend, beside the tail that ends it.

    python -m ddpmcodec.eval.studies.last_levels --data photos/ --model photo-small --last last.safetensors \\
      -o results/last-levels.json

On held-out training photographs, at levels from 7.5 to 12: the error of each network's ε̂, and the bits that the
lossless tail needs from there, with x̂_0 by the better network, rounded as the tail does but with equal floats. A chain
of very many white steps from λ_a to λ_b spends ½∫E|ε - ε̂|²/d dλ (Kingma et al. 2021, eq. 17); a real one spends a
twentieth more. So the sum of both says where diffusion should end.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ddpmcodec.diffusion.gaussians import predict_x0, q_sample
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.io.images import to_plane
from ddpmcodec.lossless import TailLevel
from ddpmcodec.lossless.rounding import CELL, UNIT
from ddpmcodec.lossless.tail import symbol_bits
from ddpmcodec.models.source import open_network
from ddpmcodec.training import training_images

LEVELS = np.arange(7.5, 12.25, 0.5)
FROM = 8.0  # where chain and tail are counted from: about where lossless files end their chain
_SIDE = 96  # of the middles looked at
_LEAST_SCALE, _MOST_SCALE = UNIT // 8, 64 * UNIT  # as `TailLevel.of` has them


def middles(pictures: list[NDArray[np.uint8]], count: int) -> list[NDArray[np.uint8]]:
    """Return the middle of each of the first pictures, (96, 96, 3)."""
    found = []
    for picture in pictures[:count]:
        top, left = ((side - _SIDE) // 2 for side in picture.shape[:2])
        found.append(picture[top : top + _SIDE, left : left + _SIDE])
    return found


def measured(networks: dict[str, Any], crops: Sequence[NDArray[np.uint8]], seed: int) -> dict[str, Any]:
    """Return by network and level: the error of ε̂, the RMSE of x̂_0 in levels of 255, and the tail's bits/dim."""
    random = np.random.default_rng(seed)
    noise = [random.standard_normal((3, _SIDE, _SIDE)).astype(np.float32) for _ in crops]
    found: dict[str, Any] = {name: {"eps_mse": [], "rmse": [], "tail_bits_per_dim": []} for name in networks}
    for level in LEVELS:
        for name, network in networks.items():
            eps_mse, mse, bits = [], [], 0.0
            for crop, eps in zip(crops, noise, strict=True):
                x_0 = to_plane(crop)
                x_t = q_sample(x_0, float(level), eps).astype(np.float32)
                with torch.no_grad():
                    told = torch.tensor([level], dtype=torch.float32)
                    eps_hat = network(torch.from_numpy(x_t[None]), told).numpy()[0]
                x0_hat = predict_x0(x_t, eps_hat, float(level))
                eps_mse.append(float(np.square(eps_hat - eps).mean()))
                mse.append(float(np.square(x0_hat - x_0).mean()))
                scale = round(min(max(127.5 * UNIT * math.sqrt(mse[-1]), _LEAST_SCALE), _MOST_SCALE))
                dither = random.uniform(-CELL / 2, CELL / 2, x_0.shape)
                predictions = np.rint((x0_hat.astype(np.float64) + 1) * 127.5 * UNIT + dither).astype(np.int64)
                bits += symbol_bits(crop, predictions, TailLevel(round(level * 65536), scale))
            of = found[name]
            of["eps_mse"].append(float(np.mean(eps_mse)))
            of["rmse"].append(127.5 * math.sqrt(float(np.mean(mse))))
            of["tail_bits_per_dim"].append(bits / sum(crop.size for crop in crops))
    return found


def together(found: dict[str, Any]) -> list[dict[str, float]]:
    """Return by level from `FROM` on: the chain's ideal bits/dim up to there by the better network at each level, the
    tail's, and their sum.
    """
    error = np.min([of["eps_mse"] for of in found.values()], axis=0)
    tail = np.min([of["tail_bits_per_dim"] for of in found.values()], axis=0)
    first = int(np.flatnonzero(LEVELS == FROM)[0])
    parts = np.concatenate([[0.0], np.diff(LEVELS[first:]) * (error[first:-1] + error[first + 1 :]) / 2])
    chain = parts.cumsum() / (2 * math.log(2))
    rows = zip(LEVELS[first:], chain, tail[first:], strict=True)
    return [{"log_snr": float(a), "chain": float(b), "tail": float(c), "sum": float(b + c)} for a, b, c in rows]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of photographs")
    parser.add_argument("--model", default="photo-small", help="what lossless files are made with today")
    parser.add_argument("--last", required=True, help="a network for the last levels (preset photo-last)")
    parser.add_argument("--limit", type=int, default=24, help="held-out photographs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    networks = {name: open_network(name).network for name in (args.model, args.last)}
    crops = middles(list(training_images([args.data], _SIDE, hold_out=True).held_out), args.limit)
    found = measured(networks, crops, args.seed)
    rows = together(found)
    by_network = {"model": found[args.model], "last": found[args.last]}
    write_json(
        args.output,
        provenance()
        | {"pictures": len(crops), "log_snr": list(map(float, LEVELS)), "networks": by_network, "together": rows},
    )
    for row in rows:
        print("  ".join(f"{k} {v:.3f}" for k, v in row.items()))


if __name__ == "__main__":
    main()
