"""Probabilities of the tail: a small network of integers for each group, trained once on CIFAR-10's training images
and on photographs.

In: a sub-pixel's neighbourhood of predictions, and of errors where they are known already. Out: a mixture of two
Gaussians. Every number is an integer held exactly (products and sums stay below 2^53, so the order in which a matrix
product adds them up does not matter), hence the same on every machine. `python -m ddpmcodec.eval.studies.fit_tail`
makes the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.lossless.lattice import groups
from ddpmcodec.lossless.rounding import UNIT
from ddpmcodec.numerics.fixed_point import fixed_log2

WEIGHTS = Path(__file__).with_name("weights.npz")
INPUT_BITS = 6  # fraction bits of inputs
INPUT = 1 << INPUT_BITS  # an input of 1.0
WEIGHT = 12  # fraction bits of the weights
HIDDEN = 8  # fraction bits of hidden values
_BOUND = 8 * INPUT  # largest input
HIDDEN_BOUND = 1 << 16
OUTPUT_BOUND = 1 << 17  # +-32
OCTAVE = 8  # scales come in steps of 2^(1/8)
LEAST_SCALE, MOST_SCALE = 3 * OCTAVE, 17 * OCTAVE  # 1/64 of a level to 256 levels, as log2 of UNITs
MIX_STEP = 16  # mixture log-odds are in 1/16
MIX_BOUND = 6 * MIX_STEP


@dataclass(frozen=True)
class Mixtures:
    """Mixtures for n sub-pixels: two centres (n, 2) in UNITs, two scale classes (n, 2), log-odds of the first (n,)."""

    centre: NDArray[np.int64]
    scale: NDArray[np.int64]
    odds: NDArray[np.int64]


@dataclass(frozen=True)
class Layers:
    """Weights (in, out) and biases (out,) of three layers: whole numbers in float64, for exact and fast products."""

    w: tuple[NDArray[np.float64], ...]
    b: tuple[NDArray[np.float64], ...]


@cache
def layers() -> tuple[Layers, ...]:
    """Return one network for each of `groups()`."""
    with np.load(WEIGHTS, allow_pickle=False) as file:
        return tuple(
            Layers(
                tuple(file[f"w{g}.{k}"].astype(np.float64) for k in range(3)),
                tuple(file[f"b{g}.{k}"].astype(np.float64) for k in range(3)),
            )
            for g in range(len(groups()))
        )


@cache
def _companded() -> NDArray[np.int64]:
    """Return INPUT log2(1 + |d|) for d in 1/32 of a level, up to 256 levels."""
    d = np.arange(32 * 256 + 1, dtype=np.uint64)
    return fixed_log2(d + np.uint64(32), 5) * INPUT >> 16


def compand(difference: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turn differences of predictions, in UNITs, into inputs: their sign, and the logarithm of their size."""
    size = np.minimum(np.abs(difference) * 32 // UNIT, 32 * 256)
    return np.sign(difference) * _companded()[size]


def inputs(
    errors: NDArray[np.int64], around: NDArray[np.int64], own: NDArray[np.int64], scale: int, log_snr: int
) -> NDArray[np.float64]:
    """Return inputs (n, inputs).

    errors: (n, known) errors of the neighbours; around: (n, around) predictions; own: (n,) prediction; all in UNITs.
    scale: expected root mean square error, in UNITs. log_snr: x_t's level, in 2^-16.
    """
    known = np.clip((errors * (2 * INPUT) // scale + 1) >> 1, -_BOUND, _BOUND)
    texture = compand(around - own[:, None])
    brightness = (own - 128 * UNIT) * INPUT // (64 * UNIT)
    level = np.clip(((log_snr - 15 * (1 << 15)) * INPUT) >> 17, -2 * INPUT, 2 * INPUT)  # (log_snr - 7.5) / 2
    constant = np.full(len(own), level, np.int64)
    return np.concatenate([known, texture, brightness[:, None], constant[:, None]], axis=1).astype(np.float64)


def mixtures(net: Layers, x: NDArray[np.float64], own: NDArray[np.int64], scale: int) -> Mixtures:
    """Return a network's mixtures. x: (n, inputs) from `inputs`; own, scale: likewise."""
    (w0, w1, w2), (b0, b1, b2) = net.w, net.b
    shift = 2.0 ** (INPUT_BITS + WEIGHT - HIDDEN)
    hidden = np.clip(np.floor((x @ w0 + b0) / shift), 0, HIDDEN_BOUND)
    hidden = np.clip(np.floor((hidden @ w1 + b1) / 2.0**WEIGHT), 0, HIDDEN_BOUND)
    out = np.clip(np.floor((hidden @ w2 + b2) / 2.0**HIDDEN), -OUTPUT_BOUND, OUTPUT_BOUND).astype(np.int64)
    return mixtures_of(out, own, scale)


def mixtures_of(out: NDArray[np.int64], own: NDArray[np.int64], scale: int) -> Mixtures:
    """Return the mixtures that outputs (n, 5) stand for: centres, logarithms of scales, log-odds."""
    centre = own[:, None] + (out[:, :2] * scale >> WEIGHT)
    log_scale = int(fixed_log2(np.array([scale], np.uint64), 0)[0]) >> (16 - WEIGHT)
    classes = ((out[:, 2:4] + log_scale) * (2 * OCTAVE) >> WEIGHT) + 1 >> 1
    odds = (out[:, 4] * (2 * MIX_STEP) >> WEIGHT) + 1 >> 1
    return Mixtures(centre, np.clip(classes, LEAST_SCALE, MOST_SCALE), np.clip(odds, -MIX_BOUND, MIX_BOUND))
