"""Metadata in a header's fields: deflated, and read back within bounds, for a file may be a stranger's."""

from __future__ import annotations

import zlib

from ddpmcodec.bitstream.fields import COLOURS, EXIF, ICC_PROFILE, XMP, Fields, inflated
from ddpmcodec.io.colorimetry import colorimetry_of
from ddpmcodec.io.metadata import Metadata


def to_fields(metadata: Metadata) -> dict[int, bytes]:
    """Return the fields that metadata is stored in, by their identifiers."""
    parts = {ICC_PROFILE: metadata.profile, EXIF: metadata.exif, XMP: metadata.xmp}
    fields = {identifier: zlib.compress(data, 9) for identifier, data in parts.items() if data is not None}
    return fields if metadata.colours is None else fields | {COLOURS: metadata.colours}


def of_fields(fields: Fields) -> Metadata:
    """Return the metadata in a header's fields; what can't be inflated or understood is none."""
    found = {field.identifier: field.data for field in fields}
    profile, exif, xmp = (inflated(found[i]) if i in found else None for i in (ICC_PROFILE, EXIF, XMP))
    colours = found.get(COLOURS, b"") if profile is None else b""
    return Metadata(profile, colours if colorimetry_of(colours) else None, exif, xmp)
