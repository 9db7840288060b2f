"""Names of a solid archive's pictures, all in one field: each a LEB128 length and UTF-8, one after another, deflated.

Pictures with streams of their own have names of their own instead (the field FILE_NAME).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from contextlib import suppress

from ddpmcodec.bitstream.fields import inflated
from ddpmcodec.bitstream.leb128 import leb128, read_leb128
from ddpmcodec.errors import FormatError


def names_to_bytes(names: Sequence[str]) -> bytes:
    """Return the contents of the field FILE_NAMES."""
    encoded = [name.encode("utf-8", "replace") for name in names]
    return zlib.compress(b"".join(leb128(len(name)) + name for name in encoded), 9)


def read_names(field: bytes | None, count: int) -> tuple[str, ...]:
    """Return the names that the field has; none where it has not exactly `count`, for nothing depends on them."""
    data, names, at = inflated(field or b"") or b"", list[str](), 0
    with suppress(FormatError):
        while len(names) < count and at < len(data):
            size, start = read_leb128(data, at)
            at = start + size
            names.append(data[start:at].decode("utf-8", "replace"))
    return tuple(names) if count and len(names) == count and at == len(data) else ()
