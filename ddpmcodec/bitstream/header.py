"""The container: a few bytes of header before the payload, and a check after it.

    magic 2 | version 1 | flags 1 | model fingerprint 4 | width, height | steps? | channel? | seed? | payload | check

Width and height are stored less one; they, the plan's step count and the seed are LEB128 numbers. The optional fields are
there when their flag is set; where the default serves they are left out. The check is a CRC over everything before it:
16 bits for pictures up to 4096 pixels, 32 bits above.
"""

from __future__ import annotations

import binascii
import zlib
from dataclasses import dataclass

from ddpmcodec.errors import DdpmCodecError, FormatError
from ddpmcodec.io.images import MAX_PIXELS

MAGIC = b"\xdd\xbc"
VERSION = 1
MAX_PIXELS_PER_BYTE = 65536
TAIL_CHECK_BYTES = 4  # the picture's own CRC-32, which ends a lossless tail
_STEPS, _CHANNEL, _SEED = 1, 2, 4
_SHORT = 8  # a short step may follow END: see ddpmcodec.bitstream.short_step
_LOSSLESS = 16  # the exact picture follows the chain: see ddpmcodec.lossless
_ARCHIVE = 32  # many pictures follow: see ddpmcodec.bitstream.archive_index
SHORT_CHECK_PIXELS = 4096


@dataclass(frozen=True)
class Header:
    """What a stream says of itself. None means the default of this version and of the model."""

    fingerprint: str  # first 8 hexadecimal digits of the model's
    width: int
    height: int
    plan_steps: int | None = None
    channel: tuple[int, int] | None = None  # (kind, parameter): trellis and its memory, random coding and log2 candidates
    seed: int = 0
    version: int = VERSION
    archive: bool = False  # of many such streams, rather than of one
    short: bool = False  # END is followed by a short step, or by none
    lossless: bool = False  # the sealed chain is followed by the exact picture

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1 or self.width * self.height > MAX_PIXELS:
            raise FormatError(
                f"picture size {self.width}x{self.height}: expected at least 1x1 and at most {MAX_PIXELS >> 20} megapixels"
            )
        if not 0 <= self.seed < 1 << 64:
            raise DdpmCodecError(f"seed {self.seed}: expected a number from 0 to 2^64 - 1")

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def check_bytes(self) -> int:
        return 2 if self.pixels <= SHORT_CHECK_PIXELS and not self.archive else 4

    @property
    def least_payload(self) -> int:
        """Payload bytes below which the declared size is not believed; shorter payloads are padded with zeros."""
        return -(-self.pixels // MAX_PIXELS_PER_BYTE)

    def check(self, data: bytes) -> bytes:
        """Return the check that ends a file whose other bytes are `data`."""
        if self.check_bytes == 2:
            return binascii.crc_hqx(data, 0xFFFF).to_bytes(2, "big")
        return zlib.crc32(data).to_bytes(4, "big")

    def to_bytes(self) -> bytes:
        flags = _STEPS * (self.plan_steps is not None) | _CHANNEL * (self.channel is not None) | _SEED * (self.seed > 0)
        flags |= _SHORT * self.short | _LOSSLESS * self.lossless | _ARCHIVE * self.archive
        out = bytearray(MAGIC + bytes([self.version, flags]) + bytes.fromhex(self.fingerprint))
        out += leb128(self.width - 1) + leb128(self.height - 1)
        if self.plan_steps is not None:
            out += leb128(self.plan_steps)
        if self.channel is not None:
            out += bytes(self.channel)
        if self.seed:
            out += leb128(self.seed)
        return bytes(out)


MAX_HEADER_BYTES = 37  # bytes


def parse_header(data: bytes, whole: bool = True, archive: bool = False) -> tuple[Header, int]:
    """Return the header and its length. Raises FormatError for anything that is not the start of a stream; allocates nothing.

    whole: `data` is all there is, so a size that so little payload can't fill is refused. archive: the header of an archive
    is expected, rather than that of one picture's stream.
    """
    if not data:
        raise FormatError("the input is empty; expected a ddpmcodec stream")
    if data[:2] != MAGIC[: len(data[:2])]:
        raise FormatError(
            f"not a ddpmcodec stream: it starts with {data[:2].hex(' ')}, expected {MAGIC.hex(' ')}; "
            "is this the .bin that `ddpmcodec encode` wrote?"
        )
    if len(data) > 2 and data[2] != VERSION:
        newer = data[2] > VERSION
        raise FormatError(
            f"stream format version {data[2]}, this program reads version {VERSION}; "
            + ("update ddpmcodec to decode it" if newer else "the file is damaged")
        )
    if len(data) < 8:
        raise FormatError(f"the input ends inside the header ({len(data)} bytes); expected at least 10 bytes")
    flags = data[3]
    if flags & ~(_STEPS | _CHANNEL | _SEED | _SHORT | _LOSSLESS | _ARCHIVE):
        raise FormatError(f"stream flags {flags:#04x} are unknown to this program; update ddpmcodec, or the file is damaged")
    if bool(flags & _ARCHIVE) != archive:
        raise FormatError(
            "the file holds one picture, not an archive of many; read it with decode()"
            if archive
            else "the file is an archive of many pictures, not one picture's stream; decode it to a directory "
            "(ddpmcodec decode IN -o DIR), or take one picture of it (--index I); in Python use decode_archive or read_archive"
        )
    width, at = read_leb128(data, 8)
    height, at = read_leb128(data, at)
    plan_steps, channel, seed = None, None, 0
    if flags & _STEPS:
        plan_steps, at = read_leb128(data, at)
    if flags & _CHANNEL:
        if len(data) < at + 2:
            raise FormatError("the input ends inside the header")
        channel, at = (data[at], data[at + 1]), at + 2
    if flags & _SEED:
        seed, at = read_leb128(data, at)
    if seed >= 1 << 64:
        raise FormatError("the header's seed is beyond 64 bits; the file is damaged")
    short, lossless = bool(flags & _SHORT), bool(flags & _LOSSLESS)
    if short and lossless:
        raise FormatError("the header announces both a short step and a lossless tail; the file is damaged")
    header = Header(data[4:8].hex(), width + 1, height + 1, plan_steps, channel, seed, VERSION, archive, short, lossless)
    if header.to_bytes() != data[:at]:
        raise FormatError("the header is not in its shortest form; the file is damaged")
    payload = len(data) - at
    if whole and header.pixels > MAX_PIXELS_PER_BYTE * max(payload, 1):
        raise FormatError(
            f"the header declares {header.width}x{header.height} pixels over {payload} bytes of data, more than "
            f"{MAX_PIXELS_PER_BYTE} pixels a byte; the file is damaged or cut too short"
        )
    return header, at


def leb128(value: int) -> bytes:
    """Return the number in seven bits a byte, the least first; all bytes but the last have the high bit."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def read_leb128(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that starts there, and where it ends. Raises FormatError when it has no end, or more than ten bytes."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise FormatError("the input ends inside the header")
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise FormatError("a number in the header is too long; the file is damaged")
