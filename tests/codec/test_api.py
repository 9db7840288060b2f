from __future__ import annotations

import base64
import io
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.bitstream.file import read_info
from ddpmcodec.codec.sender import SentStep
from ddpmcodec.errors import DdpmCodecError, FormatError, ImageError, ModelError, TruncatedStreamError
from ddpmcodec.models import CodecModel, read_model_info

Picture = NDArray[np.uint8]
FAST = {"plan_steps": 6, "channel": "trellis:8"}


def mse(one: Picture, other: Picture) -> float:
    return float(np.mean((one.astype(np.float64) - other) ** 2))


@pytest.fixture(scope="module")
def stream(tiny_model: CodecModel, picture: Picture) -> bytes:
    return ddpmcodec.encode(picture, model=tiny_model, **FAST)


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (31, 33), (32, 32), (33, 70)])
def test_the_receiver_follows_the_sender_exactly(tiny_model: CodecModel, picture: Picture, size: tuple[int, int]):
    image, sent = np.resize(picture, (*size, 3)), []
    data = ddpmcodec.encode(
        image, model=tiny_model, on_step=lambda s: sent.append((s.n, s.x_s.copy(), s.reconstruct())), **FAST
    )
    received = list(ddpmcodec.decode_progressive(data, model=tiny_model))
    assert len(received) == len(sent) == 6
    for (n, x_s, x0_hat), item in zip(sent, received, strict=True):
        assert item.n == n
        assert item.image.shape == (*size, 3)
        assert item.image.dtype == np.uint8
        np.testing.assert_array_equal(item.state.x_t, x_s)
        np.testing.assert_array_equal(item.state.x0_hat[..., : size[0], : size[1]], x0_hat)


def test_every_step_s_picture_is_what_decode_gives(tiny_model: CodecModel, stream: bytes):
    items = list(ddpmcodec.decode_progressive(stream, model=tiny_model))
    assert [item.n for item in items] == [1, 2, 3, 4, 5, 6]
    for item in items:
        np.testing.assert_array_equal(ddpmcodec.decode(stream, item.n, model=tiny_model), item.image)
    np.testing.assert_array_equal(ddpmcodec.decode(stream, model=tiny_model), items[-1].image)
    assert len(list(ddpmcodec.decode_progressive(stream, 2, model=tiny_model))) == 2


def test_the_bits_of_the_steps_are_the_bytes_of_the_payload(tiny_model: CodecModel, stream: bytes):
    info = read_info(stream, tiny_model)
    assert info.complete
    assert info.header_bytes + info.payload_bytes + info.check_bytes == len(stream)
    bits = [item.bits for item in ddpmcodec.decode_progressive(stream, model=tiny_model)]
    assert bits == sorted(bits)
    assert bits == pytest.approx(np.cumsum(info.step_bits))
    assert abs(bits[-1] - 8 * info.payload_bytes) <= 16


def test_what_the_sender_reports_is_what_the_stream_holds(tiny_model: CodecModel, picture: Picture):
    sent: list[SentStep] = []
    data = ddpmcodec.encode(picture, model=tiny_model, on_step=sent.append, **FAST)
    info = read_info(data, tiny_model)
    assert [s.packets[0].bits for s in sent] == [p.bits for p in info.packets]
    assert [s.log_snr_s for s in sent] == list(info.plan.log_snr)
    assert [s.log_snr_t for s in sent[1:]] == [s.log_snr_s for s in sent[:-1]]
    assert all(s.ideal_bits[0] == pytest.approx(3072 / 2 * np.log2(1 + s.variance_ratio[0])) for s in sent)
    with pytest.raises(RuntimeError, match="step 1 can't be reconstructed"):
        sent[0].reconstruct()


def test_a_picture_gets_better_step_by_step(tiny_model: CodecModel, prior_picture: Picture):
    data = ddpmcodec.encode(prior_picture, model=tiny_model, channel="trellis:8", plan_steps=12)
    errors = np.array([mse(item.image, prior_picture) for item in ddpmcodec.decode_progressive(data, model=tiny_model)])
    assert (errors[1:] < 1.01 * errors[:-1]).all()  # the first steps are nearly all noise
    # It ends where the model's error curve says, the picture being of the kind it was measured on.
    assert errors[-1] == pytest.approx(tiny_model.curve.mse[-1] / 2**40 * 127.5**2, rel=0.2)


def test_a_picture_of_the_expected_kind_costs_what_the_plan_expects(tiny_model: CodecModel, prior_picture: Picture):
    data = ddpmcodec.encode(prior_picture, model=tiny_model)
    info = read_info(data, tiny_model)
    assert 8 * info.payload_bytes == pytest.approx(sum(info.plan.rate) / 256, rel=0.25)


@pytest.mark.parametrize("shape", [(9, 14), (9, 14, 1)])
def test_a_grey_picture_is_a_colour_picture_of_equal_channels(tiny_model: CodecModel, picture: Picture, shape):
    grey = np.ascontiguousarray(picture[:9, :14, 0])
    expected = ddpmcodec.encode(np.stack([grey] * 3, axis=2), model=tiny_model, **FAST)
    assert ddpmcodec.encode(grey.reshape(shape), model=tiny_model, **FAST) == expected


@pytest.mark.parametrize("strided", [np.flipud, np.fliplr, lambda p: p[::2, ::3], lambda p: np.asfortranarray(p)])
def test_a_picture_s_memory_layout_does_not_matter(tiny_model: CodecModel, picture: Picture, strided: Callable):
    view = strided(picture)
    expected = ddpmcodec.encode(view.copy(order="C"), model=tiny_model, **FAST)
    assert ddpmcodec.encode(view, model=tiny_model, **FAST) == expected


def test_encoding_is_deterministic_and_leaves_the_picture_alone(
    tiny_model: CodecModel, picture: Picture, stream: bytes
):
    before = picture.copy()
    assert ddpmcodec.encode(picture, model=tiny_model, **FAST) == stream
    np.testing.assert_array_equal(picture, before)


def test_a_batch_is_its_pictures_one_by_one(tiny_model: CodecModel, picture: Picture):
    images = [picture, np.flipud(picture), np.zeros_like(picture), 255 - picture]
    together = ddpmcodec.encode_batch(images, model=tiny_model, **FAST)
    assert together == [ddpmcodec.encode(image, model=tiny_model, **FAST) for image in images]
    for steps in (None, 2):
        decoded = ddpmcodec.decode_batch(together, steps, model=tiny_model)
        for data, image in zip(together, decoded, strict=True):
            np.testing.assert_array_equal(image, ddpmcodec.decode(data, steps, model=tiny_model))


def test_an_empty_batch_is_empty(tiny_model: CodecModel):
    assert ddpmcodec.encode_batch([], model=tiny_model) == []
    assert ddpmcodec.decode_batch([], model=tiny_model) == []


def test_a_batch_is_of_one_size_and_plan(tiny_model: CodecModel, picture: Picture, stream: bytes):
    with pytest.raises(ImageError, match="expected one size"):
        ddpmcodec.encode_batch([picture, picture[:5]], model=tiny_model)
    other = ddpmcodec.encode(picture, model=tiny_model, **FAST | {"seed": 1})
    with pytest.raises(DdpmCodecError, match="can't be decoded in one batch"):
        ddpmcodec.decode_batch([stream, other], model=tiny_model)


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_a_stream_that_stops_early_is_complete(tiny_model: CodecModel, picture: Picture, stream: bytes, steps: int):
    data = ddpmcodec.encode(picture, model=tiny_model, steps=steps, **FAST)
    info = read_info(data, tiny_model)
    assert info.complete
    assert info.steps == steps
    assert len(data) <= len(stream)
    np.testing.assert_array_equal(
        ddpmcodec.decode(data, model=tiny_model), ddpmcodec.decode(stream, steps, model=tiny_model)
    )
    if steps < 6:
        with pytest.raises(DdpmCodecError, match=f"this stream has 1 to {steps}"):
            ddpmcodec.decode(data, steps + 1, model=tiny_model)


def test_a_cut_file_tells_its_intact_steps_and_decodes_them(tiny_model: CodecModel, stream: bytes):
    start, before = read_info(stream, tiny_model).header_bytes, 0
    for cut in [*range(start + 1, len(stream), 37), len(stream) - 2, len(stream) - 1]:
        with pytest.raises(TruncatedStreamError, match="of 6 steps") as caught:
            ddpmcodec.decode(stream[:cut], model=tiny_model)
        intact = caught.value.intact_steps
        assert before <= intact <= 6
        before = intact
        if intact:
            partial = ddpmcodec.decode(stream[:cut], model=tiny_model, allow_partial=True)
            np.testing.assert_array_equal(partial, ddpmcodec.decode(stream, intact, model=tiny_model))
        else:
            with pytest.raises(DdpmCodecError, match="not even the first step"):
                ddpmcodec.decode(stream[:cut], model=tiny_model, allow_partial=True)
        with pytest.raises(DdpmCodecError, match=f"has 1 to {intact}" if intact else "not even"):
            ddpmcodec.decode(stream[:cut], intact + 1, model=tiny_model, allow_partial=True)
    assert before == 6


@pytest.mark.parametrize("options", [FAST, {"plan_steps": 12, "channel": "orc:8", "steps": 5}])
def test_every_cut_of_a_file_reads_as_a_true_prefix(tiny_model: CodecModel, picture: Picture, options: dict):
    data = ddpmcodec.encode(picture[:7, :5], model=tiny_model, **options)
    whole, before = read_info(data, tiny_model), 0
    for cut in range(whole.header_bytes, len(data)):
        info = read_info(data[:cut], tiny_model)
        assert not info.complete
        assert [(p.bits, p.code.tolist()) for p in info.packets] == [
            (p.bits, p.code.tolist()) for p in whole.packets[: info.steps]
        ]
        assert before <= info.steps
        before = info.steps
    assert before == whole.steps


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_file_of_little_more_than_a_header_is_refused(tiny_model: CodecModel, stream: bytes, cut: int):
    with pytest.raises(DdpmCodecError):
        ddpmcodec.decode(stream[:cut], model=tiny_model, allow_partial=True)


@pytest.mark.parametrize("junk", [b"\x00", b"\xff", b"\x00\x00\x00", bytes(range(200))])
def test_a_file_with_something_behind_it_is_not_complete(tiny_model: CodecModel, stream: bytes, junk: bytes):
    with pytest.raises(TruncatedStreamError) as caught:
        ddpmcodec.decode(stream + junk, model=tiny_model)
    assert caught.value.intact_steps == 6


@pytest.mark.parametrize("steps", [0, -1, 7, 10**9])
def test_steps_that_are_not_there_are_refused(tiny_model: CodecModel, picture: Picture, stream: bytes, steps: int):
    with pytest.raises(DdpmCodecError, match="1 to 6"):
        ddpmcodec.decode(stream, steps, model=tiny_model)
    with pytest.raises(DdpmCodecError, match="1 to 6"):
        ddpmcodec.encode(picture, model=tiny_model, steps=steps, **FAST)


@pytest.mark.parametrize("plan_steps", [0, -1, 10**6])
def test_a_plan_that_does_not_exist_is_refused(tiny_model: CodecModel, picture: Picture, plan_steps: int):
    with pytest.raises(DdpmCodecError, match="1 to 25"):
        ddpmcodec.encode(picture, model=tiny_model, plan_steps=plan_steps)


@pytest.mark.parametrize("seed", [-1, 1 << 64])
def test_a_seed_out_of_range_is_refused(tiny_model: CodecModel, picture: Picture, seed: int):
    with pytest.raises(DdpmCodecError, match="seed"):
        ddpmcodec.encode(picture, model=tiny_model, seed=seed)


def test_another_model_s_stream_is_refused_by_name(tiny_model: CodecModel, stream: bytes):
    other = replace(tiny_model, name="other", fingerprint="fedcba98" * 8)
    with pytest.raises(FormatError, match=r"01234567.*other \(fedcba98\)"):
        ddpmcodec.decode(stream, model=other)


@pytest.mark.parametrize(
    "options",
    [
        {"plan_steps": 1},
        {"plan_steps": 25},
        {"seed": 1},
        {"seed": (1 << 64) - 1},
        {"channel": "trellis"},
        {"channel": "trellis:11"},
        {"channel": "orc:10", "steps": 2},
        {"channel": "orc:8", "seed": 5, "plan_steps": 10, "steps": 4},
    ],
)
def test_every_option_travels_in_the_stream(tiny_model: CodecModel, prior_picture: Picture, options: dict):
    options, last = FAST | options, []
    data = ddpmcodec.encode(prior_picture[:20, :20], model=tiny_model, on_step=last.append, **options)
    header = ddpmcodec.read_header(data)
    assert header.seed == options.get("seed", 0)
    (*_, item) = ddpmcodec.decode_progressive(data, model=tiny_model)
    assert item.n == (options.get("steps") or options["plan_steps"])
    np.testing.assert_array_equal(item.state.x_t, last[-1].x_s)


def test_what_is_the_default_takes_no_room(tiny_model: CodecModel, picture: Picture):
    data = ddpmcodec.encode(picture[:4, :4], model=tiny_model)
    header = ddpmcodec.read_header(data)
    assert (header.plan_steps, header.channel, header.seed) == (None, None, 0)
    assert read_info(data, tiny_model).plan == tiny_model.plan()


def test_different_seeds_send_different_noise(tiny_model: CodecModel, picture: Picture):
    states = []
    for seed in (0, 1):
        data = ddpmcodec.encode(picture, model=tiny_model, seed=seed, steps=1, **FAST)
        states.append(next(iter(ddpmcodec.decode_progressive(data, model=tiny_model))).state.x_t)
    assert abs(np.corrcoef(states[0].reshape(-1), states[1].reshape(-1))[0, 1]) < 0.5


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), "float32"),
        (np.zeros((8, 8, 3), np.uint16), "uint16"),
        (np.zeros((8, 8, 3), bool), "bool"),
        (np.zeros((8, 8, 4), np.uint8), "alpha"),
        (np.zeros((8, 8, 2), np.uint8), "shape"),
        (np.zeros(8, np.uint8), "shape"),
        (np.zeros((2, 8, 8, 3), np.uint8), "shape"),
        (np.zeros((0, 8, 3), np.uint8), "1x1"),
        (np.zeros((8, 0), np.uint8), "1x1"),
        (None, "object"),
        ("picture.png", "expected a uint8 array"),
    ],
)
def test_what_is_no_picture_is_refused(tiny_model: CodecModel, image: object, message: str):
    with pytest.raises(ImageError, match=message):
        ddpmcodec.encode(image, model=tiny_model)


def test_an_unknown_model_or_channel_is_refused(tiny_model: CodecModel, picture: Picture, stream: bytes):
    with pytest.raises(ModelError, match="cifar10-small"):
        ddpmcodec.encode(picture, model="cifar10-huge")
    with pytest.raises(ModelError, match="cifar10-small"):
        ddpmcodec.decode(stream, model="cifar10-huge")
    with pytest.raises(DdpmCodecError, match="expected trellis"):
        ddpmcodec.encode(picture, model=tiny_model, channel="huffman")


def test_bytes_like_objects_are_decoded_too(tiny_model: CodecModel, stream: bytes):
    expected = ddpmcodec.decode(stream, model=tiny_model)
    for data in (bytearray(stream), memoryview(stream)):
        np.testing.assert_array_equal(ddpmcodec.decode(data, model=tiny_model), expected)


def test_no_global_state_is_touched(tiny_model: CodecModel, picture: Picture):
    def state() -> tuple:
        return (
            torch.random.get_rng_state().tolist(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.get_default_dtype(),
            torch.are_deterministic_algorithms_enabled(),
            repr(np.random.get_state()),  # noqa: NPY002
            random.getstate(),
        )

    before = state()
    data = ddpmcodec.encode(picture, model=tiny_model, **FAST)
    ddpmcodec.decode(data, model=tiny_model)
    assert state() == before


def test_a_decoder_left_half_way_leaves_no_state(tiny_model: CodecModel, stream: bytes):
    items = ddpmcodec.decode_progressive(stream, model=tiny_model)
    next(items)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def pieces(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size
    yield data[at:]


@pytest.mark.parametrize(
    "sizes", [[], [1] * 5000, [0, 9, 1, 0, 40, 100], [3] * 20], ids=["whole", "bytes", "odd", "threes"]
)
def test_a_stream_decodes_as_it_arrives(tiny_model: CodecModel, stream: bytes, sizes: list[int]):
    expected = list(ddpmcodec.decode_progressive(stream, model=tiny_model))
    found = list(ddpmcodec.decode_stream(pieces(stream, sizes), model=tiny_model))
    for a, b in zip(found, expected, strict=True):
        assert (a.n, a.bits) == (b.n, pytest.approx(b.bits))
        np.testing.assert_array_equal(a.image, b.image)


def test_a_step_is_shown_before_the_next_one_comes(tiny_model: CodecModel, stream: bytes):
    sent = 0

    def slowly() -> Iterator[bytes]:
        nonlocal sent
        for at in range(0, len(stream), 10):
            sent = at + 10
            yield stream[at : at + 10]

    info = read_info(stream, tiny_model)
    ends = info.header_bytes + np.cumsum(info.step_bits) / 8
    for _, end in zip(ddpmcodec.decode_stream(slowly(), model=tiny_model), ends, strict=True):
        assert sent <= max(end + 16, 60)  # the header is read in one go


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d[:-400], lambda d: d + b"x", lambda d: d[:-1] + bytes([d[-1] ^ 1])]
)
def test_a_damaged_stream_is_found_out_at_its_end(tiny_model: CodecModel, stream: bytes, damage: Callable):
    items, data = [], damage(stream)
    with pytest.raises(TruncatedStreamError) as caught:
        items.extend(ddpmcodec.decode_stream(pieces(data, [50, 50]), model=tiny_model))
    with pytest.raises(TruncatedStreamError) as at_once:
        ddpmcodec.decode(data, model=tiny_model)
    assert caught.value.intact_steps == at_once.value.intact_steps
    partial = list(ddpmcodec.decode_stream(pieces(data, [50, 50]), model=tiny_model, allow_partial=True))
    assert len(partial) == caught.value.intact_steps
    np.testing.assert_array_equal(partial[-1].image, ddpmcodec.decode(stream, len(partial), model=tiny_model))


@pytest.mark.parametrize("data", [b"", b"\xdd", b"not a stream, but long enough to hold a header" * 3])
def test_what_arrives_and_is_no_stream_is_refused(tiny_model: CodecModel, data: bytes):
    with pytest.raises(FormatError):
        list(ddpmcodec.decode_stream(pieces(data, [1]), model=tiny_model))


# The trained model: few steps, few pictures.


def test_the_trained_model_improves_to_near_its_promise(model: CodecModel, picture: Picture):
    data = ddpmcodec.encode(picture, model=model, plan_steps=8)
    items = list(ddpmcodec.decode_progressive(data, model=model))
    errors = [mse(item.image, picture) for item in items]
    assert (np.diff(errors) < 0).all()
    assert errors[-1] ** 0.5 < 1.5
    assert read_info(data, read_model_info("cifar10-small")).packets[3].bits == read_info(data, model).packets[3].bits


def test_the_default_model_is_the_embedded_one(model: CodecModel, picture: Picture):
    data = ddpmcodec.encode(picture[:8, :8], plan_steps=2)
    assert data == ddpmcodec.encode(picture[:8, :8], model=model, plan_steps=2)
    np.testing.assert_array_equal(ddpmcodec.decode(data), ddpmcodec.decode(data, model=model))


def test_a_batch_through_the_trained_model_decodes_as_well(model: CodecModel, picture: Picture):
    # The network's floats may differ in a batch, and with them a stream; what it decodes to is as good.
    images = [picture, np.fliplr(picture)]
    for data, image in zip(ddpmcodec.encode_batch(images, model=model, plan_steps=6), images, strict=True):
        alone = ddpmcodec.encode(image, model=model, plan_steps=6)
        assert len(data) == pytest.approx(len(alone), rel=0.03)
        one, other = (mse(ddpmcodec.decode(d, model=model), image) for d in (data, alone))
        assert one == pytest.approx(other, rel=0.1)


def test_another_number_of_threads_reads_the_same_stream(model: CodecModel, picture: Picture):
    data = ddpmcodec.encode(picture, model=model, plan_steps=20)
    one = list(ddpmcodec.decode_progressive(data, model=model))
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        two = list(ddpmcodec.decode_progressive(data, model=model))
    finally:
        torch.set_num_threads(threads)
    assert [item.bits for item in one] == [item.bits for item in two]
    for a, b in zip(one, two, strict=True):
        assert np.abs(a.image.astype(int) - b.image).max() <= 1


def test_a_step_shows_itself_in_a_notebook(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]):
    data = ddpmcodec.encode(prior_picture, model=tiny_model, plan_steps=3, lossless=True)
    for item in ddpmcodec.decode_progressive(data, model=tiny_model):
        png = item._repr_png_()
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png)).convert("RGB")), item.image)
        page = item._repr_html_()
        assert base64.b64encode(png).decode() in page
        assert f"step {item.n}: " in page
        assert 'width="256"' in page
        assert item.exact == ("exact" in page)
