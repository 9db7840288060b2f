from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpmcodec.bitstream.bit_counts import BitCountModel
from ddpmcodec.bitstream.packet import Packet
from ddpmcodec.bitstream.reader import StreamReader
from ddpmcodec.bitstream.writer import StreamWriter
from ddpmcodec.channel.base import Channel
from ddpmcodec.channel.random_coding import RandomCodingChannel
from ddpmcodec.channel.trellis import TrellisChannel
from ddpmcodec.diffusion.plan import Plan

DIMS = 768
PLAN = Plan(log_snr=(-5.0, -3.0, -2.0, -1.0, 0.0, 1.0), rate=(2560, 7680, 10240, 5120, 0, 25600), dims=DIMS)
TRELLIS, CODING = TrellisChannel(8), RandomCodingChannel(8)
CHANNELS = st.sampled_from([TRELLIS, CODING])
SEEDS = st.integers(0, 1 << 32)


def random_packets(channel: Channel, seed: int, steps: int = PLAN.steps, most: int = 60) -> list[Packet]:
    """Packets of random counts up to about `most` bits, with random symbols; every third one empty or all ones."""
    rng = np.random.default_rng(seed)
    values = BitCountModel(PLAN, channel, DIMS).values
    packets = []
    for _ in range(steps):
        index = int(rng.integers(0, np.searchsorted(values, most)))
        symbol_models = channel.symbol_models(values[index], DIMS)
        sizes = np.array([a.size for a in symbol_models for _ in range(a.count)], np.int64)
        code = (rng.integers(0, sizes), sizes - 1, np.zeros_like(sizes))[rng.choice(3, p=[0.6, 0.2, 0.2])]
        packets.append(Packet(index, values[index], code.astype(np.int32)))
    return packets


def written(packets: Sequence[Packet], channel: Channel) -> StreamWriter:
    writer = StreamWriter(PLAN, channel, DIMS)
    for packet in packets:
        writer.write(packet)
    writer.end()
    return writer


def read(data: bytes, channel: Channel) -> tuple[list[Packet], StreamReader]:
    reader = StreamReader(PLAN, channel, DIMS)
    reader.feed(data)
    return read_on(reader), reader


def read_on(reader: StreamReader) -> list[Packet]:
    packets = []
    while (packet := reader.read()) is not None:
        packets.append(packet)
    return packets


def assert_equal(found: Sequence[Packet], sent: Sequence[Packet]) -> None:
    assert [(p.index, p.bits, p.code.tolist()) for p in found] == [(p.index, p.bits, p.code.tolist()) for p in sent]


@given(CHANNELS, SEEDS, st.integers(0, PLAN.steps), st.data())
def test_packets_come_back_from_pieces_of_any_size(channel: Channel, seed: int, steps: int, data: st.DataObject):
    packets = random_packets(channel, seed, steps)
    payload = written(packets, channel).sealed()
    reader, found, at = StreamReader(PLAN, channel, DIMS), [], 0
    while at < len(payload):
        size = data.draw(st.integers(1, 20))
        reader.feed(payload[at : at + size])
        found += read_on(reader)
        at += size
    assert_equal(found, packets)
    assert reader.ended
    assert reader.sealed() == payload


@settings(max_examples=25)
@given(CHANNELS, SEEDS, st.integers(0, PLAN.steps))
def test_every_cut_reads_as_a_true_prefix(channel: Channel, seed: int, steps: int):
    packets = random_packets(channel, seed, steps)
    payload = written(packets, channel).sealed()
    before = 0
    for cut in range(len(payload) + 1):
        found, reader = read(payload[:cut], channel)
        assert_equal(found, packets[: len(found)])
        assert len(found) >= before
        before = len(found)
    assert before == steps
    assert reader.ended


@given(SEEDS, st.binary(max_size=12))
def test_what_follows_a_sealed_stream_changes_nothing(seed: int, junk: bytes):
    packets = random_packets(TRELLIS, seed)
    writer = written(packets, TRELLIS)
    found, reader = read(writer.sealed() + junk, TRELLIS)
    assert_equal(found, packets)
    assert reader.sealed() == writer.sealed()


@given(CHANNELS, SEEDS)
def test_final_bytes_never_change(channel: Channel, seed: int):
    writer, finals = StreamWriter(PLAN, channel, DIMS), [b""]
    for packet in random_packets(channel, seed):
        writer.write(packet)
        assert writer.final().startswith(finals[-1])
        finals.append(writer.final())
        assert all(writer.sealed().startswith(final) for final in finals)
    assert len(writer.sealed()) - len(finals[-1]) <= 4


@given(CHANNELS, SEEDS)
def test_a_sealed_stream_is_the_shortest(channel: Channel, seed: int):
    packets = random_packets(channel, seed)
    payload = written(packets, channel).sealed()
    assert not payload or len(read(payload[:-1], channel)[0]) < len(packets)


@given(CHANNELS, SEEDS, st.integers(0, PLAN.steps - 1))
def test_end_ends_a_stream_early(channel: Channel, seed: int, steps: int):
    packets = random_packets(channel, seed, steps)
    found, reader = read(written(packets, channel).sealed(), channel)
    assert_equal(found, packets)
    assert reader.ended
    reader.feed(b"\x55" * 40)
    assert reader.read() is None


def test_the_plan_s_last_step_needs_no_end():
    writer = StreamWriter(PLAN, TRELLIS, DIMS)
    for packet in random_packets(TRELLIS, 0):
        assert not writer.ended
        writer.write(packet)
    before = writer.sealed()
    assert writer.ended
    writer.end()
    assert writer.sealed() == before


@given(CHANNELS, SEEDS)
def test_the_reported_bits_are_the_bytes(channel: Channel, seed: int):
    writer = written(random_packets(channel, seed), channel)
    assert abs(sum(writer.step_bits) - 8 * len(writer.sealed())) <= 16
    assert len(writer.step_bits) == PLAN.steps


@given(SEEDS)
def test_reader_and_writer_agree_on_every_step_s_bits(seed: int):
    writer = written(random_packets(TRELLIS, seed), TRELLIS)
    _, reader = read(writer.sealed(), TRELLIS)
    assert reader.step_bits == writer.step_bits


@settings(max_examples=200)
@given(CHANNELS, st.binary(max_size=80))
def test_any_bytes_can_be_read_without_harm(channel: Channel, data: bytes):
    found, reader = read(data, channel)
    assert len(found) <= PLAN.steps
    assert len(reader.step_bits) == len(found)
    again, _ = read(data + b"\x00", channel)
    assert_equal(again[: len(found)], found)


def test_a_writer_can_be_asked_at_any_time():
    writer, packets = StreamWriter(PLAN, TRELLIS, DIMS), random_packets(TRELLIS, 3)
    for n, packet in enumerate(packets, 1):
        writer.write(packet)
        assert_equal(read(writer.sealed(), TRELLIS)[0][:n], packets[:n])


@pytest.mark.parametrize("bits_each", [0, 60, 600])
def test_raw_bits_cost_what_they_are(bits_each: int):
    packets = random_packets(TRELLIS, 1, most=bits_each or 1)
    writer = written(packets, TRELLIS)
    side = sum(writer.step_bits) - sum(p.bits for p in packets)
    assert 0 < side < 16 * PLAN.steps


@given(CHANNELS, SEEDS, st.integers(0, PLAN.steps))
def test_a_stream_can_be_ended_at_any_step_and_gone_on_with(channel: Channel, seed: int, steps: int):
    packets = random_packets(channel, seed)
    writer = StreamWriter(PLAN, channel, DIMS)
    for packet in packets[:steps]:
        writer.write(packet)
    ended = writer.ended_here()
    assert ended.sealed() == written(packets[:steps], channel).sealed()
    for packet in packets[steps:]:
        writer.write(packet)
    assert writer.sealed() == written(packets, channel).sealed()
    # What was counted as information is what the bytes hold, but for the rounding to whole ones.
    information = sum(ended.step_bits) + ended.end_bits
    assert information - 1e-6 <= 8 * len(ended.sealed()) < information + 10
    assert all(0 < count <= step for count, step in zip(ended.count_bits, ended.step_bits, strict=False))
    assert (ended.end_bits > 0) == (steps < PLAN.steps)


def with_short_step(channel: Channel, seed: int, steps: int, bits: int) -> tuple[list[Packet], StreamWriter]:
    """`steps` whole steps and a short one of so many bits; 0 is none."""
    packets, writer = random_packets(channel, seed, steps), StreamWriter(PLAN, channel, DIMS, short=True)
    for packet in packets:
        writer.write(packet)
    if bits and not writer.ended:
        sizes = np.array([a.size for a in channel.symbol_models(bits, DIMS) for _ in range(a.count)], np.int64)
        code = np.random.default_rng(seed).integers(0, sizes).astype(np.int32)
        packets.append(Packet(-1, bits, code, writer.short_step().log_snr(bits)))
        writer.write(packets[-1])
    writer.end()
    return packets, writer


@given(CHANNELS, SEEDS, st.integers(0, PLAN.steps), st.integers(0, 60) | st.just(700))
def test_a_short_step_ends_a_stream_that_may_have_one(channel: Channel, seed: int, steps: int, bits: int):
    packets, writer = with_short_step(channel, seed, steps, bits)
    payload = writer.sealed()
    assert abs(sum(writer.step_bits) + writer.end_bits - 8 * len(payload)) <= 16
    reader, found = StreamReader(PLAN, channel, DIMS, short=True), []
    for byte in payload:  # as they come, nothing wrong is ever read
        reader.feed(bytes([byte]))
        found += read_on(reader)
        assert_equal(found, packets[: len(found)])
    reader.feed(b"\x55" * 20)
    found += read_on(reader)
    assert_equal(found, packets)
    assert [p.log_snr for p in found] == [p.log_snr for p in packets]
    assert reader.ended
    assert reader.sealed() == payload
    assert reader.step_bits == writer.step_bits


@given(CHANNELS, SEEDS)
def test_room_for_a_short_step_costs_nothing_at_the_plan_s_end(channel: Channel, seed: int):
    _, writer = with_short_step(channel, seed, PLAN.steps, 0)
    assert writer.sealed() == written(random_packets(channel, seed), channel).sealed()


def test_a_fork_goes_its_own_way():
    packets, writer = random_packets(TRELLIS, 7), StreamWriter(PLAN, TRELLIS, DIMS)
    writer.write(packets[0])
    fork = writer.fork()
    fork.write(packets[1])
    for packet in packets[1:]:
        writer.write(packet)
    assert writer.sealed() == written(packets, TRELLIS).sealed()
    assert fork.ended_here().sealed() == written(packets[:2], TRELLIS).sealed()
