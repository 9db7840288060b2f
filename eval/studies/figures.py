"""Figures of the README: pictures of progressive decodes, with their bytes.

python -m ddpmcodec.eval.studies.figures --side 32 --steps 2 6 12 20 32 46 -o docs/progressive-32.png
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import ddpmcodec
from ddpmcodec.eval.data import shipped_picture


def decode_figure(side: int, plan_steps: int | None, steps: Sequence[int], output: Path) -> None:
    """Draw one row of pictures: the astronaut after each of `steps` steps, titled with the bytes of a file of as
    many.
    """
    from matplotlib.figure import Figure

    picture, model = shipped_picture(side), ddpmcodec.load_model()
    states = list(
        ddpmcodec.decode_progressive(ddpmcodec.encode(picture, model=model, plan_steps=plan_steps), model=model)
    )
    figure = Figure(figsize=(1.75 * (len(steps) + 1), 2.25), layout="constrained")
    axes = figure.subplots(1, len(steps) + 1)
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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--plan-steps", type=int)
    parser.add_argument("--steps", type=int, nargs="+", required=True)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args(arguments)
    decode_figure(args.side, args.plan_steps, args.steps, args.output)


if __name__ == "__main__":
    main()
