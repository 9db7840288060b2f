"""Channels on synthetic Gaussian shifts: bits over ideal, achieved shift and seconds. Used by `compare`.

Every channel is asked for the same: a shift w of d = 3072 dimensions in a random direction, |w|^2 = d v/b, where the
step's *ideal* bits B = d/2 log2(1 + v/b) = KL(N(w, I) || N(0, (1 + v/b) I)). (The trellis spends the whole number of
bits that pays for the nearest such shift, as a sender does, and is asked for that one.) From the samples z follow, for
every channel alike,

- achieved shift: mean of z·w/|w|^2; 1 is unbiased.
- variance across: that of z in the d - 1 other directions; 1 is right.
- ideal bits of what was achieved: d/2 log2(1 + m^2/(d s)), m the mean of z·w/|w| and s the variance across. For the
  trellis, whose |z|^2 is constant, that is -d/2 log2(1 - m^2/|z|^2). So a channel that falls short is measured by the
  shift that it delivers, not by the one it was asked for: a bias doesn't look like a saving.
- real bits: information of the channel's symbols under the models that code them. A step's bit count (DiffC: its KL)
  is side information in every channel, and left out in every one.
- overhead: real bits over the ideal bits of what was achieved, as difference and ratio.
- seconds: medians of processor time for one step, as microseconds for each of its B ideal bits; null where only
  scalars are simulated.

DiffC's rule has the narrow prior N(0, I); its own KL, |w|^2/2 log2(e), exceeds d/2 log2(1 + v/b) where a step has many
bits a dimension. `real_over_own_kl` is against that of the achieved shift, so it is the coding's loss alone.

`*_error` are standard errors, of derived numbers by the delta method over the draws.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.range_coder import information
from ddpmcodec.channel.base import Channel
from ddpmcodec.channel.random_coding import RandomCodingChannel
from ddpmcodec.diffusion.gaussians import ideal_bits
from ddpmcodec.eval.channels.diffc_rule import Draw, diffc_chunks, diffc_draw, random_coding_draw
from ddpmcodec.numerics.philox import Key

Row = dict[str, Any]
DIMS = 3072
SEARCHED_BITS = 16384  # bits that the trellis searches for each B: decides its number of draws
RACES = 8  # draws of real ordered random coding for each B: about two seconds each
CANDIDATES = 1 << 26  # candidates that a simulated channel draws for each B
MOST_DRAWS = 4000


def random_shifts(ratio: float, draws: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Yield shifts (DIMS,) with |w|^2 = DIMS * ratio, in the same random directions for every channel."""
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        w = rng.standard_normal(DIMS)
        yield (w * math.sqrt(ratio * DIMS) / np.linalg.norm(w)).astype(np.float32)


def ratio_of(bits: float) -> float:
    """Return the v/b of `bits` ideal bits: the inverse of `ideal_bits`."""
    return float(2.0 ** (2 * bits / DIMS) - 1)


def budget_of(channel: Channel, bits: float) -> int:
    """Return the channel's bit count that pays for the number of ideal bits nearest to `bits`."""
    budgets = range(1, min(channel.max_bits(DIMS), 2 * math.ceil(bits) + 16) + 1)
    return min(budgets, key=lambda b: abs(ideal_bits(channel.snr(b, DIMS), DIMS) - bits))


def summary(draws: Sequence[Draw], ratio: float) -> Row:
    """Return what the draws show of a channel that was asked for |w|^2 = DIMS * ratio."""
    bits, along, across = np.array(draws).T
    real, m, s = (float(v.mean()) for v in (bits, along, across))
    got = m**2 / (DIMS * s)
    ideal, own_kl, length = ideal_bits(got, DIMS), m**2 / 2 * math.log2(math.e), math.sqrt(DIMS * ratio)
    # What each draw adds to `ideal` and `own_kl`, to first order.
    to_ideal = (m * (along - m) / s - m**2 / 2 * (across - s) / s**2) * math.log2(math.e) / (1 + got)
    to_own_kl = m * (along - m) * math.log2(math.e)
    values = {
        "real_bits": (real, bits),
        "achieved_shift": (m / length, along / length),
        "variance_across": (s, across),
        "ideal_bits": (ideal, to_ideal),
        "overhead_bits": (real - ideal, bits - to_ideal),
        "real_over_ideal": (real / ideal, bits / ideal - to_ideal * real / ideal**2),
        "own_kl_bits": (own_kl, to_own_kl),
        "real_over_own_kl": (real / own_kl, bits / own_kl - to_own_kl * real / own_kl**2),
    }
    row: Row = {"draws": len(draws), "wanted_ideal_bits": ideal_bits(ratio, DIMS)}
    for name, (value, terms) in values.items():
        row |= {name: value, f"{name}_error": float(terms.std(ddof=1)) / math.sqrt(len(draws))}
    return row


def measure(channel: Channel, bits: int, draws: int, seed: int) -> Row:
    """Measure one of the codec's channels by running it."""
    budget = budget_of(channel, bits)
    ratio, symbol_models = channel.snr(budget, DIMS), channel.symbol_models(budget, DIMS)
    sent, encode, decode = [], [], []
    for i, shift in enumerate(random_shifts(ratio, draws, seed)):
        key, start = Key(seed, i), time.process_time()
        (code,) = channel.encode(shift[None], [budget], key)
        middle = time.process_time()
        sample = channel.decode(code, budget, DIMS, key)
        decode.append(time.process_time() - middle)
        encode.append(middle - start)
        z, w = sample.astype(np.float64), shift.astype(np.float64)
        along = float(z @ w / np.linalg.norm(w))
        sent.append(Draw(information(symbol_models, code), along, float(z @ z - along**2) / (DIMS - 1)))
    microseconds = {
        "encode_us_per_bit": statistics.median(encode) * 1e6 / bits,
        "decode_us_per_bit": statistics.median(decode) * 1e6 / bits,
    }
    return _without_own_kl({"bits": bits, "budget": budget, **summary(sent, ratio), **microseconds})


def simulate(draw: Callable[[NDArray[np.float32], np.random.Generator], Draw], bits: int, draws: int, seed: int) -> Row:
    """Measure a channel by its simulation by scalars."""
    ratio, rng = ratio_of(bits), np.random.default_rng([seed, bits])
    row = summary([draw(shift, rng) for shift in random_shifts(ratio, draws, seed)], ratio)
    return {"bits": bits, "budget": None, **row, "encode_us_per_bit": None, "decode_us_per_bit": None}


def measure_diffc(bits: int, scale: float, seed: int) -> Row:
    divergence = ratio_of(bits) * DIMS / 2 * math.log2(math.e)
    candidates = sum(1 << c for c in diffc_chunks(divergence))
    return simulate(diffc_draw, bits, _count(CANDIDATES / candidates, scale), seed)


def measure_trellis(channel: Channel, bits: int, scale: float, seed: int) -> Row:
    return measure(channel, bits, _count(min(1000, SEARCHED_BITS / bits), scale), seed)


def measure_random_coding(channel: RandomCodingChannel, bits: int, scale: float, seed: int) -> Row:
    """Measure the channel itself: few draws, for its seconds and as a check of the simulation."""
    return measure(channel, bits, _count(RACES, scale), seed)


def simulate_random_coding(channel: RandomCodingChannel, bits: int, scale: float, seed: int) -> Row:
    candidates = channel.symbol_models(bits, DIMS)[0].count << channel.log2_candidates
    draw = partial(random_coding_draw, bits=bits, channel=channel)
    return _without_own_kl(simulate(draw, bits, _count(CANDIDATES / candidates, scale), seed))


def _count(draws: float, scale: float) -> int:
    return max(8, int(min(draws, MOST_DRAWS) * scale))


def _without_own_kl(row: Row) -> Row:
    """Return a row without what only DiffC's prior has."""
    return {k: v for k, v in row.items() if "own_kl" not in k}
