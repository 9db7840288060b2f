"""ddpmcodec: diffusion models as real, progressive image codecs.

import ddpmcodec
data = ddpmcodec.encode(image)            # uint8 H×W×3 -> bytes
image = ddpmcodec.decode(data, steps=20)  # any number of the stream's steps
"""

from ddpmcodec._version import __version__
from ddpmcodec.api import (
    Decoded,
    decode,
    decode_batch,
    decode_batch_progressive,
    decode_progressive,
    decode_stream,
    encode,
    encode_batch,
    read_header,
    read_info,
)
from ddpmcodec.archive import Archive, pack_archive, read_archive
from ddpmcodec.archive_coding import ArchivePicture, decode_archive, encode_archive
from ddpmcodec.errors import (
    DdpmCodecError,
    FormatError,
    ImageError,
    ModelError,
    TruncatedArchiveError,
    TruncatedStreamError,
)
from ddpmcodec.header import Header
from ddpmcodec.models import CodecModel, load_model
from ddpmcodec.receiver import Receiver
from ddpmcodec.sender import Sender
from ddpmcodec.truncation import truncate

__all__ = [
    "__version__",
    "Archive",
    "ArchivePicture",
    "CodecModel",
    "DdpmCodecError",
    "Decoded",
    "FormatError",
    "Header",
    "ImageError",
    "ModelError",
    "Receiver",
    "Sender",
    "TruncatedArchiveError",
    "TruncatedStreamError",
    "decode",
    "decode_archive",
    "decode_batch",
    "decode_batch_progressive",
    "decode_progressive",
    "decode_stream",
    "encode",
    "encode_archive",
    "encode_batch",
    "load_model",
    "pack_archive",
    "read_archive",
    "read_header",
    "read_info",
    "truncate",
]
