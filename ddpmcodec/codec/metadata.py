"""Metadata in a header's fields: deflated, and read back within bounds, for a file may be a stranger's."""

from __future__ import annotations

import zlib

from ddpmcodec.bitstream.fields import EXIF, ICC_PROFILE, XMP, Fields
from ddpmcodec.io.metadata import Metadata

_LARGEST = 16 << 20  # bytes that a field may become


def to_fields(metadata: Metadata) -> dict[int, bytes]:
    """Return the fields that metadata is stored in, by their identifiers."""
    parts = {ICC_PROFILE: metadata.profile, EXIF: metadata.exif, XMP: metadata.xmp}
    return {identifier: zlib.compress(data, 9) for identifier, data in parts.items() if data is not None}


def of_fields(fields: Fields) -> Metadata:
    """Return the metadata in a header's fields; what can't be inflated, or to too much, is none."""
    found = {
        field.identifier: _inflated(field.data) for field in fields if field.identifier in (ICC_PROFILE, EXIF, XMP)
    }
    return Metadata(found.get(ICC_PROFILE), found.get(EXIF), found.get(XMP))


def _inflated(data: bytes) -> bytes | None:
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(data, _LARGEST)
    except zlib.error:
        return None
    return found if stream.eof else None
