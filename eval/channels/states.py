"""States that pay: payload and seconds of the trellis with 2^12 … 2^16 states on real chains, with the default priors.

    OMP_NUM_THREADS=1 python -m ddpmcodec.eval.channels.states -o results/states.json --data train-4.webp --images 100
    … python -m ddpmcodec.eval.channels.states -o results/states-photos.json \\
      --data photo.webp … --crop 192 --plan-steps 20

--data: a mosaic of 32x32 tiles, or photographs of which a square in the middle is taken (--crop). Every L codes the
same pictures on the same plan. Words as in `rd`:

- ratio: payload bits over ideal bits at equal RMSE (mean over images). - saved: share of the payload bits of the first
L that this one does without, at equal RMSE; errors are over pictures, paired. - excess: Σ of the steps' bits over the
ideal bits along the chain's own path, less 1: the code alone, without counts and END. - search: processor time of the
channel's encoder (metrics, search, no network), a picture and a bit.

`*_error` are standard errors over pictures, by the jackknife.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.codec.sender import Sender
from ddpmcodec.codec.trajectory import steps_of_plan
from ddpmcodec.eval.channels.chain_statistics import with_jackknife
from ddpmcodec.eval.data import load_tiles
from ddpmcodec.eval.rd import measure
from ddpmcodec.eval.rd.curves import IDEAL, PAYLOAD, distortion_curve, ideal_curve, rate_at, with_error
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.io.images import to_bytes
from ddpmcodec.io.reading import read_image
from ddpmcodec.models import CodecModel, load_model
from ddpmcodec.numerics import native

RMSES = (12.0, 2.0, 0.951)
Table = dict[str, NDArray[np.float64]]


def sent(
    model: CodecModel, images: NDArray[np.uint8], plan_steps: int | None, memory: int, seed: int
) -> tuple[Table, float]:
    """Return by picture and step payload_bits so far, mse, bits and ideal_bits of the step; and seconds of the search.

    images: (n, h, w, 3), neither side below the model's window.
    """
    sender, seconds = Sender(*images, model=model, plan_steps=plan_steps, channel=f"trellis:{memory}", seed=seed), 0.0
    chain, (height, width) = sender.chain, images.shape[1:3]
    table = {k: np.zeros((len(images), chain.plan.steps)) for k in ("payload_bits", "mse", "bits", "ideal_bits")}
    while not sender.ended:
        target, n = sender.target(), chain.n
        start = time.process_time()
        counts = [stream.choose(bits) for stream, bits in zip(sender.streams, target.ideal_bits.tolist(), strict=True)]
        packets = sender.search(target, counts)
        seconds += time.process_time() - start
        table["ideal_bits"][:, n] = target.ideal_bits
        table["bits"][:, n] = [count.bits for count in counts]
        sender.advance(target.costs, packets)
        for i, (stream, plane) in enumerate(zip(sender.streams, chain.x0_hat(), strict=True)):
            table["payload_bits"][i, n] = 8.0 * len(stream.ended_here().sealed())
            table["mse"][i, n] = measure.squared_error(images[i], to_bytes(plane, height, width))
    return table, seconds


def payload_at(table: Table, kept: NDArray[np.intp], dims: int, rmse: float) -> float:
    """Return bits a dimension at an RMSE, over some of the pictures; NaN beyond the chain's end."""
    curve = with_error(PAYLOAD, table["payload_bits"][kept] / dims) | distortion_curve(table["mse"][kept])
    return rate_at(curve, PAYLOAD, rmse) or math.nan


def ideal_at(table: Table, kept: NDArray[np.intp], dims: int, rmse: float) -> float:
    curve = ideal_curve({k: v[kept] for k, v in table.items()}, np.full(len(kept), float(dims)))
    return rate_at(curve, IDEAL, rmse) or math.nan


def row_of(
    table: Table, seconds: float, first: Table, exact: Table, dims: int, rmses: Sequence[float]
) -> dict[str, Any]:
    """Return what the tables of one L, of the first L and of exact draws come to."""
    count, at = len(table["bits"]), []
    for rmse in rmses:

        def ratio(kept: NDArray[np.intp], rmse: float = rmse) -> float:
            return payload_at(table, kept, dims, rmse) / ideal_at(exact, kept, dims, rmse)

        def saved(kept: NDArray[np.intp], rmse: float = rmse) -> float:
            return 1 - payload_at(table, kept, dims, rmse) / payload_at(first, kept, dims, rmse)

        (value, error), (less, less_error) = with_jackknife(ratio, count), with_jackknife(saved, count)
        at.append({"rmse": rmse, "ratio": value, "ratio_error": error, "saved": less, "saved_error": less_error})
    bits = float(table["bits"].sum())
    return {
        "at": at,
        "excess": bits / float(table["ideal_bits"].sum()) - 1,
        "bits_an_image": bits / count,
        "search_seconds_an_image": seconds / count,
        "search_us_per_bit": 1e6 * seconds / bits,
    }


def pictures(paths: Sequence[Path], images: int, crop: int | None) -> NDArray[np.uint8]:
    """Return (n, h, w, 3): the first tiles of a mosaic, or a square from the middle of each photograph."""
    if crop is None:
        return load_tiles(paths[0], images)
    photos = [read_image(path.read_bytes()) for path in paths]
    corners = [((p.shape[0] - crop) // 2, (p.shape[1] - crop) // 2) for p in photos]
    return np.stack([p[y : y + crop, x : x + crop] for p, (y, x) in zip(photos, corners, strict=True)])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--images", type=int, default=100, help="of a mosaic")
    parser.add_argument("--crop", type=int, help="side of the squares taken from photographs")
    parser.add_argument("--model", default="cifar10-small")
    parser.add_argument("--plan-steps", type=int)
    parser.add_argument("--memory", type=int, nargs="+", default=[12, 13, 14, 15, 16])
    parser.add_argument("--rmse", type=float, nargs="+", default=list(RMSES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args(arguments)
    model, images = load_model(args.model), pictures(args.data, args.images, args.crop)
    dims, rows = images[0].size, {}
    exact = measure.ideal(model, list(images), args.plan_steps, args.seed)
    first: Table = {}
    for memory in args.memory:
        table, seconds = sent(model, images, args.plan_steps, memory, args.seed)
        first = first or table
        rows[memory] = row_of(table, seconds, first, exact, dims, args.rmse)
        print(f"L = {memory}", json.dumps(rows[memory]), flush=True)
    if args.output:
        said = {
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "search": native.description(),
            "model": model.name,
            "fingerprint": model.fingerprint,
            "data": [path.name for path in args.data],
            "images": len(images),
            "side": images.shape[1],
            "plan_steps": steps_of_plan(model, args.plan_steps, images.shape[1] * images.shape[2]),
            "seed": args.seed,
        }
        write_json(args.output, provenance() | said | {"rows": rows})


if __name__ == "__main__":
    main()
