"""Bytes to pictures: whole, step by step, many at once, or as the bytes arrive."""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.condition import condition_of
from ddpmcodec.bitstream.file import StreamInfo, read_info, require_complete, tail_of
from ddpmcodec.bitstream.header import Header, missing_header_bytes, parse_header, read_header
from ddpmcodec.codec.receiver import ReceivedStep, Receiver
from ddpmcodec.codec.reconstruction import Reconstruction, mean
from ddpmcodec.errors import DdpmCodecError, FormatError, TruncatedStreamError
from ddpmcodec.io.images import in_grey, to_bytes
from ddpmcodec.io.writing import image_bytes
from ddpmcodec.lossless import TailLevel, decode_tail
from ddpmcodec.models.base import CodecModel
from ddpmcodec.models.cache import ModelLike, receiving_model
from ddpmcodec.numerics.arguments import flag, octets, one_by_one, several, whole_or_none
from ddpmcodec.numerics.philox import Key

_AS_PNG = Path("-.png")
_SHOWN = 256  # pixels of a notebook that a small picture takes up


@dataclass(frozen=True, eq=False)
class Decoded:
    """Picture after n steps, from `decode_progressive`. A short step at the end counts as one, and so does a tail."""

    n: int
    bits: float  # real bits of the steps so far: bit counts and channel symbols, container not included
    batch: ReceivedStep = field(repr=False)  # of all pictures that took the step together
    place: int = 0  # of this one among them
    tailed: NDArray[np.uint8] | None = field(default=None, repr=False)  # what a lossless tail makes of it

    @cached_property
    def image(self) -> NDArray[np.uint8]:
        """Return the picture (h, w, 3); made when first asked for, which may take a network call."""
        return self.batch.picture(self.place) if self.tailed is None else self.tailed

    @property
    def exact(self) -> bool:
        """Return whether it is the sender's picture itself, by the lossless tail."""
        return self.tailed is not None

    @cached_property
    def state(self) -> ReceivedStep:
        """Return the receiver's state: (1, c, h, w) x_t and x0_hat of the canvas."""
        return self.batch.select(self.place)

    def _repr_png_(self) -> bytes:
        return image_bytes(self.image, _AS_PNG)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: small pictures larger, each of their pixels a square."""
        height, width = self.image.shape[:2]
        scale = max(1, _SHOWN // max(height, width))
        source = "data:image/png;base64," + base64.b64encode(self._repr_png_()).decode("ascii")
        said = f"step {self.n}: {self.bits / 8:,.0f} bytes of payload{', exact' if self.exact else ''}"
        return (
            f'<figure><img src="{source}" width="{width * scale}" height="{height * scale}" alt="{said}" '
            f'style="image-rendering: {"pixelated" if scale > 1 else "auto"}"><figcaption>{said}</figcaption></figure>'
        )


def decode(
    data: bytes,
    steps: int | None = None,
    *,
    model: ModelLike = None,
    allow_partial: bool = False,
    reconstruct: Reconstruction = mean,
) -> NDArray[np.uint8]:
    """Return the picture (uint8 H×W×3) after `steps` steps, or after all: the exact one where the stream is lossless.

    allow_partial: decode a file that was cut to its whole steps, instead of raising TruncatedStreamError. reconstruct:
    what to make of the last step's x_t, from `ddpmcodec.reconstruction`. Raises DdpmCodecError for anything else that
    is not a complete stream of this model.
    """
    codec = receiving_model(model, read_header(data).fingerprint)
    # decode_progressive raises when there is nothing to yield
    (last,) = deque(decode_progressive(data, steps, model=codec, allow_partial=allow_partial), maxlen=1)
    return picture_of(data, last, codec, reconstruct)


def picture_of(
    data: bytes, decoded: Decoded, model: CodecModel, reconstruct: Reconstruction = mean
) -> NDArray[np.uint8]:
    """Return what a reconstruction makes of a state that `decode_progressive` or `decode_stream` yielded for this
    stream.
    """
    if reconstruct is mean or decoded.exact:
        return decoded.image
    header, _ = parse_header(octets(data))
    model = model.told(condition_of(header))
    x_0 = reconstruct(model, model.plan(header.plan_steps), decoded.state)
    planes = model.space.to_pictures(x_0, header.height, header.width)
    return to_bytes((in_grey(planes) if header.grey else planes)[0], header.height, header.width)


def decode_batch(
    datas: Sequence[bytes], steps: int | None = None, *, model: ModelLike = None
) -> list[NDArray[np.uint8]]:
    """Decode complete streams of one size, plan, channel and seed; the network runs once a step for all of them."""
    if not (datas := several(datas, "streams")):
        return []
    (last,) = deque(decode_batch_progressive(datas, steps, model=model), maxlen=1)
    return [item.image for item in last]


def decode_progressive(
    data: bytes, steps: int | None = None, *, model: ModelLike = None, allow_partial: bool = False
) -> Iterator[Decoded]:
    """Yield the picture after each step; item n - 1 is what `decode(data, steps=n)` returns."""
    for items in decode_batch_progressive([data], steps, model=model, allow_partial=allow_partial):
        yield items[0]


def decode_batch_progressive(
    datas: Sequence[bytes], steps: int | None = None, *, model: ModelLike = None, allow_partial: bool = False
) -> Iterator[list[Decoded]]:
    """Decode like `decode_progressive` streams as `decode_batch` takes them: yield their pictures after each step.

    A picture whose stream has ended stays as it is.
    """
    steps, partial = whole_or_none(steps, "steps"), flag(allow_partial, "allow_partial")
    if not (datas := several(datas, "streams")):
        return
    headers = {parse_header(octets(data))[0].shared() for data in datas}
    if len(headers) > 1:
        raise DdpmCodecError("streams of different sizes, plans, channels or seeds can't be decoded in one batch")
    codec = receiving_model(model, headers.pop().fingerprint)
    infos = [read_info(data, codec) for data in datas]
    for info in infos:
        if not partial:
            require_complete(info)
    most = min(info.pictures for info in infos)
    if not min(info.steps for info in infos):
        raise DdpmCodecError("not even the first step of the stream is there; nothing can be decoded")
    if steps is not None and not 1 <= steps <= most:
        raise DdpmCodecError(f"{steps} steps were asked for; this stream has 1 to {most}")
    yield from decode_packets(infos, steps, codec)


def decode_packets(
    infos: Sequence[StreamInfo], steps: int | None, codec: CodecModel, allow_partial: bool = False
) -> Iterator[list[Decoded]]:
    """Yield the pictures of parsed streams after each step, `steps` at most. Each has at least one, and all a header in
    which only grey, and what a decoder may skip, differ. allow_partial: where a tail is damaged, the picture stays as
    it is after its last step.
    """
    header, counts = infos[0].header, [info.steps for info in infos]
    grey = [info.header.grey for info in infos]
    receiver, going = Receiver(header, model=codec, count=len(infos), grey=grey), list(range(len(infos)))
    items: dict[int, Decoded] = {}
    for n in range(1, (steps or max(info.pictures for info in infos)) + 1):
        for i, info in enumerate(infos):
            if info.tail and n == counts[i] + 1:
                items[i] = with_tail(items[i], info.header, codec, info.tail, allow_partial)
        before = going
        going = [i for i in before if n <= counts[i] and infos[i].packets[n - 1].log_snr is None]
        # Short steps go to levels of their own, each without the others.
        alone = [[i] for i in before if n == counts[i] and i not in going]
        parts = [(members, receiver.select([before.index(i) for i in members])) for members in alone]
        if len(going) < len(before):
            receiver = receiver.select([before.index(i) for i in going])
        for members, taker in [*parts, (going, receiver)]:
            if members:
                state = taker.advance([infos[i].packets[n - 1] for i in members])
                for place, i in enumerate(members):
                    items[i] = Decoded(n, float(sum(infos[i].step_bits[:n])), state, place)
        yield [items[i] for i in range(len(infos))]


def decode_stream(
    pieces: Iterable[bytes], *, model: ModelLike = None, allow_partial: bool = False
) -> Iterator[Decoded]:
    """Yield the picture after each step as soon as the bytes that came determine it.

    pieces: the file in pieces of any size, as a socket or pipe gives them. At their end a file that is cut or damaged
    raises TruncatedStreamError, unless allow_partial; what was yielded before is what was there.
    """
    allow_partial, source = flag(allow_partial, "allow_partial"), map(octets, one_by_one(pieces, "pieces"))
    seen = _beginning(source)
    receiver = Receiver(bytes(seen), model=model)
    codec = receiver.chain.model
    header, stream, start = receiver.header, receiver.stream, len(receiver.header.to_bytes())
    for piece in chain([b""], source):
        seen += piece
        for state in receiver.receive(piece):
            yield Decoded(state.n, sum(stream.step_bits), state)
    end, steps = len(seen) - header.check_bytes, receiver.chain.n
    tail = tail_of(header, stream, bytes(seen[start:end])) if header.check(bytes(seen[:end])) == seen[end:] else None
    if tail:
        yield _exact(header, codec, tail, Decoded(steps, sum(stream.step_bits), receiver.state()))
    elif tail is not None and not steps:
        raise DdpmCodecError("not even the first step of the stream is there; nothing can be decoded")
    elif tail is None and not allow_partial:
        raise TruncatedStreamError(
            f"the stream is cut or damaged: its check fails; {steps} of {stream.plan.steps} steps could be decoded",
            steps,
        )


def _beginning(source: Iterator[bytes]) -> bytearray:
    """Collect bytes until the payload that the declared size asks for has come, so that nothing is allocated before;
    of a shorter file, all of them.
    """
    seen, wanted = bytearray(), 0
    for piece in source:
        seen += piece
        if len(seen) < wanted:
            continue
        missing = missing_header_bytes(seen)
        if not missing:
            header, start = parse_header(bytes(seen), whole=False)
            missing = start + header.least_payload - len(seen)
            if missing <= 0:
                return seen
        wanted = len(seen) + missing
    parse_header(bytes(seen))  # what is all there is may be too little for the declared size
    return seen


def with_tail(item: Decoded, header: Header, codec: CodecModel, tail: bytes, allow_partial: bool) -> Decoded:
    """Return the exact picture; where its tail is damaged, and that is allowed, the picture as it is."""
    try:
        return _exact(header, codec, tail, item)
    except FormatError:
        if allow_partial:
            return item
        raise


def _exact(header: Header, codec: CodecModel, tail: bytes, item: Decoded) -> Decoded:
    """Return the exact picture, from the tail that follows a step."""
    batch, place = item.batch, item.place
    level, key = TailLevel.of(codec.curve, batch.log_snr), Key(header.seed, batch.n + 1)
    exact = decode_tail(tail, batch.planes[place], level, key, header.grey, header.learns)
    return Decoded(batch.n + 1, item.bits + 8 * len(tail), batch, place, exact)
