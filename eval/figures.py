"""The README's pictures: progressive decodes with their bytes, and the rate-distortion curve of `overhead`'s results.

python -m ddpmcodec.eval.figures decode --side 32 --steps 2 6 12 20 32 46 -o docs/progressive-32.png
python -m ddpmcodec.eval.figures curve results/overhead-46.json results/overhead-20.json -o docs/curve.png
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ddpmcodec.eval.data import shipped_picture

import ddpmcodec

# Table 4 of Ho et al. 2020: bits/dim and RMSE at reverse times 1000, 900, … 300. Ideal rates, the 35.7 M-parameter model.
PAPER = (
    (1.77581, 0.95136),
    (0.11994, 12.02277),
    (0.05415, 18.47482),
    (0.02866, 24.43656),
    (0.01507, 30.80948),
    (0.00716, 38.03236),
    (0.00282, 46.12765),
)


def decode_figure(side: int, plan_steps: int | None, steps: Sequence[int], output: Path) -> None:
    """One row of pictures: the astronaut after each of `steps` steps, titled with the bytes a file of so many steps has."""
    import matplotlib.pyplot as plt

    picture, model = shipped_picture(side), ddpmcodec.load_model()
    states = list(ddpmcodec.decode_progressive(ddpmcodec.encode(picture, model=model, plan_steps=plan_steps), model=model))
    figure, axes = plt.subplots(1, len(steps) + 1, figsize=(1.75 * (len(steps) + 1), 2.25), layout="constrained")
    for axis, n in zip(axes, steps, strict=False):
        image = states[n - 1].image
        psnr = 10 * np.log10(255**2 / np.mean((image.astype(np.float64) - picture) ** 2))
        size = len(ddpmcodec.encode(picture, model=model, plan_steps=plan_steps, steps=n)) if side <= 64 else None
        size_text = f"{size:,} bytes" if size else f"{states[n - 1].bits / 8:,.0f} bytes"
        axis.imshow(image, interpolation="nearest")
        axis.set_title(f"{n} steps\n{size_text}\n{psnr:.1f} dB", fontsize=8)
    axes[-1].imshow(picture, interpolation="nearest")
    axes[-1].set_title(f"original\n{picture.size:,} bytes\n", fontsize=8)
    for axis in axes:
        axis.set_axis_off()
    figure.savefig(output, dpi=150, bbox_inches="tight")


def curve_figure(files: Sequence[Path], output: Path) -> None:
    """RMSE against bits/dim, logarithmic and linear: ideal and real of each results file, and the paper's points."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
    results: list[dict[str, Any]] = [json.loads(f.read_text()) for f in files]
    for axis in axes:
        for index, r in enumerate(results):
            colour = f"C{index}"
            name = f"{r['model']}, {r['plan_steps']} steps" + ("" if r["channel"] == "trellis" else f", {r['channel']}")
            for kind, style in (("real", "-"), ("ideal", ":")):
                c = r[kind]
                label = f"{name}: {kind}" + (" (payload bytes)" if kind == "real" else " (no bits made)")
                axis.plot(c["bits_per_dim"], c["rmse_mean_over_images"], style, color=colour, label=label, lw=1.6)
        axis.plot(*zip(*PAPER, strict=True), "k^", ms=5, label="DDPM paper, Table 4: ideal, 1000 steps")
        axis.set_xlabel("rate, bits per dimension")
        axis.set_ylabel("RMSE, levels of 255")
        axis.grid(alpha=0.3)
    axes[0].set(xscale="log", yscale="log", title="logarithmic")
    axes[1].set(ylim=(0, 50), title="linear")
    axes[1].legend(fontsize=7.5)
    figure.suptitle(f"{results[0]['images']} CIFAR-10 test images, RMSE mean over images", fontsize=10)
    figure.savefig(output, dpi=150, bbox_inches="tight")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    decode = commands.add_parser("decode")
    decode.add_argument("--side", type=int, default=32)
    decode.add_argument("--plan-steps", type=int)
    decode.add_argument("--steps", type=int, nargs="+", required=True)
    curve = commands.add_parser("curve")
    curve.add_argument("files", type=Path, nargs="+")
    for command in (decode, curve):
        command.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    if args.command == "decode":
        decode_figure(args.side, args.plan_steps, args.steps, args.output)
    else:
        curve_figure(args.files, args.output)


if __name__ == "__main__":
    main()
