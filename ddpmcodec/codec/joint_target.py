"""Sharing of a step among the pictures of a block: by the gains that cost least, divergence and symbols together."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.packet import GAIN_STEP, Share
from ddpmcodec.bitstream.shares import MOST_GAIN
from ddpmcodec.channel.prior import Prior
from ddpmcodec.codec.step_target import StepTarget

Floats = NDArray[np.float64]

# A gain is kept until it is sent anew, so what it saves in a step it saves in later ones, too: about as many as this.
STEPS_A_GAIN = 6
_MOST_ROUNDS = 8  # of gains given kappa, and kappa given gains; two or three do


def shared_out(target: StepTarget, gain_bits: Floats) -> tuple[tuple[Share, ...], float]:
    """Return each picture's share of a joint step, and the step's ideal bits, KL(q || p) of the joint prior.

    gain_bits: (n, 2 MOST_GAIN + 1), what each gain takes to say.
    """
    dims, groups = target.shifts.shape[1], max((len(p.power) for p in target.priors if p is not None), default=1)
    white = Prior((1.0,) * groups, dims)
    priors = [prior or white for prior in target.priors]
    power = np.array([prior.power for prior in priors])
    energies = np.stack([prior.energies(shift) for prior, shift in zip(priors, target.shifts, strict=True)])
    gains = gain_bits.argmin(axis=1)
    for _ in range(_MOST_ROUNDS):
        before = gains
        joint = _scaled(power, gains, dims)
        kappa = joint.fit(energies.ravel())
        gains = (STEPS_A_GAIN * _divergence(kappa, power, energies, white.sizes) + gain_bits).argmin(axis=1)
        if np.array_equal(gains, before):
            break
    joint = _scaled(power, gains, dims)
    shares = (Share(prior is not None, int(gain) - MOST_GAIN) for prior, gain in zip(target.priors, gains, strict=True))
    return tuple(shares), joint.bits(joint.fit(energies.ravel()))


def _scaled(power: Floats, gains: NDArray[np.intp], dims: int) -> Prior:
    """The joint prior up to a factor of all powers, which is kappa's affair."""
    scaled = power * GAIN_STEP ** (gains - MOST_GAIN)[:, None]
    return Prior(tuple(scaled.ravel().tolist()), dims * len(power))


def _divergence(kappa: float, power: Floats, energies: Floats, sizes: NDArray[np.int64]) -> Floats:
    """KL(N(shift, I) || prior) in bits (n, gains) of each picture with each gain."""
    found = np.empty((len(power), 2 * MOST_GAIN + 1))
    for gain in range(found.shape[1]):
        variances = 1 + kappa * GAIN_STEP ** (gain - MOST_GAIN) * power
        found[:, gain] = (np.log2(variances) + ((1 + energies) / variances - 1) / math.log(2)) @ sizes / 2
    return found
