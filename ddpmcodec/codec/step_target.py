"""Targets of steps: what a step has to bring to the receiver, and under which prior, the cheaper one of two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.channel.basis import Basis
from ddpmcodec.channel.prior import Prior
from ddpmcodec.diffusion.gaussians import ideal_bits

Array = NDArray[np.float32]

# A coloured prior's codewords can't reach shifts far stronger than it expects, in any of its groups: beyond this share
# of their power, which pictures of the measured kind hardly ever need, the white prior is taken. On 64 CIFAR-10
# training images 0.4 sends the same bits, to 0.01%.
REACH = 0.6


@dataclass(frozen=True, eq=False)
class StepCosts:
    """Costs of a step to n pictures, in theory."""

    variance_ratio: NDArray[np.float64]  # (n,) v/b
    ideal_bits: NDArray[np.float64]  # (n,) KL(q || p) of the prior


@dataclass(frozen=True, eq=False)
class StepTarget:
    """Target of a step: what it has to bring to n pictures, before the channel has looked for its code."""

    shifts: Array  # (n, dims): (mu_q - mu_p) / sqrt(b), where the prior is coloured in its basis
    priors: tuple[Prior | None, ...]  # None: white
    costs: StepCosts

    @property
    def variance_ratio(self) -> NDArray[np.float64]:
        return self.costs.variance_ratio

    @property
    def ideal_bits(self) -> NDArray[np.float64]:
        return self.costs.ideal_bits


def step_target(shifts: Array, basis: Basis | None) -> StepTarget:
    """Return the target of shifts (n, c, h, w) in units of sqrt(b), each under the prior of fewer ideal bits.

    That is the white one, with variance v (Bao et al. 2022), or the one that is diagonal in `basis`, coloured like the
    usual error. A picture unlike those whose error was measured would need more bits with the coloured one, or more
    than codewords can give.
    """
    flat = shifts.reshape(len(shifts), -1)
    dims = flat.shape[1]
    ratio = np.einsum("ij,ij->i", flat, flat, dtype=np.float64) / dims
    ideal = np.array([ideal_bits(float(r), dims) for r in ratio])
    priors: list[Prior | None] = [None] * len(flat)
    if basis is None:
        return StepTarget(flat, tuple(priors), StepCosts(ratio, ideal))
    rows = list(flat)
    for i, shift in enumerate(shifts):
        coefficients = basis.analyse(shift)
        energies = basis.prior.energies(coefficients)
        kappa = basis.prior.fit(energies)
        bits = basis.prior.bits(kappa)
        if bits < ideal[i] and basis.prior.reach(energies, kappa) <= REACH:
            rows[i], priors[i], ideal[i] = coefficients, basis.prior, bits
    # A single picture may be a large one: no copy of it.
    return StepTarget(rows[0][None] if len(rows) == 1 else np.stack(rows), tuple(priors), StepCosts(ratio, ideal))
