"""Every kind of network, given its own training target, predicts the very ε; a wrong sign anywhere would not."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ddpmcodec
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.diffusion.gaussians import q_sample
from ddpmcodec.errors import ModelError
from ddpmcodec.models import codec_model, measure_curve
from ddpmcodec.models.prediction import prediction
from ddpmcodec.models.times import DiscreteTimes, EdmTimes, FlowTimes, own_levels, times_from_dict

LEVELS = torch.tensor([-11.0, -6.0, -1.5, 0.0, 2.0, 7.0, 12.0])
KINDS = ["epsilon", "v_prediction", "sample", "flow_prediction", "edm", "edm_v"]


def draw(seed: int, sigma: float = 1.0) -> Tensor:
    return sigma * torch.randn(len(LEVELS), 4, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X_0, EPS = draw(1, 0.5), draw(2)


def states() -> Tensor:
    """(7, 4, 3, 3): x_t of X_0 and EPS at LEVELS, float64."""
    return torch.stack([q_sample(x, float(level), e) for x, e, level in zip(X_0, EPS, LEVELS, strict=True)])


def targets(kind: str) -> tuple[Tensor, Tensor]:
    """What a perfect network sees, and what it says, written as its paper does: with its own noise level."""
    wide = LEVELS.double().reshape(-1, 1, 1, 1)
    alpha, sigma = torch.sigmoid(wide).sqrt(), torch.sigmoid(-wide).sqrt()
    n, s = sigma / alpha, sigma / (alpha + sigma)
    c_out = 0.5 * n / (n**2 + 0.25).sqrt()
    f = (X_0 - 0.25 / (n**2 + 0.25) * (X_0 + n * EPS)) / c_out
    return {
        "epsilon": (alpha * X_0 + sigma * EPS, EPS),
        "v_prediction": (alpha * X_0 + sigma * EPS, alpha * EPS - sigma * X_0),
        "sample": (alpha * X_0 + sigma * EPS, X_0),
        "flow_prediction": ((1 - s) * X_0 + s * EPS, EPS - X_0),
        "edm": ((X_0 + n * EPS) / (n**2 + 0.25).sqrt(), f),
        "edm_v": ((X_0 + n * EPS) / (n**2 + 0.25).sqrt(), -f),
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_perfect_network_s_output_is_the_very_eps(kind: str):
    seen, output = targets(kind)
    found = prediction(kind)
    torch.testing.assert_close(found.state(states(), LEVELS.double()), seen, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.eps(output, states(), LEVELS.double()), EPS, rtol=0, atol=1e-9)
    single = found.eps(output.float(), states().float(), LEVELS)  # as networks compute: good enough to denoise with
    error = (single - EPS).abs().amax(dim=(1, 2, 3))
    assert (error < 1e-3).all()


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_diffusers_schedulers_denoise_to(kind: str):
    """x_0 of a random output, by the scheduler's own step formulas."""
    diffusers = pytest.importorskip("diffusers")
    output, found = draw(3).float(), prediction(kind)
    times = DiscreteTimes(tuple(np.linspace(1e-4, 0.02, 1000)))
    for i, t in enumerate((999, 700, 500, 300, 100, 30, 3)):
        level = times.schedule.log_snr(t + 1)
        lam, x_t = torch.tensor([level]), states()[i : i + 1].float()
        alpha = math.sqrt(1 / (1 + math.exp(-level)))
        noise = math.exp(-level / 2)
        ours = x_t / alpha - noise * found.eps(output[i : i + 1], x_t, lam)
        if kind == "flow_prediction":
            scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
            s = noise / (1 + noise)
            scheduler.sigmas, scheduler.timesteps = torch.tensor([s, 0.0]), torch.tensor([1000 * s])
            state = found.state(x_t, lam)
            theirs = scheduler.step(
                output[i : i + 1], scheduler.timesteps[0], state
            ).prev_sample  # all the way to s = 0
        elif kind.startswith("edm"):
            names = {"edm": "epsilon", "edm_v": "v_prediction"}
            scheduler = diffusers.EDMEulerScheduler(prediction_type=names[kind])
            sample = x_t / alpha
            torch.testing.assert_close(found.state(x_t, lam), scheduler.precondition_inputs(sample, noise))
            theirs = scheduler.precondition_outputs(sample, output[i : i + 1], noise)
        else:
            scheduler = diffusers.DDPMScheduler(prediction_type=kind, clip_sample=False)
            theirs = scheduler.step(output[i : i + 1], t, x_t).pred_original_sample
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-3)  # diffusers multiplies betas in float32


def test_a_kind_that_isn_t_known_is_named():
    with pytest.raises(ModelError, match=r"predicts 'score': expected one of epsilon, v_prediction"):
        prediction("score")


# Times


def test_a_flow_s_time_is_its_share_of_noise_whatever_the_shift():
    levels = torch.linspace(-8, 8, 9)
    for shift in (1.0, 3.0):
        told = FlowTimes(1000, shift).of(levels)
        s = told / 1000
        torch.testing.assert_close(2 * torch.log((1 - s) / s), levels, rtol=1e-4, atol=1e-4)


def test_a_shift_moves_the_levels_that_a_flow_was_trained_on():
    diffusers = pytest.importorskip("diffusers")
    for shift in (0.2, 1.0, 3.0, 12.0):
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=200, shift=shift)
        ends = scheduler.sigmas.double()[[1, -1]]  # the first is pure noise
        expected = (2 * torch.log((1 - ends) / ends)).clip(-12, 13)
        np.testing.assert_allclose(FlowTimes(200, shift).limits, expected, atol=1e-3)


def test_edm_s_time_is_diffusers():
    diffusers = pytest.importorskip("diffusers")
    noise = torch.tensor([80.0, 3.0, 0.5, 0.02])
    expected = diffusers.EDMEulerScheduler().precondition_noise(noise)
    torch.testing.assert_close(EdmTimes().of(-2 * noise.log()), expected)
    low, high = EdmTimes().limits
    np.testing.assert_allclose([math.exp(-low / 2), math.exp(-high / 2)], [80.0, 0.002])


@pytest.mark.parametrize("times", [DiscreteTimes((0.1, 0.2)), FlowTimes(500, 3.0), EdmTimes(0.01, 20.0, 0.7)])
def test_times_are_stored_and_come_back(times: Any):
    assert times_from_dict(times.to_dict()) == times
    assert (own_levels(times, 9) is None) == (times.schedule is None)


# Networks that callers give


class Says(nn.Module):
    """A network that knows the picture, and says of it what its kind is to say, in a form of its own."""

    def __init__(self, kind: str, x_0: Tensor, form: Any = lambda output: output) -> None:
        super().__init__()
        self.kind, self.x_0, self.form = kind, nn.Parameter(x_0), form

    def forward(self, x: Tensor, log_snr: Tensor) -> Any:
        wide = log_snr.reshape(-1, 1, 1, 1)
        alpha, sigma = torch.sigmoid(wide).sqrt(), torch.sigmoid(-wide).sqrt()
        n, s = sigma / alpha, sigma / (alpha + sigma)
        if self.kind == "epsilon":
            return self.form((x - alpha * self.x_0) / sigma)
        if self.kind == "v_prediction":
            return self.form((alpha * x - self.x_0) / sigma)
        if self.kind == "flow_prediction":
            return self.form((x - self.x_0) / s)
        if self.kind == "edm":
            c_in = 1 / (n**2 + 0.25).sqrt()
            return self.form((self.x_0 - 0.25 * c_in * x) / (0.5 * n * c_in))
        return self.form(self.x_0.expand_as(x))


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "flow_prediction", "edm"])
def test_any_kind_becomes_a_codec_by_one_argument(kind: str, picture: np.ndarray):
    x_0 = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1)
    # An error for the curve to measure: it knows the picture only nearly.
    network = Says(kind, (0.98 * x_0)[None])
    curve = measure_curve(network, picture[None], predicts=kind, spacing=2.0, max_log_snr=4.0)
    expected = float(np.square(0.02 * x_0.numpy()).mean())
    np.testing.assert_allclose(np.array(curve.mse) / 2.0**40, expected, rtol=0.05)
    model = codec_model(network, curve, "mine", predicts=kind, max_log_snr=4.0)
    data = ddpmcodec.encode(picture, model=model, plan_steps=3)
    shown = ddpmcodec.decode(data, model=model, steps=1).astype(float)
    assert np.abs(shown - (0.98 * x_0.numpy().transpose(1, 2, 0) + 1) * 127.5).max() < 1.5
    others = {codec_model(network, curve, "mine", predicts=other).fingerprint for other in KINDS}
    assert len(others) == len(KINDS)


FORMS = {
    "tuple": lambda output: (output, None),
    "object": lambda output: SimpleNamespace(sample=output),
    "learned variances": lambda output: torch.cat([output, 7 + output], dim=1),
    "all of it": lambda output: SimpleNamespace(sample=torch.cat([output, 7 + output], dim=1)),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_a_network_returns_may_have_any_usual_form(form: str, picture: np.ndarray, curve: ErrorCurve):
    x_0 = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32) / 127.5 - 1)[None]
    files = []
    for shape in (FORMS[form], lambda output: output):
        network = Says("v_prediction", 0.9 * x_0, shape)
        model = codec_model(network, curve, "m", predicts="v_prediction")
        files.append(ddpmcodec.encode(picture, model=model, steps=2))
    assert files[0] == files[1]


def test_a_kind_that_isn_t_known_makes_no_codec(curve: ErrorCurve):
    with pytest.raises(ModelError, match="expected one of epsilon"):
        codec_model(Says("sample", torch.zeros(1, 3, 32, 32)), curve, "mine", predicts="score")
    with pytest.raises(ModelError, match="expected one of epsilon"):
        measure_curve(Says("sample", torch.zeros(1, 3, 32, 32)), np.zeros((1, 32, 32, 3), np.uint8), predicts="score")
