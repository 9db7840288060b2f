"""ddpmcodec: diffusion models as real, progressive image codecs.

import ddpmcodec
data = ddpmcodec.encode(image)            # uint8 H×W×3 -> bytes
image = ddpmcodec.decode(data, steps=20)  # any number of the stream's steps

Everything public is in `__all__`, which is the only list of it. A name is imported when it is first asked for: the
command line shows its help, and can be interrupted, before torch is there.
"""

from ddpmcodec._version import __version__

TYPE_CHECKING = False  # that of typing, whose import takes longer than all the rest of the start
if TYPE_CHECKING:
    from typing import Any

    from ddpmcodec.bitstream.archive import Archive, pack_archive, read_archive
    from ddpmcodec.bitstream.file import StreamInfo, read_info
    from ddpmcodec.bitstream.header import Header, read_header
    from ddpmcodec.bitstream.packet import Packet
    from ddpmcodec.codec.archive_decoding import ArchivePicture, decode_archive
    from ddpmcodec.codec.archive_encoding import encode_archive
    from ddpmcodec.codec.decoding import (
        Decoded,
        decode,
        decode_batch,
        decode_batch_progressive,
        decode_progressive,
        decode_stream,
        picture_of,
    )
    from ddpmcodec.codec.encoding import encode, encode_batch, encode_stream
    from ddpmcodec.codec.options import EncodeOptions
    from ddpmcodec.codec.receiver import ReceivedStep, Receiver
    from ddpmcodec.codec.sender import Sender, SentStep
    from ddpmcodec.codec.truncation import truncate
    from ddpmcodec.codec.verification import Verified, verify
    from ddpmcodec.errors import (
        DdpmCodecError,
        FormatError,
        ImageError,
        ModelError,
        TrainingError,
        TruncatedArchiveError,
        TruncatedStreamError,
    )
    from ddpmcodec.models import (
        CodecModel,
        ModelInfo,
        codec_model,
        load_model,
        measure_curve,
        model_names,
        read_model_info,
    )
    from ddpmcodec.page.page import Page, view

__all__ = [
    "Archive",
    "ArchivePicture",
    "CodecModel",
    "DdpmCodecError",
    "Decoded",
    "EncodeOptions",
    "FormatError",
    "Header",
    "ImageError",
    "ModelError",
    "ModelInfo",
    "Packet",
    "Page",
    "ReceivedStep",
    "Receiver",
    "Sender",
    "SentStep",
    "StreamInfo",
    "TrainingError",
    "TruncatedArchiveError",
    "TruncatedStreamError",
    "Verified",
    "__version__",
    "codec_model",
    "decode",
    "decode_archive",
    "decode_batch",
    "decode_batch_progressive",
    "decode_progressive",
    "decode_stream",
    "encode",
    "encode_archive",
    "encode_batch",
    "encode_stream",
    "load_model",
    "measure_curve",
    "model_names",
    "pack_archive",
    "picture_of",
    "read_archive",
    "read_header",
    "read_info",
    "read_model_info",
    "truncate",
    "verify",
    "view",
]

_HOMES = (  # searched in this order, which is that of weight
    "errors",
    "bitstream.header",
    "bitstream.packet",
    "bitstream.archive",
    "bitstream.file",
    "models.info",
    "codec.truncation",
    "codec.verification",
    "models",
    "codec.options",
    "codec.sender",
    "codec.receiver",
    "codec.encoding",
    "codec.decoding",
    "codec.archive_encoding",
    "codec.archive_decoding",
    "page.page",
)


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    from ddpmcodec._lazy import found

    if name in __all__:
        return found(name, _HOMES, globals())
    if not name.startswith("_"):
        try:
            return import_module(f"{__name__}.{name}")  # a subpackage
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
