"""The reverse chain that sender and receiver both run: one definition, so that they can't drift apart.

State is x_t for a batch of pictures at one level. Each step asks the network for x0_hat, forms mu_p, and adds what the
channel brings. Nothing here knows x_0; the sender computes its shifts from what is public here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.chain import Posterior, posterior
from ddpmcodec.channel import Channel
from ddpmcodec.channel.philox import Key, gaussian
from ddpmcodec.models.base import CodecModel
from ddpmcodec.plan import Plan
from ddpmcodec.stream import Packet
from ddpmcodec.windows import x0_hat

Array = NDArray[np.float32]


class ReverseChain:
    """x_T … x_0 for `count` pictures of height x width; starts at x_T, which is shared noise (alpha_bar_T = 0)."""

    def __init__(self, model: CodecModel, plan: Plan, channel: Channel, count: int, height: int, width: int, seed: int):
        self.model, self.plan, self.channel, self.seed = model, plan, channel, seed
        self.n = 0  # steps taken
        shape = (model.channels, height, width)
        self.dims = math.prod(shape)
        noise = gaussian(Key(seed, 0), self.dims).reshape(1, *shape)
        self.x_t: Array = np.repeat(noise, count, axis=0)
        self._x0_hat: Array | None = None

    @property
    def log_snr(self) -> float:
        """Log-SNR of x_t; -inf at x_T."""
        return self.plan.level(self.n)

    @property
    def posterior(self) -> Posterior:
        """q(x_s | x_t, x_0) of the next step."""
        return posterior(self.log_snr, self.plan.level(self.n + 1))

    def x0_hat(self) -> Array:
        """The network's x_0 given x_t; one call a level, however often it is asked."""
        if self._x0_hat is None:
            self._x0_hat = x0_hat(self.model, self.x_t, self.log_snr)
        return self._x0_hat

    def prior_mean(self) -> Array:
        """mu_p of the next step."""
        return self.posterior.mean(self.x0_hat(), self.x_t)  # type: ignore[no-any-return]

    def key(self) -> Key:
        """Shared randomness of the next step."""
        return Key(self.seed, self.n + 1)

    def advance(self, packets: Sequence[Packet]) -> None:
        """Takes the next step: x_s = mu_p + sqrt(b) * (what the channel makes of each picture's packet)."""
        x_s, sigma = self.prior_mean(), np.float32(math.sqrt(self.posterior.variance))
        for i, packet in enumerate(packets):
            sample = self.channel.decode(packet.code, packet.bits, self.dims, self.key())
            sample *= sigma
            x_s[i] += sample.reshape(x_s[i].shape)
        self.jump(x_s)

    def jump(self, x_s: Array) -> None:
        """Takes the next step to a given x_s, however it was drawn: (n, c, h, w)."""
        self.x_t, self._x0_hat = x_s, None
        self.n += 1
