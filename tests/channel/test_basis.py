"""The orthonormal basis of coloured priors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddpmcodec.channel import basis
from ddpmcodec.channel.basis import Basis
from ddpmcodec.diffusion.spectrum import OPPONENT, group_count, transform, transform_back
from tests.conftest import spectral_curve

ROW = spectral_curve().spectrum.row(0.0)  # type: ignore[union-attr]


@settings(max_examples=25)
@given(st.integers(8, 120), st.integers(8, 120), st.integers(0, 1 << 32))
def test_the_transform_is_orthonormal_at_any_size(height: int, width: int, seed: int):
    x = np.random.default_rng(seed).normal(size=(3, height, width)).astype(np.float32)
    y = transform(x)
    assert y.dtype == np.float32
    assert np.sum(y.astype(np.float64) ** 2) == pytest.approx(np.sum(x.astype(np.float64) ** 2), rel=1e-5)
    np.testing.assert_allclose(transform_back(y), x, atol=1e-5)
    basis = Basis(ROW, height, width)
    np.testing.assert_array_equal(np.sort(basis.order), np.arange(x.size))
    np.testing.assert_allclose(basis.synthesise(basis.analyse(x)), x, atol=1e-5)


def test_colours_are_opponent():
    np.testing.assert_allclose(OPPONENT @ OPPONENT.T, np.eye(3), atol=1e-6)
    grey = transform(np.ones((3, 32, 32), np.float32))
    assert grey[0, 0, 0] == pytest.approx(np.sqrt(3072))
    assert np.abs(grey).sum() == pytest.approx(np.sqrt(3072), rel=1e-4)


def test_a_batch_is_its_pictures():
    x = np.random.default_rng(0).normal(size=(2, 3, 40, 33)).astype(np.float32)
    np.testing.assert_allclose(transform(x)[1], transform(x[1]), atol=1e-6)


@pytest.mark.parametrize("size", [(32, 32), (70, 100), (300, 400)])
def test_groups_have_the_energy_that_the_prior_says(size: tuple[int, int]):
    """Of pictures whose coefficients have the row's variances, and in all stretches that a channel mixes."""
    height, width = size
    basis = Basis(ROW, height, width)
    from ddpmcodec.diffusion.spectrum import bands

    variance = np.stack([2.0 ** (np.array(ROW)[32 * c + bands(height, width).astype(int)] / 16) for c in range(3)])
    sorted_variance = variance.reshape(-1)[basis.order]
    energies = basis.prior.energies(np.sqrt(sorted_variance).astype(np.float32)) / variance.mean()
    np.testing.assert_allclose(energies, basis.prior.power, rtol=1e-3, atol=1e-3)
    assert len(basis.prior.power) == group_count(3 * height * width)
    if basis.prior.sizes[0] > 256:
        group = sorted_variance[: basis.prior.sizes[0]]
        runs = [group[i : i + 128].mean() for i in range(0, len(group) - 128, 128)]
        assert max(runs) < 1.35 * min(runs)


def test_many_coefficients_are_sorted_by_threads_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    places = np.random.default_rng(1).permutation(5000).astype(np.int32)
    monkeypatch.setattr(basis, "WORTH_THREADS", 1024)  # the last part is shorter
    np.testing.assert_array_equal(basis._taken(values, places), values[places])
