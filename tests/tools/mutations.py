"""Damaged and forged files for the fuzz run: mutant i of a seed is the same bytes on every machine."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from ddpmcodec.bitstream.header import Header, parse_header
from ddpmcodec.bitstream.leb128 import leb128
from ddpmcodec.errors import DdpmCodecError

_BYTES = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)
_NUMBERS = (
    0,
    1,
    2,
    5,
    31,
    32,
    63,
    64,
    127,
    128,
    255,
    4095,
    4096,
    1 << 14,
    (1 << 16) - 1,
    1 << 20,
    1 << 26,
    1 << 32,
    1 << 63,
)
_SIZES = (0, 1, 2, 7, 31, 32, 33, 40, 63, 64, 127, 255, 1023)  # less one; most stay small enough to decode

Mutation = Callable[[bytes, random.Random, Sequence[bytes]], bytes]


def mutant(files: Sequence[bytes], seed: int, index: int) -> bytes:
    """One of the files, changed one to three times, and in half of the cases with a check that matches again."""
    rng = random.Random(f"{seed} {index}")
    data = rng.choice(files)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(MUTATIONS)(data, rng, files)
    return checked(data, rng) if rng.random() < 0.5 else data


def _place(data: bytes | bytearray, rng: random.Random) -> int:
    """Anywhere; half of the time near the start, where headers and indices are."""
    return rng.randrange(min(len(data), 24) if rng.random() < 0.5 else len(data)) if data else 0


def flip(data: bytes, rng: random.Random, files: Sequence[bytes]) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8)) if out else 0):
        out[_place(out, rng)] ^= 1 << rng.randrange(8)
    return bytes(out)


def edit(data: bytes, rng: random.Random, files: Sequence[bytes]) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8)) if out else 0):
        out[_place(out, rng)] = rng.choice(_BYTES) if rng.random() < 0.5 else rng.randrange(256)
    return bytes(out)


def cut(data: bytes, rng: random.Random, files: Sequence[bytes]) -> bytes:
    at = _place(data, rng)
    if rng.random() < 0.7:
        return data[:at]
    return data[:at] + data[at + rng.choice((1, 2, 4, 16, 64)) :]


def insert(data: bytes, rng: random.Random, files: Sequence[bytes]) -> bytes:
    at, count = rng.choice((_place(data, rng), len(data))), rng.choice((1, 2, 4, 16, 64, 512))
    return data[:at] + rng.choice((bytes(count), b"\xff" * count, b"\x80" * count, rng.randbytes(count))) + data[at:]


def splice(data: bytes, rng: random.Random, files: Sequence[bytes]) -> bytes:
    other = rng.choice(files)
    return data[: _place(data, rng)] + other[_place(other, rng) :]


def rehead(data: bytes, rng: random.Random, files: Sequence[bytes]) -> bytes:
    """Another header, most of it still sound, before the same payload."""
    found = _header(data)
    if found is None:
        return flip(data, rng, files)
    header, start = found
    flags = data[3] ^ (rng.choice((1, 2, 4, 8, 16, 32, 64, 128)) if rng.random() < 0.3 else 0)
    sizes = _NUMBERS if rng.random() < 0.2 else _SIZES
    width, height = (rng.choice(sizes) if rng.random() < 0.4 else side - 1 for side in (header.width, header.height))
    steps = rng.choice(_NUMBERS) if rng.random() < 0.2 else rng.choice((1, 4, 8, 12, 46, header.plan_steps or 46))
    channel = (
        (rng.randrange(256), rng.randrange(256)) if rng.random() < 0.2 else (rng.randrange(2), rng.randrange(7, 18))
    )
    seed = rng.choice((*_NUMBERS, (1 << 64) - 1, 1 << 64, 1 << 69))
    mark = header.fingerprint if rng.random() < 0.95 else "00000000"
    out = data[:3] + bytes([flags]) + bytes.fromhex(mark) + _leb(width, rng) + _leb(height, rng)
    out += _leb(steps, rng) if flags & 1 else b""
    out += bytes(channel) if flags & 2 else b""
    out += _leb(seed, rng) if flags & 4 else b""
    out += fields(header, rng) if flags & 128 else b""
    return out + data[start:]


def fields(header: Header, rng: random.Random) -> bytes:
    """Those of the header, or others: now and then marked, out of order, or of a size that is not theirs."""
    listed = [(field.identifier, field.data) for field in header.fields if rng.random() < 0.7]
    listed += [
        (rng.choice((1, 4, 9, 127, 128, 129, 200)), rng.randbytes(rng.choice((0, 1, 9, 200))))
        for _ in range(rng.randrange(3))
    ]
    if rng.random() < 0.9:
        listed = sorted(dict(listed).items())
    out = b"".join(bytes([identifier]) + _leb(len(value), rng) + value for identifier, value in listed)
    size = rng.choice((*_NUMBERS, (1 << 20) + 1)) if rng.random() < 0.1 else len(out)
    return _leb(size, rng) + out


def body(data: bytes, rng: random.Random, files: Sequence[bytes]) -> bytes:
    """The header, and then anything: long symbols, runs of one byte, an index that promises much."""
    found = _header(data)
    start = found[1] if found else 0
    rest = rng.choice((rng.randbytes(rng.randrange(400)), bytes(rng.randrange(400)), b"\xff" * rng.randrange(400)))
    index = (
        leb128(rng.choice(_NUMBERS)) + leb128(rng.choice(_NUMBERS)) + bytes([rng.choice((0, 1, 8, 31, 63, 64, 255))])
    )
    return data[:start] + (index if data[3:4] and data[3] & 32 else b"") + rest


def checked(data: bytes, rng: random.Random) -> bytes:
    """The same with a check that matches, in place of the old one or after it."""
    found = _header(data)
    if found is None:
        return data
    header, start = found
    kept = data[: max(start, len(data) - header.check_bytes)] if rng.random() < 0.8 else data
    return kept + header.check(kept)


MUTATIONS: tuple[Mutation, ...] = (flip, edit, cut, insert, splice, rehead, rehead, body)


def _header(data: bytes) -> tuple[Header, int] | None:
    for archive in (False, True):
        try:
            header, start = parse_header(data, whole=False, archive=archive)
        except DdpmCodecError:
            continue
        return replace(header, archive=archive), start
    return None


def _leb(value: int, rng: random.Random) -> bytes:
    """Now and then not in the shortest form."""
    out = leb128(value)
    return out[:-1] + bytes([out[-1] | 128, 0]) if rng.random() < 0.02 else out
