from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ddpmcodec.diffusion.canvas import canvas_size
from ddpmcodec.diffusion.windows import WINDOWS_AT_A_TIME, in_windows
from ddpmcodec.errors import FormatError
from ddpmcodec.models import CodecModel

SIDES = st.integers(32, 150)
LEVELS = st.sampled_from([-5.0, 0.0, 4.0])


def predict_eps(model: CodecModel, x_t: np.ndarray, log_snr: float) -> np.ndarray:
    return in_windows(model.predict_eps, x_t, log_snr, model.window)


class Watcher:
    """An eps-model that keeps what it was shown."""

    def __init__(self, answer: Callable[[Tensor], Tensor] = torch.zeros_like):
        self.answer, self.seen, self.levels = answer, [], set()

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        assert x_t.shape[2:] == (32, 32)
        assert log_snr.shape == (len(x_t),)
        self.seen.append(x_t.clone())
        self.levels |= set(log_snr.tolist())
        return self.answer(x_t)


def positions(n: int, height: int, width: int) -> np.ndarray:
    """(n, 3, h, w) whose values are picture, row and column: they tell where a window was cut."""
    return np.stack(np.broadcast_arrays(*np.ogrid[:n, :height, :width]), axis=1).astype(np.float32)


@settings(max_examples=30)
@given(SIDES, SIDES, st.integers(1, 3), LEVELS)
def test_windows_cover_every_pixel_of_every_picture(
    tiny_model: CodecModel, height: int, width: int, n: int, level: float
):
    watcher = Watcher()
    predict_eps(replace(tiny_model, eps_model=watcher), positions(n, height, width), level)
    assert watcher.levels == {level}
    seen = torch.cat(watcher.seen).numpy().astype(int)
    covered = np.zeros((n, height, width), int)
    for i, row, column in seen:
        assert (np.diff(row, axis=0) == 1).all()
        assert (np.diff(column, axis=1) == 1).all()
        covered[i[0, 0], row[0, 0] : row[0, 0] + 32, column[0, 0] : column[0, 0] + 32] += 1
    assert covered.min() >= 1
    corners = [np.unique(seen[:, axis, 0, 0]) for axis in (1, 2)]
    for starts, length in zip(corners, (height, width), strict=True):
        assert (starts[0], starts[-1]) == (0, length - 32)
        assert (np.diff(starts) <= 24).all()  # neighbours overlap by a quarter at least


@settings(max_examples=30)
@given(SIDES, SIDES, LEVELS, st.floats(-3, 3, width=32))
def test_blending_equal_predictions_changes_nothing(
    tiny_model: CodecModel, height: int, width: int, level: float, value: float
):
    constant = replace(tiny_model, eps_model=lambda x_t, log_snr: torch.full_like(x_t, value))
    eps = predict_eps(constant, np.zeros((2, 3, height, width), np.float32), level)
    assert eps.dtype == np.float32
    np.testing.assert_allclose(eps, value, rtol=1e-6, atol=1e-6)


@settings(max_examples=20)
@given(SIDES, SIDES, LEVELS)
def test_what_is_true_of_every_pixel_stays_true(tiny_model: CodecModel, height: int, width: int, level: float):
    x_t = np.random.default_rng(height).normal(size=(1, 3, height, width)).astype(np.float32)
    eps = predict_eps(replace(tiny_model, eps_model=Watcher(lambda x: 2 * x)), x_t, level)
    np.testing.assert_allclose(eps, 2 * x_t, rtol=1e-5, atol=1e-6)


def test_a_picture_of_one_window_calls_the_network_once(tiny_model: CodecModel):
    watcher = Watcher(torch.sin)
    x_t = np.random.default_rng(0).normal(size=(5, 3, 32, 32)).astype(np.float32)
    eps = predict_eps(replace(tiny_model, eps_model=watcher), x_t, 1.5)
    assert [len(x) for x in watcher.seen] == [5]
    np.testing.assert_array_equal(watcher.seen[0], x_t)
    np.testing.assert_array_equal(eps, torch.sin(torch.from_numpy(x_t)).numpy())


@pytest.mark.parametrize("level", [-5.0, 4.0])
@pytest.mark.parametrize("shape", [(200, 3, 32, 32), (1, 3, 400, 300), (3, 3, 33, 500)])
def test_the_network_s_batches_are_bounded(tiny_model: CodecModel, shape: tuple[int, ...], level: float):
    watcher = Watcher()
    predict_eps(replace(tiny_model, eps_model=watcher), np.zeros(shape, np.float32), level)
    assert max(len(x) for x in watcher.seen) <= WINDOWS_AT_A_TIME


def test_the_blend_has_no_seam(tiny_model: CodecModel):
    # Each window answers with its own mean; the result must go smoothly from one to the next.
    means = replace(tiny_model, eps_model=Watcher(lambda x: x.mean(dim=(1, 2, 3), keepdim=True).expand_as(x)))
    x_t = np.random.default_rng(1).normal(size=(1, 3, 90, 90)).astype(np.float32)
    eps = predict_eps(means, x_t, 2.0)
    steepest = max(np.abs(np.diff(eps, axis=axis)).max() for axis in (2, 3))
    assert steepest < 0.15 * (eps.max() - eps.min())


@given(st.integers(1, 300), st.integers(1, 300))
def test_the_canvas_is_the_picture_or_one_window(height: int, width: int):
    assert canvas_size(height, width, 32) == (max(height, 32), max(width, 32))


def test_a_canvas_beyond_the_limit_is_refused():
    with pytest.raises(FormatError, match="64 megapixels"):
        canvas_size(1, 64 << 20, 32)
