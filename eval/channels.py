"""The channels compared: bits over ideal, achieved shift and seconds, on synthetic Gaussian shifts and on real chains.

    python -m ddpmcodec.eval.channels -o results/channels.json --plot docs/channels.png --data MOSAIC --images 20

Channels: the trellis with 2^8 … 2^16 states; ordered random coding with 2^14 candidates a chunk, run, and simulated since
running it is too slow for small errors; DiffC's rule as published, simulated (see `diffc_rule`). All terms: `synthetic`.
Real chains go through the codec's channels only, on the same plan and pictures as the ideal curve: payload bits at equal RMSE
(mean over images), as `rd` has them. Ordered random coding has 2^12 candidates there: 2^14 take four times as long. With
OMP_NUM_THREADS=1, seconds are those of one core.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ddpmcodec.eval import measure
from ddpmcodec.eval.curves import IDEAL, PAYLOAD, ideal_curve, rate_at, real_curve
from ddpmcodec.eval.data import load_tiles, shipped_picture
from ddpmcodec.eval.results import provenance, write_json
from ddpmcodec.eval.synthetic import (
    DIMS,
    Row,
    measure_diffc,
    measure_random_coding,
    measure_trellis,
    simulate_random_coding,
)
from numpy.typing import NDArray

from ddpmcodec.channel import RandomCodingChannel, channel_of, parse_channel
from ddpmcodec.models import CodecModel, load_model
from ddpmcodec.whole_file import replacing

BITS = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
CHANNELS = ("trellis:8", "trellis:10", "trellis:12", "trellis:14", "trellis:16", "orc:14")
CHAIN_CHANNELS = ("trellis:8", "trellis:10", "trellis:12", "trellis:14", "orc:12")
RMSES = (12.0, 1.0)  # of real chains; the second, where a chain ends above it, gives way to the highest end
DIFFC, SIMULATED = "DiffC's rule", "simulated"


def synthetic(names: Sequence[str], bits: Sequence[int], scale: float, seed: int) -> dict[str, list[Row]]:
    """Rows of each channel, one for each B. scale: of the numbers of draws."""
    rows: dict[str, list[Row]] = {}
    for name in names:
        channel = channel_of(parse_channel(name), DIMS)
        if isinstance(channel, RandomCodingChannel):
            rows[name] = [measure_random_coding(channel, b, scale, seed) for b in bits]
            rows[f"{name} {SIMULATED}"] = [simulate_random_coding(channel, b, scale, seed) for b in bits]
        else:
            rows[name] = [measure_trellis(channel, b, scale, seed) for b in bits]
    return rows | {DIFFC: [measure_diffc(b, scale, seed) for b in bits]}


def chains(
    model: CodecModel, images: NDArray[np.uint8], names: Sequence[str], plan_steps: int | None, seed: int
) -> dict[str, Any]:
    """Each channel on the same pictures (n, h, w, 3). Seconds are the sender's, network included."""
    pictures, dims = list(images), np.full(len(images), float(images[0].size))
    ideal = ideal_curve(measure.ideal(model, pictures, plan_steps, seed), dims)
    curves, seconds, along = {}, {}, {}
    for name in names:
        stamps = [time.perf_counter()]
        table = measure.real(
            model, pictures, plan_steps, name, seed, lambda s=stamps: s.append(time.perf_counter()), decode=False
        )
        curves[name], seconds[name] = real_curve(table, dims), (stamps[-1] - stamps[0]) / len(images)
        along[name] = float((table["ideal_bits"].sum(axis=1) / dims).mean())
    ends = [float(c["rmse_mean_over_images"][-1] or 0) for c in (ideal, *curves.values())]
    result = {}
    for name, curve in curves.items():
        at = []
        for rmse in (RMSES[0], max(RMSES[1], *ends)):
            a, b = rate_at(ideal, IDEAL, rmse), rate_at(curve, PAYLOAD, rmse)
            at.append({"rmse": rmse, "ideal": a, "real_payload": b, "ratio": b / a if a and b else None})
        end = float(curve[PAYLOAD][-1] or 0)
        result[name] = {
            "seconds_an_image": seconds[name],
            "at": at,
            "end": {
                "rmse": curve["rmse_mean_over_images"][-1],
                "real_payload": end,
                "ideal_along": along[name],
                "ratio": end / along[name],
            },
        }
    return result


def draw(rows: dict[str, list[Row]], path: Path) -> None:
    """Overhead, achieved shift and microseconds a bit against B; PNG or, if the name ends so, SVG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(13.5, 4.8), layout="constrained")
    overhead, shift, seconds = axes
    shades = iter(plt.get_cmap("viridis_r")(np.linspace(0.12, 0.95, sum(n.startswith("trellis") for n in rows))))
    for name, part in rows.items():
        style = _style(name) | ({"color": next(shades)} if name.startswith("trellis") else {})
        column = {k: np.array([r[k] for r in part], float) for k in part[0]}  # null becomes nan, which isn't drawn
        bits, bars = column["bits"], {"elinewidth": 0.8, "capsize": 2}
        percent = 100 * (column["real_over_ideal"] - 1)
        overhead.errorbar(bits, percent, 100 * column["real_over_ideal_error"], **style, **bars)
        if "real_over_own_kl" in column:
            label = f"{name} {SIMULATED}, over its own KL"
            percent, error = 100 * (column["real_over_own_kl"] - 1), 100 * column["real_over_own_kl_error"]
            overhead.errorbar(bits, percent, error, fmt="k:", lw=1.4, label=label, **bars)
        shift.errorbar(bits, column["achieved_shift"], column["achieved_shift_error"], **style, **bars)
        seconds.plot(bits, column["encode_us_per_bit"], **style | {"ls": "-", "label": None})
        seconds.plot(bits, column["decode_us_per_bit"], ":", color=style["color"], lw=1.4)
    seconds.plot([], [], "-", color="grey", label="encode (right)")
    seconds.plot([], [], ":", color="grey", label="decode (right)")
    overhead.set(ylabel="per cent of the achieved ideal bits", title="overhead: real bits beyond ideal bits", ylim=(0, 140))
    shift.set(ylabel="achieved shift over wanted shift", title="achieved shift (1: unbiased)", ylim=(0.8, 1.06))
    shift.axhline(1, color="grey", lw=0.8, zorder=0)
    seconds.set(ylabel="microseconds an ideal bit", title="time", yscale="log")
    for axis in axes:
        axis.set_xscale("log", base=2)
        axis.set_xticks(BITS, [str(b) for b in BITS], fontsize=8)
        axis.set_xlabel("B, ideal bits of the step")
        axis.grid(alpha=0.3, lw=0.5)
    legends = [axis.get_legend_handles_labels() for axis in (overhead, seconds)]
    handles, labels = ([item for legend in legends for item in legend[i]] for i in (0, 1))
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.suptitle(f"One step: shifts of {DIMS} dimensions in random directions; bars are standard errors", fontsize=10)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def _style(name: str) -> dict[str, Any]:
    kind, _, parameter = name.partition(":")
    line = {"lw": 1.4, "marker": ".", "ms": 4}
    if kind == "trellis":
        return line | {"label": f"trellis, L = {parameter}"}
    if kind == DIFFC:
        return line | {"color": "black", "label": f"{DIFFC} {SIMULATED}"}
    if name.endswith(SIMULATED):
        return line | {"color": "#d62728", "label": f"ordered random coding {SIMULATED}"}
    return {"color": "#ff9896", "ls": "", "marker": "x", "ms": 5, "label": f"ordered random coding, 2^{parameter} candidates"}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="mosaic of 32x32 tiles; default: scikit-image's astronaut at 256x256, cut up")
    parser.add_argument("--images", type=int, default=20, help="of the real chains; 0: synthetic part only")
    parser.add_argument("--model", default="cifar10-small")
    parser.add_argument("--plan-steps", type=int)
    parser.add_argument("--channels", nargs="*", default=list(CHANNELS), help="of the synthetic part")
    parser.add_argument("--chain-channels", nargs="*", default=list(CHAIN_CHANNELS), help="of the real chains")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--quick", action="store_true", help="seconds instead of minutes: to see that it runs, errors are large"
    )
    parser.add_argument("--plot", type=Path, help="PNG or SVG")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    bits, scale = ((8, 64), 0.01) if args.quick else (BITS, 1.0)
    if args.quick:
        args.channels, args.chain_channels = ["trellis:8", "trellis:10", "orc:8"], ["trellis:8"]
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
        compared = chains(model, images, args.chain_channels, args.plan_steps, args.seed)
        result["chains"] = {
            "model": model.name,
            "fingerprint": model.fingerprint,
            "data": args.data.name if args.data else "scikit-image astronaut at 256x256, cut into 32x32",
            "images": len(images),
            "plan_steps": model.plan(args.plan_steps).steps,
            "seconds": time.perf_counter() - start,
            "channels": compared,
        }
    write_json(args.output, result)
    if args.plot:
        draw(rows, args.plot)
    report(result)


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
        print(f"{name:16} real/ideal {ratios}  {r['seconds_an_image']:.2f} s an image")


if __name__ == "__main__":
    main()
