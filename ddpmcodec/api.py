"""Pictures to bytes and back: the functions most programs need."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.channel import channel_of, parse_channel
from ddpmcodec.container import StreamInfo, finish, padded, read_stream, require_complete, require_model, syntax_of
from ddpmcodec.errors import DdpmCodecError, ImageError, TruncatedStreamError
from ddpmcodec.header import MAX_HEADER, Header, parse_header
from ddpmcodec.images import as_rgb, to_bytes, to_plane
from ddpmcodec.models.base import CodecModel, default_steps
from ddpmcodec.models.weights import DEFAULT_MODEL, ModelInfo, load_model
from ddpmcodec.receiver import ReceivedStep, Receiver
from ddpmcodec.reconstruction import Reconstruction, mean
from ddpmcodec.reverse import ReverseChain
from ddpmcodec.sender import Sender, SentStep
from ddpmcodec.stream import StreamWriter
from ddpmcodec.windows import canvas_size

ModelLike = CodecModel | str | os.PathLike[str] | None


@dataclass(frozen=True)
class Decoded:
    """A picture after n steps, from `decode_progressive`."""

    n: int
    image: NDArray[np.uint8]  # (h, w, 3)
    bits: float  # real bits of the steps so far: bit counts and channel symbols, container not included
    state: ReceivedStep  # x_t and x0_hat of the canvas


def encode(
    image: Any,
    *,
    model: ModelLike = None,
    plan_steps: int | None = None,
    channel: str = "trellis",
    seed: int = 0,
    steps: int | None = None,
    on_step: Callable[[SentStep], None] = lambda step: None,
) -> bytes:
    """Codes a picture (uint8 H×W×3 or H×W) to a complete stream.

    model: a CodecModel, the name of an embedded model or a model file. plan_steps: length of the trajectory (the default
    balances bits and time; 20 is fast, 100 slow). channel: "trellis", "trellis:L" or "orc" (ordered random coding). steps:
    stop after so many steps of the plan. on_step: called after each step. Raises DdpmCodecError on bad input.
    """
    options = {"model": model, "plan_steps": plan_steps, "channel": channel, "seed": seed, "steps": steps}
    return encode_batch([image], on_step=on_step, **options)[0]  # type: ignore[arg-type]


def encode_batch(
    images: Sequence[Any],
    *,
    model: ModelLike = None,
    plan_steps: int | None = None,
    channel: str = "trellis",
    seed: int = 0,
    steps: int | None = None,
    on_step: Callable[[SentStep], None] = lambda step: None,
) -> list[bytes]:
    """`encode` for pictures of equal size, each to its own stream; the network runs once a step for all of them."""
    if not len(images):
        return []
    pictures = [as_rgb(i) for i in images]
    if len({p.shape for p in pictures}) > 1:
        raise ImageError(f"pictures of {len({p.shape for p in pictures})} sizes in one batch: expected one size")
    height, width, _ = pictures[0].shape
    codec, spec = as_model(model), parse_channel(channel)
    if plan_steps == default_steps(codec.curve):
        plan_steps = None  # what is the default has no field in the header
    header = Header(codec.fingerprint[:8], width, height, plan_steps, spec, seed)
    chain = _chain(header, codec, len(pictures), search_device=True)
    if steps is not None and not 1 <= steps <= chain.plan.steps:
        raise DdpmCodecError(f"{steps} steps were asked for; this plan has 1 to {chain.plan.steps}")
    x_0 = np.zeros(chain.x_t.shape, np.float32)
    known = np.zeros(chain.x_t.shape[2:], bool)
    known[:height, :width] = True
    for plane, picture in zip(x_0, pictures, strict=True):
        plane[:, :height, :width] = to_plane(picture)
    writers = [StreamWriter(chain.plan, chain.channel, chain.dims) for _ in pictures]
    for sent in Sender(chain, x_0, known):
        for writer, packet in zip(writers, sent.packets, strict=True):
            writer.step(packet)
        on_step(sent)
        if sent.n == steps:
            break
    for writer in writers:
        writer.end()
    return [finish(header, writer) for writer in writers]


def decode(
    data: bytes,
    steps: int | None = None,
    *,
    model: ModelLike = None,
    allow_partial: bool = False,
    reconstruct: Reconstruction = mean,
) -> NDArray[np.uint8]:
    """The picture (uint8 H×W×3) after `steps` steps, or after all of them.

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
    if reconstruct is mean:
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
    datas: Sequence[bytes], steps: int | None = None, *, model: ModelLike = None
) -> Iterator[list[Decoded]]:
    """`decode_progressive` for streams as `decode_batch` takes them: yields their pictures after each step."""
    if len(datas):
        yield from _progressive([bytes(d) for d in datas], steps, model, False)


def decode_stream(pieces: Iterable[bytes], *, model: ModelLike = None, allow_partial: bool = False) -> Iterator[Decoded]:
    """Yields the picture after each step as soon as the bytes that came determine it.

    pieces: the file in pieces of any size, as a socket or pipe gives them. At their end a file that is cut or damaged
    raises TruncatedStreamError, unless allow_partial; what was yielded before is what was there.
    """
    source, codec, head = iter(pieces), as_model(model), bytearray()
    for piece in source:
        head += piece
        # Nothing is allocated for a picture before the payload it must have has come.
        if len(head) >= MAX_HEADER and len(head) >= MAX_HEADER + parse_header(bytes(head), whole=False)[0].least_payload:
            break
    header, start = parse_header(bytes(head))
    require_model(header, codec.fingerprint, codec.name)
    plan, reader = syntax_of(header, codec.curve, codec.window, codec.channels)
    receiver = Receiver(_chain(header, codec, 1))
    checked, steps = bytes(head), 0
    piece = bytes(head[start:])
    while True:
        for state in receiver.read(reader, piece):
            steps = state.n
            yield _decoded(header, state, sum(reader.step_bits[:steps]))[0]
        following = next(source, None)
        if following is None:
            break
        piece = bytes(following)
        checked += piece
    end = len(checked) - header.check_bytes
    whole = (
        reader.ended and padded(header, reader.sealed()) == checked[start:end] and header.check(checked[:end]) == checked[end:]
    )
    if not whole and not allow_partial:
        raise TruncatedStreamError(
            f"the stream is cut or damaged: its check fails; {steps} of {plan.steps} steps could be decoded", steps
        )


def _decoded(header: Header, state: ReceivedStep, bits: Any) -> list[Decoded]:
    pictures = [to_bytes(plane, header.height, header.width) for plane in state.x0_hat]
    return [Decoded(state.n, p, float(b), state) for p, b in zip(pictures, np.broadcast_to(bits, len(pictures)), strict=True)]


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


def as_model(model: ModelLike) -> CodecModel:
    """A loaded model as it is; a name or path is loaded on the CPU, and kept."""
    return model if isinstance(model, CodecModel) else _load(os.fspath(model or DEFAULT_MODEL))


@lru_cache(maxsize=4)
def _load(name: str) -> CodecModel:
    return load_model(name)


def _progressive(datas: list[bytes], steps: int | None, model: ModelLike, allow_partial: bool) -> Iterator[list[Decoded]]:
    headers = [parse_header(d)[0] for d in datas]
    if len(set(headers)) > 1:
        raise DdpmCodecError("streams of different sizes, plans, channels or seeds can't be decoded in one batch")
    header, codec = headers[0], as_model(model)
    infos = [read_info(d, codec) for d in datas]
    for info in infos:
        if not allow_partial:
            require_complete(info)
    count = min(info.steps for info in infos)
    if not count:
        raise DdpmCodecError("not even the first step of the stream is there; nothing can be decoded")
    if steps is not None and not 1 <= steps <= count:
        raise DdpmCodecError(f"{steps} steps were asked for; this stream has 1 to {count}")
    receiver = Receiver(_chain(header, codec, len(datas)))
    bits = np.zeros(len(datas))
    for n in range(1, (steps or count) + 1):
        state = receiver.receive([info.packets[n - 1] for info in infos])
        bits += [info.step_bits[n - 1] for info in infos]
        yield _decoded(header, state, bits)


def _chain(header: Header, codec: CodecModel, count: int, search_device: bool = False) -> ReverseChain:
    height, width = canvas_size(header.height, header.width, codec.window)
    device = codec.device if search_device and codec.device.type != "cpu" else None
    channel = channel_of(header.channel, codec.channels * height * width, device)
    return ReverseChain(codec, codec.plan(header.plan_steps), channel, count, height, width, header.seed)
