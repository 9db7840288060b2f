from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddpmcodec.diffusion import schedule
from ddpmcodec.diffusion.schedule import NoiseSchedule, alpha_bar_of, from_betas, log_snr_of, snr_of
from ddpmcodec.errors import DdpmCodecError


def test_linear_is_the_cumulative_product_of_one_minus_beta():
    betas = np.linspace(1e-4, 0.02, 1000)
    alpha_bar = [alpha_bar_of(level) for level in schedule.linear(1000).log_snrs]
    np.testing.assert_allclose(alpha_bar, np.cumprod(1 - betas), rtol=1e-11)


def test_cosine_follows_its_cosine():
    f = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
    alpha_bar = [alpha_bar_of(level) for level in schedule.cosine(1000).log_snrs]
    np.testing.assert_allclose(alpha_bar[:990], (f[1:] / f[0])[:990], rtol=1e-9)  # beta is clipped near the end


def test_uniform_has_equal_steps_between_its_ends():
    levels = schedule.uniform(50, first=9.0, last=-8.0).log_snrs
    assert (levels[0], levels[-1]) == (9.0, -8.0)
    np.testing.assert_allclose(np.diff(levels), (levels[-1] - levels[0]) / 49)


@given(st.floats(1e-12, 1 - 1e-9))
def test_log_snr_inverts_alpha_bar(alpha_bar: float):
    assert alpha_bar_of(log_snr_of(alpha_bar)) == pytest.approx(alpha_bar, rel=1e-12)


@given(st.floats(-30, 15))
def test_alpha_bar_inverts_log_snr(log_snr: float):
    assert log_snr_of(alpha_bar_of(log_snr)) == pytest.approx(log_snr, abs=1e-8)


@given(st.floats(-30, 15))
def test_snr_is_signal_over_noise(log_snr: float):
    assert snr_of(log_snr) == pytest.approx(alpha_bar_of(log_snr) / alpha_bar_of(-log_snr), rel=1e-12)


def test_minus_infinity_is_pure_noise():
    assert alpha_bar_of(-math.inf) == 0.0
    assert snr_of(-math.inf) == 0.0


@pytest.mark.parametrize("make", [schedule.linear, schedule.cosine, schedule.uniform])
def test_a_schedule_gets_noisier_and_finds_its_own_timesteps(make):
    levels = make(100)
    assert len(levels) == 100
    assert (np.diff(levels.log_snrs) < 0).all()
    assert [levels.nearest_timestep(levels.log_snr(t)) for t in range(1, 101)] == list(range(1, 101))


@pytest.mark.parametrize("timestep", [0, -1, 101])
def test_a_timestep_outside_the_schedule_is_refused(timestep: int):
    with pytest.raises(ValueError, match="expected 1 to 100"):
        schedule.linear(100).log_snr(timestep)


@pytest.mark.parametrize("levels", [[], [1.0, 1.0], [0.0, 1.0], [1.0, math.nan], [math.inf, 0.0], [[1.0, 0.0]]])
def test_what_does_not_decrease_is_no_schedule(levels):
    with pytest.raises(ValueError, match="strictly decrease"):
        NoiseSchedule(np.array(levels))


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.1])
def test_a_beta_outside_0_to_1_is_refused(beta: float):
    with pytest.raises(ValueError, match="between 0 and 1"):
        from_betas(np.array([0.1, beta]))


@pytest.mark.parametrize("alpha_bar", [0.0, 1.0, -1.0, math.nan])
def test_alpha_bar_outside_0_to_1_has_no_log_snr(alpha_bar: float):
    with pytest.raises(ValueError, match="between 0 and 1"):
        log_snr_of(alpha_bar)


@pytest.mark.parametrize("timesteps", [50, 1000, 4000])
@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_a_named_schedule_ends_in_noise_whatever_its_length(name: str, timesteps: int):
    chain = schedule.named(name, timesteps)
    assert len(chain) == timesteps
    assert alpha_bar_of(chain.log_snr(timesteps)) < 1e-4
    assert chain.log_snr(1) > 3


def test_the_named_linear_schedule_of_1000_is_the_paper_s():
    assert np.array_equal(schedule.named("linear", 1000).log_snrs, schedule.linear().log_snrs)


@pytest.mark.parametrize(("name", "timesteps"), [("cubic", 1000), ("linear", 20), ("cosine", 1)])
def test_other_names_and_lengths_are_refused(name: str, timesteps: int):
    with pytest.raises(DdpmCodecError):
        schedule.named(name, timesteps)
