"""Channels compared: bits over ideal, achieved shift and seconds, on synthetic Gaussian shifts and on real chains.

    python -m ddpmcodec.eval.channels.compare -o results/channels.json --plot results/channels.png \\
      --data MOSAIC --images 20
    python -m ddpmcodec.eval.channels.compare --redraw results/channels.json --plot results/channels.png

Channels: the trellis with 2^8 … 2^16 states; ordered random coding with 2^14 candidates a chunk, run, and simulated
since running it is too slow for small errors; DiffC's rule as published, simulated (see `diffc_rule`). Terms:
`synthetic` for single steps, `chains` and `chain_statistics` for real chains. Ordered random coding has 2^12 candidates
in chains: 2^14 take four times as long. Seconds are processor time, so with OMP_NUM_THREADS=1 those of one core.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.channel.names import channel_of, parse_channel
from ddpmcodec.channel.random_coding import RandomCodingChannel
from ddpmcodec.codec.trajectory import steps_of_plan
from ddpmcodec.eval.channels.chains import compare
from ddpmcodec.eval.channels.diffc_rule import DIFFC
from ddpmcodec.eval.channels.plot import SIMULATED, draw
from ddpmcodec.eval.channels.synthetic import (
    DIMS,
    Row,
    measure_diffc,
    measure_random_coding,
    measure_trellis,
    simulate_random_coding,
)
from ddpmcodec.eval.data import load_tiles, shipped_picture
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.models import load_model

BITS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
CHANNELS = ("trellis:8", "trellis:10", "trellis:12", "trellis:14", "trellis:16", "orc:14")
CHAIN_CHANNELS = ("trellis:8", "trellis:10", "trellis:12", "trellis:14", "trellis:16", "orc:12", DIFFC)


def synthetic(names: Sequence[str], bits: Sequence[int], scale: float, seed: int) -> dict[str, list[Row]]:
    """Return rows of each channel, one for each B. scale: factor on the numbers of draws."""
    rows: dict[str, list[Row]] = {}
    for name in names:
        channel = channel_of(parse_channel(name), DIMS)
        if isinstance(channel, RandomCodingChannel):
            rows[name] = [measure_random_coding(channel, b, scale, seed) for b in bits]
            rows[f"{name} {SIMULATED}"] = [simulate_random_coding(channel, b, scale, seed) for b in bits]
        else:
            rows[name] = [measure_trellis(channel, b, scale, seed) for b in bits]
    return rows | {DIFFC: [measure_diffc(b, scale, seed) for b in bits]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="mosaic of 32x32 tiles; default: scikit-image's astronaut at 256x256, cut up"
    )
    parser.add_argument(
        "--images", type=int, default=20, help="number of pictures on real chains; 0: synthetic part only"
    )
    parser.add_argument("--model", default="cifar10-small")
    parser.add_argument("--plan-steps", type=int)
    parser.add_argument("--channels", nargs="*", default=list(CHANNELS), help="of the synthetic part")
    parser.add_argument("--chain-channels", nargs="*", default=list(CHAIN_CHANNELS), help="of the real chains")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--quick", action="store_true", help="seconds instead of minutes: to see that it runs, errors are large"
    )
    parser.add_argument("--plot", type=Path, help="PNG or SVG")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("-o", "--output", type=Path, help="JSON of what is measured")
    wanted.add_argument(
        "--redraw", type=Path, metavar="JSON", help="measure nothing: draw and report an earlier result"
    )
    args = parser.parse_args(arguments)
    if args.output:
        write_json(args.output, measured(args))
    result = json.loads((args.output or args.redraw).read_text())
    if args.plot:
        draw(result, args.plot)
    report(result)


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Measure all that the command's options ask for."""
    bits, scale = ((8, 64), 0.01) if args.quick else (BITS, 1.0)
    if args.quick:
        args.channels, args.chain_channels = ["trellis:8", "trellis:10", "orc:8"], ["trellis:8", DIFFC]
        args.images, args.plan_steps = 1, 10
    start = time.perf_counter()
    rows = synthetic(args.channels, bits, scale, args.seed)
    result: dict[str, Any] = {
        **provenance(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "seed": args.seed,
        "synthetic": {"dims": DIMS, "seconds": time.perf_counter() - start, "channels": rows},
    }
    if args.images:
        images, model = load_tiles(args.data, args.images) if args.data else _tiles(args.images), load_model(args.model)
        start = time.perf_counter()
        compared = compare(model, images, args.chain_channels, args.plan_steps, args.seed)
        result["chains"] = {
            "model": model.name,
            "fingerprint": model.fingerprint,
            "data": args.data.name if args.data else "scikit-image astronaut at 256x256, cut into 32x32",
            "images": len(images),
            "plan_steps": steps_of_plan(model, args.plan_steps, images.shape[1] * images.shape[2]),
            "seconds": time.perf_counter() - start,
            **compared,
        }
    return result


def _tiles(count: int) -> NDArray[np.uint8]:
    tiles = shipped_picture(256).reshape(8, 32, 8, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
    return np.ascontiguousarray(tiles[:: max(1, len(tiles) // count)][:count])


def report(result: dict[str, Any]) -> None:
    print("ideal bits a step: overhead %, achieved shift")
    for name, rows in result["synthetic"]["channels"].items():
        cells = (f"{r['bits']}: {100 * (r['real_over_ideal'] - 1):.1f}% {r['achieved_shift']:.3f}" for r in rows)
        print(f"{name:16}", "  ".join(cells))
    for name, r in result.get("chains", {"channels": {}})["channels"].items():
        ratios = "  ".join(f"at RMSE {a['rmse']:.3g}: {a['ratio']:.3f}" for a in r["at"] if a["ratio"])
        seconds = f"{r['seconds_an_image']:.2f} s an image" if r["seconds_an_image"] else SIMULATED
        print(f"{name:16} real/ideal {ratios}  shift {r['end']['achieved_shift']:.3f}  {seconds}")


if __name__ == "__main__":
    main()
