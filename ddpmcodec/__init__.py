"""ddpmcodec: diffusion models as real, progressive image codecs.

import ddpmcodec
data = ddpmcodec.encode(image)            # uint8 H×W×3 -> bytes
image = ddpmcodec.decode(data, steps=20)  # any number of the stream's steps

Everything public is in `__all__`, which is the only list of it.
"""

from ddpmcodec._version import __version__
from ddpmcodec.bitstream.archive_index import Archive, pack_archive, read_archive
from ddpmcodec.bitstream.file import StreamInfo, read_info
from ddpmcodec.bitstream.header import Header
from ddpmcodec.bitstream.packet import Packet
from ddpmcodec.codec.archives import ArchivePicture, decode_archive, encode_archive
from ddpmcodec.codec.decoding import (
    Decoded,
    decode,
    decode_batch,
    decode_batch_progressive,
    decode_progressive,
    decode_stream,
    picture_of,
    read_header,
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
from ddpmcodec.models import CodecModel, ModelInfo, codec_model, load_model, measure_curve, model_names, read_model_info

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
]
