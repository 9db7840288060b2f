"""Networks that callers give: copied, asked in evaluation mode, and named where they give something else than ε̂."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ddpmcodec
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.errors import ModelError
from ddpmcodec.models import codec_model, measure_curve

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


class Network(nn.Module):
    """ε̂ = w x_t, with half of it dropped in training."""

    def __init__(self, shape: Any = lambda eps: eps) -> None:
        super().__init__()
        self.weight, self.drop, self.shape = nn.Parameter(torch.tensor(0.5)), nn.Dropout(0.5), shape

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Any:
        return self.shape(self.drop(self.weight * x_t))


def test_the_codec_has_a_copy_and_the_network_stays_as_it_is(curve: ErrorCurve):
    network = Network().train()
    codec = codec_model(network, curve, "mine")
    picture = IMAGES[0]
    before = ddpmcodec.encode(picture, model=codec, plan_steps=2)
    assert network.training
    assert network.drop.training
    assert network.weight.requires_grad
    with torch.no_grad():
        network.weight += 0.3
    assert ddpmcodec.encode(picture, model=codec, plan_steps=2) == before
    assert codec_model(network, curve, "later").fingerprint != codec.fingerprint


def test_a_curve_is_measured_in_evaluation_mode_and_the_mode_put_back():
    network = Network().train()
    network.drop.eval()  # a part that its owner has frozen
    measure_curve(network, IMAGES, spacing=2.0)
    assert (network.training, network.drop.training) == (True, False)
    curves = []
    for mode in (True, False):
        curves.append(measure_curve(Network().train(mode), IMAGES, spacing=2.0))
    assert curves[0] == curves[1]


class DropsByItself(Network):
    """Its mode is more than a flag."""

    def train(self, mode: bool = True) -> DropsByItself:
        self.dropping = mode
        return super().train(mode)

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Any:
        return torch.dropout(self.weight * x_t, 0.5, self.dropping)


def test_a_mode_that_is_more_than_a_flag_is_set_and_put_back():
    network = DropsByItself().train()
    assert measure_curve(network, IMAGES, spacing=2.0) == measure_curve(network, IMAGES, spacing=2.0)
    assert network.dropping


@pytest.mark.parametrize("images", [IMAGES / 255, IMAGES.astype(np.int16), IMAGES[0, ..., 0], IMAGES[:0], list(IMAGES)])
def test_images_that_are_no_bytes_are_a_model_error(images: Any):
    with pytest.raises(ModelError, match="expected a uint8 array"):
        measure_curve(Network(), images, spacing=2.0)


@pytest.mark.parametrize("options", [{"spacing": 0}, {"spacing": -1.0}, {"batch": 0}, {"min_log_snr": 20}])
def test_a_curve_over_nothing_is_a_model_error(options: Any):
    with pytest.raises(ModelError, match=r"expected a range|expected numbers from 1 on"):
        measure_curve(Network(), IMAGES, **options)


class Extra(Network):
    def get_extra_state(self) -> Any:
        return {"step": 1}


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LazyConv2d(3, 1)


@pytest.mark.parametrize("network", [Extra(), Lazy(), Network().to("meta")], ids=["extra", "lazy", "meta"])
def test_state_without_values_is_a_model_error(curve: ErrorCurve, network: nn.Module):
    with pytest.raises(ModelError, match="the network's state can't be read"):
        codec_model(network, curve, "m")


@pytest.mark.parametrize(
    "options", [{"window": 0}, {"window": -8}, {"window": 2.5}, {"min_log_snr": 9, "max_log_snr": 1}]
)
def test_numbers_that_can_t_be_are_errors(curve: ErrorCurve, options: Any):
    with pytest.raises(ddpmcodec.DdpmCodecError, match="window"):
        codec_model(Network(), curve, "m", **options)
    with pytest.raises(ModelError, match="measure_curve"):
        codec_model(Network(), {}, "m")  # type: ignore[arg-type]
    assert (
        codec_model(Network(), curve, "m", window=np.int64(32)).fingerprint
        == codec_model(  # type: ignore[arg-type]
            Network(), curve, "m"
        ).fingerprint
    )


class OfOneArgument(Network):
    def forward(self, x_t: Tensor) -> Any:  # type: ignore[override]
        return x_t


@pytest.mark.parametrize("network", [OfOneArgument(), nn.Conv2d(3, 3, 1).double()], ids=["one argument", "float64"])
def test_a_network_that_can_t_be_called_is_a_model_error(curve: ErrorCurve, network: nn.Module):
    with pytest.raises(ModelError, match=r"can't be called: TypeError.*expected a function of x_t"):
        ddpmcodec.encode(IMAGES[0], model=codec_model(network, curve, "m"), plan_steps=2)
    with pytest.raises(ModelError, match="can't be called"):
        measure_curve(network, IMAGES, spacing=2.0)


@pytest.mark.filterwarnings("ignore")
def test_a_traced_network_is_one(curve: ErrorCurve):
    traced = torch.jit.trace(Network().eval(), (torch.zeros(1, 3, 32, 32), torch.zeros(1)))  # type: ignore[no-untyped-call]
    assert ddpmcodec.encode(IMAGES[0], model=codec_model(traced, curve, "m"), plan_steps=2)


GIVES = {
    "nothing": (lambda eps: None, "a NoneType: expected a tensor"),
    "an empty tuple": (lambda eps: (), "a tuple: expected a tensor"),
    "an object": (lambda eps: SimpleNamespace(eps=eps), "a SimpleNamespace: expected a tensor"),
    "nine channels": (lambda eps: eps.repeat(1, 3, 1, 1), "expected the same shape"),
    "one number": (lambda eps: eps.mean(), "expected the same shape"),
    "no numbers": (lambda eps: eps / 0, "no finite numbers"),
}


@pytest.mark.parametrize("kind", GIVES)
def test_what_is_no_eps_is_a_model_error(curve: ErrorCurve, kind: str):
    shape, words = GIVES[kind]
    with pytest.raises(ModelError, match=words):
        ddpmcodec.encode(IMAGES[0], model=codec_model(Network(shape), curve, "m"), plan_steps=2)
    with pytest.raises(ModelError, match=words):
        measure_curve(Network(shape), IMAGES, spacing=2.0)


def test_a_plain_function_is_named(curve: ErrorCurve):
    with pytest.raises(ModelError, match=r"a function: expected a torch\.nn\.Module"):
        codec_model(lambda x_t, log_snr: x_t, curve, "m")  # type: ignore[arg-type]
    assert measure_curve(lambda x_t, log_snr: 0 * x_t, IMAGES, spacing=2.0).dims == 3072  # which needs no fingerprint


BAD_CODEC_ARGUMENTS = [
    {"name": 12},
    {"predicts": ["sample"]},
    {"window": 10**30},
    {"any_size": "no"},
    {"min_log_snr": "a"},
    {"min_log_snr": True},
    {"max_log_snr": None},
    {"max_log_snr": float("inf")},
    {"space": 3},
]
BAD_CURVE_ARGUMENTS = [
    {"min_log_snr": "a"},
    {"min_log_snr": float("-inf")},
    {"max_log_snr": float("inf")},
    {"spacing": "a"},
    {"spacing": None},
    {"spacing": 1e-300},
    {"spacing": 1000},
    {"log_snrs": "a"},
    {"log_snrs": [[1, 2]]},
    {"log_snrs": [1, float("nan")]},
    {"log_snrs": [1, float("inf")]},
    {"log_snrs": []},
    {"window": "16"},
    {"window": 0},
    {"window": -1},
    {"window": 5.5},
    {"any_size": "no"},
    {"factors": ()},
    {"factors": 3},
    {"factors": (0,)},
    {"factors": ("a",)},
    {"batch": 0},
    {"coloured": None},
    {"space": 3},
    {"plans": 3},
    {"plans": ("a",)},
    {"plans": (0,)},
]


@pytest.mark.parametrize("given", BAD_CODEC_ARGUMENTS, ids=str)
def test_what_can_t_be_told_of_a_network_is_an_error(curve: ErrorCurve, given: Any):
    with pytest.raises(ddpmcodec.DdpmCodecError):
        codec_model(Network(), curve, **{"name": "mine"} | given)


@pytest.mark.parametrize("given", BAD_CURVE_ARGUMENTS, ids=str)
def test_what_a_curve_can_t_be_measured_with_is_an_error(given: Any):
    with pytest.raises(ddpmcodec.DdpmCodecError):
        measure_curve(Network(), IMAGES, **given)
