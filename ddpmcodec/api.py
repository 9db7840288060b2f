"""Pictures to bytes and back: the functions most programs need, gathered."""

from ddpmcodec.codec import ModelLike, as_model
from ddpmcodec.decoding import (
    Decoded,
    decode,
    decode_batch,
    decode_batch_progressive,
    decode_progressive,
    decode_stream,
    picture_of,
    read_header,
    read_info,
)
from ddpmcodec.encoding import encode, encode_batch, encode_stream

__all__ = [
    "Decoded",
    "ModelLike",
    "as_model",
    "decode",
    "decode_batch",
    "decode_batch_progressive",
    "decode_progressive",
    "decode_stream",
    "encode",
    "encode_batch",
    "encode_stream",
    "picture_of",
    "read_header",
    "read_info",
]
