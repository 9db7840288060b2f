"""Many pictures of one size in one file: one header, an index of up to two bytes a picture, payloads, one check.

    header, with the flag of an archive | index (see `archive_index`) | payloads | CRC-32

A payload is what a picture's own file has between header and check, so every picture can be taken out as such a file,
or decoded, without the others. The CRC is over everything before it.

Fields that all pictures have alike are in the header. Where some have others, it has the field OWN_FIELDS, and each
payload begins with its picture's own: their size, a LEB128 number, and then they. Where some pictures are grey, and
others aren't, the field GREY_PICTURES says which.

In a solid archive N pictures share a payload, a block, and none can be taken out as a file of its own: the field SOLID
has N, FILE_NAMES their names, the index the blocks' sizes. Count is that of pictures; the last block may have fewer.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ddpmcodec.bitstream.archive_index import index_bytes, read_count, read_starts
from ddpmcodec.bitstream.fields import (
    FILE_NAMES,
    GREY_PICTURES,
    OF_ARCHIVES,
    OWN_FIELDS,
    SOLID,
    Field,
    Fields,
    fields_to_bytes,
    in_order,
    parse_fields,
)
from ddpmcodec.bitstream.file_names import read_names
from ddpmcodec.bitstream.header import Header, announces_archive, parse_header
from ddpmcodec.bitstream.leb128 import leb128, read_leb128
from ddpmcodec.errors import DdpmCodecError, FormatError, TruncatedArchiveError
from ddpmcodec.io.limits import MAX_PIXELS
from ddpmcodec.numerics.arguments import flag, octets, several

MAX_SOLID = 256  # pictures a block


@dataclass(frozen=True)
class Archive:
    """Bytes of an archive, and where its pictures lie in them."""

    data: bytes
    header: Header  # of each picture's stream, but for fields of its own, and grey where only some are
    count: int  # of pictures, as the index says
    complete: bool  # the check matches, and the archive ends exactly where the data does
    header_bytes: int
    index_bytes: int
    starts: tuple[int, ...]  # of the payloads that begin in the data, and the end of the last
    own_fields: bool = False  # payloads begin with fields
    grey: bytes = b""  # one bit a picture, the highest first; b"": all are as the header says
    solid: int = 1  # pictures that share a payload
    names: tuple[str, ...] = ()  # of a solid archive's pictures, if it keeps them: whatever the sender wrote there

    @property
    def check_bytes(self) -> int:
        """Length of the check: 0 where the archive is not complete."""
        return replace(self.header, archive=True).check_bytes if self.complete else 0

    @property
    def blocks(self) -> int:
        """Payloads, each of `solid` pictures, the last of as many as are left."""
        return -(-self.count // self.solid)

    @property
    def begun(self) -> int:
        """Pictures that are there at least in part."""
        return min((len(self.starts) - 1) * self.solid, self.count)

    @property
    def intact(self) -> int:
        """Pictures whose payloads are wholly there; all of a complete archive's."""
        return min(self._intact_payloads * self.solid, self.count)

    @property
    def _intact_payloads(self) -> int:
        return len(self.starts) - 1 - (self.starts[-1] > len(self.data))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Bytes of each intact payload, its pictures' own fields included."""
        return tuple(self.starts[i + 1] - self.starts[i] for i in range(self._intact_payloads))

    def members(self, block: int) -> range:
        """Return the pictures of a block."""
        return range(block * self.solid, min((block + 1) * self.solid, self.count))

    def is_grey(self, index: int) -> bool:
        """Return whether a picture is grey."""
        return bool(self.grey[index // 8] & 128 >> index % 8) if self.grey else self.header.grey

    def payload(self, index: int) -> bytes:
        """Return a picture's payload, or its block's, or what is there of it. Raises DdpmCodecError for a picture that
        is not there.
        """
        return self._split(index)[1]

    def stream(self, index: int, *, vouched: bool = False) -> bytes:
        """Return the picture's own file: header, payload and check. Raises DdpmCodecError like `payload`, and where
        pictures share their payloads.

        Of an archive that is not complete it ends before the check, like a file that was cut: nothing vouches for it,
        unless the caller does.
        """
        own, payload = self._split(index)
        if self.solid > 1:
            raise DdpmCodecError(
                f"picture {index} shares a stream with others of this solid archive, so it has no file of its own: "
                "decode it with decode_archive (ddpmcodec decode --index)"
            )
        grey = self.is_grey(index)
        body = replace(self.header, grey=grey, fields=in_order((*self.header.fields, *own))).to_bytes() + payload
        return body + self.header.check(body) if self.complete or vouched else body

    def _split(self, index: int) -> tuple[Fields, bytes]:
        """A picture's own fields, and its payload."""
        place = operator.index(index)
        if not 0 <= place < self.count:
            raise DdpmCodecError(f"no picture {place} in this archive of {self.count}: expected 0 to {self.count - 1}")
        if place >= self.begun:
            raise DdpmCodecError(
                f"picture {place} is not there: the archive was cut after {self.intact} of {self.count}"
            )
        part = self.data[self.starts[place // self.solid] : self.starts[place // self.solid + 1]]
        if not self.own_fields:
            return (), part
        size, at = read_leb128(part, 0)
        if at + size > len(part):
            raise FormatError(
                f"picture {place} declares {size} bytes of fields, but has {len(part)}; the archive is damaged"
            )
        return parse_fields(part[at : at + size]), part[at + size :]


def pack_archive(files: Sequence[bytes]) -> bytes:
    """Return the archive of complete streams that share a header; needs no model.

    Raises DdpmCodecError where there is none, or one is cut, damaged or has another header.
    """
    if not (files := several(files, "streams")):
        raise DdpmCodecError("no streams: an archive holds at least one")
    parsed, payloads = list[Header](), list[bytes]()
    for i, data in enumerate(map(octets, files)):
        header, start = parse_header(data)
        if header.shared() != (parsed or [header])[0].shared():
            raise DdpmCodecError(
                f"stream {i} differs from stream 0 in size, model, plan, channel, seed or flags: an archive has one "
                "header"
            )
        end = len(data) - header.check_bytes
        if end - start < header.least_payload or header.check(data[:end]) != data[end:]:
            raise FormatError(f"stream {i} is cut or damaged: its check fails; an archive is made of complete streams")
        parsed.append(header)
        payloads.append(data[start:end])
    shared = set(parsed[0].fields).intersection(*(header.fields for header in parsed))
    own = [fields_to_bytes(tuple(field for field in header.fields if field not in shared)) for header in parsed]
    if any(own):
        shared.add(Field(OWN_FIELDS, b""))
        payloads = [leb128(len(fields)) + fields + payload for fields, payload in zip(own, payloads, strict=True)]
    return _packed(parsed[0], shared, [header.grey for header in parsed], payloads)


def pack_blocks(header: Header, grey: Sequence[bool], payloads: Sequence[bytes], solid: int) -> bytes:
    """Return the solid archive of blocks of `solid` pictures each, the last of as many as are left.

    header: of any of the pictures, with FILE_NAMES of all where they have names; grey: which of them are.
    """
    return _packed(header, {*header.fields, Field(SOLID, leb128(solid))}, grey, payloads)


def _packed(header: Header, fields: set[Field], grey: Sequence[bool], payloads: Sequence[bytes]) -> bytes:
    """The archive of one picture a mark of grey."""
    if any(grey) and not all(grey):
        fields = {*fields, Field(GREY_PICTURES, np.packbits(grey).tobytes())}
    header = replace(header, archive=True, grey=all(grey), fields=in_order(fields))
    body = b"".join([header.to_bytes(), index_bytes(len(grey), [len(p) for p in payloads]), *payloads])
    return body + header.check(body)


def is_archive(data: bytes) -> bool:
    """Return whether the data begins as an archive does; `read_archive` says what else may be wrong with it."""
    return announces_archive(data)


def read_archive(data: bytes, *, allow_partial: bool = False) -> Archive:
    """Find the pictures of an archive; needs no model.

    allow_partial: take what is there of an archive that was cut or damaged behind its index, instead of raising
    TruncatedArchiveError. Raises FormatError for what is no archive, or has no sound index.
    """
    data, allow_partial = octets(data), flag(allow_partial, "allow_partial")
    header, header_bytes = parse_header(data, archive=True)
    own_fields, grey = header.field(OWN_FIELDS) is not None, header.field(GREY_PICTURES)
    of_all = OF_ARCHIVES if header.field(SOLID) is None else OF_ARCHIVES | {FILE_NAMES}
    kept = tuple(field for field in header.fields if field.identifier not in of_all)
    own = replace(header, archive=False, fields=kept)
    count, at = read_count(data, header_bytes)
    solid = _solid(header, count)
    payloads = -(-count // solid)
    end, starts = read_starts(data, at, payloads, own.least_payload)
    if grey is not None and (header.grey or not _names_some(grey, count)):
        raise FormatError(
            f"the archive doesn't say rightly which of its {count} pictures are grey; the file is damaged"
        )
    body = len(data) - header.check_bytes
    complete = len(starts) == payloads + 1 and starts[-1] == body and header.check(data[:body]) == data[body:]
    names = read_names(header.field(FILE_NAMES), count) if solid > 1 else ()
    sizes = header_bytes, end - header_bytes
    archive = Archive(data, own, count, complete, *sizes, tuple(starts), own_fields, grey or b"", solid, names)
    if not complete and not allow_partial:
        raise TruncatedArchiveError(
            f"the archive is cut or damaged: its check fails, and {archive.intact} of {count} pictures are wholly "
            "there; pass allow_partial=True (--allow-partial) to decode what is there",
            archive.intact,
        )
    return archive


def _solid(header: Header, count: int) -> int:
    """Pictures a payload. Raises FormatError where the field says it wrongly."""
    field = header.field(SOLID)
    if field is None:
        return 1
    solid, _ = read_leb128(field, 0)
    if leb128(solid) != field or not 2 <= solid <= min(count, MAX_SOLID) or header.pixels * solid > MAX_PIXELS:
        raise FormatError(
            f"the archive declares blocks of {solid} of its {count} pictures of {header.width}x{header.height}, "
            f"expected 2 to {MAX_SOLID}, and at most {MAX_PIXELS >> 20} megapixels together; the file is damaged"
        )
    if header.short or header.field(OWN_FIELDS) is not None:
        raise FormatError("the archive's pictures share streams, and can't have what its header says; it is damaged")
    return solid


def _names_some(bits: bytes, count: int) -> bool:
    """Return whether these are `count` bits, and zeros to the next byte, of which some are set and some are not."""
    value, padding = int.from_bytes(bits, "big"), -count % 8
    return (
        8 * len(bits) == count + padding
        and not value & ((1 << padding) - 1)
        and 0 < value >> padding < (1 << count) - 1
    )
