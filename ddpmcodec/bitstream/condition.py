"""Condition of a stream as fields of its header: class, prompt, guidance. What is the default has no field."""

from __future__ import annotations

import zlib

from ddpmcodec.bitstream.fields import CLASS, GUIDANCE, PROMPT
from ddpmcodec.bitstream.header import Header
from ddpmcodec.bitstream.leb128 import leb128, read_leb128
from ddpmcodec.errors import DdpmCodecError, FormatError
from ddpmcodec.models.condition import NO_GUIDANCE, Condition

MAX_PROMPT_BYTES = 1024  # deflated
_MAX_TEXT_BYTES = 1 << 16


def condition_fields(condition: Condition) -> dict[int, bytes]:
    """Return the fields that say a condition. Raises DdpmCodecError for a prompt that is too long."""
    fields = {}
    if condition.label is not None:
        fields[CLASS] = leb128(condition.label)
    if condition.prompt:
        text = condition.prompt.encode("utf-8", "surrogatepass")
        packer = zlib.compressobj(9, wbits=-15)
        fields[PROMPT] = packer.compress(text) + packer.flush()
        if len(fields[PROMPT]) > MAX_PROMPT_BYTES or len(text) > _MAX_TEXT_BYTES:
            raise DdpmCodecError(
                f"a prompt of {len(text)} bytes takes {len(fields[PROMPT])} in the header, expected at most "
                f"{MAX_PROMPT_BYTES}: make it shorter"
            )
    if condition.guidance != NO_GUIDANCE:
        fields[GUIDANCE] = leb128(condition.guidance)
    return fields


def condition_of(header: Header) -> Condition:
    """Return the condition that a header's fields say. Raises FormatError for fields that say none."""
    label, packed, guidance = (header.field(identifier) for identifier in (CLASS, PROMPT, GUIDANCE))
    try:
        return Condition(
            None if label is None else _number(label),
            "" if packed is None else _text(packed),
            NO_GUIDANCE if guidance is None else _number(guidance),
        )
    except FormatError:
        raise
    except (zlib.error, ValueError) as error:
        raise FormatError(f"the header's class, prompt or guidance is damaged: {error}") from error


def _number(data: bytes) -> int:
    value, end = read_leb128(data, 0)
    if end != len(data):
        raise FormatError("the header's class or guidance is followed by something else; the file is damaged")
    return value


def _text(packed: bytes) -> str:
    unpacker = zlib.decompressobj(wbits=-15)
    text = unpacker.decompress(packed, _MAX_TEXT_BYTES)
    if len(packed) > MAX_PROMPT_BYTES or not unpacker.eof or unpacker.unused_data or not text:
        raise FormatError("the header's prompt is damaged, or longer than a header may have it")
    return text.decode("utf-8", "surrogatepass")
