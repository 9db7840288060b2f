"""Mixtures of two Gaussians over the 256 levels, as integer frequencies: for constriction's range coder."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.lossless.network import LEAST_SCALE, MIX_BOUND, MIX_STEP, MOST_SCALE, OCTAVE, WEIGHTS, Mixtures
from ddpmcodec.lossless.rounding import UNIT

_Z_STEP = 1024  # entries of the Gaussian table a standard deviation
_Z_BOUND = 8 * _Z_STEP
TOTAL = 24  # log2 of what a Gaussian's frequencies sum to
_FLOOR = 16  # added to every level's frequency, so that nothing is impossible
_MIX = 6  # log2 of the parts that the mixture's weight comes in
_INVERSE = 20  # fraction bits of 1 / scale
SLOPE = 2 * _MIX  # fraction bits of derivatives
_NEAR = 8  # entries to either side between which the Gaussian's density is taken
_LN_2 = 2839  # in 2^-SLOPE
TOGETHER = 4096  # sub-pixels whose frequencies are made at a time


def make_tables() -> dict[str, NDArray[np.int64]]:
    """Make the tables from floats, once, to be shipped: a table that each machine made for itself might differ in its
    last digit.
    """
    from statistics import NormalDist

    normal = NormalDist()
    scales = 2.0 ** (np.arange(LEAST_SCALE, MOST_SCALE + 1) / OCTAVE)  # in UNITs
    odds = np.arange(-MIX_BOUND, MIX_BOUND + 1) / MIX_STEP
    return {
        "normal": np.array(
            [round(normal.cdf(z / _Z_STEP) * (1 << TOTAL)) for z in range(-_Z_BOUND, _Z_BOUND + 1)], np.int64
        ),
        "inverse": np.rint(_Z_STEP * 2.0**_INVERSE / scales).astype(np.int64),
        "weight": np.clip(np.rint((1 << _MIX) / (1 + np.exp(-odds))), 1, (1 << _MIX) - 1).astype(np.int64),
    }


@cache
def tables() -> dict[str, NDArray[np.int64]]:
    with np.load(WEIGHTS, allow_pickle=False) as file:
        return {name: file[name].astype(np.int64) for name in ("normal", "inverse", "weight")}


def frequencies(mixture: Mixtures) -> NDArray[np.float64]:
    """Return whole numbers (n, 256), for values 0 … 255; what lies beyond goes to the ends."""
    cumulative = np.zeros((len(mixture.odds), 257), np.int64)
    cumulative[:, 1:256] = _below(mixture, np.arange(1, 256, dtype=np.int64)[None, :])
    cumulative[:, 256] = 1 << TOTAL
    return (np.diff(cumulative, axis=1) + _FLOOR).astype(np.float64)


def bits_of(mixture: Mixtures, values: NDArray[np.int64]) -> float:
    """Return -log2 of the probability of n values, together."""
    edges = _below(mixture, np.stack([values, values + 1], 1))
    low, high = np.where(values > 0, edges[:, 0], 0), np.where(values < 255, edges[:, 1], 1 << TOTAL)
    return float((math.log2((1 << TOTAL) + 256 * _FLOOR) - np.log2(high - low + _FLOOR)).sum())


def slopes(mixture: Mixtures, values: NDArray[np.int64], scale: int) -> NDArray[np.float64]:
    """Return the derivatives (n, 5) of what n values cost, in nats, by the outputs that `mixtures_of` made the mixtures
    of: whole numbers in 2^-SLOPE, within +-16.
    """
    table = tables()
    share = table["weight"][mixture.odds + MIX_BOUND]
    shares = np.stack([share, (1 << _MIX) - share], 1)
    inverse = table["inverse"][mixture.scale - LEAST_SCALE]  # (n, 2)
    below, density, moment = [], [], []  # of the value's two edges, each (n, 2)
    for edge, end, beyond in ((values, 0, values <= 0), (values + 1, 1 << TOTAL, values >= 255)):
        z = ((edge * UNIT - UNIT // 2)[:, None] - mixture.centre) * inverse >> _INVERSE
        place = np.clip(z, -_Z_BOUND, _Z_BOUND)
        below.append(np.where(beyond[:, None], end, table["normal"][place + _Z_BOUND]))
        near = np.clip(place, _NEAR - _Z_BOUND, _Z_BOUND - _NEAR) + _Z_BOUND
        slope = (table["normal"][near + _NEAR] - table["normal"][near - _NEAR]) * (_Z_STEP // (2 * _NEAR))
        density.append(np.where(beyond[:, None], 0, slope))
        moment.append(density[-1] * place)
    within = below[1] - below[0]
    probability = ((within * shares).sum(1) >> _MIX) + _FLOOR
    ratio = scale * inverse >> _INVERSE  # of the unit that centres are in to the mixture's scale, in 1 / _Z_STEP
    by_centre = ((density[1] - density[0]) * shares >> _MIX) * ratio << SLOPE - 10
    by_scale = ((moment[1] - moment[0]) * shares >> _MIX) * _LN_2 >> 10
    by_odds = share * ((1 << _MIX) - share) * (within[:, 1] - within[:, 0])
    found = np.concatenate([by_centre, by_scale, by_odds[:, None]], 1) // probability[:, None]
    return np.clip(found, -16 << SLOPE, 16 << SLOPE).astype(np.float64)


def _below(mixture: Mixtures, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 2^TOTAL times the probability of less than each of the values (n or 1, k), for each of n mixtures."""
    table, edges = tables(), values * UNIT - UNIT // 2
    weight = table["weight"][mixture.odds + MIX_BOUND][:, None]
    cumulative = np.zeros((len(weight), values.shape[1]), np.int64)
    for k, share in enumerate((weight, (1 << _MIX) - weight)):
        inverse = table["inverse"][mixture.scale[:, k] - LEAST_SCALE][:, None]
        z = (edges - mixture.centre[:, k, None]) * inverse >> _INVERSE
        cumulative += share * table["normal"][np.clip(z, -_Z_BOUND, _Z_BOUND) + _Z_BOUND]
    return cumulative >> _MIX
