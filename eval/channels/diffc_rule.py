"""Races of candidates, simulated by scalars for the channel comparison: DiffC's rule as published, and ordered random
coding.

Candidates z come from a Gaussian prior, so all that a race for N(w, I) sees of one is z·w/|w|, a normal number, and for
ordered random coding |z|^2 too: one chi-square number more. Drawing those instead of vectors is exact in any number of
dimensions; it says nothing about seconds. The codec offers ordered random coding as `channel.random_coding`, DiffC's
rule not at all. (Philox's own Gaussians end at 4.4, where these races are decided; hence numpy's generator, which the
caller seeds.)

DiffC's rule: Vonderfecht & Liu 2025, "Lossy compression with pretrained diffusion models", with the settings of all its
configurations (JeremyIV/diffc at 1afd97a). The prior is N(0, I), as narrow as the target, and the step's divergence is
KL = |w|^2/2 log2(e) bits. Rounded up, it is dealt evenly to the fewest chunks of at most 14 bits; a chunk of k bits
races 2^(k + 2) candidates: 16-bit chunks with two bits of padding. The index goes under a Zipf law cut off at the last
candidate.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.channel.random_coding import RandomCodingChannel

DIFFC = "DiffC's rule"  # its name among the channels
MAX_CHUNK_BITS = 16  # log2(candidates) of the largest chunk
PADDING_BITS = 2  # log2(candidates) less a chunk's divergence


class Draw(NamedTuple):
    """Draw of one sent step, in units of the noise's standard deviation: all that the comparison needs of it."""

    bits: float  # the channel's symbols' information
    along: float  # z·w/|w|
    across: float  # variance of z in the other directions


def kl_bits(shift: NDArray[np.floating]) -> float:
    """Return KL(N(w, I) || N(0, I)) = |w|^2/2 log2(e)."""
    return float(np.square(shift, dtype=np.float64).sum()) / 2 * math.log2(math.e)


def diffc_chunks(divergence: float) -> list[int]:
    """Return log2(candidates) of each chunk of a step whose divergence is given, in bits."""
    whole = math.ceil(divergence)
    count = math.ceil(whole / (MAX_CHUNK_BITS - PADDING_BITS))
    total = whole + PADDING_BITS * count
    return [total // count + (i < total % count) for i in range(count)]


def race(norm: float, log2_candidates: int, rng: np.random.Generator) -> tuple[int, float]:
    """Race a chunk with |w| = norm: return the winner's index, from 0, and its z·w/|w|.

    Poisson functional representation cut off after 2^log2_candidates arrivals, log(q/p) = z·w and a constant. Without
    the cut the winner is a draw from N(norm, 1); with it, norm is beyond reach as norm^2/2 log2(e) nears
    log2_candidates.
    """
    z = rng.standard_normal(1 << log2_candidates)
    arrival = np.cumsum(rng.exponential(size=len(z)))
    index = int((np.log(arrival) - norm * z).argmin())
    return index, float(z[index])


def zipf_bits(index: int, chunk_kl: float, log2_candidates: int) -> float:
    """Return -log2 of the index's probability: (index + 1)^-s normalised, s = 1 + 1/(chunk_kl + ln(e + 1)/e), as DiffC
    has it.
    """
    s = 1 + 1 / (chunk_kl + math.log(math.e + 1) / math.e)
    return s * math.log2(index + 1) + _log2_zipf_sum(s, log2_candidates)


@lru_cache(maxsize=64)
def _log2_zipf_sum(s: float, log2_candidates: int) -> float:
    return math.log2(float((np.arange(1.0, (1 << log2_candidates) + 1) ** -s).sum()))


def diffc_draw(shift: NDArray[np.float32], rng: np.random.Generator) -> Draw:
    """Send a shift (dims,) by DiffC's rule. Its coordinates must be exchangeable: chunks aren't dealt at
    random here.
    """
    divergence = kl_bits(shift)
    chunks = diffc_chunks(divergence)
    ends = np.cumsum([len(shift) * c // sum(chunks) for c in chunks])[:-1]
    bits, parts = 0.0, []
    for part, chunk in zip(np.split(shift, ends), chunks, strict=True):
        norm = math.sqrt(np.square(part, dtype=np.float64).sum())
        index, along = race(norm, chunk, rng)
        bits += zipf_bits(index, divergence * chunk / sum(chunks), chunk)
        parts.append((norm, along, float(rng.chisquare(len(part) - 1))))
    return _joined(bits, parts, len(shift))


def random_coding_draw(
    shift: NDArray[np.float32], rng: np.random.Generator, bits: int, channel: RandomCodingChannel
) -> Draw:
    """Send a shift (dims,) of a step of `bits` bits as `channel` would; see there for the method."""
    (symbol_model,) = channel.symbol_models(bits, len(shift))
    assert symbol_model.frequencies is not None
    snr, n, spent, parts = channel.snr(bits, len(shift)), symbol_model.size, 0.0, []
    for chunk in range(symbol_model.count):
        part = shift[chunk :: symbol_model.count]
        norm = math.sqrt(np.square(part, dtype=np.float64).sum())
        along = rng.standard_normal(n) * math.sqrt(1 + snr)
        rest = rng.chisquare(len(part) - 1, n) * (1 + snr)
        log_ratio = norm * along - (along**2 + rest) * (snr / (1 + snr) / 2)
        arrival = np.cumsum(rng.exponential(size=n) * (n / (n - np.arange(n))))
        index = int((np.log(arrival) - log_ratio).argmin())
        spent += math.log2(sum(symbol_model.frequencies) / symbol_model.frequencies[index])
        parts.append((norm, float(along[index]), float(rest[index])))
    return _joined(spent, parts, len(shift))


def _joined(bits: float, parts: list[tuple[float, float, float]], dims: int) -> Draw:
    """Join chunks to a draw. parts: |w|, z·w/|w| and |z|^2 across w of each chunk."""
    norm, along, rest = np.array(parts).T
    total = float(norm @ along / math.sqrt(norm @ norm))
    return Draw(bits, total, float(along @ along + rest.sum() - total**2) / (dims - 1))
