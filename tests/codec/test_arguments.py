"""What callers give and get: numpy's integers count, fractions don't, and what is shown to callers can't be
written to.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import ddpmcodec
from ddpmcodec.models import CodecModel

STEPS = 4


def test_whole_numbers_of_any_type_are_the_same(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]):
    def encoded(kind: Any, **options: int) -> bytes:
        return ddpmcodec.encode(prior_picture, model=tiny_model, **{k: kind(v) for k, v in options.items()})  # type: ignore[arg-type]

    options = (
        {"plan_steps": STEPS, "steps": 2},
        {"seed": 7, "plan_steps": STEPS},
        {"target_bytes": 90, "plan_steps": STEPS},
    )
    for given in options:
        assert encoded(np.int64, **given) == encoded(int, **given) == encoded(np.uint8, **given)
    data = encoded(int, plan_steps=STEPS)
    np.testing.assert_array_equal(
        ddpmcodec.decode(data, np.int32(2), model=tiny_model), ddpmcodec.decode(data, 2, model=tiny_model)
    )
    assert ddpmcodec.truncate(data, steps=np.int64(2), model=tiny_model) == ddpmcodec.truncate(
        data, steps=2, model=tiny_model
    )


@pytest.mark.parametrize("value", [2.5, 2.0, "2", np.float64(2), [2], True])
def test_anything_else_is_an_error(tiny_model: CodecModel, prior_picture: NDArray[np.uint8], value: Any):
    data = ddpmcodec.encode(prior_picture, model=tiny_model, plan_steps=STEPS)
    archive = ddpmcodec.encode_archive([prior_picture], model=tiny_model, plan_steps=STEPS)
    for name in ("plan_steps", "steps", "seed", "target_bytes"):
        with pytest.raises(ddpmcodec.DdpmCodecError, match=rf"{name} .*expected a whole number"):
            ddpmcodec.encode(prior_picture, model=tiny_model, **{name: value})
    calls: list[Any] = [
        lambda: ddpmcodec.Sender(prior_picture, model=tiny_model, steps=value),
        lambda: ddpmcodec.decode(data, value, model=tiny_model),
        lambda: list(ddpmcodec.decode_progressive(data, value, model=tiny_model)),
        lambda: ddpmcodec.truncate(data, steps=value, model=tiny_model),
        lambda: ddpmcodec.truncate(data, size=value, model=tiny_model),
        lambda: list(ddpmcodec.decode_archive(archive, value, model=tiny_model)),
        lambda: list(ddpmcodec.decode_archive(archive, steps=value, model=tiny_model)),
        lambda: list(ddpmcodec.decode_archive(archive, batch=value, model=tiny_model)),
        lambda: tiny_model.plan(value),
    ]
    for call in calls:
        with pytest.raises(ddpmcodec.DdpmCodecError, match="expected a whole number"):
            call()


@pytest.mark.parametrize("value", ["2", b"2", [2], True, 1j, np.array([1, 2])])
def test_what_is_no_number_is_an_error(prior_picture: NDArray[np.uint8], value: Any):
    for name in ("quality", "target_bpp", "target_psnr", "target_rmse", "guidance"):
        with pytest.raises(ddpmcodec.DdpmCodecError, match=rf"{name} .*expected a number"):
            ddpmcodec.encode(prior_picture, **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("guidance", float("nan"), "a guidance of nan: expected 0 to 100"),
        ("guidance", float("inf"), "a guidance of inf: expected 0 to 100"),
        ("guidance", -1, "a guidance of -1: expected 0 to 100"),
        ("class_label", 1 << 32, "class 4294967296: expected a number from 0 to 2"),
    ],
)
def test_what_is_out_of_range_is_told_as_it_was_given(
    prior_picture: NDArray[np.uint8], name: str, value: float, message: str
):
    with pytest.raises(ddpmcodec.DdpmCodecError, match=message):
        ddpmcodec.encode(prior_picture, **{name: value})


def test_a_number_of_any_type_is_one(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]):
    kinds = (int, float, np.int8, np.float32, Fraction)
    files = {ddpmcodec.encode(prior_picture, model=tiny_model, plan_steps=STEPS, quality=k(30)) for k in kinds}
    assert len(files) == 1


@pytest.mark.parametrize("value", ["no", 3, None, 0.5])
def test_what_is_no_flag_is_an_error(prior_picture: NDArray[np.uint8], value: Any):
    with pytest.raises(ddpmcodec.DdpmCodecError, match=r"lossless .*expected True or False"):
        ddpmcodec.Sender(prior_picture, lossless=value)
    for name in ("lossless", "full"):
        with pytest.raises(ddpmcodec.DdpmCodecError, match=rf"{name} .*expected True or False"):
            ddpmcodec.encode(prior_picture, **{name: value})


def test_names_and_models_of_other_types_are_errors(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]):
    for name in ("channel", "prompt"):
        with pytest.raises(ddpmcodec.DdpmCodecError, match=rf"{name} 12: expected a text"):
            ddpmcodec.encode(prior_picture, model=tiny_model, **{name: 12})
    calls: list[Any] = [
        lambda: ddpmcodec.encode(prior_picture, model=12),  # type: ignore[arg-type]
        lambda: ddpmcodec.load_model(12),  # type: ignore[arg-type]
        lambda: ddpmcodec.load_model("cifar10-small", 0.5),  # type: ignore[arg-type]
    ]
    for call in calls:
        with pytest.raises(ddpmcodec.ModelError):
            call()


@pytest.mark.parametrize("data", ["picture.bin", 12, None])
def test_what_holds_no_bytes_is_an_error(tiny_model: CodecModel, data: Any):
    calls: list[Any] = [
        lambda: ddpmcodec.decode(data),
        lambda: ddpmcodec.decode_archive(data).__next__(),
        lambda: list(ddpmcodec.decode_stream([data])),
        lambda: ddpmcodec.read_header(data),
        lambda: ddpmcodec.read_info(data, tiny_model),
        lambda: ddpmcodec.Receiver(data),
        lambda: ddpmcodec.truncate(data, steps=1),
        lambda: ddpmcodec.verify(data),
    ]
    for call in calls:
        with pytest.raises(ddpmcodec.DdpmCodecError, match="expected bytes"):
            call()


def spoil(*arrays: NDArray[Any]) -> None:
    """As a caller would who thinks that they are theirs."""
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_what_on_step_is_shown_can_t_be_spoiled(coloured_model: CodecModel, prior_picture: NDArray[np.uint8]):
    expected = ddpmcodec.encode(prior_picture, model=coloured_model, plan_steps=STEPS)

    def on_step(step: ddpmcodec.SentStep) -> None:
        spoil(step.x_s, step.x0_hat, step.reconstruct(), step.chain.grey, *(packet.code for packet in step.packets))
        step.ideal_bits[...] = 0
        step.variance_ratio[...] = 0

    assert ddpmcodec.encode(prior_picture, model=coloured_model, plan_steps=STEPS, on_step=on_step) == expected


def test_what_a_decoder_shows_can_t_be_spoiled(coloured_model: CodecModel, prior_picture: NDArray[np.uint8]):
    data = ddpmcodec.encode(prior_picture, model=coloured_model, plan_steps=STEPS)
    expected = ddpmcodec.decode(data, model=coloured_model)
    for last in ddpmcodec.decode_progressive(data, model=coloured_model):
        spoil(last.state.x_t, last.state.x0_hat, last.state.bits)
    np.testing.assert_array_equal(last.image, expected)
    last.image[...] = 0  # the picture is the caller's own
    receiver = ddpmcodec.Receiver(data[:40], model=coloured_model)
    states = [receiver.state(), *receiver.receive(data[40:])]
    for state in states:
        spoil(state.x_t, state.x0_hat, state.bits)


def test_fast_is_the_model_s_short_plan():
    model = ddpmcodec.load_model("cifar10-small")
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert (model.plan(None).steps, model.plan("fast").steps) == (33, 20)
    fast = ddpmcodec.encode(picture, plan_steps="fast", steps=2)
    assert fast == ddpmcodec.encode(picture, plan_steps=20, steps=2)
    assert ddpmcodec.read_header(fast).plan_steps == 20


NO_LISTS = [None, 3, "picture.png", b"bytes", {}]


@pytest.mark.parametrize("value", NO_LISTS)
def test_what_is_no_list_is_an_error(tiny_model: CodecModel, prior_picture: NDArray[np.uint8], value: Any):
    calls: list[Any] = [
        lambda: ddpmcodec.encode_batch(value, model=tiny_model),
        lambda: ddpmcodec.encode_archive(value, model=tiny_model),
        lambda: ddpmcodec.decode_batch(value, model=tiny_model),
        lambda: list(ddpmcodec.decode_batch_progressive(value, model=tiny_model)),
        lambda: list(ddpmcodec.decode_stream(value, model=tiny_model)),
        lambda: ddpmcodec.pack_archive(value),
    ]
    if value is not None:
        calls.append(lambda: ddpmcodec.encode_archive([prior_picture], names=value, model=tiny_model))
    for call in calls:
        with pytest.raises(ddpmcodec.DdpmCodecError, match="expected a list"):
            call()


def test_lists_of_any_kind_are_the_same(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]):
    pictures = [prior_picture, 255 - prior_picture]
    expected = ddpmcodec.encode_batch(pictures, model=tiny_model, plan_steps=STEPS)
    for same in (iter(pictures), tuple(pictures), np.array(pictures)):
        assert ddpmcodec.encode_batch(same, model=tiny_model, plan_steps=STEPS) == expected  # type: ignore[arg-type]
    assert ddpmcodec.pack_archive(iter(expected)) == ddpmcodec.pack_archive(expected)  # type: ignore[arg-type]


def test_one_picture_is_no_list_of_them(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]):
    """Its rows were coded, as grey pictures three pixels wide."""
    for encode in (ddpmcodec.encode_batch, ddpmcodec.encode_archive):
        with pytest.raises(ddpmcodec.ImageError, match="one picture"):
            encode(prior_picture, model=tiny_model, plan_steps=STEPS)  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{1: 2}, {1: "text"}, {1: None}, {"a": b""}, {1.5: b""}, [1], None, 3])
def test_fields_are_bytes_by_identifier(tiny_model: CodecModel, prior_picture: NDArray[np.uint8], fields: Any):
    """{1: 2} wrote two bytes of nothing."""
    with pytest.raises(ddpmcodec.DdpmCodecError):
        ddpmcodec.encode(prior_picture, model=tiny_model, plan_steps=STEPS, fields=fields)


@pytest.mark.parametrize("name", ["trellis:", "trellis:" + "9" * 5000, "orc:7", "trellis:08", "trellis:\u0669", ""])
def test_a_channel_of_another_name_is_an_error(prior_picture: NDArray[np.uint8], name: str):
    with pytest.raises(ddpmcodec.DdpmCodecError, match="expected trellis"):
        ddpmcodec.encode(prior_picture, channel=name)


@pytest.mark.parametrize("value", ["yes", 3, None])
def test_allow_partial_is_a_flag(tiny_model: CodecModel, prior_picture: NDArray[np.uint8], value: Any):
    cut = ddpmcodec.encode(prior_picture, model=tiny_model, plan_steps=STEPS)[:-3]
    archive = ddpmcodec.encode_archive([prior_picture], model=tiny_model, plan_steps=STEPS)[:-3]
    calls: list[Any] = [
        lambda: ddpmcodec.decode(cut, model=tiny_model, allow_partial=value),
        lambda: list(ddpmcodec.decode_stream([cut], model=tiny_model, allow_partial=value)),
        lambda: ddpmcodec.truncate(cut, steps=1, model=tiny_model, allow_partial=value),
        lambda: ddpmcodec.read_archive(archive, allow_partial=value),
        lambda: list(ddpmcodec.decode_archive(archive, model=tiny_model, allow_partial=value)),
    ]
    for call in calls:
        with pytest.raises(ddpmcodec.DdpmCodecError, match="expected True or False"):
            call()


@pytest.mark.parametrize("given", [{"every": "2"}, {"every": 1.5}, {"every": 0}, {"name": 3}])
def test_what_view_can_t_take_is_an_error(tiny_model: CodecModel, prior_picture: NDArray[np.uint8], given: Any):
    data = ddpmcodec.encode(prior_picture, model=tiny_model, plan_steps=STEPS)
    with pytest.raises(ddpmcodec.DdpmCodecError):
        ddpmcodec.view(data, model=tiny_model, **given)


def test_names_are_texts_and_devices_compute(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]):
    for names in ([1], [b"a"], [None]):
        with pytest.raises(ddpmcodec.DdpmCodecError, match="expected a text"):
            ddpmcodec.encode_archive([prior_picture], names=names, model=tiny_model)  # type: ignore[arg-type]
    with pytest.raises(ddpmcodec.ModelError, match="meta"):
        ddpmcodec.load_model("cifar10-small", device="meta")
