"""Pictures to bytes: one, several together, or one whose bytes leave while it is still being encoded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ddpmcodec.codec.distortion_control import to_distortion
from ddpmcodec.codec.options import EncodeOptions, OnStep, Options
from ddpmcodec.codec.pictures import as_pictures
from ddpmcodec.codec.rate_control import mse_target, size_target, to_size
from ddpmcodec.codec.sender import Sender, SentStep
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.images import as_picture
from ddpmcodec.models.cache import ModelLike

if TYPE_CHECKING:
    from typing_extensions import Unpack


def _ignore(step: SentStep) -> None:
    pass


def encode(
    image: Any, *, model: ModelLike = None, on_step: OnStep = _ignore, **options: Unpack[EncodeOptions]
) -> bytes:
    """Encode a picture (uint8 H×W×3 or H×W) to a complete stream.

    model: a CodecModel, the name of an embedded model or a model file. on_step: called after each step. options:
    plan_steps, channel, seed; lossless; one of steps, target_bytes, target_bpp, target_psnr and target_rmse; see
    `EncodeOptions`. Raises DdpmCodecError on bad input, and for a target out of reach.
    """
    return b"".join(encode_stream(image, model=model, on_step=on_step, **options))


def encode_stream(
    image: Any, *, model: ModelLike = None, on_step: OnStep = _ignore, **options: Unpack[EncodeOptions]
) -> Iterator[bytes]:
    """Yield the bytes that `encode` returns as they become final: the header, each step's when it is sent, the check.

    A picture's quality may turn out to be out of reach, so with target_psnr or target_rmse nothing leaves before it is
    reached. Raises at once what `encode` raises on bad options.
    """
    chosen, picture = Options(**options), as_picture(image, keep=bool(options.get("lossless")))
    height, width, _ = picture.rgb.shape
    size = size_target(height * width, chosen.target_bytes, chosen.target_bpp)
    mse = mse_target(chosen.target_psnr, chosen.target_rmse)
    sender = chosen.sender(picture, model=model)
    if size is not None:
        sent = to_size(sender, size)
    elif mse is not None:
        sent = to_distortion(sender, mse)
    else:
        sent = sender.send()
    return _pieces(sender, sent, on_step, hold=mse is not None)


def encode_batch(
    images: Sequence[Any], *, model: ModelLike = None, on_step: OnStep = _ignore, **options: Unpack[EncodeOptions]
) -> list[bytes]:
    """Encode pictures of equal size, each to its own stream; the network runs once a step for all of them.

    They take their steps together, so targets are refused with DdpmCodecError: for those, encode one by one. The rest
    is as in `encode`.
    """
    chosen = Options(**options)
    if chosen.has_target:
        raise DdpmCodecError(
            "pictures of a batch take their steps together, so it has no target: encode them one by one"
        )
    pictures = as_pictures(images)
    if not pictures:
        return []
    sender = chosen.sender(*pictures, model=model)
    for sent in sender.send():
        on_step(sent)
    return sender.files()


def _pieces(sender: Sender, steps: Iterator[SentStep], on_step: OnStep, hold: bool) -> Iterator[bytes]:
    """Yield the file of one picture in pieces; hold: in one."""
    for sent in steps:
        on_step(sent)
        if not hold and (piece := sender.flush()):
            yield piece
        del sent  # a large picture's is large, and the next one comes
    yield sender.finish()
