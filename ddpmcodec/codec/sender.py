"""Algorithm 3 of Ho et al. 2020: the sender, which knows x_0 and transmits x_T … x_0 through the reverse chain."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.bit_counts import END, BitCountModel
from ddpmcodec.bitstream.packet import Packet
from ddpmcodec.bitstream.short_step import ShortStep
from ddpmcodec.channel.basis import Basis
from ddpmcodec.channel.prior import Prior
from ddpmcodec.codec.reverse_chain import Array, ReverseChain
from ddpmcodec.diffusion.gaussians import ideal_bits

# A coloured prior's codewords can't reach shifts far stronger than it expects, in any of its groups: beyond this share of their
# power, which pictures of the measured kind hardly ever need, the white prior is taken.
REACH = 0.6


@dataclass(frozen=True)
class SentStep:
    """One step of a batch of n pictures, with everything a researcher may ask of it."""

    n: int  # 1 … K; a short step counts as one
    log_snr_t: float
    log_snr_s: float
    packets: tuple[Packet, ...]  # one a picture
    variance_ratio: NDArray[np.float64]  # (n,) v/b
    ideal_bits: NDArray[np.float64]  # (n,) KL(q || p) of the step's prior; d/2 log2(1 + v/b) where it is white
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


class Shifts(NamedTuple):
    """What a step has to bring to n pictures, and under which priors."""

    shifts: Array  # (n, dims): (mu_q - mu_p) / sqrt(b), where the prior is coloured in its basis
    priors: tuple[Prior | None, ...]  # None: white
    variance_ratio: NDArray[np.float64]  # (n,) v/b
    ideal_bits: NDArray[np.float64]  # (n,) of the prior


@dataclass(frozen=True)
class Need:
    """What a step needs, before the channel has looked for its code: for a batch of n pictures."""

    shifts: Array  # these four: see `Shifts`
    priors: tuple[Prior | None, ...]
    variance_ratio: NDArray[np.float64]
    ideal_bits: NDArray[np.float64]
    places: tuple[int, ...]  # on the grid of counts
    bits: tuple[int, ...]  # that the step sends
    log_snr: float | None = None  # that a short step goes to; None: the plan's next level


class Sender:
    """Iterate over it: a `SentStep` for each step of the plan. Stop iterating to stop sending.

    Each step is `need`, `search` and `take`; `need_short` ends a stream with a short one.

    x_0: (n, c, h, w) float32 on [-1, 1], h and w as the chain's. known: (h, w) boolean, False where the canvas goes beyond the
    picture: there the shift is 0: the chain draws what lies beyond from its prior, which costs next to nothing.
    """

    def __init__(self, chain: ReverseChain, x_0: Array, known: NDArray[np.bool_] | None = None):
        self.chain, self.x_0 = chain, x_0
        self._known = np.ones(x_0.shape[2:], np.float32) if known is None else known.astype(np.float32)
        channel, dims = chain.channel, chain.dims
        self._counts = [BitCountModel(chain.plan, dims, channel.max_bits(dims)) for _ in x_0]
        self._grid = self._counts[0].values
        self._rates = np.array([ideal_bits(channel.snr(b, dims), dims) for b in self._grid])

    def __iter__(self) -> Iterator[SentStep]:
        while not self.chain.ended:
            need = self.need()
            yield self.take(need, self.search(need))

    def need(self) -> Need:
        """Of the plan's next step. Calls the network, once a level."""
        shifts = self._shifts(None)
        places = [m.choose(self._bits_for(float(rate))) for m, rate in zip(self._counts, shifts.ideal_bits, strict=True)]
        return Need(*shifts, tuple(places), tuple(self._grid[p] for p in places))

    def need_short(self, step: ShortStep, bits: int) -> Need:
        """Of a short step that sends `bits` bits (not 0) of a single picture."""
        log_snr = step.log_snr(bits)
        return Need(*self._shifts(log_snr), (END - 1,), (bits,), log_snr)

    def search(self, need: Need) -> tuple[Packet, ...]:
        """The channel's code for each picture; takes no step."""
        codes = self.chain.channel.encode(need.shifts, need.bits, self.chain.key(), need.priors)
        each = zip(need.places, need.bits, codes, need.priors, strict=True)
        return tuple(Packet(p, b, c, need.log_snr, prior is not None and b > 0) for p, b, c, prior in each)

    def take(self, need: Need, packets: tuple[Packet, ...]) -> SentStep:
        """Goes on to where the packets lead the receiver."""
        chain, t, x0_hat = self.chain, self.chain.log_snr, self.chain.x0_hat()
        if need.log_snr is None:
            for model, packet in zip(self._counts, packets, strict=True):
                model.update(packet.index)
        chain.advance(packets)
        return SentStep(chain.n, t, chain.log_snr, packets, need.variance_ratio, need.ideal_bits, x0_hat, chain.x_t, chain)

    def fork(self) -> Sender:
        """A sender of its own from here, to see what comes of going on."""
        other = copy(self)
        other.chain, other._counts = self.chain.only(), [copy(model) for model in self._counts]
        return other

    def _shifts(self, log_snr: float | None) -> Shifts:
        """Of a step to a level."""
        chain, q = self.chain, self.chain.posterior_to(log_snr)
        # mu_q - mu_p = x0_coef (x_0 - x0_hat)
        shift = (self.x_0 - chain.x0_hat()) * self._known * np.float32(q.x0_coef / q.variance**0.5)
        return cheapest_priors(shift, chain.basis())

    def _bits_for(self, rate: float) -> float:
        """Bits that buy this ideal rate."""
        return float(np.interp(rate, self._rates, self._grid))


def cheapest_priors(shifts: Array, basis: Basis | None) -> Shifts:
    """Of shifts (n, c, h, w), picture by picture.

    The prior is the one of fewer ideal bits: white, with variance v (Bao et al. 2022), or coloured like the usual error. A
    picture unlike those whose error was measured would need more bits with the coloured one, or more than codewords can give.
    """
    flat = shifts.reshape(len(shifts), -1)
    dims = flat.shape[1]
    ratio = np.einsum("ij,ij->i", flat, flat, dtype=np.float64) / dims
    ideal = np.array([ideal_bits(float(r), dims) for r in ratio])
    priors: list[Prior | None] = [None] * len(flat)
    if basis is None:
        return Shifts(flat, tuple(priors), ratio, ideal)
    rows = list(flat)
    for i, shift in enumerate(shifts):
        coefficients = basis.analyse(shift)
        energies = basis.prior.energies(coefficients)
        kappa = basis.prior.fit(energies)
        bits = basis.prior.bits(kappa)
        if bits < ideal[i] and basis.prior.reach(energies, kappa) <= REACH:
            rows[i], priors[i], ideal[i] = coefficients, basis.prior, bits
    # A single picture may be a large one: no copy of it.
    return Shifts(rows[0][None] if len(rows) == 1 else np.stack(rows), tuple(priors), ratio, ideal)
