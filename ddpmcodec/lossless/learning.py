"""Learning: how the tail's networks go on to learn from the picture itself, on both sides alike.

As soon as both sides know some sub-pixels of a group, each takes one step of gradient descent on what they cost, in
integers, so that both have the same network for the next ones. Steps are as large as an input's and an output's usual
sizes allow (`rates.npz`), as if each weight's gradient were divided by its root mean square on training pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.lossless.distribution import SLOPE, slopes
from ddpmcodec.lossless.lattice import groups
from ddpmcodec.lossless.network import (
    HIDDEN,
    HIDDEN_BOUND,
    INPUT_BITS,
    OUTPUT_BOUND,
    WEIGHT,
    Layers,
    Mixtures,
    mixtures_of,
)

RATES = Path(__file__).with_name("rates.npz")
PART = 256  # sub-pixels between two steps
FINE = 10  # fraction bits of a learning weight beyond those that it is used with
# Step of a weight, log2 of FINE units, whose gradient is usual, by layer: 0.0005, 0.001, 0.001. Found on held-out
# training photographs; half and double of them serve as well within 0.2% of the bits.
_STEP = (11, 12, 12)
_FARTHEST = 4  # usual steps that one step may be at most
_WEIGHT_BOUND = 1 << 5 + WEIGHT + FINE  # +-32
_UNITY = (1 << INPUT_BITS, 1 << HIDDEN, 1 << HIDDEN)  # what each layer's constant input is


@dataclass(frozen=True)
class Rates:
    """Rates of one group's three layers: -log2 of the usual size of each input, the constant one's last (in + 1,), and
    of each output's gradient (out,).
    """

    inputs: tuple[NDArray[np.int64], ...]
    outputs: tuple[NDArray[np.int64], ...]


@cache
def rates() -> tuple[Rates, ...]:
    """Return the rates of each of `groups()`."""
    with np.load(RATES, allow_pickle=False) as file:
        return tuple(
            Rates(*(tuple(file[f"{side}{g}.{k}"].astype(np.int64) for k in range(3)) for side in ("in", "out")))
            for g in range(len(groups()))
        )


class Learner:
    """Network of one group that learns as it goes. All its numbers are integers, held exactly in float64."""

    def __init__(self, layers: Layers, rates: Rates):
        each = zip(layers.w, layers.b, _UNITY, strict=True)
        self._fine = [np.vstack([w, b / unity]) * (1 << FINE) for w, b, unity in each]  # the constant's weights last
        self._weights = [np.floor(fine / (1 << FINE)) for fine in self._fine]
        self._scales = [
            np.ldexp(1.0, (step - 4 - SLOPE - bits + rates.inputs[k])[:, None] + rates.outputs[k][None, :])
            for k, (step, bits) in enumerate(zip(_STEP, (INPUT_BITS, HIDDEN, HIDDEN), strict=True))
        ]  # the 4 is log2 of the root of PART: so much larger a sum of PART gradients usually is than one
        self._seen: list[NDArray[np.float64]] = []
        self._mixture: Mixtures | None = None

    def mixtures(self, x: NDArray[np.float64], own: NDArray[np.int64], scale: int) -> Mixtures:
        """Return the mixtures of the next n sub-pixels, as `network.mixtures` does."""
        w0, w1, w2 = self._weights
        x = _with_unity(x, 0)
        first = _with_unity(np.clip(np.floor(x @ w0 / 2.0 ** (INPUT_BITS + WEIGHT - HIDDEN)), 0, HIDDEN_BOUND), 1)
        second = _with_unity(np.clip(np.floor(first @ w1 / 2.0**WEIGHT), 0, HIDDEN_BOUND), 2)
        out = np.clip(np.floor(second @ w2 / 2.0**HIDDEN), -OUTPUT_BOUND, OUTPUT_BOUND).astype(np.int64)
        self._seen, self._mixture = [x, first, second], mixtures_of(out, own, scale)
        return self._mixture

    def learn(self, values: NDArray[np.int64], scale: int) -> None:
        """Take a step, now that the values (n,) of those sub-pixels are known."""
        assert self._mixture is not None
        slope = slopes(self._mixture, values, scale)
        for k in (2, 1, 0):
            seen, weights = self._seen[k], self._weights[k]
            step = np.floor(seen.T @ slope * self._scales[k])
            farthest = float(_FARTHEST << _STEP[k])
            if k:  # before the weights change
                slope = np.floor(slope @ weights[:-1].T / 2.0**WEIGHT) * (seen[:, :-1] > 0)
            self._fine[k] -= np.clip(step, -farthest, farthest)
            np.clip(self._fine[k], -_WEIGHT_BOUND, _WEIGHT_BOUND, out=self._fine[k])
            self._weights[k] = np.floor(self._fine[k] / (1 << FINE))


def _with_unity(values: NDArray[np.float64], layer: int) -> NDArray[np.float64]:
    """Values (n, inputs) and the constant input of a layer, (n, inputs + 1)."""
    return np.concatenate([values, np.full((len(values), 1), float(_UNITY[layer]))], axis=1)
