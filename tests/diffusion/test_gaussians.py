from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from ddpmcodec.diffusion.gaussians import ideal_bits, posterior, predict_x0, q_sample, snr_gain
from ddpmcodec.diffusion.schedule import alpha_bar_of, linear

LEVELS = st.floats(-12, 12)
RNG = np.random.default_rng(0)


def close(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def test_neighbouring_timesteps_give_eq_7_of_ho_et_al():
    betas = np.linspace(1e-4, 0.02, 1000)
    alpha_bar, schedule = np.cumprod(1 - betas), linear(1000)
    for t in range(2, 1001):
        beta, now, before = betas[t - 1], alpha_bar[t - 1], alpha_bar[t - 2]
        q = posterior(schedule.log_snr(t), schedule.log_snr(t - 1))
        assert q.x0_coef == pytest.approx(math.sqrt(before) * beta / (1 - now), rel=1e-7)
        assert q.xt_coef == pytest.approx(math.sqrt(1 - beta) * (1 - before) / (1 - now), rel=1e-7)
        assert q.variance == pytest.approx((1 - before) / (1 - now) * beta, rel=1e-7)


@given(LEVELS | st.just(-math.inf), LEVELS)
def test_posterior_pushed_through_the_marginal_gives_the_marginal(log_snr_t: float, log_snr_s: float):
    assume(log_snr_t < log_snr_s)
    q = posterior(log_snr_t, log_snr_s)
    noise_t = alpha_bar_of(-log_snr_t) if log_snr_t > -math.inf else 1.0
    assert q.x0_coef + q.xt_coef * math.sqrt(alpha_bar_of(log_snr_t)) == close(math.sqrt(alpha_bar_of(log_snr_s)))
    assert q.variance + q.xt_coef**2 * noise_t == close(alpha_bar_of(-log_snr_s))


@given(LEVELS | st.just(-math.inf), LEVELS, LEVELS)
def test_two_posterior_steps_are_one(t: float, s: float, u: float):
    assume(t < s < u)
    first, second, both = posterior(t, s), posterior(s, u), posterior(t, u)
    assert second.x0_coef + second.xt_coef * first.x0_coef == close(both.x0_coef)
    assert second.xt_coef * first.xt_coef == close(both.xt_coef)
    assert second.variance + second.xt_coef**2 * first.variance == close(both.variance)


@given(LEVELS)
def test_from_pure_noise_the_posterior_is_the_marginal(log_snr: float):
    q = posterior(-math.inf, log_snr)
    assert q.xt_coef == 0.0
    assert q.x0_coef == close(math.sqrt(alpha_bar_of(log_snr)))
    assert q.variance == close(alpha_bar_of(-log_snr))


@pytest.mark.parametrize(("t", "s"), [(1.0, 1.0), (2.0, 1.0), (0.0, -math.inf), (0.0, math.nan)])
def test_a_reverse_step_must_get_cleaner(t: float, s: float):
    with pytest.raises(ValueError, match="less noisy"):
        posterior(t, s)


@given(LEVELS, LEVELS)
def test_excess_variance_is_error_times_snr_gain(log_snr_t: float, log_snr_s: float):
    assume(log_snr_s - log_snr_t > 1e-3)
    q = posterior(log_snr_t, log_snr_s)
    x_t, x_0, x0_hat = RNG.normal(size=(3, 100))
    v = np.mean((q.mean(x_0, x_t) - q.mean(x0_hat, x_t)) ** 2)
    expected = np.mean((x_0 - x0_hat) ** 2) * snr_gain(log_snr_t, log_snr_s)
    assert v / q.variance == pytest.approx(expected, rel=1e-6)


@given(st.floats(1e-6, 10), st.floats(0, 100), st.integers(1, 10_000))
def test_ideal_bits_are_the_divergence_of_the_two_gaussians(b: float, ratio: float, dims: int):
    v = ratio * b  # also |mu_q - mu_p|^2 / d
    nats = dims / 2 * (math.log((b + v) / b) + (b + v) / (b + v) - 1)
    assert ideal_bits(ratio, dims) == pytest.approx(nats / math.log(2), rel=1e-9, abs=1e-9)


def test_a_small_step_costs_what_eq_8_says():
    squared, b, dims = 1e-6, 0.3, 3072
    assert ideal_bits(squared / b / dims, dims) == pytest.approx(squared / (2 * b) / math.log(2), rel=1e-4)


@given(st.floats(-8, 12))
def test_predict_x0_inverts_q_sample(log_snr: float):
    x_0, eps = RNG.uniform(-1, 1, 50), RNG.normal(size=50)
    np.testing.assert_allclose(predict_x0(q_sample(x_0, log_snr, eps), eps, log_snr), x_0, atol=1e-9)


def test_numpy_and_torch_share_the_formulas():
    x_0, eps = RNG.uniform(-1, 1, (2, 5)), RNG.normal(size=(2, 5))
    array = q_sample(x_0, 0.5, eps)
    tensor = q_sample(torch.from_numpy(x_0), 0.5, torch.from_numpy(eps))
    np.testing.assert_array_equal(tensor.numpy(), array)
    np.testing.assert_array_equal(predict_x0(tensor, torch.from_numpy(eps), 0.5).numpy(), predict_x0(array, eps, 0.5))


def test_predicted_x0_stays_in_the_pictures_range():
    x_0 = predict_x0(RNG.normal(size=1000).astype(np.float32), RNG.normal(size=1000).astype(np.float32), -8.0)
    assert x_0.dtype == np.float32
    assert (x_0.min(), x_0.max()) == (-1.0, 1.0)
