"""Pictures of any size through a network that takes any: tiles with a halo."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ddpmcodec.diffusion import tiles
from ddpmcodec.diffusion.tiles import in_tiles


def blur(x_t: Tensor, log_snr: float) -> Tensor:
    """A mean of 65 × 65 pixels: a neighbourhood no larger than the narrowest halo."""
    assert x_t.shape[2] % 16 == x_t.shape[3] % 16 == 0
    columns = F.avg_pool2d(x_t, (65, 1), stride=1, padding=(32, 0), count_include_pad=False)
    return F.avg_pool2d(columns, (1, 65), stride=1, padding=(0, 32), count_include_pad=False)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (50, 17), (64, 100), (1, 33)])
def test_sides_need_not_be_multiples(height: int, width: int):
    x = np.random.default_rng(0).standard_normal((3, 3, height, width)).astype(np.float32)
    found = in_tiles(lambda x_t, level: x_t * level, x, 2.0, 16)
    assert np.array_equal(found, 2 * x)


@pytest.mark.parametrize(("height", "width", "level"), [(512, 512, 0.0), (400, 1000, 2.0), (333, 700, 9.0)])
def test_tiles_are_as_the_whole(height: int, width: int, level: float, monkeypatch: pytest.MonkeyPatch):
    x = np.random.default_rng(0).standard_normal((2, 3, height, width)).astype(np.float32)
    whole = in_tiles(blur, x, level, 16)
    monkeypatch.setattr(tiles, "AT_A_TIME", 320 * 320)
    calls: list[tuple[int, ...]] = []

    def watched(x_t: Tensor, log_snr: float) -> Tensor:
        calls.append(tuple(x_t.shape))
        return blur(x_t, log_snr)

    found = in_tiles(watched, x, level, 16)
    assert np.allclose(found, whole, atol=1e-5)
    assert len(calls) > 4
    assert max(h * w for _, _, h, w in calls) <= 320 * 320


def test_small_pictures_go_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tiles, "AT_A_TIME", 5 * 32 * 32)
    calls: list[int] = []

    def watched(x_t: Tensor, log_snr: float) -> Tensor:
        calls.append(len(x_t))
        return x_t

    x = np.random.default_rng(0).standard_normal((12, 3, 32, 32)).astype(np.float32)
    assert np.array_equal(in_tiles(watched, x, 0.0, 16), x)
    assert calls == [5, 5, 2]


def test_inputs_are_left_alone():
    x = np.zeros((1, 3, 16, 16), np.float32)
    in_tiles(lambda x_t, level: torch.ones_like(x_t), x, 0.0, 16)
    assert not x.any()
