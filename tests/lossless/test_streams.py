"""Files that end with the exact picture: encoded, decoded, cut, truncated, streamed, archived."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import ddpmcodec
from ddpmcodec import DdpmCodecError, TruncatedStreamError, decode, decode_progressive, encode, truncate
from ddpmcodec.bitstream.file import finish, read_info
from ddpmcodec.bitstream.header import Header
from ddpmcodec.bitstream.writer import StreamWriter
from ddpmcodec.channel.names import channel_of
from ddpmcodec.codec.archive_decoding import decode_archive
from ddpmcodec.codec.archive_encoding import encode_archive
from ddpmcodec.codec.decoding import decode_stream
from ddpmcodec.codec.encoding import encode_batch
from ddpmcodec.errors import FormatError
from ddpmcodec.models import CodecModel

STEPS = 6


@pytest.fixture(scope="module")
def data(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]) -> bytes:
    return encode(prior_picture, model=tiny_model, plan_steps=STEPS, lossless=True)


class Shaken:
    """A machine whose network gives slightly other floats."""

    def __init__(self, model: CodecModel, by: float):
        self.model, self.by = model.eps_model, by

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        eps = self.model(x_t, log_snr)
        generator = torch.Generator().manual_seed(1)
        return eps + self.by * (2 * torch.rand(eps.shape, generator=generator) - 1)


def test_the_last_picture_is_exact_and_those_before_are_previews(
    data: bytes, tiny_model: CodecModel, prior_picture: NDArray[np.uint8]
) -> None:
    items = list(decode_progressive(data, model=tiny_model))
    info = read_info(data, tiny_model)
    assert [item.n for item in items] == list(range(1, info.pictures + 1))
    assert [item.exact for item in items] == [False] * info.steps + [True]
    assert np.array_equal(items[-1].image, prior_picture)
    assert np.array_equal(decode(data, model=tiny_model), prior_picture)
    assert np.array_equal(decode(data, info.steps, model=tiny_model), items[-2].image)
    assert items[-1].bits == pytest.approx(sum(info.step_bits) + 8 * len(info.tail))


def test_previews_are_those_of_the_lossy_stream(
    data: bytes, tiny_model: CodecModel, prior_picture: NDArray[np.uint8]
) -> None:
    info = read_info(data, tiny_model)
    lossy = encode(prior_picture, model=tiny_model, plan_steps=STEPS, steps=info.steps)
    assert truncate(data, steps=info.steps, model=tiny_model) == lossy
    assert np.array_equal(decode(data, info.steps, model=tiny_model), decode(lossy, model=tiny_model))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 50), (45, 33)])
def test_any_size_comes_back_exactly(height: int, width: int, tiny_model: CodecModel) -> None:
    picture = np.random.default_rng(height).integers(0, 256, (height, width, 3)).astype(np.uint8)
    data = encode(picture, model=tiny_model, plan_steps=3, lossless=True)
    assert np.array_equal(decode(data, model=tiny_model), picture)


def test_random_coding_and_any_last_step_come_back_exactly(
    tiny_model: CodecModel, prior_picture: NDArray[np.uint8]
) -> None:
    for options in (
        {"channel": "orc:8", "plan_steps": 3},
        {"plan_steps": STEPS, "steps": 2},
        {"seed": 9, "plan_steps": 2},
    ):
        data = encode(prior_picture, model=tiny_model, lossless=True, **options)  # type: ignore[arg-type]
        assert np.array_equal(decode(data, model=tiny_model), prior_picture)


def test_a_machine_with_slightly_other_floats_gets_the_exact_picture(
    data: bytes, tiny_model: CodecModel, prior_picture: NDArray[np.uint8]
) -> None:
    near = replace(tiny_model, eps_model=Shaken(tiny_model, 1e-6))
    info = read_info(data, tiny_model)
    own, other = (list(decode_progressive(data, info.steps, model=m))[-1].state.x0_hat for m in (tiny_model, near))
    assert 1e-5 < np.abs(own - other).max() * 127.5 < 1e-3
    assert np.array_equal(decode(data, model=near), prior_picture)


def test_a_machine_with_quite_other_floats_gets_an_error(data: bytes, tiny_model: CodecModel) -> None:
    far = replace(tiny_model, eps_model=Shaken(tiny_model, 1e-2))
    with pytest.raises(FormatError, match=r"CRC-32|can't be decoded"):
        decode(data, model=far)
    assert decode(data, 2, model=far).shape == (32, 32, 3)  # previews don't need equal floats


def test_cuts_give_whole_steps_or_an_error(data: bytes, tiny_model: CodecModel) -> None:
    info, seen = read_info(data, tiny_model), set()
    for size in range(12, len(data), 5):
        with pytest.raises(DdpmCodecError):
            decode(data[:size], model=tiny_model)
        steps = read_info(data[:size], tiny_model).steps
        seen.add(steps)
        if steps:
            found = list(decode_progressive(data[:size], model=tiny_model, allow_partial=True))
            assert len(found) == steps
            assert not found[-1].exact
    assert max(seen) == info.steps


def test_every_flipped_bit_of_the_tail_is_found(data: bytes, tiny_model: CodecModel) -> None:
    info = read_info(data, tiny_model)
    first = len(data) - info.check_bytes - len(info.tail)
    for bit in range(8 * first, 8 * len(data), 61):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TruncatedStreamError):
            decode(bytes(damaged), model=tiny_model)


def test_truncation_keeps_the_tail_only_where_it_fits(data: bytes, tiny_model: CodecModel) -> None:
    info = read_info(data, tiny_model)
    assert truncate(data, size=len(data), model=tiny_model) == data
    assert truncate(data, steps=info.pictures, model=tiny_model) == data
    shorter = truncate(data, size=len(data) - 1, model=tiny_model)
    assert read_info(shorter, tiny_model).complete
    assert not read_info(shorter, tiny_model).header.lossless
    assert len(shorter) < len(data)
    with pytest.raises(DdpmCodecError, match="has 1 to"):
        truncate(data, steps=info.pictures + 1, model=tiny_model)


def test_pieces_of_any_size_end_with_the_exact_picture(
    data: bytes, tiny_model: CodecModel, prior_picture: NDArray[np.uint8]
) -> None:
    for size in (1, 17, len(data)):
        *previews, last = decode_stream((data[i : i + size] for i in range(0, len(data), size)), model=tiny_model)
        assert last.exact
        assert np.array_equal(last.image, prior_picture)
        assert not any(item.exact for item in previews)
    with pytest.raises(TruncatedStreamError):
        list(decode_stream([data[:-1]], model=tiny_model))


def test_batches_and_archives_come_back_exactly(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]) -> None:
    pictures = [prior_picture, prior_picture[::-1].copy(), 255 - prior_picture]
    files = encode_batch(pictures, model=tiny_model, plan_steps=STEPS, lossless=True)
    assert files == [encode(p, model=tiny_model, plan_steps=STEPS, lossless=True) for p in pictures]
    for found, picture in zip(ddpmcodec.decode_batch(files, model=tiny_model), pictures, strict=True):
        assert np.array_equal(found, picture)
    archive = encode_archive(pictures, model=tiny_model, plan_steps=STEPS, lossless=True, batch=2)
    for item in decode_archive(archive, model=tiny_model):
        assert np.array_equal(item.image, pictures[item.index])
    (alone,) = decode_archive(archive, 1, model=tiny_model)
    assert np.array_equal(alone.image, pictures[1])


def test_a_target_and_lossless_exclude_each_other(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]) -> None:
    for target in ({"target_bytes": 500}, {"target_psnr": 30.0}):
        with pytest.raises(DdpmCodecError, match="lossless"):
            encode(prior_picture, model=tiny_model, lossless=True, **target)  # type: ignore[arg-type]


def test_a_tail_without_a_step_or_without_symbols_is_refused(tiny_model: CodecModel) -> None:
    header = Header(tiny_model.fingerprint[:8], 1, 1, 3, lossless=True)
    writer = StreamWriter(tiny_model.plan(3), channel_of(None, 3072), 3072)
    for tail in (bytes(8), bytes(3)):
        data = finish(header, writer.ended_here(), tail)
        for allow_partial in (False, True):
            with pytest.raises(DdpmCodecError):
                decode(data, model=tiny_model, allow_partial=allow_partial)
        with pytest.raises(DdpmCodecError):
            list(decode_stream([data], model=tiny_model))
