"""Optional fields of a header: they come back, what must be understood is, and lengths that lie allocate nothing."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpmcodec.bitstream import fields
from ddpmcodec.bitstream.archive import is_archive, pack_archive, read_archive
from ddpmcodec.bitstream.fields import (
    FILE_NAME,
    FRAME,
    GREY_PICTURES,
    ICC_PROFILE,
    MARK,
    MAX_FIELD_BYTES,
    NAMES,
    OWN_FIELDS,
    Field,
    in_order,
)
from ddpmcodec.bitstream.header import MAGIC, Header, missing_header_bytes, parse_header
from ddpmcodec.bitstream.leb128 import leb128
from ddpmcodec.errors import DdpmCodecError, FormatError
from tests.tools import format_parser as second

HEADER = Header("01234567", 7, 5)
SKIPPED = st.dictionaries(st.integers(0, MARK - 1), st.binary(max_size=200), max_size=6)
HEADERS = st.builds(
    lambda steps, channel, seed, grey, found: Header(
        "01234567", 300, 5, steps, channel, seed, grey=grey, fields=in_order(found.items())
    ),
    st.none() | st.integers(0, 1000),
    st.none() | st.tuples(st.integers(0, 255), st.integers(0, 255)),
    st.integers(0, (1 << 64) - 1),
    st.booleans(),
    SKIPPED,
)


def with_fields(listed: bytes, size: bytes | None = None, archive: bool = False) -> bytes:
    """A file's start with these bytes as its fields, and anything as what follows them."""
    return (
        MAGIC
        + bytes([2, 128 | 32 * archive])
        + bytes(4)
        + b"\x06\x04"
        + (size or leb128(len(listed)))
        + listed
        + bytes(20)
    )


def file_of(payload: bytes, *found: tuple[int, bytes]) -> bytes:
    header = replace(HEADER, fields=in_order(found))
    body = header.to_bytes() + payload
    return body + header.check(body)


@given(HEADERS, st.binary(max_size=20))
def test_fields_come_back_in_both_parsers(header: Header, more: bytes):
    data = header.to_bytes()
    assert parse_header(data + more) == (header, len(data))
    assert parse_header(data + more)[0].fields == header.fields
    theirs = second.header(data + more)
    assert theirs.fields == tuple(header.fields)
    assert (theirs.size, bool(theirs.flags & second.GREY)) == (len(data), header.grey)
    for identifier, value in header.fields:
        assert header.field(identifier) == value


@given(HEADERS)
def test_a_header_cut_anywhere_is_refused_and_says_how_many_bytes_are_missing(header: Header):
    data = header.to_bytes()
    for cut in range(len(data)):
        assert 0 < missing_header_bytes(data[:cut]) <= len(data) - cut
        with pytest.raises(FormatError, match=r"empty|ends inside"):
            parse_header(data[:cut], whole=False)
    assert missing_header_bytes(data) == missing_header_bytes(data + b"more") == 0


@given(HEADERS)
def test_reading_what_is_missing_reads_the_header_and_nothing_else(header: Header):
    data, at, reads = header.to_bytes() + b"payload", 0, 0
    while missing := missing_header_bytes(data[:at]):
        at, reads = at + missing, reads + 1
    assert data[at:] == b"payload"
    assert reads <= 40  # not one a byte of the fields


def test_skippable_fields_of_no_known_name_are_kept_and_named():
    header, _ = parse_header(with_fields(b"\x04\x01a\x7f\x00"))
    assert header.fields == ((FILE_NAME, b"a"), (127, b""))
    assert [field.name for field in header.fields] == ["file name", "field 127"]
    assert not any(field.marked for field in header.fields)
    assert header.shared() == replace(header, fields=())


@pytest.mark.parametrize("identifier", [max(fields.NAMES) + 1, 200, 255])
def test_a_marked_field_that_is_not_understood_is_refused(identifier: int):
    assert Field(identifier, b"").marked
    listed = bytes([identifier]) + b"\x01x"
    with pytest.raises(FormatError, match=r"must understand.*update ddpmcodec"):
        parse_header(with_fields(listed))
    with pytest.raises(second.Refused, match="understood"):
        second.header(with_fields(listed))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (with_fields(b""), "0 bytes of fields"),
        (with_fields(b"\x04\x01a", b"\x83\x00"), "shortest form"),
        (with_fields(b"\x04\x81\x00a"), "shortest form"),
        (with_fields(b"\x04\x01a\x04\x01b"), "order"),
        (with_fields(b"\x05\x01a\x04\x01b"), "order"),
        (with_fields(b"\x04\x02a"), "declares 2 bytes, but 1"),
        (with_fields(b"\x04"), "ends inside"),
        (with_fields(b"\x04" + leb128(1 << 62)), "bytes, but 0"),
        (with_fields(b"\x04\x01a", leb128(30)), "ends inside"),
        (with_fields(b"\x04\x01a", leb128(MAX_FIELD_BYTES + 1)), "expected 1 to"),
        (with_fields(b"\x04\x01a", leb128(1 << 62)), "expected 1 to"),
        (with_fields(b"\x04\x01a", b"\xff" * 11), "too long"),
        (with_fields(bytes([OWN_FIELDS, 0])), "archive's fields"),
        (with_fields(bytes([OWN_FIELDS, 1, 7])), "archive's fields"),
        (with_fields(bytes([GREY_PICTURES, 1, 128])), "archive's fields"),
    ],
)
def test_what_is_not_canonical_or_lies_is_refused_at_once(data: bytes, message: str):
    tracemalloc.start()
    with pytest.raises(FormatError, match=message):
        parse_header(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
    with pytest.raises(second.Refused):
        second.header(data)


def test_an_archive_that_this_program_can_t_read_is_still_an_archive():
    data = with_fields(bytes([OWN_FIELDS, 0, 200, 0]), archive=True)
    assert is_archive(data)
    with pytest.raises(FormatError, match="update ddpmcodec"):
        read_archive(data)
    data = with_fields(bytes([OWN_FIELDS, 1, 7]), archive=True)
    with pytest.raises(FormatError, match="archive's fields"):
        read_archive(data)


def test_fields_have_a_bound_together():
    most = MAX_FIELD_BYTES - 4  # identifier, and three bytes of length
    header = replace(HEADER, fields=in_order([(1, bytes(most))]))
    assert parse_header(header.to_bytes(), whole=False)[0] == header
    with pytest.raises(DdpmCodecError, match="at most 1048576"):
        in_order([(1, bytes(most + 1))])


@pytest.mark.parametrize("found", [[(1, b""), (1, b"a")], [(256, b"")], [(-1, b"")]])
def test_fields_that_no_header_can_have_are_refused(found: list[tuple[int, bytes]]):
    with pytest.raises(DdpmCodecError, match="different identifiers"):
        in_order(found)


def test_a_header_s_fields_are_sorted():
    assert in_order([(5, b"x"), (1, b"y")]) == ((1, b"y"), (5, b"x"))
    with pytest.raises(DdpmCodecError, match="sort"):
        replace(HEADER, fields=(Field(5, b""), Field(1, b"")))


def test_no_field_costs_nothing_and_grey_costs_nothing():
    assert len(HEADER.to_bytes()) == len(replace(HEADER, grey=True).to_bytes()) == 10
    assert len(replace(HEADER, fields=in_order([(FRAME, b"\x07")])).to_bytes()) == 10 + 4


def test_identifiers_are_named_once():
    named = {
        value
        for name, value in vars(fields).items()
        if name.isupper() and name not in ("MARK", "MAX_FIELD_BYTES") and isinstance(value, int)
    }
    assert named == set(NAMES)
    assert len(set(NAMES.values())) == len(NAMES)


# Archives: what all pictures have is in the header, the rest before each payload.


@settings(max_examples=60)
@given(st.lists(st.tuples(st.binary(min_size=1, max_size=9), SKIPPED), min_size=1, max_size=5), SKIPPED)
def test_pictures_come_out_of_an_archive_with_their_fields(
    parts: list[tuple[bytes, dict[int, bytes]]], shared: dict[int, bytes]
):
    files = [file_of(payload, *(own | shared).items()) for payload, own in parts]
    data = pack_archive(files)
    archive = read_archive(data)
    assert [archive.stream(i) for i in range(archive.count)] == files
    assert [archive.payload(i) for i in range(archive.count)] == [payload for payload, _ in parts]
    assert set(shared.items()) <= {tuple(field) for field in archive.header.fields}
    _, theirs = second.archive(data)
    assert theirs == files


def test_fields_that_all_pictures_have_are_stored_once():
    files = [file_of(bytes([i + 1]), (ICC_PROFILE, bytes(1000))) for i in range(20)]
    archive = read_archive(pack_archive(files))
    assert len(archive.data) < 1100
    assert not archive.own_fields
    assert archive.header.fields == ((ICC_PROFILE, bytes(1000)),)


def test_an_archive_with_own_fields_cut_anywhere_gives_what_is_there():
    files = [file_of(bytes([65 + i] * 3), (FILE_NAME, b"%d.png" % i)) for i in range(4)]
    data = pack_archive(files)
    start = read_archive(data).starts[0]
    for cut in range(start, len(data)):
        archive = read_archive(data[:cut], allow_partial=True)
        for i in range(archive.intact):
            assert archive.stream(i) == files[i][:-2]
        for i in range(archive.intact, archive.begun):
            with suppress(FormatError):  # not even its fields are there
                assert files[i].startswith(archive.stream(i))


@settings(max_examples=60)
@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_an_archive_says_which_pictures_are_grey(kinds: list[bool]):
    files = []
    for i, grey in enumerate(kinds):
        header = replace(HEADER, grey=grey)
        body = header.to_bytes() + bytes([i + 1])
        files.append(body + header.check(body))
    data = pack_archive(files)
    archive = read_archive(data)
    assert [archive.stream(i) for i in range(archive.count)] == files
    assert (archive.header.grey, bool(archive.grey)) == (all(kinds), any(kinds) and not all(kinds))
    assert second.archive(data)[1] == files


@pytest.mark.parametrize("bits", [b"", b"\x00", b"\xe0", b"\x90", b"\x80\x00"])
def test_bits_that_do_not_name_some_pictures_are_refused(bits: bytes):
    header = replace(HEADER, archive=True, fields=in_order([(GREY_PICTURES, bits)]))
    body = header.to_bytes() + b"\x03\x01\x00abc"
    with pytest.raises(FormatError, match="which of its 3 pictures are grey"):
        read_archive(body + header.check(body))
    with pytest.raises(second.Refused):
        second.archive(body + header.check(body))


@pytest.mark.parametrize(
    "own", [b"\x09\x04\x01a", leb128(1 << 62), b"\x03\x81\x01x", b"\x02\x80\x00", b"\xff" * 12, b""]
)
def test_own_fields_that_lie_are_refused(own: bytes):
    header = replace(HEADER, archive=True, fields=in_order([(OWN_FIELDS, b"")]))
    body = header.to_bytes() + b"\x01" + leb128(max(len(own), 1)) + b"\x00" + (own or b"\xff")
    archive = read_archive(body + header.check(body))
    with pytest.raises(DdpmCodecError):
        parse_header(archive.stream(0))
