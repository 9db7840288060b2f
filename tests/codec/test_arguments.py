"""What callers give and get: numpy's integers count, fractions don't, and what is shown to callers can't be
written to.
"""

from __future__ import annotations

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


@pytest.mark.parametrize("value", [2.5, 2.0, "2", np.float64(2), [2]])
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


def spoil(*arrays: NDArray[Any]) -> None:
    """As a caller would who thinks that they are theirs."""
    for array in arrays:
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_what_on_step_is_shown_can_t_be_spoiled(coloured_model: CodecModel, prior_picture: NDArray[np.uint8]):
    expected = ddpmcodec.encode(prior_picture, model=coloured_model, plan_steps=STEPS)

    def on_step(step: ddpmcodec.SentStep) -> None:
        spoil(step.x_s, step.x0_hat, step.reconstruct(), *(packet.code for packet in step.packets))
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
