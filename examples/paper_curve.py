"""Draw the curve of Ho et al. 2020, Figure 5: distortion over rate while pictures are sent, in theory and in real bits.

python examples/paper_curve.py -o curve.png

Pictures are 32×32 pieces of photographs that come with scikit-image. `ddpmcodec rd` measures such curves in earnest.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from skimage import data

import ddpmcodec

SIDE = 32


def curve_of(picture: NDArray[np.uint8], plan_steps: int) -> NDArray[np.float64]:
    """Return (steps, 3): ideal bits so far, real bits so far, and the squared error of the picture a receiver has."""
    rows = list[tuple[float, float, float]]()

    def show(step: ddpmcodec.SentStep) -> None:
        decoded = np.clip((step.reconstruct()[0].transpose(1, 2, 0) + 1) * 127.5, 0, 255)
        rows.append((float(step.ideal_bits[0]), 0.0, float(np.mean((decoded - picture) ** 2))))

    stream = ddpmcodec.encode(picture, plan_steps=plan_steps, on_step=show, full=True)
    table = np.array(rows)
    table[:, 0] = np.cumsum(table[:, 0])
    table[:, 1] = [step.bits for step in ddpmcodec.decode_progressive(stream)]
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("curve.png"), help="default: %(default)s")
    parser.add_argument("--pictures", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--plan-steps", type=int, default=30, help="default: %(default)s")
    chosen = parser.parse_args(arguments)
    draw, photographs = np.random.default_rng(0), [data.astronaut(), data.coffee(), data.chelsea()]
    tables = []
    for i in range(chosen.pictures):
        reduced = photographs[i % 3][::4, ::4]
        top, left = (int(draw.integers(0, size - SIDE)) for size in reduced.shape[:2])
        tables.append(curve_of(np.ascontiguousarray(reduced[top : top + SIDE, left : left + SIDE]), chosen.plan_steps))
    mean = np.mean(tables, axis=0)
    ideal, real, rmse = mean[:, 0] / (3 * SIDE**2), mean[:, 1] / (3 * SIDE**2), np.sqrt(mean[:, 2])
    for row in zip(ideal, real, rmse, strict=True):
        print("ideal {:.3f}  real {:.3f} bits/dim  RMSE {:6.2f}".format(*row))
    figure, axes = plt.subplots(figsize=(6, 4))
    axes.plot(ideal, rmse, label="ideal: no bits are made")
    axes.plot(real, rmse, label="real bits")
    axes.set(xlabel="bits/dim", ylabel="RMSE (of 255)", xlim=(0, None), ylim=(0, None))
    axes.legend()
    figure.savefig(chosen.output, dpi=150, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    main()
