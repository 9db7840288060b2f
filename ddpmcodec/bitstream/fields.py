"""Optional fields of a header: what a file says beyond what every decoder needs. All identifiers are named here.

    identifier 1 | length | bytes

one after another, by rising identifier, each at most once. Length is a LEB128 number. The upper half of the identifiers
is *marked*: a decoder that doesn't know a marked field can't decode the file rightly, and refuses it. Others are
skipped and kept.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import NamedTuple

from ddpmcodec.bitstream.leb128 import leb128, read_leb128
from ddpmcodec.errors import DdpmCodecError, FormatError
from ddpmcodec.numerics.arguments import octets, whole

MARK = 128  # bit of an identifier: the field must be understood
MAX_FIELD_BYTES = 1 << 20  # size of all fields of a header together, identifiers and lengths included
# Skipped by a decoder that doesn't know them.
ICC_PROFILE = 1  # an ICC colour profile, deflated (zlib): the samples' meaning; goes into a decoded PNG as iCCP
EXIF = 2  # an EXIF block from its byte order mark on, deflated; its orientation is that of the upright picture
XMP = 3  # an XMP packet, UTF-8, deflated; likewise
FILE_NAME = 4  # name of the picture's source without its folder, UTF-8
FRAME = 5  # LEB128 number of the frame or page that the picture was in its source, from 0
COLOURS = 6  # what no profile says of the samples' meaning: code points or the contents of PNG's gAMA and cHRM
FILE_NAMES = 7  # in a solid archive's header: its pictures' FILE_NAME, see bitstream.file_names

# Refused by a decoder that doesn't know them.
OWN_FIELDS = MARK + 0  # in an archive's header, and empty: each payload begins with its picture's own fields
GREY_PICTURES = MARK + 1  # in the header of an archive of some grey pictures: one bit a picture, the highest first
CLASS = MARK + 2  # LEB128 number of the class that the network is told
PROMPT = MARK + 3  # the text that the network is told, UTF-8, deflated (without zlib's frame)
GUIDANCE = MARK + 4  # LEB128 hundredths of classifier-free guidance
SOLID = MARK + 5  # in an archive's header: LEB128 number of pictures that share a payload, see bitstream.solid
LEARNING = MARK + 6  # empty: the lossless tail's networks learn from the picture, see lossless.learning

NAMES = {
    ICC_PROFILE: "colour profile",
    EXIF: "EXIF",
    XMP: "XMP",
    FILE_NAME: "file name",
    FRAME: "frame number",
    COLOURS: "colours",
    FILE_NAMES: "file names",
    OWN_FIELDS: "pictures' own fields",
    GREY_PICTURES: "grey pictures",
    CLASS: "class",
    PROMPT: "prompt",
    GUIDANCE: "guidance",
    SOLID: "pictures a block",
    LEARNING: "tail that learns",
}
OF_ARCHIVES = frozenset({OWN_FIELDS, GREY_PICTURES, SOLID})  # fields that no single picture's header has
UNDERSTOOD = OF_ARCHIVES | {
    CLASS,
    PROMPT,
    GUIDANCE,
    LEARNING,
}  # the marked ones that this program acts on; a file with any other is refused


class Field(NamedTuple):
    """Optional field of a header."""

    identifier: int  # 0 to 255
    data: bytes

    @property
    def marked(self) -> bool:
        """Return whether a decoder must understand the field."""
        return self.identifier >= MARK

    @property
    def name(self) -> str:
        """Return what `info` calls the field."""
        return NAMES.get(self.identifier, f"field {self.identifier}")


Fields = tuple[Field, ...]


def in_order(fields: Iterable[tuple[int, bytes]]) -> Fields:
    """Return fields as a header has them: sorted. Raises DdpmCodecError for what it can't have."""
    found = tuple(sorted(Field(whole(identifier, "field"), octets(data)) for identifier, data in fields))
    places = [field.identifier for field in found]
    if len(set(places)) < len(places) or any(not 0 <= place < 2 * MARK for place in places):
        raise DdpmCodecError(f"fields {places} in a header: expected different identifiers from 0 to {2 * MARK - 1}")
    if (size := len(fields_to_bytes(found))) > MAX_FIELD_BYTES:
        raise DdpmCodecError(
            f"the header's fields have {size} bytes, expected at most {MAX_FIELD_BYTES}: leave some out"
        )
    return found


def fields_to_bytes(fields: Fields) -> bytes:
    """Return the bytes of fields, one after another."""
    return b"".join(bytes([field.identifier]) + leb128(len(field.data)) + field.data for field in fields)


def parse_fields(data: bytes) -> Fields:
    """Return the fields that fill the data. Raises FormatError for what is not canonical, or a marked one not
    understood.
    """
    fields, at = list[Field](), 0
    while at < len(data):
        identifier, start = data[at], at + 1
        size, start = read_leb128(data, start)
        at = start + size
        if at > len(data):
            raise FormatError(
                f"field {identifier} of the header declares {size} bytes, but {len(data) - start} are left"
            )
        if fields and identifier <= fields[-1].identifier:
            raise FormatError("the header's fields are not in their order; the file is damaged")
        field = Field(identifier, data[start:at])
        if field.marked and identifier not in UNDERSTOOD:
            raise FormatError(
                f"the file has a field that this program must understand and doesn't ({field.name}); update ddpmcodec"
            )
        fields.append(field)
    if fields_to_bytes(tuple(fields)) != data:
        raise FormatError("the header's fields are not in their shortest form; the file is damaged")
    return tuple(fields)


def inflated(data: bytes, most: int = 16 << 20) -> bytes | None:
    """Return what a deflated field holds; None where that can't be told, or is too much: it may be a stranger's."""
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(data, most)
    except zlib.error:
        return None
    return found if stream.eof else None
