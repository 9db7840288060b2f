"""Reverse chain, which sender and receiver both run: one definition, so that they can't drift apart.

State is x_t for a batch of pictures at one level, in arrays that nobody writes to, for callers see them (`on_step`).
Each step asks the network for x0_hat, forms mu_p, and adds what the channel brings. Nothing here knows x_0; the sender
computes its shifts from what is public here.

Both sides know of a grey picture that its colours are equal, and make those of x0_hat equal too, which becomes its own
luminance: the posterior's chromatic part is then the true one at no cost.

Pictures of a block take their steps from one packet. Whoever wants some of them leaves the others out: what a packet
brings to one picture doesn't depend on what the network says of the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.condition import condition_of
from ddpmcodec.bitstream.header import Header
from ddpmcodec.bitstream.packet import GAIN_STEP, Packet, Share
from ddpmcodec.channel.base import Channel
from ddpmcodec.channel.basis import Basis, basis_of
from ddpmcodec.channel.names import channel_of
from ddpmcodec.channel.prior import Prior, joined
from ddpmcodec.diffusion.canvas import canvas_size
from ddpmcodec.diffusion.denoiser import x0_hat, x0_hat_of_both
from ddpmcodec.diffusion.gaussians import Posterior, posterior
from ddpmcodec.diffusion.plan import Plan
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.images import in_grey
from ddpmcodec.models.base import CodecModel
from ddpmcodec.numerics import native
from ddpmcodec.numerics.arguments import read_only
from ddpmcodec.numerics.philox import Key, gaussian

Array = NDArray[np.float32]
_PIXELS_AT_A_TIME = 1 << 20  # that the network is shown, so that many pictures that aren't small don't fill the memory


class ReverseChain:
    """Chain x_T … x_0 of `count` pictures of height x width; starts at x_T, which is shared noise (alpha_bar_T = 0).

    grey: which of the pictures are grey. joint: they are a block, and take each step from one packet.
    """

    def __init__(
        self,
        model: CodecModel,
        plan: Plan,
        channel: Channel,
        count: int,
        height: int,
        width: int,
        seed: int,
        grey: Sequence[bool] = (),
        joint: bool = False,
    ):
        self.model, self.plan, self.channel, self.seed = model, plan, channel, seed
        self.block = count if joint and count > 1 else 1  # pictures that take a step together
        self.members = list(range(count))  # places in the block of those that are here
        self.grey = read_only(np.array(grey or [False] * count))
        self.height, self.width = (
            height * model.factor,
            width * model.factor,
        )  # of the pictures; `of` knows better
        self.n = 0  # steps taken
        self.log_snr = plan.level(0)  # x_t's level: -inf at x_T
        self.ended = False  # the plan's last step, or a short one, has been taken
        shape = (model.channels, height, width)
        self.dims = math.prod(shape)
        noise = gaussian(Key(seed, 0), self.dims).reshape(1, *shape)
        self.x_t: Array = read_only(np.repeat(noise, count, axis=0))
        self._x0_hat: Array | None = None
        self._shown: Array | None = None

    @classmethod
    def of(
        cls, headers: Sequence[Header], model: CodecModel, search_device: bool = False, joint: bool = False
    ) -> ReverseChain:
        """Return the chain of streams with these headers, which differ in grey and in what a decoder may skip.

        search_device: where there is no native code, the channel searches on the model's device. (Native code on a few
        cores is sooner than the thousands of small kernels that a search is on a GPU.)
        """
        header, grey = headers[0], [header.grey for header in headers]
        model = model.told(condition_of(header))
        if header.lossless and model.space.lossless:
            raise DdpmCodecError(f"the exact picture can't follow x̂_0 of {model.name}: {model.space.lossless}")
        height, width = canvas_size(header.height, header.width, model.window, model.factor)
        device = model.device if search_device and model.device.type != "cpu" and not native.enabled() else None
        channel = channel_of(header.channel, model.channels * height * width, device)
        plan = model.plan(header.plan_steps)
        chain = cls(model, plan, channel, len(headers), height, width, header.seed, grey, joint)
        chain.height, chain.width = header.height, header.width
        return chain

    @property
    def posterior(self) -> Posterior:
        """Return q(x_s | x_t, x_0) of the plan's next step."""
        return self.posterior_to(None)

    def posterior_to(self, log_snr: float | None) -> Posterior:
        """Return q(x_s | x_t, x_0) of a step to any level; None is the plan's next."""
        return posterior(self.log_snr, self.plan.level(self.n + 1) if log_snr is None else log_snr)

    def x0_hat(self) -> Array:
        """Return the network's x_0 given x_t, grey for a grey picture; one call a level, however often it is asked."""
        if self._x0_hat is None:
            self._x0_hat = self._in_parts(lambda part: x0_hat(self.model, self.x_t[part], self.log_snr))
        return self._x0_hat

    def shown(self) -> Array:
        """Return the x_0 that pictures show: x0_hat, or, at one call more, the mean of two views where the model's
        pictures are such.
        """
        if self._shown is None:
            known, (model, log_snr) = self.x0_hat(), (self.model, self.log_snr)
            self._shown = (
                self._in_parts(lambda part: x0_hat_of_both(model, self.x_t[part], log_snr, known[part]))
                if model.mirrored
                else known
            )
        return self._shown

    def _in_parts(self, predict: Callable[[slice], Array]) -> Array:
        """Return what is predicted of some pictures at a time; of grey ones in grey."""
        at_a_time = max(1, _PIXELS_AT_A_TIME // (self.height * self.width))
        found = [predict(slice(i, i + at_a_time)) for i in range(0, len(self.x_t), at_a_time)]
        predicted = found[0] if len(found) == 1 else np.concatenate(found)
        if self.grey.any() and self.model.space.has_colours:
            predicted[self.grey] = in_grey(predicted[self.grey])
        return read_only(predicted)

    def pictures(self, roughly: bool = False) -> Array:
        """Return the pictures (n, 3, height, width) on [-1, 1] that a receiver shows here. roughly: what x0_hat shows,
        which the next step needs anyway.
        """
        planes = self.model.space.to_pictures(self.x0_hat() if roughly else self.shown(), self.height, self.width)
        if self.grey.any() and not self.model.space.has_colours:
            planes[self.grey] = in_grey(planes[self.grey])
        return planes

    def prior_mean(self) -> Array:
        """Return mu_p of the plan's next step."""
        return self.posterior.mean(self.x0_hat(), self.x_t)  # type: ignore[no-any-return]

    def basis(self) -> Basis | None:
        """Return where the next step's prior is diagonal; None where the model has no spectrum, and all priors are
        white.
        """
        spectrum = self.plan.spectrum
        if spectrum is None:
            return None
        height, width = self.x_t.shape[2:]
        return basis_of(spectrum.row(self.log_snr), height, width, spectrum.axes)

    def key(self) -> Key:
        """Return the name of the next step's shared randomness."""
        return Key(self.seed, self.n + 1)

    def advance(self, packets: Sequence[Packet]) -> None:
        """Take the next step: x_s = mu_p + sqrt(b) * (what the channel makes of the packets).

        There is one a picture, or one for a whole block. They go to one level: the plan's next, or a short step's.
        Raises ValueError where they don't.
        """
        log_snr, *others = {packet.log_snr for packet in packets}
        if others:
            raise ValueError(
                "short steps of several pictures go to levels of their own: take them one by one, with `select`"
            )
        q = self.posterior_to(log_snr)
        x_s, sigma = q.mean(self.x0_hat(), self.x_t), np.float32(math.sqrt(q.variance))
        samples = self._of_each(packets) if self.block == 1 else self._of_block(*packets)
        for i, (sample, coloured) in enumerate(samples):
            basis = self.basis() if coloured else None
            sample *= sigma
            x_s[i] += sample.reshape(x_s[i].shape) if basis is None else basis.synthesise(sample)
        self.jump(x_s, log_snr)

    def prior(self, coloured: bool) -> Prior | None:
        """Return the next step's coloured prior; None for the white one."""
        basis = self.basis() if coloured else None
        return None if basis is None else basis.prior

    def joint_prior(self, shares: Sequence[Share]) -> Prior:
        """Return the next step's prior of all pictures of the block."""
        priors = [self.prior(share.coloured) for share in shares]
        return joined(priors, [GAIN_STEP**share.gain for share in shares], self.dims)

    def _of_each(self, packets: Sequence[Packet]) -> Iterator[tuple[Array, bool]]:
        """The sample of each picture's own packet, and whether it is one of coefficients."""
        for packet in packets:
            prior = self.prior(packet.coloured)
            yield self.channel.decode(packet.code, packet.bits, self.dims, self.key(), prior), packet.coloured

    def _of_block(self, packet: Packet) -> Iterator[tuple[Array, bool]]:
        """Each picture's part of the sample of a block's packet."""
        prior = self.joint_prior(packet.shares) if packet.bits else None
        sample = self.channel.decode(packet.code, packet.bits, self.dims * self.block, self.key(), prior)
        for member in self.members:
            coloured = bool(packet.shares) and packet.shares[member].coloured
            yield sample[member * self.dims : (member + 1) * self.dims], coloured

    def jump(self, x_s: Array, log_snr: float | None = None) -> None:
        """Take the next step to a given x_s, however it was drawn: (n, c, h, w). log_snr: its level; None is the
        plan's.
        """
        self.x_t, self._x0_hat, self._shown = read_only(x_s), None, None
        self.n += 1
        self.log_snr = self.plan.level(self.n) if log_snr is None else log_snr
        self.ended = log_snr is not None or self.n == self.plan.steps

    def select(self, places: Sequence[int] | None = None) -> ReverseChain:
        """Return a chain that goes on from here by itself, for some of the pictures (None: all); this one can go on,
        too.
        """
        other = copy(self)
        if places is not None:
            other.x_t, other.grey = read_only(self.x_t[places]), read_only(self.grey[places])
            other.members = [self.members[place] for place in places]
            for name in ("_x0_hat", "_shown"):
                known = getattr(self, name)
                setattr(other, name, None if known is None else read_only(known[places]))
        return other
