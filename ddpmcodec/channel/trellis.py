"""Trellis code searched with the Viterbi algorithm: the default channel.

`bits` bits choose one of 2^bits unit-variance vectors z; the encoder finds the one most aligned with the shift, so that
sqrt(1 + snr(bits)) * z is, to the receiver's network, a draw from N(shift, I). See `codebook` for the code itself.

With a `Prior` the coefficients of each group are mixed among themselves only, and scaled by their own sqrt(1 + kappa
P); every bit still drives coefficients of all groups. So bits go where this shift needs them, whatever the prior
expected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.channel.blocks import MAX_BLOCK_BITS, Block, blocks_of, memory_of
from ddpmcodec.channel.codebook import parity, rotate_back, shift_register
from ddpmcodec.channel.metrics import branch_metrics, quantised
from ddpmcodec.channel.prior import Prior
from ddpmcodec.channel.viterbi import Metrics, search
from ddpmcodec.numerics.philox import Key, gaussian
from ddpmcodec.numerics.symbol_model import SymbolModel, uniform_words
from ddpmcodec.numerics.threads import in_threads

if TYPE_CHECKING:
    import torch

SEARCHED_TOGETHER = 1 << 15  # bits whose branch metrics, 2 kB each, a GPU is given at a time

# Bits lost against the ideal rate, for each bit beyond 20: by L of 2^L states, measured on Gaussian shifts
# (docs/channel.md); odd L interpolated.
_EXCESS_PER_BIT = {8: 0.080, 9: 0.070, 10: 0.061, 11: 0.052, 12: 0.044, 13: 0.040, 14: 0.037, 15: 0.034, 16: 0.031}


@dataclass(frozen=True)
class TrellisChannel:
    """Trellis code with 2^memory states, fewer in short blocks (`blocks.memory_of`); see `base.Channel` for the
    contract.

    device: where the search runs: None is the CPU (see `viterbi.search`), else torch. The bits don't depend on it.
    """

    memory: int = 12
    device: torch.device | None = None

    def excess_bits(self, bits: float, dims: int) -> float:
        """Return the bits that the code spends above d/2 log2(1 + snr).

        0.74 + log2(bits)/2 is the floor of any code of 2^bits words searched by arg max; the slope is what 2^memory
        states lose; the last two terms are what +-1 codewords lose below three, and below two, dimensions a bit.
        """
        blocks = max(1, math.ceil(bits / MAX_BLOCK_BITS))
        b, d = bits / blocks, dims / blocks
        loss = 0.74 + 0.5 * math.log2(max(b, 2.0)) + _EXCESS_PER_BIT[memory_of(b, self.memory)] * max(0.0, b - 20)
        loss += 0.03 * max(0.0, b - d / 3) + 0.8 * max(0.0, b - d / 2) ** 2 / d
        return blocks * min(loss, 0.9 * b)

    def snr(self, bits: int, dims: int) -> float:
        """Return the ratio of prior excess variance to noise variance that `bits` bits buy. Both sides scale by it."""
        return float(2.0 ** (2.0 * (bits - self.excess_bits(bits, dims)) / dims) - 1.0)

    def max_bits(self, dims: int) -> int:
        return dims  # +-1 codewords carry at most one bit a dimension

    def symbol_models(self, bits: int, dims: int) -> list[SymbolModel]:
        return uniform_words(bits)

    def kappa(self, bits: int, prior: Prior) -> float:
        """Return for a coloured prior what `snr` is for a white one."""
        return prior.kappa(bits - self.excess_bits(bits, prior.dims))

    def encode(
        self, shifts: NDArray[np.float32], bits: Sequence[int], key: Key, priors: Sequence[Prior | None] | None = None
    ) -> list[NDArray[np.int32]]:
        jobs: list[tuple[NDArray[np.int32], Block]] = []
        counts = []  # blocks of each picture
        for shift, count, prior in zip(shifts, bits, priors or [None] * len(bits), strict=True):
            if prior is not None:
                # log q/p is linear in the codeword with weights shift * sqrt(variance). Favouring strong coefficients
                # by as much again sends 2% fewer bits up to RMSE 12, measured on training images: early on, they matter
                # most.
                shift = shift * prior.spread(prior.variances(self.kappa(count, prior)))
            target, blocks = quantised(shift), blocks_of(count, len(shift), self.memory, key, prior is not None)
            jobs += [(target, block) for block in blocks]
            counts.append(len(blocks))
        paths = iter(self._search_all(jobs))
        return [_pack(np.concatenate([np.zeros(0, np.uint8), *islice(paths, count)])) for count in counts]

    def _search_all(self, jobs: Sequence[tuple[NDArray[np.int32], Block]]) -> list[NDArray[np.uint8]]:
        """Find the best path of each block, given its picture's target."""
        # A block's part of a large target is cut out when its turn comes.
        if self.device is None:  # one by one, or in threads
            return in_threads(lambda job: search([_metrics(*job)], job[1].memory)[0], jobs)
        found: dict[int, NDArray[np.uint8]] = {}
        for memory in {block.memory for _, block in jobs}:
            waiting: dict[int, Metrics] = {}  # searched together: that is what a GPU is fast at
            for i, (target, block) in enumerate(jobs):
                if block.memory == memory:
                    waiting[i] = _metrics(target, block)
                if sum(map(len, waiting.values())) >= SEARCHED_TOGETHER:
                    found |= zip(waiting, search(list(waiting.values()), memory, self.device), strict=True)
                    waiting.clear()
            found |= zip(waiting, search(list(waiting.values()), memory, self.device), strict=True)
        return [found[i] for i in range(len(jobs))]

    def decode(
        self, code: NDArray[np.int32], bits: int, dims: int, key: Key, prior: Prior | None = None
    ) -> NDArray[np.float32]:
        if bits == 0:
            return gaussian(key, dims)
        path, scale = _unpack(code, bits), math.sqrt(1.0 + self.snr(bits, dims)) if prior is None else 1.0
        z = np.empty(dims, np.float32)
        for block in blocks_of(bits, dims, self.memory, key, prior is not None):
            shape, book = block.code()
            active, flip = shift_register(path[block.bits], block.memory)
            step_of_dim = shape.step_of_dim
            word = parity(active[step_of_dim] & book.taps).astype(np.int8) ^ flip[step_of_dim]
            del step_of_dim  # a large block's is large
            rotated = rotate_back(np.int8(1) - np.int8(2) * word, book, shape)[: shape.dims]
            np.multiply(
                rotated, scale / math.sqrt(shape.hadamard), out=z[block.dims], dtype=np.float64, casting="unsafe"
            )
        if prior is not None:
            z *= prior.spread(np.sqrt(prior.variances(self.kappa(bits, prior))))
        return z


def _metrics(target: NDArray[np.int32], block: Block) -> Metrics:
    return branch_metrics(target[block.dims], block)


def _pack(path: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Pack bits into the stream's 16-bit words; the last one is shorter, its bits at its low end."""
    whole = len(path) // 16 * 16
    weights = 1 << np.arange(15, -1, -1, dtype=np.int32)
    words = path[:whole].reshape(-1, 16).astype(np.int32) @ weights
    rest = path[whole:].astype(np.int32)
    return np.concatenate([words, [int(rest @ weights[16 - len(rest) :])]] if len(rest) else [words]).astype(np.int32)


def _unpack(code: NDArray[np.int32], bits: int) -> NDArray[np.uint8]:
    rest = bits % 16
    shifts = np.arange(15, -1, -1, dtype=np.int32)
    whole = code[: bits // 16]
    path = ((whole[:, None] >> shifts) & 1).reshape(-1)
    if rest:
        path = np.concatenate([path, (code[-1] >> shifts[16 - rest :]) & 1])
    return path.astype(np.uint8)
