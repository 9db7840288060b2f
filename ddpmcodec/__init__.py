"""ddpmcodec: diffusion models as real, progressive image codecs.

import ddpmcodec
data = ddpmcodec.encode(image)            # uint8 H×W×3 -> bytes
image = ddpmcodec.decode(data, steps=20)  # any number of the stream's steps
"""

from ddpmcodec._version import __version__
from ddpmcodec.bitstream.archive_index import Archive, pack_archive, read_archive
from ddpmcodec.bitstream.header import Header
from ddpmcodec.codec.archives import ArchivePicture, decode_archive, encode_archive
from ddpmcodec.codec.decoding import (
    Decoded,
    decode,
    decode_batch,
    decode_batch_progressive,
    decode_progressive,
    decode_stream,
    read_header,
    read_info,
)
from ddpmcodec.codec.encoding import encode, encode_batch
from ddpmcodec.codec.receiver import Receiver
from ddpmcodec.codec.sender import Sender
from ddpmcodec.codec.truncation import truncate
from ddpmcodec.errors import (
    DdpmCodecError,
    FormatError,
    ImageError,
    ModelError,
    TruncatedArchiveError,
    TruncatedStreamError,
)
from ddpmcodec.models import CodecModel, load_model

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
