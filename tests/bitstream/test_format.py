"""The parser written from docs/format.md reads what the package reads: steps, symbols, where things end, what
is whole.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ddpmcodec
from ddpmcodec.bitstream.archive import is_archive, read_archive
from ddpmcodec.bitstream.bit_counts import BitCountModel, fineness, grid
from ddpmcodec.bitstream.file import KnownModel, finish, read_info, writer_of
from ddpmcodec.bitstream.header import Header
from ddpmcodec.bitstream.packet import Packet, Share
from ddpmcodec.bitstream.shares import _gains
from ddpmcodec.bitstream.solid import Block, block_payload, read_block
from ddpmcodec.channel.names import channel_of, default_memory
from ddpmcodec.channel.random_coding import zipf
from ddpmcodec.channel.trellis import TrellisChannel
from ddpmcodec.diffusion.error_curve import END_MSE, ErrorCurve
from ddpmcodec.diffusion.plan import Plan, make_plan, most_steps
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.models import read_model_info
from ddpmcodec.numerics.symbol_model import categorical
from tests.conftest import spectral_curve
from tests.diffusion.test_plan import weak_curve
from tests.tools import format_parser as second

FOLDER = Path(__file__).parents[1] / "golden"
SUMMARY: dict[str, Any] = json.loads((FOLDER / "golden.json").read_text())
MARK = "0123456789abcdef" * 4
CHANNELS = st.sampled_from([None, (0, 8), (0, 16), (1, 8), (1, 9)])


@pytest.fixture(scope="module")
def embedded() -> second.Model:
    return second.model_file(read_model_info().path)


def of(curve: ErrorCurve) -> second.Model:
    spectrum = None if curve.spectrum is None else (curve.spectrum.log_snr, curve.spectrum.power)
    return second.Model(MARK, curve.log_snr, curve.snr, curve.mse, curve.dims, spectrum=spectrum)


def known(curve: ErrorCurve) -> KnownModel:
    return SimpleNamespace(name="any", fingerprint=MARK, curve=curve, window=32, channels=3, factor=1)  # type: ignore[return-value]


@pytest.fixture(scope="module", params=["white", "coloured"])
def any_curve(request: pytest.FixtureRequest, curve: ErrorCurve) -> ErrorCurve:
    return spectral_curve() if request.param == "coloured" else curve


def same(mine: second.Parsed, theirs: ddpmcodec.StreamInfo | Any, data: bytes) -> None:
    packets = [(None if p.log_snr is not None else p.index, p.bits, tuple(p.code.tolist())) for p in theirs.packets]
    assert [(s.index, s.bits, s.symbols) for s in mine.steps] == packets
    assert [s.colour == "coloured " for s in mine.steps] == [p.coloured for p in theirs.packets]
    assert mine.complete == theirs.complete
    assert mine.head.size == theirs.header_bytes
    if theirs.tail:
        assert mine.tail is not None
        assert data[slice(*mine.tail)] == theirs.tail
    else:
        assert mine.tail is None


@pytest.mark.parametrize("name", SUMMARY["files"])
def test_goldens(name: str, embedded: second.Model):
    data = (FOLDER / f"{name}.bin").read_bytes()
    assert second.digest(data, embedded) == SUMMARY["files"][name]["integers"]
    files = [data]
    if is_archive(data):
        archive = read_archive(data)
        if archive.solid > 1:
            _, together, blocks = second.solid(data, embedded)
            assert together == archive.solid
            for number, mine in enumerate(blocks):
                members = archive.members(number)
                payload = archive.payload(members.start)
                same_block(mine, read_block(archive.header, payload, len(members), read_model_info()))
            return
        _, files = second.archive(data)
        assert files == [archive.stream(i) for i in range(archive.count)]
    for file in files:
        same(second.stream(file, embedded), ddpmcodec.read_info(file, read_model_info()), file)


@pytest.mark.parametrize("name", ["short-step", "lossless-odd", "ended", "no-short-step", "one-pixel"])
def test_goldens_cut_anywhere(name: str, embedded: second.Model):
    data, about = (FOLDER / f"{name}.bin").read_bytes(), read_model_info()
    for cut in range(len(data)):
        try:
            found = ddpmcodec.read_info(data[:cut], about)
        except DdpmCodecError:
            with pytest.raises(second.Refused):
                second.stream(data[:cut], embedded)
            continue
        same(second.stream(data[:cut], embedded), found, data[:cut])


@st.composite
def streams(draw: st.DrawFn, curve: ErrorCurve) -> bytes:
    """A complete file of random counts and symbols, for which no network was run."""
    kind = draw(st.sampled_from(["plain", "short", "lossless"]))
    header = Header(
        MARK[:8],
        draw(st.sampled_from([1, 31, 40])),
        draw(st.sampled_from([1, 32, 128])),
        draw(st.sampled_from([None, 1, 3, 9])),
        draw(CHANNELS),
        draw(st.sampled_from([0, 1, 127, 128, (1 << 64) - 1])),
        short=kind == "short",
        lossless=kind == "lossless",
    )
    writer, rng = writer_of(header, known(curve)), np.random.default_rng(draw(st.integers(0, 1 << 32)))

    def packet(index: int, bits: int, log_snr: float | None = None) -> Packet:
        sizes = [a.size for a in writer.channel.symbol_models(bits, writer.dims) for _ in range(a.count)]
        most = np.array(sizes, np.int64) - 1
        code = draw(st.sampled_from([rng.integers(0, most + 1), most, 0 * most]))
        coloured = curve.spectrum is not None and bits > 0 and draw(st.booleans())
        return Packet(index, bits, code.astype(np.int32), log_snr, coloured)

    for _ in range(draw(st.integers(int(header.lossless), writer.plan.steps))):
        index = draw(st.integers(0, 30))
        writer.write(packet(index, writer.counts.values[index]))
    if kind == "short" and not writer.ended and draw(st.booleans()):
        short = writer.short_step()
        bits = short.unit * draw(st.integers(1, min(200, short.most_bits // short.unit)))
        writer.write(packet(-1, bits, short.log_snr(bits)))
    writer.end()
    return finish(header, writer, draw(st.binary(min_size=5, max_size=40)) if kind == "lossless" else b"")


@settings(max_examples=40)
@given(st.data())
def test_random_streams_and_their_prefixes(any_curve: ErrorCurve, data: st.DataObject):
    file = data.draw(streams(any_curve))
    parsed = second.stream(file, of(any_curve))
    assert parsed.complete
    same(parsed, read_info(file, known(any_curve)), file)
    cut = file[: data.draw(st.integers(parsed.head.size + parsed.head.least_payload, len(file)))]
    same(second.stream(cut, of(any_curve)), read_info(cut, known(any_curve)), cut)


def same_block(mine: second.Block, theirs: Block) -> None:
    assert mine.pictures == theirs.count
    assert [(s.index, s.bits, s.symbols) for s in mine.steps] == [
        (p.index, p.bits, tuple(p.code.tolist())) for p in theirs.packets
    ]
    for step, packet in zip(mine.steps, theirs.packets, strict=True):
        words = step.colour.split()
        assert [int(word) for word in words if word not in ("coloured", "white")] == [s.gain for s in packet.shares]
        if theirs.plan.spectrum is not None and theirs.count > 1:
            assert [word == "coloured" for word in words[::2]] == [share.coloured for share in packet.shares]
    assert (mine.tails is not None) == theirs.complete
    assert (mine.tails or []) == [len(tail) for tail in theirs.tails]


@settings(max_examples=12)
@given(st.data())
def test_random_blocks_cut_and_damaged(any_curve: ErrorCurve, data: st.DataObject):
    draw, spectrum = data.draw, any_curve.spectrum is not None
    count, lossless = draw(st.integers(2, 4)), draw(st.booleans())
    channel = draw(st.sampled_from([None, (0, 8), (1, 9)]))
    header = Header(MARK[:8], 30, 31, draw(st.sampled_from([1, 4])), channel, lossless=lossless)
    writer, rng = writer_of(header, known(any_curve), count), np.random.default_rng(draw(st.integers(0, 1 << 32)))
    for _ in range(draw(st.integers(1, writer.plan.steps))):
        index = draw(st.integers(0, 30))
        bits = writer.counts.values[index]
        sizes = [a.size for a in writer.channel.symbol_models(bits, writer.dims) for _ in range(a.count)]
        code = rng.integers(0, np.array(sizes, np.int64)).astype(np.int32)
        gains = draw(st.lists(st.integers(-32, 32), min_size=count, max_size=count))
        shares = tuple(Share(spectrum and draw(st.booleans()), gain) for gain in gains) if bits else ()
        writer.write(Packet(index, bits, code, shares=shares))
    writer.end()
    tails = [bytes(draw(st.integers(5, 200))) for _ in range(count)] if lossless else []
    payload = block_payload(header, writer, tails)

    def compared(part: bytes) -> Block:
        found = read_block(header, part, count, known(any_curve))
        head = second.header(header.to_bytes() + b"?")
        same_block(second.block(head, of(any_curve), part, count), found)
        return found

    found = compared(payload)
    assert found.complete
    assert [len(tail) for tail in found.tails] == [len(tail) for tail in tails]
    cut = draw(st.integers(1, len(payload)))
    assert lossless or compared(payload[:cut]).complete == (cut == len(payload))
    damaged = bytearray(payload)
    damaged[draw(st.integers(0, len(payload) - 1))] ^= draw(st.integers(1, 255))
    compared(bytes(damaged))


@settings(max_examples=40)
@given(st.data())
def test_damaged_streams_read_alike(any_curve: ErrorCurve, data: st.DataObject):
    file = bytearray(data.draw(streams(any_curve)))
    for _ in range(data.draw(st.integers(1, 3))):
        file[data.draw(st.integers(0, len(file) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = bytes(file)
    if data.draw(st.booleans()):  # the check matches, but the bytes may be none that an encoder writes
        size = len(damaged) - 2
        damaged = damaged[:size] + replace(Header(MARK[:8], 1, 1)).check(damaged[:size])
    try:
        found = read_info(damaged, known(any_curve))
    except DdpmCodecError:
        with pytest.raises(second.Refused):
            second.stream(damaged, of(any_curve))
        return
    if found.header.fingerprint == MARK[:8]:
        same(second.stream(damaged, of(any_curve)), found, damaged)


@pytest.mark.parametrize("steps", [1, 2, 7, 20])
def test_plans(any_curve: ErrorCurve, embedded: second.Model, steps: int):
    assert END_MSE == second.END_MSE
    for mine, theirs in ((of(any_curve), any_curve), (embedded, read_model_info().curve)):
        if steps <= most_steps(theirs):
            levels, rates = second.plan(mine, steps)
            plan = make_plan(theirs, steps)
            assert tuple(theirs.log_snr[i] / 65536 for i in levels) == plan.log_snr
            assert rates == plan.rate


@pytest.mark.parametrize("steps", [5, 6, 20, 57])
def test_plans_of_models_whose_steps_are_too_large_for_a_channel(steps: int):
    curve = weak_curve()
    levels, rates = second.plan(of(curve), steps)
    assert make_plan(curve, steps) == Plan(tuple(curve.log_snr[i] / 65536 for i in levels), rates, curve.dims)


@pytest.mark.parametrize("pictures", [1, 2, 4, 15, 16, 255, 256, 10_000])
def test_grids_of_many_dimensions(pictures: int):
    finer = fineness(3072 * pictures)
    assert finer == second.fineness(3072 * pictures) == min(int(pictures**0.5), 16)
    values = grid(3072 * pictures, finer)
    assert values == second.grid(3072 * pictures, finer)
    steps = [b / a for a, b in zip(values, values[1:], strict=False) if a > 100 * finer**2]
    assert max(steps) < 1 + 1 / (5 * finer)


@given(st.integers(-32, 32), st.integers(60, 2000))
def test_gain_models(last: int, spread: int):
    assert second.gain_symbols(last, spread) == second.categorical(_gains(last, spread).frequencies or ())


@given(st.integers(-1 << 20, 1 << 20), st.integers(90, 1 << 16), st.sampled_from([768, 3072, 50_000_000]))
def test_count_models(centre: int, spread: int, most: int):
    from ddpmcodec.bitstream.bit_counts import _frequencies

    places = len(second.grid(most))
    assert second.grid(most) == grid(most)
    frequencies = _frequencies(centre, spread, places)
    assert second.count_symbols(centre, spread, places) == second.categorical(frequencies)


def test_count_models_stay_positive(curve: ErrorCurve):
    model = BitCountModel(make_plan(curve, 3), TrellisChannel(8), 3072)
    assert min(model.symbol_model().frequencies or ()) >= 1


@pytest.mark.parametrize("parameter", [8, 9, 10])
def test_zipf_tables(parameter: int):
    for bits in range(1, parameter - 5):
        assert second.zipf(bits, parameter) == second.categorical(zipf(bits, parameter))


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=50), st.data())
def test_the_range_coder_is_constriction_s(frequencies: list[int], data: st.DataObject):
    from constriction import stream

    from ddpmcodec.bitstream.range_coder import seal

    frequencies[0] += (1 << 16) - sum(frequencies)
    symbols = data.draw(st.lists(st.integers(0, len(frequencies) - 1), max_size=60))
    encoder, mine = stream.queue.RangeEncoder(), second.Interval()
    for symbol in symbols:
        encoder.encode(symbol, categorical(tuple(frequencies)))
        mine.narrow(second.categorical(tuple(frequencies)), symbol)
    assert mine.sealed() == seal(encoder)
    assert mine.words == encoder.pos()[0]
    assert (mine.low & (1 << 64) - 1, mine.range) == encoder.pos()[1]


def test_channels_in_headers_are_the_same():
    for dims in (3072, 16384, 16385):
        assert channel_of(None, dims).memory == default_memory(dims) == (16 if dims <= 16384 else 14)  # type: ignore[attr-defined]


def test_the_parser_shares_nothing_with_the_package():
    source = Path(second.__file__).read_text()
    assert "ddpmcodec" not in "".join(line for line in source.splitlines() if "import" in line)
