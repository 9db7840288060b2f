"""`verify`, in the library and as a command: sound files pass, everything else is named, no network runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import ddpmcodec
from ddpmcodec.bitstream.archive import pack_archive
from ddpmcodec.bitstream.file import finish, writer_of
from ddpmcodec.bitstream.header import Header
from ddpmcodec.codec.verification import verify
from ddpmcodec.errors import FormatError, TruncatedArchiveError
from ddpmcodec.models import CodecModel
from tests.cli.test_cli import run

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def streams(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]) -> list[bytes]:
    shown = [prior_picture[:20, :24], prior_picture[8:28, 8:32]]
    return [ddpmcodec.encode(p, model=tiny_model, plan_steps=4, steps=n) for n, p in enumerate(shown, 2)]


@pytest.fixture(scope="module")
def blind(tiny_model: CodecModel) -> CodecModel:
    """The model, but its network can't be run."""

    def fail(x_t: object, log_snr: object) -> None:
        raise AssertionError("verify ran the network")

    return replace(tiny_model, eps_model=fail)


def test_sound_streams_and_archives(streams: list[bytes], blind: CodecModel):
    found = verify(streams[0], blind)
    assert (found.header.width, found.header.height, found.size) == (24, 20, len(streams[0]))
    assert (found.pictures, found.archive, found.steps) == (1, False, (2,))
    archive = verify(pack_archive(streams), blind)
    assert (archive.pictures, archive.archive, archive.steps) == (2, True, (2, 3))


def test_of_another_model_s_file_the_check_is_looked_at(streams: list[bytes], blind: CodecModel):
    other = replace(blind, fingerprint="f" * 64)
    for data in (streams[0], pack_archive(streams)):
        assert verify(data, other).steps is None
        with pytest.raises(FormatError, match="check"):
            verify(data[:-1] + bytes([data[-1] ^ 1]), other)


def test_every_cut_is_found(streams: list[bytes], blind: CodecModel):
    for data, error in ((streams[0], FormatError), (pack_archive(streams), (FormatError, TruncatedArchiveError))):
        for cut in range(len(data)):
            with pytest.raises(error):
                verify(data[:cut], blind)


def test_a_check_alone_does_not_do(streams: list[bytes], blind: CodecModel, tiny_model: CodecModel):
    body = streams[0][:-2] + b"\x00"
    forged = body + Header("00000000", 24, 20).check(body)
    with pytest.raises(FormatError, match="passes its check, but"):
        verify(forged, blind)
    header = ddpmcodec.read_header(streams[0])
    unended = finish(header, writer_of(header, tiny_model))
    with pytest.raises(FormatError, match="0 of 4 steps"):
        verify(unended, blind)
    with pytest.raises(FormatError, match="picture 1"):
        verify(pack_archive([streams[0], forged]), blind)


def test_the_command_says_one_line_a_file(tmp_path: Path):
    for name in ("plain", "archive"):
        (tmp_path / f"{name}.bin").write_bytes((GOLDEN / f"{name}.bin").read_bytes())
    damaged = bytearray((GOLDEN / "plain.bin").read_bytes())
    damaged[100] ^= 4
    (tmp_path / "bad.bin").write_bytes(damaged)
    good = run("verify", tmp_path / "plain.bin", tmp_path / "archive.bin")
    assert good.exit_code == 0, good.output
    plain, archive = good.stdout.splitlines()
    assert plain.endswith("plain.bin: ok, 32x32, 1177 bytes, 10 steps") or ", 10 steps" in plain
    assert "3 pictures" in archive
    bad = run("verify", tmp_path / "bad.bin", tmp_path / "plain.bin", tmp_path / "none.bin")
    assert bad.exit_code == 2
    lines = bad.stdout.splitlines()
    assert [("ok, " in line, "FAILED, " in line) for line in lines] == [(False, True), (True, False), (False, True)]
    quiet = run("verify", "-q", tmp_path / "bad.bin", tmp_path / "plain.bin")
    assert len(quiet.stdout.splitlines()) == 1


def test_the_command_as_json(tmp_path: Path, streams: list[bytes]):
    (tmp_path / "other.bin").write_bytes(streams[0])
    done = run("verify", "--json", GOLDEN / "lossless.bin", GOLDEN / "cut.bin", tmp_path / "other.bin")
    assert done.exit_code == 2
    lossless, cut, other = json.loads(done.stdout)
    assert lossless["sound"]
    assert lossless["model"] == "cifar10-small"
    assert not cut["sound"]
    assert "check" in cut["error"]
    assert other["sound"]
    assert other["steps"] is None
    assert "check only" in run("verify", tmp_path / "other.bin").stdout


def test_the_command_reads_stdin():
    assert run("verify", "-", stdin=(GOLDEN / "ended.bin").read_bytes()).exit_code == 0
    assert run("verify", "-", stdin=b"nothing of ours").exit_code == 2
