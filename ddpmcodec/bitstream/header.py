"""Container: a few bytes of header before the payload, and a check after it.

    magic 2 | version 1 | flags 1 | model fingerprint 4 | width, height | steps? | channel? | seed? | fields?
    payload | check

Width and height are stored less one; they, the plan's step count and the seed are LEB128 numbers. What has a flag is
there when that is set; where the default serves it is left out. Fields, whose size comes first, are in
`ddpmcodec.bitstream.fields`. The check is a CRC over everything before it: 16 bits for pictures up to 4096 pixels, 32
bits above.
"""

from __future__ import annotations

import binascii
import zlib
from dataclasses import dataclass, replace

from ddpmcodec.bitstream.fields import (
    LEARNING,
    MAX_FIELD_BYTES,
    OF_ARCHIVES,
    OWN_FIELDS,
    Fields,
    fields_to_bytes,
    in_order,
    parse_fields,
)
from ddpmcodec.bitstream.leb128 import leb128, leb128_end, read_leb128
from ddpmcodec.errors import DdpmCodecError, FormatError
from ddpmcodec.io.limits import MAX_PIXELS
from ddpmcodec.numerics.arguments import octets

MAGIC = b"\xdd\xbc"
VERSION = 2
MAX_PIXELS_PER_BYTE = 65536
TAIL_CHECK_BYTES = 4  # the picture's own CRC-32, which ends a lossless tail
_STEPS, _CHANNEL, _SEED = 1, 2, 4
_SHORT = 8  # a short step may follow END: see ddpmcodec.bitstream.short_step
_LOSSLESS = 16  # the exact picture follows the chain: see ddpmcodec.lossless
_ARCHIVE = 32  # many pictures follow: see ddpmcodec.bitstream.archive
_GREY = 64  # the picture's three colours are equal: see ddpmcodec.codec.reverse_chain
_FIELDS = 128  # optional fields end the header: see ddpmcodec.bitstream.fields
_LEAST_BYTES = 10  # bytes of the shortest header
SHORT_CHECK_PIXELS = 4096


@dataclass(frozen=True)
class Header:
    """Header: what a stream says of itself. None means the default of this version and of the model."""

    fingerprint: str  # first 8 hexadecimal digits of the model's fingerprint
    width: int
    height: int
    plan_steps: int | None = None
    channel: tuple[int, int] | None = (
        None  # (kind, parameter): trellis and its memory, random coding and log2 candidates
    )
    seed: int = 0
    version: int = VERSION
    archive: bool = False  # many such streams follow, rather than one
    short: bool = False  # END is followed by a short step, or by none
    lossless: bool = False  # the sealed chain is followed by the exact picture
    grey: bool = False  # red, green and blue are equal
    fields: Fields = ()  # sorted; `fields.in_order` makes them so

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or self.width * self.height > MAX_PIXELS:
            raise FormatError(
                f"picture size {self.width}x{self.height}: expected at least 1x1 and at most {MAX_PIXELS >> 20} "
                "megapixels"
            )
        if not 0 <= self.seed < 1 << 64:
            raise DdpmCodecError(f"seed {self.seed}: expected a number from 0 to 2^64 - 1")
        if self.fields != in_order(self.fields):
            raise DdpmCodecError("the header's fields are not in their order: sort them")
        if self.field(LEARNING) is not None and (self.field(LEARNING) or not self.lossless):
            raise FormatError("the header says of a lossless tail that it learns, and has none, or says it wrongly")

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def check_bytes(self) -> int:
        return 2 if self.pixels <= SHORT_CHECK_PIXELS and not self.archive else 4

    @property
    def least_payload(self) -> int:
        """Return the payload bytes below which the declared size is not believed; shorter payloads are padded with
        zeros.
        """
        return -(-self.pixels // MAX_PIXELS_PER_BYTE)

    def field(self, identifier: int) -> bytes | None:
        """Return what an optional field holds; None where there is none."""
        return next((field.data for field in self.fields if field.identifier == identifier), None)

    @property
    def learns(self) -> bool:
        """Return whether the lossless tail's networks learn from the picture."""
        return self.field(LEARNING) is not None

    def of_chain(self) -> Header:
        """Return the header of the stream's chain alone, without what may follow END."""
        fields = tuple(field for field in self.fields if field.identifier != LEARNING)
        return replace(self, short=False, lossless=False, fields=fields)

    def shared(self) -> Header:
        """Return what pictures must have alike to be decoded together: the header, but for grey and skippable
        fields.
        """
        return replace(self, grey=False, fields=tuple(field for field in self.fields if field.marked))

    def check(self, data: bytes) -> bytes:
        """Return the check that ends a file whose other bytes are `data`."""
        if self.check_bytes == 2:
            return binascii.crc_hqx(data, 0xFFFF).to_bytes(2, "big")
        return zlib.crc32(data).to_bytes(4, "big")

    def to_bytes(self) -> bytes:
        flags = _STEPS * (self.plan_steps is not None) | _CHANNEL * (self.channel is not None) | _SEED * (self.seed > 0)
        flags |= _SHORT * self.short | _LOSSLESS * self.lossless | _ARCHIVE * self.archive
        flags |= _GREY * self.grey | _FIELDS * bool(self.fields)
        out = bytearray(MAGIC + bytes([self.version, flags]) + bytes.fromhex(self.fingerprint))
        out += leb128(self.width - 1) + leb128(self.height - 1)
        if self.plan_steps is not None:
            out += leb128(self.plan_steps)
        if self.channel is not None:
            out += bytes(self.channel)
        if self.seed:
            out += leb128(self.seed)
        if self.fields:
            fields = fields_to_bytes(self.fields)
            out += leb128(len(fields)) + fields
        return bytes(out)


def missing_header_bytes(data: bytes | bytearray) -> int:
    """Return how many bytes more the header has at least, after these first ones of a file: 0 where all of it is there.

    Whoever reads that many more, and asks again until none is missing, has read the header and nothing else. Raises
    FormatError as soon as the bytes are not the start of a stream.
    """
    if data[:2] != MAGIC[: len(data[:2])]:
        raise FormatError(
            f"not a ddpmcodec stream: it starts with {data[:2].hex(' ')}, expected {MAGIC.hex(' ')}; "
            "is this the .bin that `ddpmcodec encode` wrote?"
        )
    if len(data) > 2 and data[2] != VERSION:
        raise FormatError(f"stream format version {data[2]}, this program reads version {VERSION}; {_advice(data[2])}")
    if len(data) < _LEAST_BYTES:
        return _LEAST_BYTES - len(data)
    flags, at = data[3], 8
    for _ in range(2 + bool(flags & _STEPS)):
        at = leb128_end(data, at)
    at += 2 * bool(flags & _CHANNEL)
    if flags & _SEED:
        at = leb128_end(data, at)
    if flags & _FIELDS:
        size, at = at, leb128_end(data, at)
        if at <= len(data):
            at += _size_of_fields(data, size)
    return max(at - len(data), 0)


def announces_archive(data: bytes) -> bool:
    """Return whether a file's first four bytes say that many pictures follow; what comes after may be wrong all the
    same.
    """
    return data[:3] == MAGIC + bytes([VERSION]) and bool(data[3:4]) and bool(data[3] & _ARCHIVE)


def _advice(version: int) -> str:
    """Say what to do about a file of another version."""
    if version > VERSION:
        return "update ddpmcodec to decode it"
    return "version 1 was never released: encode the picture anew" if version else "the file is damaged"


def _size_of_fields(data: bytes | bytearray, at: int) -> int:
    size, _ = read_leb128(data, at)
    if not 0 < size <= MAX_FIELD_BYTES:
        raise FormatError(
            f"the header declares {size} bytes of fields, expected 1 to {MAX_FIELD_BYTES}; the file is damaged"
        )
    return size


def parse_header(data: bytes, whole: bool = True, archive: bool = False) -> tuple[Header, int]:
    """Return the header and its length. Raises FormatError for anything that is not the start of a stream; allocates
    nothing.

    whole: `data` is all there is, so a size that so little payload can't fill is refused. archive: the header of an
    archive is expected, rather than that of one picture's stream.
    """
    if not data:
        raise FormatError("the input is empty; expected a ddpmcodec stream")
    if missing := missing_header_bytes(data):
        raise FormatError(
            f"the input ends inside the header ({len(data)} bytes); expected at least {len(data) + missing} bytes"
        )
    flags = data[3]
    if bool(flags & _ARCHIVE) != archive:
        raise FormatError(
            "the file holds one picture, not an archive of many; read it with decode()"
            if archive
            else "the file is an archive of many pictures, not one picture's stream; decode it to a directory "
            "(ddpmcodec decode IN -o DIR), or take one picture of it (--index I); in Python use decode_archive or "
            "read_archive"
        )
    width, at = read_leb128(data, 8)
    height, at = read_leb128(data, at)
    plan_steps, channel, seed = None, None, 0
    if flags & _STEPS:
        plan_steps, at = read_leb128(data, at)
    if flags & _CHANNEL:
        channel, at = (data[at], data[at + 1]), at + 2
    if flags & _SEED:
        seed, at = read_leb128(data, at)
    if seed >= 1 << 64:
        raise FormatError("the header's seed is beyond 64 bits; the file is damaged")
    short, lossless = bool(flags & _SHORT), bool(flags & _LOSSLESS)
    if short and lossless:
        raise FormatError("the header announces both a short step and a lossless tail; the file is damaged")
    grey, fields = bool(flags & _GREY), ()  # type: tuple[bool, Fields]
    if flags & _FIELDS:
        size = _size_of_fields(data, at)
        _, at = read_leb128(data, at)
        fields, at = parse_fields(bytes(data[at : at + size])), at + size
    mark, kinds = data[4:8].hex(), (archive, short, lossless, grey)
    header = Header(mark, width + 1, height + 1, plan_steps, channel, seed, VERSION, *kinds, fields)
    if header.field(OWN_FIELDS) or (not archive and not OF_ARCHIVES.isdisjoint(field.identifier for field in fields)):
        raise FormatError("the header has an archive's fields in a wrong way; the file is damaged")
    if header.to_bytes() != data[:at]:
        raise FormatError("the header is not in its shortest form; the file is damaged")
    payload = len(data) - at
    if whole and header.pixels > MAX_PIXELS_PER_BYTE * max(payload, 1):
        raise FormatError(
            f"the header declares {header.width}x{header.height} pixels over {payload} bytes of data, more than "
            f"{MAX_PIXELS_PER_BYTE} pixels a byte; the file is damaged or cut too short"
        )
    return header, at


def read_header(data: bytes) -> Header:
    """Return the header of a stream; needs no model. Raises FormatError."""
    return parse_header(octets(data))[0]
