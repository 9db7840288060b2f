from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ddpmcodec.channel.codebook import shift_register, taps
from ddpmcodec.channel.viterbi import branch_limit, search

pytestmark = pytest.mark.usefixtures("each_search")
CPU = torch.device("cpu")
DEVICES = [CPU, torch.device("cuda")] if torch.cuda.is_available() else [CPU]


def random_metrics(steps: int, memory: int, limit: int, seed: int) -> NDArray[np.int16]:
    older, newer = taps(memory)
    return np.random.default_rng(seed).integers(-limit, limit + 1, (steps, 1 << older, 1 << newer)).astype(np.int16)


def value(metrics: NDArray[np.int16], path: NDArray[np.uint8], memory: int) -> int:
    """What the search maximises: the sum of branch metrics along a path from state 0."""
    active, flip = shift_register(path, memory)
    along = metrics.reshape(len(metrics), -1)[np.arange(len(path)), active].astype(np.int64)
    return int((along * (1 - 2 * flip.astype(np.int64))).sum())


def best_value(metrics: NDArray[np.int16], memory: int) -> int:
    """The Viterbi algorithm once more, plainly: wide integers, no renormalising, unreachable states at -2^40."""
    older, newer = taps(memory)
    half = 1 << (memory - 1)
    rest = np.arange(half)
    column = (rest >> (memory - 1 - older)) << newer | rest & ((1 << newer) - 1)
    path = np.full(2 * half, -(1 << 40), np.int64)
    path[0] = 0
    for row in metrics.reshape(len(metrics), -1).astype(np.int64):
        x = row[column]
        path = np.stack(
            [np.maximum(path[:half] + x, path[half:] - x), np.maximum(path[:half] - x, path[half:] + x)], 1
        ).reshape(-1)
    return int(path.max())


@settings(max_examples=25)
@given(st.integers(1, 10), st.sampled_from([1, 3, 100, branch_limit(8)]), st.integers(0, 1 << 32))
def test_the_search_finds_the_best_of_all_paths(steps: int, limit: int, seed: int):
    metrics = random_metrics(steps, 8, limit, seed)
    paths = (np.arange(1 << steps)[:, None] >> np.arange(steps)) & 1
    best = max(value(metrics, path.astype(np.uint8), 8) for path in paths)
    (found,) = search([metrics], 8)
    assert found.dtype == np.uint8
    assert value(metrics, found, 8) == best


@pytest.mark.parametrize("memory", [8, 11, 14, 16])
def test_long_searches_are_optimal_too(memory: int):
    metrics = random_metrics(150, memory, 100, memory)
    (found,) = search([metrics], memory)
    assert value(metrics, found, memory) == best_value(metrics, memory)


@pytest.mark.parametrize("memory", [8, 9, 12, 16])
@pytest.mark.parametrize("kind", ["random signs", "all up", "all down", "up then down", "uniform", "other starts"])
def test_metrics_at_the_limit_do_not_overflow(memory: int, kind: str):
    limit, steps = branch_limit(memory), 400 if memory < 16 else 100
    metrics = random_metrics(steps, memory, limit, 3)
    if kind == "random signs":
        metrics = np.where(metrics > 0, limit, -limit).astype(np.int16)
    elif kind == "other starts":  # pays where the oldest bits are set, where a code from state 0 can't be at first
        metrics[:, 0], metrics[:, 1:] = 0, limit
    elif kind != "uniform":
        metrics[:] = -limit if kind == "all down" else limit
        metrics[steps // 2 :] *= -1 if kind == "up then down" else 1
    for device in (None, *DEVICES):
        (found,) = search([metrics], memory, device)
        assert value(metrics, found, memory) == best_value(metrics, memory)


@pytest.mark.parametrize("memory", [8, 12, 14])
@pytest.mark.parametrize("limit", [1, 2, None])
def test_torch_takes_the_decisions_of_numpy(memory: int, limit: int | None):
    # Metrics of -1, 0 and 1 make nearly every decision a tie.
    steps = (5, 300, 1, 64, 2, 300, 63)
    metrics = [random_metrics(n, memory, limit or branch_limit(memory), seed) for seed, n in enumerate(steps)]
    for device in DEVICES:
        for one, other in zip(search(metrics, memory), search(metrics, memory, device), strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype


def test_a_batch_too_large_for_the_memory_is_searched_in_parts(monkeypatch: pytest.MonkeyPatch):
    metrics = [random_metrics(n, 8, 50, n) for n in (40, 80, 20, 70, 60)]
    whole = search(metrics, 8, CPU)
    monkeypatch.setattr("ddpmcodec.channel.viterbi.HISTORY_BYTES", 2 * 80 * 512)
    for one, other in zip(whole, search(metrics, 8, CPU), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_to_search_is_no_work():
    assert search([], 8) == search([], 8, CPU) == []


@pytest.mark.parametrize("device", [None, *DEVICES])
def test_a_tie_goes_to_the_lower_state(device: torch.device | None):
    (found,) = search([np.zeros_like(random_metrics(30, 8, 1, 0))], 8, device)
    np.testing.assert_array_equal(found, np.zeros(30))
