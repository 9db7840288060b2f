from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ddpmcodec.diffusion.gaussians import posterior, q_sample
from ddpmcodec.diffusion.sampling import (
    Noise,
    ancestral,
    beta,
    beta_tilde,
    ddim,
    draw_x_T,
    interpolate,
    levels_from,
    x0_hat,
)
from ddpmcodec.diffusion.schedule import NoiseSchedule, alpha_bar_of, linear, uniform
from ddpmcodec.errors import DdpmCodecError, ModelError
from ddpmcodec.io.images import to_plane
from ddpmcodec.models import CodecModel, UNet, UNetConfig, load_model, save_model
from ddpmcodec.models.source import open_denoiser
from ddpmcodec.numerics.philox import Key, gaussian
from tests.conftest import PRIOR_VARIANCE, prior_mean

CHAIN = uniform(60, first=9.0, last=-8.0)
LEVELS = levels_from(CHAIN)


def mean_and_variance(x_0: NDArray[np.float32]) -> tuple[float, float]:
    """Of x_0 - prior mean, over all pictures and places."""
    around = x_0.astype(np.float64) - prior_mean()
    return float(around.mean()), float(around.var())


@pytest.mark.parametrize(
    "sampler",
    [
        lambda *a: ancestral(*a, variance=beta_tilde),
        lambda *a: ancestral(*a, variance=beta),
        lambda *a: ddim(*a),
        lambda *a: ddim(*a, eta=0.5),
    ],
    ids=["beta-tilde", "beta", "ddim", "ddim 0.5"],
)
def test_samples_are_like_the_data(tiny_model: CodecModel, sampler):
    """With the exact ε of Gaussian data; fixed variances of p leave errors of the order of the steps."""
    x_0 = sampler(tiny_model, draw_x_T(tiny_model, 3, 32, 32), levels_from(uniform(200, first=9.0, last=-8.0)))
    mean, variance = mean_and_variance(x_0)
    assert x_0.dtype == np.float32
    assert mean == pytest.approx(0, abs=0.01)
    assert variance == pytest.approx(PRIOR_VARIANCE, rel=0.07)


def test_variances_bracket_the_data_s(tiny_model: CodecModel):
    """β̃ is too little and β too much for data between all-equal and white (Ho et al., sec. 3.2)."""
    x_t = draw_x_T(tiny_model, 3, 32, 32)
    small, large = (mean_and_variance(ancestral(tiny_model, x_t, LEVELS, variance=v))[1] for v in (beta_tilde, beta))
    assert small < PRIOR_VARIANCE < large


def test_variances_are_those_of_the_forward_chain():
    schedule = linear(1000)
    betas = np.linspace(1e-4, 0.02, 1000)
    alpha_bar = np.cumprod(1 - betas)
    for t in (2, 500, 1000):
        level, cleaner = schedule.log_snr(t), schedule.log_snr(t - 1)
        assert beta(level, cleaner) == pytest.approx(betas[t - 1], rel=1e-9)
        expected = betas[t - 1] * (1 - alpha_bar[t - 2]) / (1 - alpha_bar[t - 1])
        assert beta_tilde(level, cleaner) == pytest.approx(expected, rel=1e-9)
    assert beta(-math.inf, 0.0) == pytest.approx(1)


@pytest.mark.parametrize("start", [None, -math.inf, -1.0])
def test_ddim_with_all_noise_is_ancestral_sampling(model: CodecModel, start: float | None):
    """η = 1 (Song et al., sec. 4.1), also from a state in the middle or from pure noise, clipped predictions
    included.
    """
    levels = levels_from(uniform(4), start=start)
    x_t = draw_x_T(model, 2, 32, 32)
    np.testing.assert_allclose(ddim(model, x_t, levels, eta=1.0), ancestral(model, x_t, levels), atol=2e-3)


def test_ancestral_sampling_is_algorithm_2(tiny_model: CodecModel):
    """One step and the last, written out."""
    x_t, (t, s) = draw_x_T(tiny_model, 2, 32, 32), (-2.0, 1.0)
    q = posterior(t, s)
    x_s = q.x0_coef * x0_hat(tiny_model, x_t, t) + q.xt_coef * x_t + math.sqrt(beta(t, s)) * Noise(3)(1, x_t.shape)
    found = ancestral(tiny_model, x_t, (t, s), variance=beta, noise=Noise(3))
    np.testing.assert_allclose(found, x0_hat(tiny_model, x_s, s), atol=1e-6)


def test_without_eta_ddim_is_deterministic_and_keeps_its_argument(tiny_model: CodecModel):
    x_t = draw_x_T(tiny_model, 2, 32, 32)
    kept = x_t.copy()
    first, second = (ddim(tiny_model, x_t, LEVELS[::6], noise=Noise(seed)) for seed in (1, 2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(x_t, kept)
    assert np.abs(ddim(tiny_model, x_t, LEVELS[::6], eta=0.5, noise=Noise(1)) - first).max() > 0.01


def test_ddim_of_gaussian_data_is_the_flow_s_linear_map(tiny_model: CodecModel):
    """x_0 - m = s (x_T - √ᾱ m) / √(ᾱ s² + 1 - ᾱ): the probability flow in closed form (Song et al., eq. 14)."""
    x_t, m = draw_x_T(tiny_model, 1, 32, 32), prior_mean()
    alpha_bar = alpha_bar_of(LEVELS[0])
    spread = math.sqrt(alpha_bar * PRIOR_VARIANCE + 1 - alpha_bar)
    expected = m + math.sqrt(PRIOR_VARIANCE) * (x_t - math.sqrt(alpha_bar) * m) / spread
    fine = ddim(tiny_model, x_t, levels_from(uniform(400, first=9.5, last=CHAIN.log_snr(60))))
    inside = np.abs(expected) < 0.95  # beyond, x_0 is clipped
    np.testing.assert_allclose(fine[inside], expected[inside], atol=0.02)


def test_one_step_is_the_mean(tiny_model: CodecModel):
    x_t = draw_x_T(tiny_model, 2, 32, 32)
    for sampler in (ancestral, ddim):
        np.testing.assert_array_equal(
            sampler(tiny_model, x_t, levels_from(CHAIN, 1)), x0_hat(tiny_model, x_t, LEVELS[0])
        )


def test_a_receiver_in_the_middle_of_the_chain_can_go_on(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]):
    """From x_t of a plan's level: the mean has the least error, the others lose what their draw of the detail costs."""
    x_0, level = to_plane(prior_picture)[None], 1.234
    x_t = q_sample(x_0, level, Noise(5)(0, x_0.shape))
    levels = levels_from(CHAIN, start=level)
    assert levels[0] == level
    errors = {
        "mean": x0_hat(tiny_model, x_t, level),
        "flow": ddim(tiny_model, x_t, levels),
        "draw": ancestral(tiny_model, x_t, levels),
    }
    mse = {name: float(np.mean((picture - x_0) ** 2)) for name, picture in errors.items()}
    left = PRIOR_VARIANCE / (1 + PRIOR_VARIANCE * math.exp(level))  # variance of x_0 given x_t
    assert mse["mean"] == pytest.approx(left, rel=0.1)
    assert mse["draw"] == pytest.approx(2 * left, rel=0.15)
    assert mse["mean"] < mse["flow"] < mse["draw"]
    # Past the chain's cleanest level nothing is left to do.
    np.testing.assert_array_equal(ddim(tiny_model, x_t, levels_from(CHAIN, start=9.9)), x0_hat(tiny_model, x_t, 9.9))


@pytest.mark.parametrize("steps", [1, 2, 7, 59, 60])
def test_levels_are_spread_over_the_chain(steps: int):
    levels = levels_from(CHAIN, steps)
    assert len(levels) == steps
    assert levels[0] == CHAIN.log_snr(60)
    assert all(t < s for t, s in pairwise(levels))
    if steps > 1:
        assert levels[-1] == CHAIN.log_snr(1)
        gaps = np.diff([CHAIN.nearest_timestep(level) for level in levels])
        assert np.ptp(gaps) <= 1


def test_fewer_levels_left_than_steps_asked():
    assert levels_from(CHAIN, 50, start=CHAIN.log_snr(3)) == tuple(CHAIN.log_snrs[2::-1])
    assert levels_from(CHAIN, 2, start=-math.inf) == (-math.inf, CHAIN.log_snr(1))


@pytest.mark.parametrize("steps", [0, -1, 61])
def test_impossible_step_counts_are_refused(steps: int):
    with pytest.raises(DdpmCodecError, match="1 to 60"):
        levels_from(CHAIN, steps)


def test_noise_belongs_to_a_picture_not_to_a_batch():
    shape = (4, 3, 5, 6)
    noise = Noise(7)(2, shape)
    np.testing.assert_array_equal(Noise(7, first=1)(2, (2, 3, 5, 6)), noise[1:3])
    np.testing.assert_array_equal(Noise(7, shared=True)(2, shape), noise[:1])
    assert not np.array_equal(noise, Noise(8)(2, shape))
    assert not np.array_equal(noise, Noise(7)(3, shape))
    assert not np.array_equal(noise[0].reshape(-1), gaussian(Key(7, 2), 90)), "a stream's own noise"
    for seed in (-1, 1 << 64):
        with pytest.raises(DdpmCodecError, match="seed"):
            Noise(seed)


def test_a_sample_does_not_depend_on_how_many_are_drawn(tiny_model: CodecModel):
    two, three = (ancestral(tiny_model, draw_x_T(tiny_model, n, 32, 32), LEVELS[::10]) for n in (2, 3))
    np.testing.assert_allclose(two, three[:2], atol=1e-6)


def test_progress_counts_network_calls(tiny_model: CodecModel):
    for sampler in (ancestral, ddim):
        steps: list[int] = []
        sampler(tiny_model, draw_x_T(tiny_model, 1, 32, 32), LEVELS[::20], on_step=steps.append)
        assert steps == [1, 2, 3]


def test_larger_pictures_are_drawn_too(model: CodecModel):
    assert ddim(model, draw_x_T(model, 1, 33, 40), levels_from(CHAIN, 2)).shape == (1, 3, 33, 40)


def test_bad_sizes_and_eta_are_refused(tiny_model: CodecModel):
    for arguments in ((0, 32, 32), (1, 31, 32), (1, 32, 31)):
        with pytest.raises(DdpmCodecError, match="at least"):
            draw_x_T(tiny_model, *arguments)
    for eta in (-0.1, 1.1, math.nan):
        with pytest.raises(DdpmCodecError, match="eta"):
            ddim(tiny_model, draw_x_T(tiny_model, 1, 32, 32), LEVELS, eta=eta)


def test_interpolation_goes_from_one_picture_to_the_other(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]):
    a, level = to_plane(prior_picture), -0.5
    b = a[:, ::-1].copy()
    noise = Noise(4, shared=True)
    x_t = interpolate(a, b, level, 5, noise)
    eps = noise(0, (1, *a.shape))
    np.testing.assert_array_equal(x_t[0], q_sample(a, level, eps)[0])
    np.testing.assert_array_equal(x_t[-1], q_sample(b, level, eps)[0])
    # With one noise for both, a point on the way is a draw of q(x_t | mixed x_0): its noise keeps its size.
    np.testing.assert_allclose(x_t[1], q_sample(0.75 * a + 0.25 * b, level, eps)[0], atol=1e-6)
    # The ends come out as the pictures do on their own.
    levels = levels_from(CHAIN, 6, start=level)
    alone = ancestral(tiny_model, x_t[:1], levels, noise=noise)
    np.testing.assert_allclose(ancestral(tiny_model, x_t, levels, noise=noise)[0], alone[0], atol=1e-6)


def test_interpolation_refuses_unequal_pictures_and_too_few_points():
    for shape, count in (((3, 8, 9), 5), ((3, 8, 8), 1)):
        with pytest.raises(DdpmCodecError, match="equal sizes"):
            interpolate(np.zeros((3, 8, 8), np.float32), np.zeros(shape, np.float32), 0.0, count)


def test_a_network_without_an_error_curve_samples_like_one_with(tmp_path: Path, curve):
    config = UNetConfig(
        channels=(8,), blocks=1, attention_levels=(), heads=1, groups=4, embedding=8, frequencies=4, window=8
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet(config).eval()
    drawn = []
    for path, measured in ((tmp_path / "a.safetensors", None), (tmp_path / "b.safetensors", curve)):
        save_model(path, network, measured, "mine")
        denoiser = open_denoiser(str(path)).network
        drawn.append(ddim(denoiser, draw_x_T(denoiser, 2, 8, 8), LEVELS[::20]))
    np.testing.assert_allclose(*drawn, atol=1e-3)
    with pytest.raises(ModelError, match="no error curve"):
        load_model(tmp_path / "a.safetensors")


def test_a_chain_noisier_than_the_training_range_is_asked_at_its_end(tiny_model: CodecModel):
    asked = []

    class Listening:
        window, channels, any_size, resolutions, factor, bound = 32, 3, False, None, 1, 1.0
        trained_level = tiny_model.trained_level

        def predict_eps(self, x_t, log_snr):
            asked.append(log_snr)
            return tiny_model.predict_eps(x_t, log_snr)

    levels = levels_from(NoiseSchedule(np.array([12.0, 0.0, -20.0])))
    assert np.isfinite(ddim(Listening(), draw_x_T(tiny_model, 1, 32, 32), levels)).all()
    assert asked == [-8.0, 0.0, 9.5]
