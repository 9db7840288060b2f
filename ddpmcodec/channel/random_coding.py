"""Ordered random coding, the textbook channel: for comparison with the trellis.

The step's dimensions are cut into chunks of a few bits of divergence each. For a chunk, both sides draw the same N
candidates from the prior; the sender picks one by a race of arrival times weighted by p/q, with early candidates
favoured, and sends its index under a Zipf law. Source: Theis & Yosri 2022, "Algorithms for the communication of
samples"; Li & El Gamal 2018.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.channel.prior import Prior
from ddpmcodec.numerics.fixed_point import fixed_log2
from ddpmcodec.numerics.philox import ARRIVALS, CANDIDATES, Key, gaussian
from ddpmcodec.numerics.symbol_model import SymbolModel

# log2(candidates) less a chunk's divergence. Simulated on Gaussian shifts: fewer bias the sample more than the 6% that
# 6 do; more make smaller chunks, each with an overhead: 9 of 12 would bias it by 1%, and cost a quarter more bits.
SPARE_BITS = 6
_TOTAL = 1 << 22
_SCORED_AT_A_TIME = 1 << 22  # numbers drawn at a time


@dataclass(frozen=True)
class RandomCodingChannel:
    """Ordered random coding over 2^log2_candidates candidates a chunk; see `base.Channel` for the contract.

    A step's `bits` are its divergence in bits; the stream carries more, namely what the Zipf-coded indices cost.
    """

    log2_candidates: int = 14

    def snr(self, bits: int, dims: int) -> float:
        return float(2.0 ** (2.0 * bits / dims) - 1.0)

    def max_bits(self, dims: int) -> int:
        return min(4, self.log2_candidates - SPARE_BITS) * dims  # no more chunks than dimensions

    def symbol_models(self, bits: int, dims: int) -> list[SymbolModel]:
        chunks = self._chunks(bits)
        return (
            [SymbolModel(chunks, 1 << self.log2_candidates, zipf(bits // chunks, self.log2_candidates))]
            if chunks
            else []
        )

    def encode(
        self, shifts: NDArray[np.float32], bits: Sequence[int], key: Key, priors: Sequence[Prior | None] | None = None
    ) -> list[NDArray[np.int32]]:
        each = zip(shifts, bits, priors or [None] * len(bits), strict=True)
        return [self._encode(shift, self._variances(b, len(shift), prior), b, key) for shift, b, prior in each]

    def decode(
        self, code: NDArray[np.int32], bits: int, dims: int, key: Key, prior: Prior | None = None
    ) -> NDArray[np.float32]:
        if bits == 0:
            return gaussian(key, dims)
        sample, scale = np.empty(dims, np.float32), np.sqrt(self._variances(bits, dims, prior))
        for chunk, index in enumerate(code):
            part = slice(chunk, dims, len(code))
            sample[part] = scale[part] * self._candidates(key, chunk, int(index), 1, len(scale[part]))[0]
        return sample

    def _variances(self, bits: int, dims: int, prior: Prior | None) -> NDArray[np.float32]:
        """Variances (dims,) of the prior that `bits` bits pay for."""
        if prior is None:
            return np.full(dims, 1 + self.snr(bits, dims), np.float32)
        return prior.spread(prior.variances(prior.kappa(bits)))

    def _chunks(self, bits: int) -> int:
        return -(-bits // (self.log2_candidates - SPARE_BITS))

    def _candidates(self, key: Key, chunk: int, first: int, count: int, size: int) -> NDArray[np.float32]:
        """Candidates first … first + count - 1 of a chunk, (count, size): any one can be drawn without the others."""
        words = -(-size // 8) * 4  # whole Philox counters a candidate
        drawn = gaussian(Key(key.seed, key.step, CANDIDATES, chunk), count * words * 2, skip_words=first * words)
        return drawn.reshape(count, words * 2)[:, :size]

    def _encode(
        self, shift: NDArray[np.float32], variances: NDArray[np.float32], bits: int, key: Key
    ) -> NDArray[np.int32]:
        chunks, n = self._chunks(bits), 1 << self.log2_candidates
        code = np.zeros(chunks, np.int32)
        for chunk in range(chunks):
            target, variance = shift[chunk::chunks], variances[chunk::chunks]
            log_ratio = np.empty(n)
            at_a_time = max(1, _SCORED_AT_A_TIME // len(target))
            for first in range(0, n, at_a_time):
                z = self._candidates(key, chunk, first, min(at_a_time, n - first), len(target))
                z = z * np.sqrt(variance)
                # log q(z)/p(z) up to a constant, for q = N(target, I) and p = N(0, variance)
                log_ratio[first : first + len(z)] = z @ target - (z * z) @ ((1 - 1 / variance) / 2)
            code[chunk] = int((_log_arrival_times(Key(key.seed, key.step, ARRIVALS, chunk), n) - log_ratio).argmin())
        return code


def _log_arrival_times(key: Key, count: int) -> NDArray[np.float64]:
    """Ordered exponential arrivals: like those of a Poisson process, but of exactly `count` candidates (sender
    only).
    """
    uniform = (key.words(count).astype(np.float64) + 0.5) / 2**32
    return np.log(np.cumsum(-np.log(uniform) * (count / (count - np.arange(count)))))


@cache
def zipf(divergence_bits: int, log2_candidates: int) -> tuple[int, ...]:
    """Return integer frequencies of the index: n^-(1 + 1/(C + log2(e)/e + 1)), C the chunk's divergence; sum 2^22.

    Source: Theis & Yosri 2022, eq. 13. Logarithm and power in fixed point, so the table is the same everywhere.
    """
    count = 1 << log2_candidates
    log = fixed_log2(np.arange(1, count + 1, dtype=np.uint64), 0)  # 1/65536
    # exponent * 1000, with log2(e)/e = 0.531
    exponent = 1000 + 1_000_000 // (divergence_bits * 1000 + 531 + 1000)
    weight = _exp2_negative(log * exponent // 1000)
    frequencies = 1 + weight * (_TOTAL - count) // int(weight.sum())
    frequencies[0] += _TOTAL - int(frequencies.sum())
    return tuple(int(f) for f in frequencies)


def _exp2_negative(x: NDArray[np.int64]) -> NDArray[np.int64]:
    """2^(-x / 65536) in units of 2^-30, for x >= 0, by square roots of one half in integers."""
    result = np.full(x.shape, 1 << 30, np.int64)
    factor = 1 << 30
    for bit in range(15, -1, -1):
        factor = math.isqrt(factor << 30) if bit < 15 else math.isqrt(1 << 59)
        result = np.where((x >> bit) & 1, result * factor >> 30, result)
    return result >> np.minimum(x >> 16, 40)
