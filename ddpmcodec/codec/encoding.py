"""Pictures to bytes: one, several together, or one whose bytes leave while it is still being encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ddpmcodec.bitstream.header import Header
from ddpmcodec.channel.names import parse_channel
from ddpmcodec.codec.rate_control import mse_target, size_target, to_distortion, to_size
from ddpmcodec.codec.sender import SentStep
from ddpmcodec.codec.session import Coding, begin
from ddpmcodec.codec.setup import ModelLike, as_model
from ddpmcodec.errors import DdpmCodecError, ImageError
from ddpmcodec.io.images import as_rgb
from ddpmcodec.models.base import CodecModel, default_steps


def encode(
    image: Any,
    *,
    model: ModelLike = None,
    plan_steps: int | None = None,
    channel: str = "trellis",
    seed: int = 0,
    steps: int | None = None,
    lossless: bool = False,
    target_bytes: int | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    target_rmse: float | None = None,
    on_step: Callable[[SentStep], None] = lambda step: None,
) -> bytes:
    """Codes a picture (uint8 H×W×3 or H×W) to a complete stream.

    model: a CodecModel, the name of an embedded model or a model file. plan_steps: length of the trajectory (the default
    balances bits and time; 20 is fast, 100 slow). channel: "trellis", "trellis:L" or "orc" (ordered random coding). on_step:
    called after each step.

    At most one of these ends the stream before the plan does. steps: so many whole steps. target_bytes: the file is never
    larger, header and check included, and at most 2% or 2 bytes smaller; target_bpp: the same in bits a pixel. target_psnr (dB)
    or target_rmse (levels of 255): the decoded 8-bit picture is at least as good. The last step of a target's stream may be a
    short one. lossless: the exact picture follows the last step, which comes earlier then unless `steps` says which it is.
    Raises DdpmCodecError on bad input, and for a target out of reach.
    """
    pieces = encode_stream(
        image,
        model=model,
        plan_steps=plan_steps,
        channel=channel,
        seed=seed,
        steps=steps,
        lossless=lossless,
        target_bytes=target_bytes,
        target_bpp=target_bpp,
        target_psnr=target_psnr,
        target_rmse=target_rmse,
        on_step=on_step,
    )
    return b"".join(pieces)


def encode_stream(
    image: Any,
    *,
    model: ModelLike = None,
    plan_steps: int | None = None,
    channel: str = "trellis",
    seed: int = 0,
    steps: int | None = None,
    lossless: bool = False,
    target_bytes: int | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    target_rmse: float | None = None,
    on_step: Callable[[SentStep], None] = lambda step: None,
) -> Iterator[bytes]:
    """Yields the bytes that `encode` returns as they become final: the header, each step's when it is sent, the check.

    A picture's quality may turn out to be out of reach, so with target_psnr or target_rmse nothing leaves before it is
    reached. Raises at once what `encode` raises on bad options.
    """
    limits = (steps, target_bytes, target_bpp, target_psnr, target_rmse)
    if sum(limit is not None for limit in limits) > 1:
        raise DdpmCodecError(
            "a stream ends where one thing says so: give one of steps, target_bytes, target_bpp, target_psnr and target_rmse"
        )
    if lossless and any(target is not None for target in limits[1:]):
        raise DdpmCodecError("a lossless stream is as long as the exact picture needs: leave out either lossless or the target")
    picture = as_rgb(image)
    height, width, _ = picture.shape
    size, mse = size_target(height * width, target_bytes, target_bpp), mse_target(target_psnr, target_rmse)
    codec = as_model(model)
    short = size is not None or mse is not None
    coding = begin(_header(codec, width, height, plan_steps, channel, seed, short, lossless), codec, [picture])
    if size is not None:
        sent = to_size(coding, size)
    elif mse is not None:
        sent = to_distortion(coding, picture, mse)
    else:
        sent = coding.whole_steps(steps)
    return _pieces(coding, sent, on_step, hold=mse is not None)


def encode_batch(
    images: Sequence[Any],
    *,
    model: ModelLike = None,
    plan_steps: int | None = None,
    channel: str = "trellis",
    seed: int = 0,
    steps: int | None = None,
    lossless: bool = False,
    on_step: Callable[[SentStep], None] = lambda step: None,
) -> list[bytes]:
    """`encode` for pictures of equal size, each to its own stream; the network runs once a step for all of them.

    They take their steps together, so there are no targets here: for those, encode one by one.
    """
    if not len(images):
        return []
    pictures = [as_rgb(i) for i in images]
    if len({p.shape for p in pictures}) > 1:
        raise ImageError(f"pictures of {len({p.shape for p in pictures})} sizes in one batch: expected one size")
    height, width, _ = pictures[0].shape
    codec = as_model(model)
    coding = begin(_header(codec, width, height, plan_steps, channel, seed, lossless=lossless), codec, pictures)
    for sent in coding.whole_steps(steps):
        on_step(sent)
    return coding.files()


def _header(
    codec: CodecModel,
    width: int,
    height: int,
    plan_steps: int | None,
    channel: str,
    seed: int,
    short: bool = False,
    lossless: bool = False,
) -> Header:
    if plan_steps == default_steps(codec.curve):
        plan_steps = None  # what is the default has no field in the header
    return Header(
        codec.fingerprint[:8], width, height, plan_steps, parse_channel(channel), seed, short=short, lossless=lossless
    )


def _pieces(coding: Coding, steps: Iterator[SentStep], on_step: Callable[[SentStep], None], hold: bool) -> Iterator[bytes]:
    """The file of one picture in pieces; hold: in one."""
    head, left = coding.header.to_bytes(), 0  # bytes that have left
    for sent in steps:
        on_step(sent)
        final = head + coding.writers[0].final()
        if len(final) > left and not hold:
            yield final[left:]
            left = len(final)
    yield coding.files()[0][left:]
