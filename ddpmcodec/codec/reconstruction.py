"""Reconstructions: what a receiver makes of its x_t. The mean of what the picture may be, a draw of it, or the flow's
end.

A `Reconstruction` takes the model, the stream's plan and the receiver's state, and gives planes like x̂_0. The mean has
the least squared error, and is a blur early on; a draw looks like a picture, at up to twice the squared error (Blau &
Michaeli 2018); the deterministic flow lies between. The last two call the network once for each level that they pass.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ddpmcodec.codec.receiver import ReceivedStep
from ddpmcodec.codec.reverse_chain import Array
from ddpmcodec.diffusion.plan import Plan
from ddpmcodec.diffusion.sampling import Noise, analytic, ancestral, ddim
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.models.base import CodecModel
from ddpmcodec.numerics.arguments import whole, whole_or_none

Reconstruction = Callable[[CodecModel, Plan, ReceivedStep], Array]
OnStep = Callable[[int], None]


def _ignore(step: int) -> None:
    pass


def mean(model: CodecModel, plan: Plan, state: ReceivedStep) -> Array:
    """Return x̂_0, which is the default."""
    return state.x0_hat


def sample(seed: int = 0, first: int = 0, on_step: OnStep = _ignore) -> Reconstruction:
    """Return a draw by ancestral sampling along the rest of the plan, with the variance that fits its long steps.

    seed: another one gives another picture. first: place of the batch's first picture, so that batches don't matter.
    Raises DdpmCodecError for what is no whole number.
    """
    seed, first = whole(seed, "seed"), whole(first, "first")

    def draw(model: CodecModel, plan: Plan, state: ReceivedStep) -> Array:
        noise = Noise((seed + (state.n << 32)) % (1 << 64), first=first)  # no prefix shares another's
        variance = analytic(model.curve)
        return ancestral(model, state.x_t, levels(plan, state.log_snr), variance=variance, noise=noise, on_step=on_step)

    return draw


def flow(steps: int | None = None, on_step: OnStep = _ignore) -> Reconstruction:
    """Return where DDIM without noise leads at the plan's end: along its own levels, or in `steps` network calls evenly
    spread in log-SNR. Raises DdpmCodecError for fewer than one.
    """
    steps = whole_or_none(steps, "steps")
    if steps is not None and steps < 1:
        raise DdpmCodecError(f"{steps} steps of the flow: expected at least 1")

    def follow(model: CodecModel, plan: Plan, state: ReceivedStep) -> Array:
        passed = levels(plan, state.log_snr)
        if steps is not None:
            passed = [float(v) for v in np.linspace(passed[0], passed[-1], steps if passed[-1] > passed[0] else 1)]
        return ddim(model, state.x_t, passed, on_step=on_step)

    return follow


def levels(plan: Plan, log_snr: float) -> list[float]:
    """Return the log-SNRs from where a receiver stands to the plan's end."""
    return [log_snr, *(level for level in plan.log_snr if level > log_snr)]
