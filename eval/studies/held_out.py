"""Ideal bound of models on held-out training photographs: what training is steered by, in one comparable number.

    python -m ddpmcodec.eval.studies.held_out --data photos/ --models photo-small cifar10-small -o results/held-out.json

Of each picture that training keeps apart (whose name's SHA-1 begins with 0) the four 64x64 crops around the centre are
taken, and ½∫E|ε - ε̂|²/d dλ over λ from -8 to 9.5 is the rate of a chain of many white steps (Kingma et al. 2021, eq.
17), in bits/dim. A model that may look at smaller pictures (`--factors`) is counted at its best size at each level.
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

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.models.source import open_network
from ddpmcodec.training import training_images
from ddpmcodec.training.held_out import level_errors

LEVELS = np.arange(-8.0, 9.75, 0.5)
_SIDE = 64
_SHOWN = (0.0, 2.0, 4.0, 6.0, 8.0)


def crops_of(pictures: Sequence[NDArray[np.uint8]], side: int = _SIDE) -> NDArray[np.uint8]:
    """Return (4n, side, side, 3): the four crops that meet in the centre of each picture of at least twice the side."""
    found = []
    for picture in pictures:
        y, x = picture.shape[0] // 2, picture.shape[1] // 2
        if min(y, x) >= side:
            found += [picture[a : a + side, b : b + side] for a in (y - side, y) for b in (x - side, x)]
    if not found:
        least = 2 * side
        raise DdpmCodecError(
            f"no held-out picture of at least {least}x{least}: expected a folder of more, or larger ones"
        )
    return np.stack(found)


def bound(name: str, crops: NDArray[np.uint8], factors: Sequence[int]) -> dict[str, Any]:
    """Return the bound of a model, whole and to a few levels, and which size was best where."""
    source = open_network(name)
    low, high = source.config.min_log_snr, source.config.max_log_snr

    def network(x_t: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:
        return source.network(x_t, log_snr.clamp(low, high))  # type: ignore[no-any-return]

    sizes = [k for k in factors if crops.shape[1] // k >= source.config.canvas]
    errors = np.full((len(sizes), len(LEVELS)), np.inf)
    for row, factor in enumerate(sizes):
        useful = (1.0 if factor > 1 else 99) >= LEVELS  # finer, small sizes lose
        errors[row, useful] = level_errors(network, crops, LEVELS[useful], torch.device("cpu"), factor)
    best = errors.min(axis=0)
    bits = np.concatenate([[0.0], np.cumsum((best[1:] + best[:-1]) / 2 * np.diff(LEVELS))]) / (2 * math.log(2))
    return {
        "bits_per_dim": float(bits[-1]),
        "bits_per_dim_to": {f"{level:g}": float(np.interp(level, LEVELS, bits)) for level in _SHOWN},
        "factor": [sizes[i] for i in errors.argmin(axis=0)],
        "eps_mse": [float(v) for v in best],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", action="append", required=True, help="folders of training photographs")
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--factors", nargs="+", type=int, default=[1], help="sizes that the network may look at: 1 2 4")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    try:
        crops = crops_of(list(training_images(args.data, _SIDE, hold_out=True).held_out))
        found = provenance() | {"crops": len(crops), "log_snr": LEVELS.tolist(), "models": {}}
        for name in args.models:
            found["models"][name] = bound(name, crops, args.factors)
            write_json(args.output, found)
            parts = ", ".join(f"{v:.3f} to {k}" for k, v in found["models"][name]["bits_per_dim_to"].items())
            print(f"{name}: {found['models'][name]['bits_per_dim']:.4f} bits/dim ({parts})", flush=True)
    except DdpmCodecError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
