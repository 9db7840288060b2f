from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ddpmcodec.diffusion.bound import Bound, Estimate, L_T_bits, decoder_bits, model_variances, variational_bound
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.diffusion.gaussians import posterior
from ddpmcodec.diffusion.schedule import NoiseSchedule, alpha_bar_of, cosine, linear, snr_of, uniform
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.models import CodecModel
from tests.conftest import PRIOR_VARIANCE, WINDOW, prior_mean, wiener_mse

CHAIN = uniform(40, first=8.0, last=-7.0)
N = 6


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    """(N, 32, 32, 3): pictures of the cheating model's prior."""
    noise = np.random.default_rng(1).normal(scale=math.sqrt(PRIOR_VARIANCE), size=(N, 3, WINDOW, WINDOW))
    return np.clip(np.rint((prior_mean() + noise + 1) * 127.5), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1).copy()


@pytest.fixture(scope="module")
def wide_curve() -> ErrorCurve:
    """The cheating model's exact error over its whole range."""
    log_snr = np.linspace(-8.0, 10.0, 145)
    return ErrorCurve.from_floats(log_snr, wiener_mse(log_snr), dims=3 * WINDOW * WINDOW)


@pytest.fixture(scope="module")
def bound(tiny_model: CodecModel, images: NDArray[np.uint8], wide_curve: ErrorCurve) -> Bound:
    return variational_bound(tiny_model, images, CHAIN, wide_curve, batch=4)


def expected_kl(name: str, t: int) -> float:
    """E KL in bits/dim of L_{t-1} for data N(m, s² I) and its exact ε: every quantity in closed form."""
    level, cleaner = CHAIN.log_snr(t), CHAIN.log_snr(t - 1)
    a_t, a_s = alpha_bar_of(level), alpha_bar_of(cleaner)
    r = a_t / a_s
    b = (1 - a_s) * (1 - r) / (1 - a_t)
    v = a_s * ((1 - r) / (1 - a_t)) ** 2 * PRIOR_VARIANCE / (1 + PRIOR_VARIANCE * snr_of(level))
    variance = {"beta": 1 - r, "beta-tilde": b, "analytic": b + v}[name]
    return (math.log(variance / b) + (b + v) / variance - 1) / (2 * math.log(2))


@pytest.mark.parametrize("name", ["beta", "beta-tilde", "analytic"])
def test_kl_terms_are_those_of_gaussian_data(bound: Bound, name: str):
    expected = np.array([expected_kl(name, t) for t in range(2, len(CHAIN) + 1)])
    np.testing.assert_allclose(bound.terms[name][:, 1:].mean(axis=0), expected, rtol=0.04)
    assert bound.split(name).chain.mean == pytest.approx(expected.sum(), rel=0.01)


def test_errors_are_the_wiener_filter_s(bound: Bound):
    np.testing.assert_allclose(bound.mse.mean(axis=0) / 127.5**2, wiener_mse(CHAIN.log_snrs), rtol=0.04)
    # Whole levels add 1/12 where the error is large against a level.
    assert (bound.mse_rounded - bound.mse)[:, 20:].mean() == pytest.approx(1 / 12, abs=0.05)


def test_the_analytic_variance_is_best_and_nears_the_codec_s_ideal_rate(bound: Bound):
    ratio = bound.mse[:, 1:] / 127.5**2 * -np.diff(np.exp(CHAIN.log_snrs))  # v/b of each image, as the codec has it
    ideal = (np.log2(1 + ratio) / 2).sum(axis=1)
    chain = {name: terms[:, 1:] for name, terms in bound.terms.items()}
    assert (chain["analytic"].sum(axis=1) >= ideal - 1e-12).all()
    np.testing.assert_allclose(chain["analytic"].sum(axis=1), ideal, rtol=1e-3)
    for name in ("beta", "beta-tilde"):
        assert (chain["analytic"].mean(axis=0) <= chain[name].mean(axis=0) * (1 + 1e-3)).all()


def test_the_bound_bounds_the_data_s_entropy(tiny_model: CodecModel, images: NDArray[np.uint8], wide_curve: ErrorCurve):
    """In levels, N(m, s²) has ½ log2(2πe s² 127.5²) bits a value; a chain of small steps comes near."""
    entropy = math.log2(2 * math.pi * math.e * PRIOR_VARIANCE * 127.5**2) / 2
    fine = variational_bound(tiny_model, images[:2], uniform(150, first=9.5, last=-8.0), wide_curve)
    assert fine.split("analytic").total.mean == pytest.approx(entropy, rel=0.02)


def test_prior_term(bound: Bound, images: NDArray[np.uint8]):
    """KL(N(μ, σ²) || N(0, 1)) = ½ (μ² + σ² - 1 - ln σ²), averaged over an image."""
    alpha_bar = alpha_bar_of(CHAIN.log_snr(40))
    x_0 = images.astype(np.float64) / 127.5 - 1
    expected = (alpha_bar * x_0**2 + 1 - alpha_bar - 1 - np.log(1 - alpha_bar)).mean(axis=(1, 2, 3)) / 2 / math.log(2)
    np.testing.assert_allclose(bound.L_T, expected, rtol=1e-6)
    assert L_T_bits(np.ones(1), -60.0) == pytest.approx(0, abs=1e-15)


def test_variances_of_the_paper():
    """β and β̃ of eq. 7, both β̃_2 at t = 1."""
    betas = np.linspace(1e-4, 0.02, 1000)
    alpha_bar = np.cumprod(1 - betas)
    posterior_variance = betas[1:] * (1 - alpha_bar[:-1]) / (1 - alpha_bar[1:])
    variances = model_variances(linear(1000), None)
    assert list(variances) == ["beta", "beta-tilde"]
    np.testing.assert_allclose(variances["beta"], [posterior_variance[0], *betas[1:]], rtol=1e-8)
    np.testing.assert_allclose(variances["beta-tilde"], [posterior_variance[0], *posterior_variance], rtol=1e-8)


def test_the_analytic_variance_follows_the_curve(wide_curve: ErrorCurve):
    variances = model_variances(CHAIN, wide_curve)
    assert variances["analytic"][0] == pytest.approx(float(wiener_mse(CHAIN.log_snrs[:1])[0]), rel=1e-3)
    q = posterior(CHAIN.log_snr(20), CHAIN.log_snr(19))
    expected = q.variance + q.x0_coef**2 * float(wiener_mse(CHAIN.log_snrs[19:20])[0])
    assert variances["analytic"][19] == pytest.approx(expected, rel=1e-3)
    # Beyond the curve its ends go on.
    outside = model_variances(NoiseSchedule(np.array([30.0, -30.0, -31.0])), wide_curve)
    assert all(np.isfinite(v).all() and (v > 0).all() for v in outside.values())
    with pytest.raises(DdpmCodecError, match="one timestep"):
        model_variances(cosine(1), None)


@pytest.mark.parametrize("sigma", [0.002, 0.0074, 0.05, 3.0])
def test_decoder_bits_against_a_numeric_integral(sigma: float):
    x_0 = np.array([0, 1, 100, 128, 254, 255]) / 127.5 - 1
    for mean in (-1.0, -0.21, x_0[2] + 0.3 / 127.5, 0.4, 1.0):
        for x, bits in zip(x_0, decoder_bits(x_0, np.full(6, mean), sigma), strict=True):
            low = -40 * sigma - 2 if x == -1 else x - 1 / 255
            high = 40 * sigma + 2 if x == 1 else x + 1 / 255
            z = np.linspace(low, high, 20_001)
            density = np.exp(-0.5 * ((z - mean) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
            mass = float(np.trapezoid(density, z))
            if mass > 1e-250:
                assert bits == pytest.approx(-math.log2(mass), rel=1e-4, abs=1e-4)


def test_decoder_is_a_distribution_over_levels_even_far_out():
    levels = np.arange(256) / 127.5 - 1
    for mean, sigma in ((0.1, 0.01), (1.0, 0.5), (-0.7, 0.001)):
        bits = decoder_bits(levels, np.full(256, mean), sigma)
        assert np.isfinite(bits).all()
        assert np.exp2(-bits).sum() == pytest.approx(1, abs=1e-9)
    # 2 / 0.001 standard deviations away: the tail's own formula, -log2 of exp(-z²/2) / (z √(2π)).
    z = (2 - 1 / 255) / 0.001
    expected = (z**2 / 2 + math.log(z * math.sqrt(2 * math.pi))) / math.log(2)
    assert decoder_bits(np.ones(1), -np.ones(1), 0.001)[0] == pytest.approx(expected, rel=1e-6)


def test_points_are_the_paper_s_table(bound: Bound):
    """At reverse time T all but L_0 is received and x_1 is known; at reverse time 1 there is x_T alone."""
    last, first = bound.point(40), bound.point(1)
    for name in bound.terms:
        split = bound.split(name)
        assert last.rate[name] == pytest.approx(split.L_T.mean + split.chain.mean)
        assert last.rate[name] + split.decoder.mean == pytest.approx(split.total.mean)
        assert first.rate[name] == pytest.approx(split.L_T.mean)
        step = bound.point(11).rate[name] - bound.point(10).rate[name]
        assert step == pytest.approx(bound.terms[name][:, 30].mean())  # x_31 was known, now x_30
    assert last.root_mse == pytest.approx(math.sqrt(bound.mse[:, 0].mean()))
    assert last.rmse == pytest.approx(np.sqrt(bound.mse[:, 0]).mean())
    assert last.rmse <= last.root_mse
    assert first.root_mse_rounded == pytest.approx(math.sqrt(bound.mse_rounded[:, -1].mean()))
    rmses = [bound.point(i).rmse for i in (1, 11, 21, 31, 40)]
    assert rmses == sorted(rmses, reverse=True)


def test_estimates_have_standard_errors():
    values = np.array([1.0, 2.0, 3.0, 6.0])
    estimate = Estimate.of(values)
    assert estimate.mean == 3
    assert estimate.error == pytest.approx(math.sqrt(((values - 3) ** 2).sum() / 3 / 4))
    assert math.isnan(Estimate.of(values[:1]).error)


def test_the_result_does_not_depend_on_batches_but_on_the_seed(tiny_model: CodecModel, images: NDArray[np.uint8]):
    chain, calls = uniform(3), []
    first = variational_bound(tiny_model, images[:3], chain, batch=1, on_call=lambda: calls.append(1))
    second = variational_bound(tiny_model, images[:3], chain, batch=50)
    assert len(calls) == 9
    np.testing.assert_allclose(first.mse, second.mse, rtol=1e-5)
    np.testing.assert_allclose(first.terms["beta"], second.terms["beta"], rtol=1e-5)
    other = variational_bound(tiny_model, images[:3], chain, seed=1)
    assert (np.abs(other.mse / first.mse - 1) > 1e-5).all()


def test_bad_arguments_are_refused(tiny_model: CodecModel):
    for shape in ((0, 32, 32, 3), (1, 31, 32, 3), (32, 32, 3)):
        with pytest.raises(DdpmCodecError, match="32x32"):
            variational_bound(tiny_model, np.zeros(shape, np.uint8), CHAIN)
    with pytest.raises(DdpmCodecError, match="batches of 0"):
        variational_bound(tiny_model, np.zeros((1, 32, 32, 3), np.uint8), CHAIN, batch=0)
