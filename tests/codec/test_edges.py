"""Ends of streams and archives: nothing there, too little there, bytes that nobody writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import constriction
import numpy as np
import pytest
from numpy.typing import NDArray

import ddpmcodec
from ddpmcodec.bitstream.archive import pack_blocks, read_archive
from ddpmcodec.bitstream.file import finish, writer_of
from ddpmcodec.bitstream.header import Header
from ddpmcodec.bitstream.solid import block_payload, read_block
from ddpmcodec.bitstream.writer import StreamWriter
from ddpmcodec.channel.names import channel_of
from ddpmcodec.codec import rate_control, reconstruction
from ddpmcodec.codec.archive_decoding import decode_member
from ddpmcodec.codec.archive_encoding import encode_archive
from ddpmcodec.codec.decoding import decode, decode_batch_progressive, decode_stream
from ddpmcodec.codec.encoding import encode_batch
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.errors import DdpmCodecError, FormatError
from ddpmcodec.lossless.rounding import ESCAPE
from ddpmcodec.lossless.tail import _read_tries, _write_tries
from ddpmcodec.models import CodecModel
from ddpmcodec.page.shown import shown_member
from tests.bitstream.test_solid import HEADER, known, payload_of
from tests.conftest import coloured_pictures, spectral_curve

FAST = {"plan_steps": 3, "channel": "trellis:8"}


@pytest.mark.parametrize("target", [{"target_bytes": 300}, {"target_psnr": 30.0}])
def test_a_batch_has_no_target(tiny_model: CodecModel, picture: NDArray[np.uint8], target: dict[str, float]):
    with pytest.raises(DdpmCodecError, match="it has no target: encode them one by one"):
        encode_batch([picture, picture], model=tiny_model, **target)  # type: ignore[arg-type]


def test_no_streams_are_no_pictures(tiny_model: CodecModel):
    assert list(decode_batch_progressive([], model=tiny_model)) == []


def test_a_sound_stream_without_a_step_is_no_picture(tiny_model: CodecModel):
    header = Header(tiny_model.fingerprint[:8], 4, 4, 3)
    data = finish(header, StreamWriter(tiny_model.plan(3), channel_of(None, 3072), 3072).ended_here())
    for pieces in ([data], [data[:9], data[9:]]):
        with pytest.raises(DdpmCodecError, match="not even the first step of the stream is there"):
            list(decode_stream(pieces, model=tiny_model))


def test_the_mean_is_what_is_shown_by_whichever_way_it_is_asked_for(tiny_model: CodecModel, picture: NDArray[np.uint8]):
    data = ddpmcodec.encode(picture[:20, :27], model=tiny_model, **FAST)
    for steps in (1, 3):
        asked = decode(data, steps, model=tiny_model, reconstruct=lambda *given: reconstruction.mean(*given))
        np.testing.assert_array_equal(asked, decode(data, steps, model=tiny_model))


@pytest.fixture(scope="module")
def solid(coloured_model: CodecModel) -> bytes:
    return encode_archive(list(coloured_pictures(4)), model=coloured_model, solid=2, **FAST)


def test_a_block_of_which_next_to_nothing_is_there_has_no_picture(coloured_model: CodecModel, solid: bytes):
    start = read_archive(solid).starts[1]
    for cut in (start + 1, start + 12):
        archive = read_archive(solid[:cut], allow_partial=True)
        with pytest.raises(DdpmCodecError, match="not even the first step of the picture's block is there"):
            list(decode_member(archive, 2, None, coloured_model, allow_partial=True))
        assert len(list(decode_member(archive, 1, None, coloured_model, allow_partial=True))) == 3
    assert len(list(decode_member(read_archive(solid), 2, None, coloured_model))) == 3


def test_a_page_of_a_member_takes_whole_numbers_of_steps(coloured_model: CodecModel, solid: bytes):
    archive = read_archive(solid)
    assert [step.n for step in shown_member(archive, 1, every=2, model=coloured_model).steps] == [1, 2, 3]
    with pytest.raises(DdpmCodecError, match="every 0 steps: expected at least 1"):
        shown_member(archive, 1, every=0, model=coloured_model)


def test_a_chain_in_other_bytes_than_an_encoder_s_is_not_sound():
    """Several endings decode to the same steps; only the shortest, and of those the least, is written."""
    header, tails = replace(HEADER, lossless=True), (b"a tail", b"another one", b"the last of them")
    model = known(spectral_curve())
    payload = payload_of(header, 3, spectral_curve(), 3, tails)
    whole, rest = read_block(header, payload, 3, model), sum(map(len, tails)) + 2
    assert whole.complete
    chain = payload[:-rest]
    same = []
    for last in set(range(256)) - {chain[-1]}:
        found = read_block(header, chain[:-1] + bytes([last]) + payload[-rest:], 3, model)
        assert not found.complete
        same.append([p.code.tolist() for p in found.packets] == [p.code.tolist() for p in whole.packets])
    assert any(same)


@pytest.mark.parametrize("left", [0, 1])
def test_sizes_of_tails_that_are_cut_are_not_sound(left: int):
    header, tails = replace(HEADER, lossless=True), (b"a tail", b"another one", b"the last of them")
    payload = payload_of(header, 3, spectral_curve(), 3, tails)
    cut = payload[: len(payload) - sum(map(len, tails)) - 2 + left]
    found = read_block(header, cut, 3, known(spectral_curve()))
    assert (found.complete, found.steps, found.tails) == (False, 3, ())


@pytest.mark.parametrize("tries", [0, 1, ESCAPE - 1, ESCAPE, ESCAPE + 1, 7 * ESCAPE, 1000])
def test_any_number_of_tries_is_read_as_it_was_written(tries: int):
    encoder = constriction.stream.queue.RangeEncoder()
    _write_tries(encoder, tries, 64)
    assert _read_tries(constriction.stream.queue.RangeDecoder(encoder.get_compressed()), 64) == tries


def test_tries_without_end_are_damage():
    class Always:
        calls = 0

        def decode(self, model: object) -> int:
            self.calls += 1
            return ESCAPE

    decoder = Always()
    with pytest.raises(FormatError, match="the lossless tail can't be decoded: the file is damaged"):
        _read_tries(decoder, 64)
    assert decoder.calls <= (1 << 20) // ESCAPE + 1


def test_a_block_with_fewer_bytes_than_its_size_demands_is_not_begun(curve: ErrorCurve):
    header = replace(HEADER, width=512, height=512, lossless=False)
    writer = writer_of(header, known(curve), 5)
    writer.end()
    payload = block_payload(header, writer)
    data = pack_blocks(header, [False] * 10, [payload, payload], 5)
    archive = read_archive(data[: -4 - len(payload) // 2], allow_partial=True)
    assert 0 < len(archive.payload(7)) < len(payload)
    with pytest.raises(DdpmCodecError, match="not even the first step of the picture's block is there"):
        list(decode_member(archive, 7, None, known(curve), allow_partial=True))


class Luck:
    """Stands for a sender whose short steps take as many bytes as `spare` says that they leave of the size.

    A step's packet is its number of bits.
    """

    def __init__(self, patch: pytest.MonkeyPatch, most: int, spare: Callable[[int], int]) -> None:
        self.tried: list[int] = []
        self.header = SimpleNamespace(to_bytes=lambda: bytes(10), check_bytes=4)
        self.chain = SimpleNamespace(n=0)
        self.streams = [
            SimpleNamespace(short_step=lambda: SimpleNamespace(most_bits=most, unit=1), ended_here=lambda: 0)
        ]
        patch.setattr(rate_control, "short_step", self.step)
        patch.setattr(rate_control, "_with", lambda stream, packet: packet)
        patch.setattr(rate_control, "_information", float)
        patch.setattr(rate_control, "_size", lambda sender, trial: self.size - spare(trial))

    def step(self, sender: Luck, bits: int) -> tuple[int, tuple[int, ...]]:
        self.tried.append(bits)
        return bits, (bits,)

    def spend(self, size: int) -> Any:
        self.size = size
        return rate_control._spend(self, size)  # type: ignore[arg-type]


def test_a_step_that_fits_is_found_after_a_dozen_that_do_not(monkeypatch: pytest.MonkeyPatch):
    luck = Luck(monkeypatch, 1000, lambda bits: 1 if bits <= 3 else -1)
    bits, packets = luck.spend(100)
    assert 1 <= bits <= 3
    assert packets == (bits,)
    assert 12 < len(luck.tried) < 30
    assert len(set(luck.tried)) == len(luck.tried), "nothing is searched twice"


def test_where_even_the_longest_step_leaves_room_it_is_taken(monkeypatch: pytest.MonkeyPatch):
    luck = Luck(monkeypatch, 5, lambda bits: 90)
    assert luck.spend(100) == (5, (5,))
    assert luck.tried == [5]


def test_where_nothing_fits_the_least_size_is_named(monkeypatch: pytest.MonkeyPatch):
    luck = Luck(monkeypatch, 1000, lambda bits: -7 - bits)
    with pytest.raises(DdpmCodecError, match=r"a target of 100 bytes is too small for this picture.*: take 108"):
        luck.spend(100)
    assert luck.tried[-1] == 1
