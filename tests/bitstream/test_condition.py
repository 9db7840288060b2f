"""Class, prompt and guidance in the header: they come back, and what can't be one is refused."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpmcodec.bitstream.condition import MAX_PROMPT_BYTES, condition_fields, condition_of
from ddpmcodec.bitstream.fields import CLASS, GUIDANCE, PROMPT, in_order
from ddpmcodec.bitstream.header import Header, parse_header
from ddpmcodec.errors import DdpmCodecError, FormatError
from ddpmcodec.models.condition import Condition, condition_from
from tests.tools import format_parser as second

HEADER = Header("01234567", 7, 5)
CONDITIONS = st.builds(Condition, st.none() | st.integers(0, 1 << 31), st.text(max_size=60), st.integers(0, 10_000))


@given(CONDITIONS)
def test_a_condition_comes_back(condition: Condition):
    header = replace(HEADER, fields=in_order(condition_fields(condition).items()))
    data = header.to_bytes() + bytes(10)
    parsed, end = parse_header(data)
    assert condition_of(parsed) == condition
    assert end == second.header(data).size
    assert (condition == Condition()) == (not header.fields)


def test_what_is_not_said_costs_nothing():
    assert condition_fields(condition_from(None, "", None)) == condition_fields(condition_from(None, None, 1.0)) == {}
    assert condition_fields(condition_from(7, "", None)) == {CLASS: b"\x07"}
    assert len(condition_fields(condition_from(None, "a red house by the sea", None))[PROMPT]) <= 24
    assert condition_fields(condition_from(None, "", 7.5)) == {GUIDANCE: b"\xee\x05"}


def test_a_prompt_has_its_limit():
    assert condition_fields(Condition(prompt="a house " * 1000))  # deflated, it is short
    noise = "".join(Random(0).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=2 * MAX_PROMPT_BYTES))
    with pytest.raises(DdpmCodecError, match="at most 1024"):
        condition_fields(Condition(prompt=noise))
    with pytest.raises(DdpmCodecError, match="shorter"):
        condition_fields(Condition(prompt="a" * (1 << 17)))


@pytest.mark.parametrize("values", [{"label": -1}, {"label": 1 << 40}, {"guidance": -1}, {"guidance": 10_001}])
def test_what_is_no_condition_is_refused(values: dict[str, int]):
    with pytest.raises(DdpmCodecError, match=r"class|guidance"):
        Condition(**values)
    with pytest.raises(DdpmCodecError, match="guidance"):
        condition_from(None, None, float("inf"))


@pytest.mark.parametrize(
    "fields",
    [
        {CLASS: b""},
        {CLASS: b"\x01\x02"},
        {CLASS: b"\xff" * 8 + b"\x01"},
        {GUIDANCE: b"\xff\xff\x7f"},
        {PROMPT: b""},
        {PROMPT: b"no deflate"},
        {PROMPT: condition_fields(Condition(prompt="ab"))[PROMPT] + b"x"},
        {PROMPT: condition_fields(Condition(prompt="a" * (1 << 16)))[PROMPT][:-1]},
    ],
)
def test_damaged_fields_are_refused(fields: dict[int, bytes]):
    with pytest.raises(FormatError):
        condition_of(replace(HEADER, fields=in_order(fields.items())))
