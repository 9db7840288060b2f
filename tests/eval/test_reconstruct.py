from __future__ import annotations

import math
import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.rd import measure, reconstruct
from ddpmcodec.eval.rd.curves import real_curve
from ddpmcodec.models import CodecModel
from tests.conftest import PRIOR_VARIANCE, prior_mean

STEPS = 7


@pytest.fixture(scope="module")
def pictures() -> list[NDArray[np.uint8]]:
    """Two draws from the cheating model's own prior."""
    noise = np.random.default_rng(8).normal(scale=math.sqrt(PRIOR_VARIANCE), size=(2, 3, 32, 32))
    levels = np.clip(np.rint((prior_mean() + noise + 1) * 127.5), 0, 255)
    return list(levels.astype(np.uint8).transpose(0, 2, 3, 1))


@pytest.fixture(scope="module")
def made(tiny_model: CodecModel, pictures: list[NDArray[np.uint8]]) -> dict[str, NDArray[Any]]:
    ticks: list[int] = []
    table = reconstruct.measured(
        tiny_model, pictures, STEPS, "trellis", 0, reconstruct.MODES, 0, lambda: ticks.append(1)
    )
    assert len(ticks) == reconstruct.network_calls(tiny_model.plan(STEPS), reconstruct.MODES)
    return table


def test_the_mean_is_what_decode_gives(
    made: dict[str, NDArray[Any]], tiny_model: CodecModel, pictures: list[NDArray[np.uint8]]
) -> None:
    found = measure.real(tiny_model, pictures, STEPS, "trellis", 0)
    at = [n - 1 for n in reconstruct.prefixes(tiny_model.plan(STEPS))]
    np.testing.assert_array_equal(made["mean_mse"], found["mse"][:, at])
    np.testing.assert_array_equal(made["mean_ssim"], found["ssim"][:, at])


def test_samples_double_the_squared_error_of_the_mean(made: dict[str, NDArray[Any]]) -> None:
    """A draw from a Gaussian posterior lies as far from its mean as the truth does, and independently so.

    It ends as the mean at the plan's last level, whose own error is missing from it: 1/12 is that of whole levels.
    """
    mean = made["mean_mse"].mean(axis=0) - 1 / 12
    ratio = (made["sample_mse"].mean(axis=0) - 1 / 12) / mean
    np.testing.assert_allclose(ratio, 2 - mean[-1] / mean, rtol=0.06)
    assert ratio[-1] == pytest.approx(1, abs=0.01)  # nothing is left to draw
    assert (made["ddim_mse"].mean(axis=0) >= 0.99 * made["mean_mse"].mean(axis=0)).all()


def test_prefixes_end_with_the_whole_stream(tiny_model: CodecModel) -> None:
    for steps in (1, 2, 5, 20):
        found = reconstruct.prefixes(tiny_model.plan(steps))
        assert found[-1] == steps
        assert found[0] >= 1
        assert found == sorted(set(found))


def test_modes_by_name() -> None:
    assert reconstruct.parse_modes("sample, mean") == ("sample", "mean")
    assert reconstruct.parse_modes("none") == ()
    with pytest.raises(DdpmCodecError, match="oil"):
        reconstruct.parse_modes("oil")


def _curves(
    made: dict[str, NDArray[Any]], pictures: list[NDArray[np.uint8]], model: CodecModel
) -> tuple[dict[str, Any], list[str]]:
    rates = real_curve(measure.real(model, pictures, STEPS, "trellis", 0), np.full(2, 3072.0))
    return reconstruct.curves([made], pictures, reconstruct.MODES, rates, reconstruct.prefixes(model.plan(STEPS)))


def test_missing_measures_are_skipped_with_a_note(
    made: dict[str, NDArray[Any]],
    pictures: list[NDArray[np.uint8]],
    tiny_model: CodecModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    found, notes = _curves(made, pictures, tiny_model)
    assert set(found) == set(reconstruct.MODES)
    assert all("lpips" not in curve and "fid" not in curve for curve in found.values())
    small, *missing = notes
    assert small == "MS-SSIM skipped: its five scales need pictures of 176 pixels or more a side"
    assert len(missing) == 2
    assert "LPIPS skipped" in missing[0]
    assert "ddpmcodec[perceptual]" in missing[0]
    assert "FID skipped" in missing[1]


class _Distance(torch.nn.Module):
    """Stands in for LPIPS: the mean absolute difference of pictures on [0, 1]."""

    def __init__(self, net_type: str, normalize: bool):
        super().__init__()
        assert normalize

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        assert a.shape == b.shape == (1, 3, 32, 32)
        assert 0 <= float(a.min()) <= float(a.max()) <= 1
        return (a - b).abs().mean()


class _Moments(torch.nn.Module):
    """Stands in for FID: the squared distance of the sets' means."""

    def __init__(self, normalize: bool):
        super().__init__()
        self.sets: dict[bool, list[torch.Tensor]] = {True: [], False: []}

    def update(self, pictures: torch.Tensor, real: bool) -> None:
        self.sets[real].append(pictures)

    def compute(self) -> torch.Tensor:
        means = [torch.cat(self.sets[real]).mean(dim=0) for real in (True, False)]
        return (means[0] - means[1]).square().sum()


def test_perceptual_measures_see_the_right_pictures(
    made: dict[str, NDArray[Any]],
    pictures: list[NDArray[np.uint8]],
    tiny_model: CodecModel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, attribute, stand_in in (
        ("lpip", "LearnedPerceptualImagePatchSimilarity", _Distance),
        ("fid", "FrechetInceptionDistance", _Moments),
    ):
        module = types.ModuleType(name)
        setattr(module, attribute, stand_in)
        monkeypatch.setitem(sys.modules, f"torchmetrics.image.{name}", module)
    found, notes = _curves(made, pictures, tiny_model)
    assert [note.split(":")[0] for note in notes] == ["MS-SSIM skipped"]
    originals = np.stack(pictures).astype(float) / 255
    means = made["mean_pictures"].transpose(1, 0, 2, 3, 4) / 255
    for column, (score, distance) in enumerate(zip(found["mean"]["lpips"], found["mean"]["fid"], strict=True)):
        assert score == pytest.approx(np.abs(means[column] - originals).mean(), rel=1e-4)
        expected = np.square(means[column].mean(axis=0) - originals.mean(axis=0)).sum()
        assert distance == pytest.approx(expected, rel=1e-3)


def test_ms_ssim_is_that_of_torchmetrics() -> None:
    pytest.importorskip("torchmetrics", reason="pip install 'ddpmcodec[perceptual]'")
    draw = np.random.default_rng(0)
    image = np.repeat(np.repeat(draw.integers(0, 256, (22, 23, 3), np.uint8), 8, 0), 8, 1)
    noisy = np.clip(image.astype(int) + draw.integers(-40, 41, image.shape), 0, 255).astype(np.uint8)
    rows = [np.stack([image, noisy])] * 2
    found = reconstruct.ms_ssim([image, image], rows)
    assert found["ms_ssim"][0] == pytest.approx(1, abs=1e-4)
    assert 0.5 < found["ms_ssim"][1] < 0.999
    assert found["ms_ssim_error"] == pytest.approx([0, 0], abs=1e-6)
