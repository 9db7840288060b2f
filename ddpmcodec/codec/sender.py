"""Algorithm 3 of Ho et al. 2020: the sender, which knows x_0 and transmits x_T … x_0 through the reverse chain.

`Sender.send` and `Receiver.receive` are one loop seen from two sides. The stream chooses how many bits a step sends.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.fields import LEARNING, in_order
from ddpmcodec.bitstream.file import finish, writer_of
from ddpmcodec.bitstream.header import Header
from ddpmcodec.bitstream.packet import BitCount, Packet
from ddpmcodec.bitstream.shares import gain_bits
from ddpmcodec.bitstream.solid import block_payload
from ddpmcodec.codec.joint_target import shared_out
from ddpmcodec.codec.metadata import to_fields
from ddpmcodec.codec.reverse_chain import Array, ReverseChain
from ddpmcodec.codec.step_target import StepCosts, StepTarget, step_target
from ddpmcodec.codec.trajectory import named_channel, nearest_step, steps_of_plan, tail_step
from ddpmcodec.diffusion.plan import default_steps
from ddpmcodec.errors import DdpmCodecError, ImageError
from ddpmcodec.io.images import as_picture, is_grey, to_plane
from ddpmcodec.lossless import TailLevel, encode_tail
from ddpmcodec.models.cache import ModelLike, sending_model
from ddpmcodec.models.choice import is_small
from ddpmcodec.numerics.arguments import flag, text, whole, whole_or_none


@dataclass(frozen=True, eq=False)
class SentStep:
    """Step that was sent of a batch of n pictures, with everything a researcher may ask of it.

    packets: one a picture, or one of a whole block.
    """

    n: int  # 1 … K; a short step counts as one
    log_snr_t: float
    log_snr_s: float
    packets: tuple[Packet, ...]
    variance_ratio: NDArray[np.float64]  # (n,) v/b
    ideal_bits: NDArray[np.float64]  # (n,) KL(q || p) of the step's prior; d/2 log2(1 + v/b) where it is white
    x0_hat: Array  # (n, c, h, w): what the step's prior was made from
    x_s: Array  # (n, c, h, w): the state after the step, as the receiver has it
    chain: ReverseChain

    def reconstruct(self, roughly: bool = False) -> Array:
        """Return the pictures (n, 3, h, w) on [-1, 1] that a receiver has after this step: x_0 given x_s.

        roughly: what x0_hat shows, whose network call the next step uses as well; `ReverseChain.shown` may take one
        more. Raises RuntimeError once the sender has gone on.
        """
        if self.chain.n != self.n:
            raise RuntimeError(f"step {self.n} can't be reconstructed any more: the sender is at step {self.chain.n}")
        return self.chain.pictures(roughly)


class Sender:
    """Sender of pictures of one size through one reverse chain: each in a stream of its own, or all in one (joint).

    pictures: uint8 H×W×3 or H×W. steps: how many of the plan's steps the streams have; None: all or, if the exact
    picture is to follow (lossless), as many as are expected to make the streams shortest; with end_log_snr, as many as
    lead to the plan's level that is nearest to it. short_step: a step of fewer bits may end the streams, as the header
    announces. grey: pictures whose colours are equal are coded as such. The other options are those of `encode`. Raises
    DdpmCodecError.
    """

    def __init__(
        self,
        *pictures: Any,
        model: ModelLike = None,
        plan_steps: int | Literal["fast"] | None = None,
        channel: str = "trellis",
        seed: int = 0,
        steps: int | None = None,
        lossless: bool = False,
        short_step: bool = False,
        end_log_snr: float | None = None,
        grey: bool = True,
        fields: Mapping[int, bytes] | None = None,
        joint: bool = False,
    ):
        seed, steps, lossless = whole(seed, "seed"), whole_or_none(steps, "steps"), flag(lossless, "lossless")
        shown = [as_picture(picture, keep=lossless) for picture in pictures]
        self.pictures = [picture.rgb for picture in shown]
        sizes = {picture.shape for picture in self.pictures}
        if len(sizes) != 1:
            raise ImageError(f"pictures of {len(sizes)} sizes in one batch: expected one size")
        ((height, width, _),) = sizes
        codec = sending_model(model, height, width)
        length = steps_of_plan(codec, plan_steps, height * width, exact=lossless and steps is None)
        named = None if length == default_steps(codec.curve) else length  # the default has no field in the header
        mark, spec = codec.fingerprint[:8], named_channel(codec, text(channel, "channel"), height, width)
        header = Header(mark, width, height, named, spec, seed, short=short_step, lossless=lossless)
        learning = {LEARNING: b""} if lossless and not is_small(header.pixels) else {}
        self.headers = [
            replace(
                header,
                grey=grey and is_grey(picture.rgb),
                fields=in_order((to_fields(picture.meaning) | dict(fields or {}) | learning).items()),
            )
            for picture in shown
        ]
        self.chain = ReverseChain.of(self.headers, codec, search_device=True, joint=joint)
        self.streams = [writer_of(self.header, codec, self.chain.block) for _ in self.pictures[:: self.chain.block]]
        self.last = self._last(steps, end_log_snr)
        # Beyond the picture the shift is 0: the chain draws what lies there from its prior, which costs next to
        # nothing.
        self._x_0, self._known = (
            np.zeros(self.chain.x_t.shape, np.float32),
            np.zeros(self.chain.x_t.shape[2:], np.float32),
        )
        for plane, picture in zip(self._x_0, self.pictures, strict=True):
            x_0 = codec.space.of_pictures(to_plane(picture)[None])[0]
            plane[:, : x_0.shape[1], : x_0.shape[2]] = x_0
            self._known[: x_0.shape[1], : x_0.shape[2]] = 1
        self._left = 0  # bytes of the file that have left by `flush`

    def _last(self, steps: int | None, end_log_snr: float | None) -> int:
        plan, model = self.chain.plan, self.chain.model
        if steps is None and end_log_snr is not None:
            return nearest_step(plan, end_log_snr)
        if steps is None:
            return tail_step(model.curve, plan, self.header.pixels) if self.header.lossless else plan.steps
        if not 1 <= steps <= plan.steps:
            raise DdpmCodecError(f"{steps} steps were asked for; this plan has 1 to {plan.steps}")
        return steps

    @property
    def header(self) -> Header:
        """Return the header of the first picture's stream; others of a batch differ from it in grey and in what the
        picture's values mean.
        """
        return self.headers[0]

    @property
    def ended(self) -> bool:
        """Return whether the last step, or a short one, has been sent."""
        return self.chain.ended or self.chain.n >= self.last

    def send(self) -> Iterator[SentStep]:
        """Send step after step (Algorithm 3). To stop sending, stop iterating; to resume, iterate on, or call it
        again.
        """
        while not self.ended:
            target = self.target()
            costs, packets = target.costs, self.search(target, self.choose(target))
            del target  # a large picture's is large, and going on takes memory of its own
            yield self.advance(costs, packets)

    def target(self, log_snr: float | None = None) -> StepTarget:
        """Return what a step to a level (None: the plan's next) has to bring. Calls the network, once a level."""
        return step_target(self.shifts(log_snr), self.chain.basis())

    def shifts(self, log_snr: float | None = None) -> Array:
        """Return (mu_q - mu_p) / sqrt(b) of such a step, (n, c, h, w): x0_coef (x_0 - x0_hat), over the noise."""
        q = self.chain.posterior_to(log_snr)
        shifts = self._x_0 - self.chain.x0_hat()  # in place from here on: a large picture's are large
        shifts *= self._known
        shifts *= np.float32(q.x0_coef / q.variance**0.5)
        return shifts

    def choose(self, target: StepTarget) -> list[BitCount]:
        """Return how many bits each stream is to send, and of a joint step each picture's share of them."""
        if self.chain.block == 1:
            each = zip(self.streams, target.ideal_bits.tolist(), strict=True)
            return [stream.choose(ideal) for stream, ideal in each]
        (stream,) = self.streams
        shares, ideal = shared_out(target, np.array([gain_bits(model) for model in stream.shares]))
        return [replace(stream.choose(ideal), shares=shares)]

    def search(self, target: StepTarget, counts: Sequence[BitCount]) -> tuple[Packet, ...]:
        """Return the channel's code for each stream; takes no step."""
        if self.chain.block > 1:
            return (self._search_jointly(target, *counts),)
        bits = [count.bits for count in counts]
        codes = self.chain.channel.encode(target.shifts, bits, self.chain.key(), target.priors)
        coloured = [prior is not None and count.bits > 0 for prior, count in zip(target.priors, counts, strict=True)]
        each = zip(counts, codes, coloured, strict=True)
        return tuple(Packet(count.index, count.bits, code, count.log_snr, colour) for count, code, colour in each)

    def _search_jointly(self, target: StepTarget, count: BitCount) -> Packet:
        shares = count.shares if count.bits else ()
        prior = self.chain.joint_prior(shares) if shares else None
        shift = target.shifts.reshape(1, -1)  # one picture after another
        (code,) = self.chain.channel.encode(shift, [count.bits], self.chain.key(), [prior])
        return Packet(count.index, count.bits, code, shares=shares)

    def advance(self, costs: StepCosts, packets: Sequence[Packet]) -> SentStep:
        """Write the packets, and go on to where they lead the receiver."""
        chain, t, x0_hat = self.chain, self.chain.log_snr, self.chain.x0_hat()
        for stream, packet in zip(self.streams, packets, strict=True):
            stream.write(packet)
        chain.advance(packets)
        found = costs.variance_ratio, costs.ideal_bits
        return SentStep(chain.n, t, chain.log_snr, tuple(packets), *found, x0_hat, chain.x_t, chain)

    def fork(self) -> Sender:
        """Return a sender that goes on from here by itself, to see what comes of it."""
        other = copy(self)
        other.chain, other.streams = self.chain.select(), [stream.fork() for stream in self.streams]
        return other

    def adopt(self, other: Sender) -> None:
        """Go on where a fork has come to."""
        self.chain, self.streams = other.chain, other.streams

    def files(self) -> list[bytes]:
        """Return the complete files of pictures with streams of their own, were these to end here."""
        tails = self._tails() if self.header.lossless else repeat(b"")
        each = zip(self.headers, self.streams, tails, strict=False)
        return [finish(header, stream.ended_here(), tail) for header, stream, tail in each]

    def block(self) -> bytes:
        """Return the payload of pictures in one stream, were it to end here."""
        (stream,) = self.streams
        return block_payload(self.header, stream.ended_here(), list(self._tails()) if self.header.lossless else ())

    def flush(self) -> bytes:
        """Return the bytes of a single picture's file that have become final since the last call."""
        (stream,) = self.streams
        final = self.header.to_bytes() + stream.final()
        start, self._left = self._left, max(self._left, len(final))
        return final[start:]

    def finish(self) -> bytes:
        """Return the rest of a single picture's file, which ends here: with END, a tail, the check."""
        (file,) = self.files()
        return file[self._left :]

    def _tails(self) -> Iterator[bytes]:
        chain = self.chain
        level = TailLevel.of(chain.model.curve, chain.log_snr)
        for header, picture, x0_hat in zip(self.headers, self.pictures, chain.pictures(), strict=True):
            yield encode_tail(picture, x0_hat, level, chain.key(), header.grey, header.learns)
