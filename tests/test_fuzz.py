"""The fuzz run, short; `python -m tests.tools.fuzz` is the long one."""

from __future__ import annotations

import pytest

from ddpmcodec.bitstream.header import parse_header
from tests.tools import fuzz
from tests.tools.mutations import mutant

COUNT = 2000


@pytest.fixture(scope="module")
def tally() -> fuzz.Tally:
    found, targets, files = fuzz.Tally(), fuzz.Targets(), fuzz.golden_files()
    for index in range(COUNT):
        fuzz.feed(targets, mutant(files, 1234, index), index, found)
    return found


def test_mutated_files_give_results_or_codec_errors(tally: fuzz.Tally):
    assert tally.failures == []


def test_mutants_get_everywhere(tally: fuzz.Tally):
    # Where all were refused at the first byte, the run would say nothing.
    for name, outcomes in tally.outcomes.items():
        assert sum(outcomes.values()) >= COUNT // 9, name
    for name in (
        "read_header",
        "read_info",
        "verify",
        "read_archive",
        "decode partial",
        "truncate to steps",
        "decode_stream partial",
    ):
        assert tally.outcomes[name]["result"] > 0, name
        assert sum(tally.outcomes[name].values()) > tally.outcomes[name]["result"], name


def test_mutants_are_the_same_on_every_machine():
    files = [b"\xdd\xbc\x02\x00abcd\x1f\x1fpayload of a stream", b"another"]
    assert mutant(files, 0, 7) == mutant(files, 0, 7)
    assert len({mutant(files, 0, i) for i in range(50)}) > 40


def test_half_of_the_mutants_get_past_the_check():
    files, sound = fuzz.golden_files(), 0
    for index in range(300):
        data = mutant(files, 5, index)
        try:
            header, _ = parse_header(data, whole=False)
        except ValueError:
            continue
        end = len(data) - header.check_bytes
        sound += end > 0 and header.check(data[:end]) == data[end:]
    assert sound > 50


def test_what_is_no_codec_error_is_a_failure():
    tally, where = fuzz.Tally(), {"index": 0, "input_bytes": 1}

    def fail(data: bytes) -> None:
        raise KeyError("oops")

    fuzz._call("bad", fail, b"\x2a", where, tally)
    assert tally.outcomes["bad"] == {"FAILURE": 1}
    assert tally.failures[0]["input"] == "2a"
    assert "oops" in tally.failures[0]["what"]
