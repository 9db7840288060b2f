"""Real bits against ideal bits at equal RMSE, on the same plan and pictures.

    python -m ddpmcodec.eval.overhead --data MOSAIC --limit 100 -o results/overhead.json

*Ideal*: exact Gaussian draws from q(x_s | x_t, x_0), bits d/2 log2(1 + v/b) summed over the steps; no bits are made. *Real*:
the codec's own streams; payload bits of each prefix, sealed to whole bytes, bit counts and all; header and check apart.
Distortion is of pictures rounded to 8 bits, in both conventions: mean over images of the RMSE, and root of the mean MSE.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ddpmcodec.eval.data import load_tiles
from numpy.typing import NDArray

from ddpmcodec.chain import ideal_bits
from ddpmcodec.channel import channel_of, parse_channel
from ddpmcodec.container import finish
from ddpmcodec.header import Header
from ddpmcodec.images import to_bytes, to_plane
from ddpmcodec.models import CodecModel, load_model
from ddpmcodec.reverse import ReverseChain
from ddpmcodec.sender import Sender
from ddpmcodec.stream import StreamWriter
from ddpmcodec.whole_file import write_whole

Curve = dict[str, list[float]]
RMSES = (30.0, 20.0, 12.0, 8.0, 5.0, 3.0, 2.0, 1.2, 0.951)
CONVENTIONS = ("rmse_mean_over_images", "rmse_of_mean_mse")
RATES = (0.1, 0.4, 1.0, 1.5, 2.0)


class _Points:
    """Distortion and rates after each step, averaged over images that come in batches of different size."""

    def __init__(self, steps: int):
        self.count = 0
        self.sums = {k: np.zeros(steps) for k in ("bits", "ideal_along", "rmse", "mse")}

    def add(self, n: int, chain: ReverseChain, images: NDArray[np.uint8], **rates: NDArray[np.float64]) -> None:
        height, width = images.shape[1:3]
        decoded = np.stack([to_bytes(plane, height, width) for plane in chain.x0_hat()])
        mse = np.mean((decoded.astype(np.float64) - images) ** 2, axis=(1, 2, 3))
        for name, values in {"rmse": np.sqrt(mse), "mse": mse, **rates}.items():
            self.sums[name][n - 1] += float(values.sum())

    def curve(self, dims: int) -> Curve:
        mean = {k: v / self.count for k, v in self.sums.items()}
        return {
            "bits_per_dim": list(mean["bits"] / dims),
            "ideal_bits_per_dim_along": list(mean["ideal_along"] / dims),
            "rmse_mean_over_images": list(mean["rmse"]),
            "rmse_of_mean_mse": list(np.sqrt(mean["mse"])),
        }


def ideal_curve(model: CodecModel, images: NDArray[np.uint8], plan_steps: int | None, batch: int, seed: int) -> Curve:
    """The chain with exact draws from q instead of a channel."""
    plan, generator = model.plan(plan_steps), np.random.default_rng(seed)
    points = _Points(plan.steps)
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        height, width = part.shape[1:3]
        chain = ReverseChain(model, plan, channel_of(None, 3072), len(part), height, width, seed)
        x_0 = np.stack([to_plane(i) for i in part])
        bits = np.zeros(len(part))
        while chain.n < plan.steps:
            q = chain.posterior
            mu_q, mu_p = q.mean(x_0, chain.x_t), chain.prior_mean()
            ratio = np.mean(((mu_q - mu_p).astype(np.float64)) ** 2, axis=(1, 2, 3)) / q.variance
            bits += [ideal_bits(float(r), chain.dims) for r in ratio]
            noise = generator.standard_normal(mu_q.shape).astype(np.float32)
            chain.jump(mu_q + np.float32(math.sqrt(q.variance)) * noise)
            points.add(chain.n, chain, part, bits=bits, ideal_along=bits)
        points.count += len(part)
    return points.curve(math.prod(images.shape[1:]))


def real_curve(
    model: CodecModel, images: NDArray[np.uint8], plan_steps: int | None, channel: str, batch: int, seed: int
) -> tuple[Curve, dict[str, float]]:
    """The codec's own streams: payload bits of each prefix, and the size of whole files."""
    plan, points, spec = model.plan(plan_steps), _Points(model.plan(plan_steps).steps), parse_channel(channel)
    height, width = images.shape[1:3]
    header = Header(model.fingerprint[:8], width, height, plan_steps, spec, seed)
    file_bytes, count_bits, channel_bits = 0, 0.0, 0.0
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        dims = math.prod(images.shape[1:])
        chain = ReverseChain(model, plan, channel_of(spec, dims), len(part), height, width, seed)
        writers = [StreamWriter(plan, chain.channel, dims) for _ in part]
        along = np.zeros(len(part))
        for sent in Sender(chain, np.stack([to_plane(i) for i in part])):
            for writer, packet in zip(writers, sent.packets, strict=True):
                writer.step(packet)
                channel_bits += packet.bits
            along += sent.ideal_bits
            payload = np.array([8.0 * len(writer.sealed()) for writer in writers])
            points.add(sent.n, chain, part, bits=payload, ideal_along=along)
        file_bytes += sum(len(finish(header, writer)) for writer in writers)
        count_bits += sum(sum(writer.step_bits) for writer in writers)
        points.count += len(part)
    n = len(images)
    return points.curve(math.prod(images.shape[1:])), {
        "file_bytes": file_bytes / n,
        "header_and_check_bytes": len(header.to_bytes()) + header.check_bytes,
        "symbol_bits": count_bits / n,
        "channel_bits": channel_bits / n,
    }


def bits_at(curve: Curve, rmse: float, convention: str = "rmse_mean_over_images") -> float | None:
    """Bits/dim at an RMSE, interpolated in the logarithms of both; None beyond the curve's ends."""
    x, y = -np.log(curve[convention]), np.log(curve["bits_per_dim"])
    at = -math.log(rmse)
    return float(np.exp(np.interp(at, x, y))) if x[0] <= at <= x[-1] else None


def compare(ideal: Curve, real: Curve) -> dict[str, Any]:
    """Real over ideal at fixed RMSEs and at fixed real rates, for each convention of the RMSE."""
    result: dict[str, Any] = {}
    for convention in CONVENTIONS:
        rows = []
        levels: list[tuple[float, float | None]] = [(r, None) for r in RMSES]
        x, y = np.log(real["bits_per_dim"]), np.log(real[convention])
        levels += [(float(np.exp(np.interp(math.log(rate), x, y))), rate) for rate in RATES if rate <= np.exp(x[-1])]
        for rmse, rate in levels:
            a, b = bits_at(ideal, rmse, convention), bits_at(real, rmse, convention)
            if a is not None and b is not None:
                rows.append({"at_rate": rate, "rmse": rmse, "ideal": a, "real_payload": b, "ratio": b / a})
        result[convention] = rows
    return result


def provenance() -> dict[str, Any]:
    packages = ("ddpmcodec", "torch", "numpy", "constriction", "Pillow")
    return {
        "command": "python -m " + " ".join(["ddpmcodec.eval." + Path(sys.argv[0]).stem, *sys.argv[1:]]),
        "versions": {p: version(p) for p in packages} | {"python": platform.python_version()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Writes whole, by rename."""
    write_whole(path, (json.dumps(_rounded(values), indent=1) + "\n").encode())


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float | np.floating) else value


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="mosaic of 32x32 tiles, such as CIFAR-10 test images")
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--model", default="cifar10-small")
    parser.add_argument("--plan-steps", type=int)
    parser.add_argument("--channel", default="trellis")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ideal-only", action="store_true", help="measure the model: exact draws from q, no bits made")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    model, images = load_model(args.model), load_tiles(args.data, args.limit)
    start = time.perf_counter()
    ideal = ideal_curve(model, images, args.plan_steps, args.batch, args.seed)
    result = {
        **provenance(),
        "seed": args.seed,
        "model": model.name,
        "fingerprint": model.fingerprint,
        "data": args.data.name,
        "images": len(images),
        "plan_steps": model.plan(args.plan_steps).steps,
    }
    if args.ideal_only:
        at = {c: {str(rmse): bits_at(ideal, rmse, c) for rmse in RMSES} for c in CONVENTIONS}
        write_json(args.output, result | {"seconds": time.perf_counter() - start, "ideal_at": at, "ideal": ideal})
        print(json.dumps(at, indent=1))
        return
    real, sizes = real_curve(model, images, args.plan_steps, args.channel, args.batch, args.seed)
    result |= {
        "channel": args.channel,
        "seconds": time.perf_counter() - start,
        "comparison": compare(ideal, real),
        "files": sizes,
        "whole_file_over_ideal_at_the_end": _whole_file_ratio(ideal, real, sizes, images),
        "ideal": ideal,
        "real": real,
    }
    write_json(args.output, result)
    for convention, rows in result["comparison"].items():
        print(convention)
        for row in rows:
            rate = "" if row["at_rate"] is None else f"  (real rate {row['at_rate']})"
            rates = f"ideal {row['ideal']:.4f} real {row['real_payload']:.4f} ratio {row['ratio']:.3f}"
            print(f"  RMSE {row['rmse']:7.3f}: {rates}{rate}")
    print("whole file over ideal:", result["whole_file_over_ideal_at_the_end"])


def _whole_file_ratio(ideal: Curve, real: Curve, sizes: dict[str, float], images: NDArray[np.uint8]) -> dict[str, Any]:
    """Whole files, header and check included, over the ideal rate at the files' own RMSE; or at the ideal's end if higher."""
    dims = math.prod(images.shape[1:])
    end = real["rmse_mean_over_images"][-1]
    at = max(end, ideal["rmse_mean_over_images"][-1])
    real_bits, ideal_bits_at = bits_at(real, at), bits_at(ideal, at)
    assert real_bits is not None
    assert ideal_bits_at is not None
    container = 8 * sizes["file_bytes"] / dims - real["bits_per_dim"][-1]
    return {"rmse": at, "real": real_bits + container, "ideal": ideal_bits_at, "ratio": (real_bits + container) / ideal_bits_at}


if __name__ == "__main__":
    main()
