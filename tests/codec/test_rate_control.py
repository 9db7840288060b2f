"""What rate control does beside keeping its promises (see test_targets): what it costs, and what else reads its
streams.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import ddpmcodec
from ddpmcodec import DdpmCodecError, decode, encode
from ddpmcodec.bitstream.file import read_info
from ddpmcodec.bitstream.header import Header
from ddpmcodec.codec import reconstruction
from ddpmcodec.codec.decoding import decode_batch, decode_batch_progressive, decode_progressive, decode_stream
from ddpmcodec.codec.encoding import encode_stream
from ddpmcodec.codec.reconstruction import levels
from ddpmcodec.codec.sender import SentStep
from ddpmcodec.models import CodecModel

Picture = NDArray[np.uint8]
STEPS = 6
FAST = {"plan_steps": STEPS, "channel": "trellis:8"}


def mse(one: Picture, other: Picture) -> float:
    return float(np.mean((one.astype(np.float64) - other) ** 2))


@settings(max_examples=25)
@given(
    st.tuples(st.sampled_from([1, 9, 32, 37, 70]), st.sampled_from([1, 32, 45])),
    st.integers(2, 25),
    st.integers(0, 1 << 32),
    st.floats(0.02, 1.1),
)
def test_any_size_is_kept_and_used(
    tiny_model: CodecModel, size: tuple[int, int], plan_steps: int, seed: int, part: float
):
    image = np.random.default_rng(seed).integers(60, 190, (*size, 3)).astype(np.uint8)
    options = {"model": tiny_model, "plan_steps": plan_steps, "channel": "trellis:8", "seed": seed}
    whole = encode(image, **options)
    target, sent = max(22, int(part * len(whole))), list[SentStep]()
    data = encode(image, target_bytes=target, on_step=sent.append, **options)
    info = read_info(data, tiny_model)
    assert info.complete
    if target >= len(whole):
        assert (len(data), info.steps) == (len(whole), plan_steps)
    else:
        assert 0 <= target - len(data) <= max(2, 0.02 * target)
    for step, item in zip(sent, decode_progressive(data, model=tiny_model), strict=True):
        assert (step.n, step.log_snr_s) == (item.n, item.state.log_snr)
        np.testing.assert_array_equal(step.x_s, item.state.x_t)
    assert [step.log_snr_s for step in sent] == list(info.log_snr)


def test_ordered_random_coding_keeps_a_size_too(tiny_model: CodecModel, prior_picture: Picture):
    for target in (20, 33, 61):
        data = encode(prior_picture, model=tiny_model, plan_steps=20, channel="orc:8", target_bytes=target)
        assert target - 3 <= len(data) <= target
        assert decode(data, model=tiny_model).shape == (32, 32, 3)


def test_a_target_of_few_bytes_is_one_short_step(tiny_model: CodecModel, prior_picture: Picture):
    data = encode(prior_picture, model=tiny_model, plan_steps=4, target_bytes=18)
    info = read_info(data, tiny_model)
    assert (len(data), info.steps) == (18, 1)
    assert info.short_step is not None
    assert info.log_snr[0] < info.plan.level(1)
    (item,) = decode_progressive(data, model=tiny_model)
    assert (item.n, item.state.log_snr) == (1, info.log_snr[0])


@pytest.mark.parametrize("target", [-1, 0, 12, 13])
def test_a_size_that_can_t_be_names_one_that_can(tiny_model: CodecModel, prior_picture: Picture, target: int):
    with pytest.raises(DdpmCodecError, match=r"too small.*take \d+") as caught:
        encode(prior_picture, model=tiny_model, target_bytes=target)
    enough = int(str(caught.value).split()[-1])
    assert target < len(encode(prior_picture, model=tiny_model, target_bytes=enough)) <= enough


def counted(model: CodecModel) -> tuple[CodecModel, list[float]]:
    calls: list[float] = []

    def watched(x_t, log_snr):
        calls.append(float(log_snr[0]))
        return model.eps_model(x_t, log_snr)

    return replace(model, eps_model=watched), calls


def test_a_size_costs_no_network_call_more(tiny_model: CodecModel, prior_picture: Picture):
    model, calls = counted(tiny_model)
    data = encode(prior_picture, model=model, target_bytes=150, **FAST)
    assert len(calls) == read_info(data, model).steps


def test_a_distortion_costs_a_few_network_calls_more(tiny_model: CodecModel, prior_picture: Picture):
    model, calls = counted(tiny_model)
    data = encode(prior_picture, model=model, target_rmse=20.0, **FAST)
    assert len(calls) <= read_info(data, model).steps + 1 + 4


@pytest.mark.parametrize("rmse", [40.0, 23.0, 20.0, 16.5])
def test_no_more_is_sent_than_a_distortion_needs(tiny_model: CodecModel, prior_picture: Picture, rmse: float):
    data = encode(prior_picture, model=tiny_model, target_rmse=rmse, **FAST)
    info, files = read_info(data, tiny_model), []
    for steps in range(1, STEPS + 1):
        files.append(encode(prior_picture, model=tiny_model, steps=steps, **FAST))
        if mse(decode(files[-1], model=tiny_model), prior_picture) <= rmse**2:
            break
    assert mse(decode(data, model=tiny_model), prior_picture) <= rmse**2
    assert info.steps == len(files)
    assert len(data) <= len(files[-1]) + 2  # a flag's price, where a whole step is the best
    if len(files) > 1:  # and a little less wouldn't have done
        less = encode(prior_picture, model=tiny_model, target_bytes=int(len(data) * 0.93), **FAST)
        assert mse(decode(less, model=tiny_model), prior_picture) > rmse**2


def test_what_is_out_of_reach_says_what_is_not_and_leaves_no_bytes(tiny_model: CodecModel, prior_picture: Picture):
    end = mse(decode(encode(prior_picture, model=tiny_model, **FAST), model=tiny_model), prior_picture) ** 0.5
    pieces = encode_stream(prior_picture, model=tiny_model, target_rmse=end * 0.9, **FAST)
    with pytest.raises(DdpmCodecError, match=f"ends at an RMSE of {end:.3g} levels .*lossless"):
        next(pieces)


@pytest.mark.parametrize("options", [{}, {"steps": 3}, {"target_bytes": 150}, {"target_rmse": 20.0}])
def test_a_receiver_can_follow_the_encoder_step_by_step(tiny_model: CodecModel, prior_picture: Picture, options: dict):
    sent: list[SentStep] = []
    pieces, seen = encode_stream(prior_picture, model=tiny_model, on_step=sent.append, **FAST, **options), bytearray()

    def leaving():
        for piece in pieces:
            assert piece
            seen.extend(piece)
            yield piece

    for item in decode_stream(leaving(), model=tiny_model):
        if "target_rmse" not in options:  # which holds its bytes back until it is reached
            assert len(sent) <= item.n + 2  # the last bytes of a step leave with the next one
        np.testing.assert_array_equal(item.state.x_t, sent[item.n - 1].x_s)
    assert bytes(seen) == encode(prior_picture, model=tiny_model, **FAST, **options)


def test_bad_options_are_refused_before_anything_runs(tiny_model: CodecModel, prior_picture: Picture):
    model, calls = counted(tiny_model)
    for options in ({"steps": 99}, {"target_bytes": 3}, {"target_bpp": 0.0}, {"target_rmse": -1.0}, {"seed": -1}):
        with pytest.raises(DdpmCodecError):
            encode_stream(prior_picture, model=model, **options)  # the iterator isn't even asked
    assert not calls


def test_a_batch_of_streams_of_any_lengths_decodes_each_to_its_end(tiny_model: CodecModel, prior_picture: Picture):
    pictures = [prior_picture, np.flipud(prior_picture), np.fliplr(prior_picture), 255 - prior_picture]
    targets = (60, 150, 1 << 20, 61)
    datas = [encode(p, model=tiny_model, target_bytes=t, **FAST) for p, t in zip(pictures, targets, strict=True)]
    expected = [[i.image for i in decode_progressive(d, model=tiny_model)] for d in datas]
    assert len({len(e) for e in expected}) > 1
    rounds = list(decode_batch_progressive(datas, model=tiny_model))
    assert len(rounds) == max(map(len, expected))
    for n, items in enumerate(rounds):
        for item, images in zip(items, expected, strict=True):
            np.testing.assert_array_equal(item.image, images[min(n, len(images) - 1)])
    for image, images in zip(decode_batch(datas, model=tiny_model), expected, strict=True):
        np.testing.assert_array_equal(image, images[-1])
    for image, images in zip(decode_batch(datas, 1, model=tiny_model), expected, strict=True):
        np.testing.assert_array_equal(image, images[0])


def test_targets_files_make_an_archive(tiny_model: CodecModel, prior_picture: Picture):
    pictures = [prior_picture, np.flipud(prior_picture)]
    datas = [encode(p, model=tiny_model, target_bytes=t, **FAST) for p, t in zip(pictures, (70, 1 << 20), strict=True)]
    archive = ddpmcodec.pack_archive(datas)
    found = [item.image for item in ddpmcodec.decode_archive(archive, model=tiny_model)]
    for image, data in zip(found, datas, strict=True):
        np.testing.assert_array_equal(image, decode(data, model=tiny_model))


def test_reconstructions_go_on_from_where_a_short_step_stands(tiny_model: CodecModel, prior_picture: Picture):
    data = encode(prior_picture, model=tiny_model, target_bytes=150, **FAST)
    *_, last = decode_progressive(data, model=tiny_model)
    plan = tiny_model.plan(STEPS)
    passed = levels(plan, last.state.log_snr)
    assert passed == [last.state.log_snr, *plan.log_snr[last.n - 1 :]]
    mean = mse(decode(data, model=tiny_model), prior_picture)
    drawn = mse(decode(data, model=tiny_model, reconstruct=reconstruction.sample(1)), prior_picture)
    assert 1.3 * mean < drawn < 2.1 * mean


def test_the_header_says_that_a_short_step_may_follow(tiny_model: CodecModel, prior_picture: Picture):
    plain = encode(prior_picture, model=tiny_model, **FAST)
    data = encode(prior_picture, model=tiny_model, target_bytes=len(plain), **FAST)
    assert data[3] == plain[3] | 8
    assert data[4:-2] == plain[4:-2]  # the whole chain, else the same
    header = Header("01234567", 32, 32, short=True)
    assert ddpmcodec.read_header(header.to_bytes() + bytes(9)) == header
