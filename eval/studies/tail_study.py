"""Tail's two choices, measured on training images: where diffusion ends, and how floats are rounded.

    python -m ddpmcodec.eval.studies.tail_study --data train.webp --limit 64 -o results/tail-study.json \\
      --plot results/tail-study.png
    python -m ddpmcodec.eval.studies.tail_study --data photos/ --model photo-small --plan-steps 33 46 --limit 8 \\
      -o results/tail-study-photos.json

Where: one chain a picture, encoded to its end; after each step, the real bytes of the steps so far, sealed, and the
real bytes of a tail from there. How: bits that tails at the usual place spend so that a receiver's floats may differ,
beside a tail for a receiver with the very same floats. A model for pictures of any size is measured on middles of
256x256 of photographs held out from training.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.codec.sender import Sender
from ddpmcodec.codec.trajectory import steps_of_plan, tail_step
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.io.atomic import replacing
from ddpmcodec.io.datasets import load_images, named_pictures
from ddpmcodec.io.images import to_plane
from ddpmcodec.lossless import TailLevel, encode_tail
from ddpmcodec.lossless.rounding import TOLERANCE, UNIT
from ddpmcodec.lossless.tail import symbol_bits
from ddpmcodec.models import CodecModel, load_model
from ddpmcodec.models.choice import is_small
from ddpmcodec.numerics.philox import Key
from ddpmcodec.training.held_out import is_held_out

BATCH_PIXELS = 32 * 32 * 32
SIDE = 256  # of a photograph's middle
WORST_RMSE = 5.0  # expected where the first end that is tried lies: before it the tail has too much to do


def middles(path: Path, limit: int) -> NDArray[np.uint8]:
    """Return the middles (n, SIDE, SIDE, 3) of as many held-out photographs of a folder, spread over all of them."""
    pictures = [p for file, p in named_pictures(path) if is_held_out(file.name) and min(p.shape[:2]) >= SIDE]
    if len(pictures) < limit:
        raise DdpmCodecError(f"{path} has {len(pictures)} held-out pictures of {SIDE}x{SIDE} at least: --limit {limit}")
    cuts = [((p.shape[0] - SIDE) // 2, (p.shape[1] - SIDE) // 2, p) for p in pictures[:: len(pictures) // limit]]
    return np.stack([p[y : y + SIDE, x : x + SIDE] for y, x, p in cuts[:limit]])


def totals(model: CodecModel, images: NDArray[np.uint8], usual: int | None, plan_steps: int | None) -> dict[str, Any]:
    """Return bits/dim of both parts for an end at each step, over images (n, h, w, 3); and the ways of rounding at step
    `usual`, the tail's own where that is None.
    """
    dims, pixels = images[0].size, images.shape[1] * images.shape[2]
    plan = model.plan(steps_of_plan(model, plan_steps, pixels))
    usual = tail_step(model.curve, plan, pixels) if usual is None else usual
    expected = 127.5 * np.sqrt(model.curve.expected_mse(np.array(plan.log_snr)))
    first_end = 1 + int(np.argmax(expected <= WORST_RMSE))
    learns = not is_small(pixels)  # as `Sender` has it
    ends, batch = range(first_end, plan.steps + 1), max(1, BATCH_PIXELS // pixels)
    diffusion, tails, ways = np.zeros((len(ends), 2)), np.zeros(len(ends)), []
    for first in range(0, len(images), batch):
        part = images[first : first + batch]
        x_0 = np.stack([to_plane(i) for i in part])
        sender = Sender(*part, model=model, plan_steps=plan_steps)
        for sent in sender.send():
            if sent.n < first_end:
                continue
            level, predictions = TailLevel.of(model.curve, sent.log_snr_s), sent.reconstruct()
            for picture, stream, x0_hat in zip(part, sender.streams, predictions, strict=True):
                diffusion[sent.n - first_end, 0] += 8 * len(stream.ended_here().sealed())
                tails[sent.n - first_end] += 8 * len(encode_tail(picture, x0_hat, level, Key(0, sent.n), learns=learns))
                if sent.n == usual:
                    ways.append(_ways(picture, x0_hat, level, Key(0, sent.n), learns))
            diffusion[sent.n - first_end, 1] += float(((predictions - x_0) ** 2).mean(axis=(1, 2, 3)).sum())
    count = len(images) * dims
    return {
        "images": len(images),
        "plan_steps": plan.steps,
        "where": {
            "steps": list(ends),
            "log_snr": [plan.level(n) for n in ends],
            "rmse": list(127.5 * np.sqrt(diffusion[:, 1] / len(images))),
            "diffusion_bits_per_dim": list(diffusion[:, 0] / count),
            "tail_bits_per_dim": list(tails / count),
            "total_bits_per_dim": list((diffusion[:, 0] + tails) / count),
        },
        "rounding": {"after_step": usual} | {k: float(np.mean([w[k] for w in ways])) / dims for k in ways[0]},
    }


def _ways(
    picture: NDArray[np.uint8], x0_hat: NDArray[np.float32], level: TailLevel, key: Key, learns: bool
) -> dict[str, float]:
    """Return the bits of one tail, CRC not included: with equal floats, with dithers that were chosen (ours), with
    flags.
    """
    values = (x0_hat.astype(np.float64) + 1) * (127.5 * UNIT)
    equal = symbol_bits(picture, np.rint(values).astype(np.int64), level, learns)
    ours = 8.0 * len(encode_tail(picture, x0_hat, level, key, learns=learns)) - 32
    result = {"equal_floats_ideal": equal, "dithers_real": ours, "dithers_cost": ours - equal}
    for name, cell in (("whole", UNIT), ("half", UNIT // 2)):
        bits = min(_flags(picture, values, level, cell, offset, learns) for offset in range(0, cell, cell // 8))
        result[f"flags_{name}_levels_ideal"], result[f"flags_{name}_levels_cost"] = bits, bits - equal
    return result


def _flags(
    picture: NDArray[np.uint8], values: NDArray[np.float64], level: TailLevel, cell: int, offset: int, learns: bool
) -> float:
    """Round to cells of one offset for all values; a flag for each value near a boundary, and a bit to say on which
    side it is.
    """
    place = (values + offset) % cell
    near = float(np.mean((place < TOLERANCE) | (place > cell - TOLERANCE)))
    middles = np.floor((values + offset) / cell).astype(np.int64) * cell + cell // 2 - offset
    flag = 0.0 if near in (0.0, 1.0) else -near * np.log2(near) - (1 - near) * np.log2(1 - near)
    return symbol_bits(picture, middles, level, learns) + values.size * float(flag + near) + 8


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw total and both parts against where diffusion ends; PNG or, if the name ends so, SVG."""
    from matplotlib.figure import Figure

    where = result["where"]
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    (parts, total) = figure.subplots(1, 2)
    parts.plot(where["rmse"], where["diffusion_bits_per_dim"], ".-", label="diffusion steps, real")
    parts.plot(where["rmse"], where["tail_bits_per_dim"], ".-", label="lossless tail, real")
    parts.set(ylabel="bits/dim", title="the two parts of a lossless stream")
    parts.legend(frameon=False)
    total.plot(where["rmse"], where["total_bits_per_dim"], "k.-")
    total.set(ylabel="total bits/dim, real", title="their sum")
    for axis in (parts, total):
        axis.set(xlabel="RMSE where diffusion ends (root of the mean MSE)", xscale="log")
        axis.invert_xaxis()
        axis.set_xticks([8, 5, 3, 2, 1.5, 1], ["8", "5", "3", "2", "1.5", "1"])
        axis.minorticks_off()
        axis.grid(alpha=0.3, lw=0.5)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, format=path.suffix[1:])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="mosaic or folder of training images")
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--plan-steps", type=int, nargs="+", default=[None], help="default: the model's")
    parser.add_argument(
        "--usual", type=int, help="the step after which ways of rounding are compared; default: the tail's"
    )
    parser.add_argument("--model", default="cifar10-small")
    parser.add_argument("--plot", type=Path, help="PNG or SVG")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    model = load_model(args.model)
    images = middles(args.data, args.limit) if model.any_size else load_images(args.data, model.window, args.limit)
    plans = [totals(model, images, args.usual, steps) for steps in args.plan_steps]
    named = provenance() | {"model": model.name, "fingerprint": model.fingerprint, "data": args.data.name}
    write_json(args.output, named | {"plans": plans})
    if args.plot:
        draw(plans[0], args.plot)
    for result in plans:
        where = result["where"]
        for n, rmse, bits in zip(where["steps"], where["rmse"], where["total_bits_per_dim"], strict=True):
            print(f"{result['plan_steps']} steps, ends after {n}: RMSE {rmse:.2f}, {bits:.4f} bits/dim in all")
        print({k: round(v, 4) for k, v in result["rounding"].items()})


if __name__ == "__main__":
    main()
