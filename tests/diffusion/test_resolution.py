"""Sizes at which the network looks at a picture."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpmcodec.diffusion.denoiser import x0_hat
from ddpmcodec.diffusion.resampling import enlarged, level_of_smaller, merge, smaller
from ddpmcodec.diffusion.resolution import Resolution, Resolutions
from ddpmcodec.errors import ModelError
from ddpmcodec.models import CodecModel

NOISE = np.random.default_rng(0).standard_normal((2, 3, 128, 192)).astype(np.float32)


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("level", [-math.inf, -6.0, 0.0, 3.0])
def test_a_smaller_x_t_is_an_x_t_of_the_smaller_picture(factor: int, level: float):
    """Signal and noise have the shares that the log-SNR λ + 2 ln k says, squares summing to 1."""
    zero = smaller(NOISE * np.float32(1 if level < -700 else math.sqrt(1 / (1 + math.exp(level)))), level, factor)
    small_level = level_of_smaller(level, factor)
    expected = 1.0 if level < -700 else math.sqrt(1 / (1 + math.exp(small_level)))
    assert zero.shape == (2, 3, 128 // factor, 192 // factor)
    assert zero.std() == pytest.approx(expected, rel=0.05)
    if level > -700:
        flat = np.full((1, 3, 16, 16), 0.5 / math.sqrt(1 + math.exp(-level)), np.float32)
        assert smaller(flat, level, factor) == pytest.approx(0.5 / math.sqrt(1 + math.exp(-small_level)), rel=1e-5)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 23), (9, 40)])
def test_any_size_comes_back(height: int, width: int):
    y, x = np.mgrid[:height, :width].astype(np.float32) / 40
    slope = np.stack([x, y, x + y])[None]
    small = smaller(slope * np.float32(math.sqrt(0.5)), 0.0, 2)
    back = enlarged(small / np.float32(math.sqrt(0.8)), 2, height, width)
    assert back.shape == slope.shape
    inner = (..., slice(3, height - 4), slice(3, width - 4))
    assert back[inner] == pytest.approx(slope[inner], abs=8e-3)  # a slope of 1/40 a pixel


def test_merging_replaces_what_a_smaller_picture_shows():
    fine = np.random.default_rng(1).uniform(-0.3, 0.3, (1, 3, 32, 32)).astype(np.float32)
    brighter = enlarged(np.full((1, 3, 16, 16), 0.25, np.float32), 2, 32, 32)
    merged = merge(brighter, fine, 2)
    assert merged.mean() == pytest.approx(0.25, abs=0.02)
    assert np.diff(merged, axis=-1).std() > 0.5 * np.diff(fine, axis=-1).std()


def test_runs_are_stored_and_found():
    chosen = [Resolution(4)] * 3 + [Resolution(2)] * 2 + [Resolution(2, True), Resolution(1)]
    found = Resolutions.of(np.arange(-4.0, 3.0), chosen)
    assert found == Resolutions((-4 * 65536, -65536, 65536, 2 * 65536), (4, 2, 2, 1), (0, 0, 1, 0))
    assert found.at(-math.inf, 1000, 16) == Resolution(4)
    assert found.at(-1.5, 1000, 16) == Resolution(4)
    assert found.at(-1.0, 1000, 16) == Resolution(2)
    assert found.at(1.0, 1000, 16) == Resolution(2, True)
    assert found.at(8.0, 1000, 16) == Resolution(1)
    assert found.at(-1.5, 63, 16) == Resolution(2)
    assert found.at(1.0, 31, 16) == Resolution(1)


@pytest.mark.parametrize(
    "bad", [((), (), ()), ((0, 0), (1, 1), (0, 0)), ((0,), (3,), (0,)), ((0,), (1,), (2,)), ((0,), (1, 2), (0,))]
)
def test_impossible_ones(bad: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]):
    with pytest.raises(ModelError):
        Resolutions(*bad)


def test_the_network_is_shown_the_smaller_picture(tiny_model: CodecModel):
    seen: list[tuple[tuple[int, ...], float]] = []

    def network(x_t: Tensor, log_snr: Tensor) -> Tensor:
        seen.append((tuple(x_t.shape), float(log_snr[0])))
        return torch.zeros_like(x_t)

    resolutions = Resolutions((-10 * 65536, 0, 65536), (2, 2, 1), (0, 1, 0))
    curve = replace(tiny_model.curve, resolutions=resolutions)
    model = replace(tiny_model, eps_model=network, any_size=True, window=16, curve=curve)
    x0_hat(model, NOISE, -3.0)
    assert seen == [((2, 3, 64, 96), pytest.approx(-3 + 2 * math.log(2)))]
    seen.clear()
    x0_hat(model, NOISE, 0.5)
    assert [shape for shape, _ in seen] == [(2, 3, 64, 96), (2, 3, 128, 192)]
    seen.clear()
    x0_hat(model, NOISE, -math.inf)
    assert seen == [((2, 3, 64, 96), model.min_log_snr)]
    seen.clear()
    x0_hat(model, NOISE, 4.0)
    assert seen == [((2, 3, 128, 192), 4.0)]
