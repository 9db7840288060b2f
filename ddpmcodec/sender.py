"""Algorithm 3 of Ho et al. 2020: the sender, which knows x_0 and transmits x_T … x_0 through the reverse chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.chain import ideal_bits
from ddpmcodec.counts import CountModel
from ddpmcodec.reverse import Array, ReverseChain
from ddpmcodec.stream import Packet


@dataclass(frozen=True)
class SentStep:
    """One step of a batch of n pictures, with everything a researcher may ask of it."""

    n: int  # 1 … K
    log_snr_t: float
    log_snr_s: float
    packets: tuple[Packet, ...]  # one a picture
    variance_ratio: NDArray[np.float64]  # (n,) v/b
    ideal_bits: NDArray[np.float64]  # (n,) d/2 log2(1 + v/b)
    x0_hat: Array  # (n, c, h, w) on [-1, 1]: what the step's prior was made from
    x_s: Array  # (n, c, h, w): the state after the step, as the receiver has it
    chain: ReverseChain

    def reconstruct(self) -> Array:
        """(n, c, h, w) on [-1, 1]: x0_hat given x_s, the picture a receiver has after this step.

        The next step uses the same network call, so it costs one more only at the end. Raises RuntimeError once the
        sender has gone on.
        """
        if self.chain.n != self.n:
            raise RuntimeError(f"step {self.n} can't be reconstructed any more: the sender is at step {self.chain.n}")
        return self.chain.x0_hat()


class Sender:
    """Iterate over it: a `SentStep` for each step of the plan. Stop iterating to stop sending.

    x_0: (n, c, h, w) float32 on [-1, 1], h and w as the chain's. known: (h, w) boolean, False where the canvas goes beyond the
    picture: there the shift is 0: the chain draws what lies beyond from its prior, which costs next to nothing.
    """

    def __init__(self, chain: ReverseChain, x_0: Array, known: NDArray[np.bool_] | None = None):
        self.chain, self.x_0 = chain, x_0
        self._known = np.ones(x_0.shape[2:], np.float32) if known is None else known.astype(np.float32)
        channel, dims = chain.channel, chain.dims
        self._counts = [CountModel(chain.plan, dims, channel.max_bits(dims)) for _ in x_0]
        self._grid = self._counts[0].values
        self._rates = np.array([ideal_bits(channel.snr(b, dims), dims) for b in self._grid])

    def __iter__(self) -> Iterator[SentStep]:
        while self.chain.n < self.chain.plan.steps:
            yield self._step()

    def _step(self) -> SentStep:
        chain, q = self.chain, self.chain.posterior
        t, x0_hat = chain.log_snr, chain.x0_hat()
        # mu_q - mu_p = x0_coef (x_0 - x0_hat), in units of the noise's standard deviation
        shift = (self.x_0 - x0_hat) * self._known * np.float32(q.x0_coef / q.variance**0.5)
        shifts = shift.reshape(len(shift), -1)
        ratio = np.einsum("ij,ij->i", shifts, shifts, dtype=np.float64) / chain.dims
        ideal = np.array([ideal_bits(float(r), chain.dims) for r in ratio])
        places = [m.choose(self._bits_for(float(rate))) for m, rate in zip(self._counts, ideal, strict=True)]
        bits = [self._grid[p] for p in places]
        codes = chain.channel.encode(shifts, bits, chain.key())
        for model, chosen in zip(self._counts, places, strict=True):
            model.update(chosen)
        packets = tuple(Packet(p, b, c) for p, b, c in zip(places, bits, codes, strict=True))
        chain.advance(packets)
        return SentStep(chain.n, t, chain.log_snr, packets, ratio, ideal, x0_hat, chain.x_t, chain)

    def _bits_for(self, rate: float) -> float:
        """Bits that buy this ideal rate."""
        return float(np.interp(rate, self._rates, self._grid))
