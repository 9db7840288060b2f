"""Bytes to pictures: whole, step by step, many at once, or as the bytes arrive."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.bitstream.file import StreamInfo, read_stream, require_complete, require_model, syntax_of, tail_of
from ddpmcodec.bitstream.header import MAX_HEADER_BYTES, Header, parse_header
from ddpmcodec.codec.receiver import ReceivedStep, Receiver
from ddpmcodec.codec.reconstruction import Reconstruction, mean
from ddpmcodec.codec.setup import ModelLike, as_model, chain_of
from ddpmcodec.errors import DdpmCodecError, TruncatedStreamError
from ddpmcodec.io.images import to_bytes
from ddpmcodec.lossless import TailLevel, decode_tail
from ddpmcodec.models.base import CodecModel
from ddpmcodec.models.weights import ModelInfo
from ddpmcodec.numerics.philox import Key


@dataclass(frozen=True)
class Decoded:
    """A picture after n steps, from `decode_progressive`. A short step at the end counts as one, and so does a tail."""

    n: int
    image: NDArray[np.uint8]  # (h, w, 3)
    bits: float  # real bits of the steps so far: bit counts and channel symbols, container not included
    state: ReceivedStep  # x_t and x0_hat of the canvas
    exact: bool = False  # the sender's picture itself, by the lossless tail


def decode(
    data: bytes,
    steps: int | None = None,
    *,
    model: ModelLike = None,
    allow_partial: bool = False,
    reconstruct: Reconstruction = mean,
) -> NDArray[np.uint8]:
    """The picture (uint8 H×W×3) after `steps` steps, or after all of them: the exact one, of a lossless stream.

    allow_partial: decode a file that was cut to its whole steps, instead of raising TruncatedStreamError. reconstruct: what
    to make of the last step's x_t, from `ddpmcodec.reconstruction`. Raises DdpmCodecError for anything else that is not a
    complete stream of this model.
    """
    codec = as_model(model)
    # decode_progressive raises when there is nothing to yield
    (last,) = deque(decode_progressive(data, steps, model=codec, allow_partial=allow_partial), maxlen=1)
    return picture_of(data, last, codec, reconstruct)


def picture_of(data: bytes, decoded: Decoded, model: CodecModel, reconstruct: Reconstruction = mean) -> NDArray[np.uint8]:
    """What a reconstruction makes of a state that `decode_progressive` or `decode_stream` yielded for this stream."""
    if reconstruct is mean or decoded.exact:
        return decoded.image
    header, _ = parse_header(bytes(data))
    planes = reconstruct(model, model.plan(header.plan_steps), decoded.state)
    return to_bytes(planes[0], header.height, header.width)


def decode_batch(datas: Sequence[bytes], steps: int | None = None, *, model: ModelLike = None) -> list[NDArray[np.uint8]]:
    """`decode` for complete streams of one size, plan, channel and seed; the network runs once a step for all of them."""
    if not len(datas):
        return []
    (last,) = deque(decode_batch_progressive(datas, steps, model=model), maxlen=1)
    return [item.image for item in last]


def decode_progressive(
    data: bytes, steps: int | None = None, *, model: ModelLike = None, allow_partial: bool = False
) -> Iterator[Decoded]:
    """Yields the picture after each step; item n - 1 is what `decode(data, steps=n)` returns."""
    for items in _progressive([bytes(data)], steps, model, allow_partial):
        yield items[0]


def decode_batch_progressive(
    datas: Sequence[bytes], steps: int | None = None, *, model: ModelLike = None, allow_partial: bool = False
) -> Iterator[list[Decoded]]:
    """`decode_progressive` for streams as `decode_batch` takes them: yields their pictures after each step.

    A picture whose stream has ended stays as it is. Pictures that went together share their `state`.
    """
    if len(datas):
        yield from _progressive([bytes(d) for d in datas], steps, model, allow_partial)


def decode_stream(pieces: Iterable[bytes], *, model: ModelLike = None, allow_partial: bool = False) -> Iterator[Decoded]:
    """Yields the picture after each step as soon as the bytes that came determine it.

    pieces: the file in pieces of any size, as a socket or pipe gives them. At their end a file that is cut or damaged
    raises TruncatedStreamError, unless allow_partial; what was yielded before is what was there.
    """
    source, codec, head = iter(pieces), as_model(model), bytearray()
    for piece in source:
        head += piece
        # Nothing is allocated for a picture before the payload it must have has come.
        if len(head) >= MAX_HEADER_BYTES:
            begun, _ = parse_header(bytes(head), whole=False)
            if len(head) >= MAX_HEADER_BYTES + begun.least_payload:
                break
    header, start = parse_header(bytes(head))
    require_model(header, codec.fingerprint, codec.name)
    plan, reader = syntax_of(header, codec.curve, codec.window, codec.channels)
    receiver = Receiver(chain_of(header, codec, 1))
    checked, steps = bytes(head), 0
    piece = bytes(head[start:])
    while True:
        for state in receiver.read(reader, piece):
            steps = state.n
            yield _decoded(header, state, [sum(reader.step_bits[:steps])])[0]
        following = next(source, None)
        if following is None:
            break
        piece = bytes(following)
        checked += piece
    end = len(checked) - header.check_bytes
    tail = tail_of(header, reader, checked[start:end]) if header.check(checked[:end]) == checked[end:] else None
    if tail:
        yield _exact(header, codec, tail, receiver.state(), 0, sum(reader.step_bits))
    elif tail is not None and not steps:
        raise DdpmCodecError("not even the first step of the stream is there; nothing can be decoded")
    elif tail is None and not allow_partial:
        raise TruncatedStreamError(
            f"the stream is cut or damaged: its check fails; {steps} of {plan.steps} steps could be decoded", steps
        )


def read_header(data: bytes) -> Header:
    """The header of a stream; needs no model. Raises FormatError."""
    return parse_header(bytes(data))[0]


def read_info(data: bytes, model: ModelInfo | CodecModel) -> StreamInfo:
    """Everything a file holds short of the picture; runs no network. Raises FormatError."""
    header, _ = parse_header(bytes(data))
    require_model(header, model.fingerprint, model.name)
    window, channels = (
        (model.window, model.channels) if isinstance(model, CodecModel) else (model.config.window, model.config.image_channels)
    )
    return read_stream(bytes(data), model.curve, window, channels)


def _progressive(datas: list[bytes], steps: int | None, model: ModelLike, allow_partial: bool) -> Iterator[list[Decoded]]:
    headers = [parse_header(d)[0] for d in datas]
    if len(set(headers)) > 1:
        raise DdpmCodecError("streams of different sizes, plans, channels or seeds can't be decoded in one batch")
    header, codec = headers[0], as_model(model)
    infos = [read_info(d, codec) for d in datas]
    for info in infos:
        if not allow_partial:
            require_complete(info)
    counts, most = [info.steps for info in infos], [info.pictures for info in infos]
    if not min(counts):
        raise DdpmCodecError("not even the first step of the stream is there; nothing can be decoded")
    if steps is not None and not 1 <= steps <= min(most):
        raise DdpmCodecError(f"{steps} steps were asked for; this stream has 1 to {min(most)}")
    receiver, going = Receiver(chain_of(header, codec, len(datas))), list(range(len(datas)))
    items: dict[int, Decoded] = {}
    places = dict(enumerate(range(len(datas))))  # of each picture in its last state
    for n in range(1, (steps or max(most)) + 1):
        for i, info in enumerate(infos):
            if info.tail and n == counts[i] + 1:
                items[i] = _exact(header, codec, info.tail, items[i].state, places[i], items[i].bits)
        before = going
        going = [i for i in before if n <= counts[i] and infos[i].packets[n - 1].log_snr is None]
        # Short steps go to levels of their own, each without the others.
        alone = [[i] for i in before if n == counts[i] and i not in going]
        parts = [(members, receiver.only([before.index(i) for i in members])) for members in alone]
        if len(going) < len(before):
            receiver = receiver.only([before.index(i) for i in going])
        for members, taker in [*parts, (going, receiver)]:
            if members:
                state = taker.receive([infos[i].packets[n - 1] for i in members])
                bits = [sum(infos[i].step_bits[:n]) for i in members]
                items |= zip(members, _decoded(header, state, bits), strict=True)
                places |= zip(members, range(len(members)), strict=True)
        yield [items[i] for i in range(len(datas))]


def _exact(header: Header, codec: CodecModel, tail: bytes, state: ReceivedStep, place: int, bits: float) -> Decoded:
    """The picture itself, from the tail that follows the state's step."""
    x0_hat = state.x0_hat[place, :, : header.height, : header.width]
    level, key = TailLevel.of(codec.curve, state.log_snr), Key(header.seed, state.n + 1)
    return Decoded(state.n + 1, decode_tail(tail, x0_hat, level, key), bits + 8 * len(tail), state, exact=True)


def _decoded(header: Header, state: ReceivedStep, bits: Sequence[float]) -> list[Decoded]:
    pictures = [to_bytes(plane, header.height, header.width) for plane in state.x0_hat]
    return [Decoded(state.n, p, float(b), state) for p, b in zip(pictures, bits, strict=True)]
