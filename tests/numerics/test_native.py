"""Native code makes numpy's integers: of every shape, at the limits, and in threads."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from ddpmcodec.channel import viterbi
from ddpmcodec.channel.blocks import blocks_of
from ddpmcodec.channel.codebook import codebook, hadamard_transform, taps
from ddpmcodec.channel.metrics import branch_metrics
from ddpmcodec.channel.prior import Prior
from ddpmcodec.channel.trellis import TrellisChannel
from ddpmcodec.channel.viterbi import branch_limit
from ddpmcodec.cli.app import app
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.numerics import native
from ddpmcodec.numerics.philox import TRELLIS, Key
from ddpmcodec.numerics.threads import in_threads, workers

needs_native = pytest.mark.skipif(not native.built(), reason="native code was not built")
MEMORIES = range(8, 17)


def metrics_of(steps: int, memory: int, kind: str, seed: int) -> NDArray[np.int16]:
    """Branch metrics that put a search to the test: at the limit, nearly all ties, in favour of starts other than state
    0.
    """
    older, newer = taps(memory)
    rng, limit = np.random.default_rng(seed), branch_limit(memory)
    shape = (steps, 1 << older, 1 << newer)
    if kind == "usual":
        return np.clip(np.rint(rng.normal(size=shape) * limit / 4.5), -limit, limit).astype(np.int16)
    if kind == "ties":
        return rng.integers(-1, 2, shape).astype(np.int16)
    if kind == "limit":
        return np.where(rng.random(shape) < 0.5, limit, -limit).astype(np.int16)
    if kind == "zero":
        return np.zeros(shape, np.int16)
    metrics = np.full(shape, limit if kind != "down" else -limit, np.int16)
    if kind == "other starts":
        metrics[:, 0] = 0
    elif kind == "up then down":
        metrics[steps // 2 :] *= -1
    return metrics


@pytest.fixture(params=[16, 32])
def vectors(request: pytest.FixtureRequest) -> Iterator[int]:
    """Vectors of each size that this processor has: each is code of its own."""
    if native.use_vectors(request.param) != request.param:
        pytest.skip(f"no vectors of {request.param} bytes here")
    yield request.param
    native.use_vectors()


KINDS = ("usual", "ties", "limit", "zero", "up", "down", "up then down", "other starts")


@needs_native
@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_search_finds_numpy_s_bits(memory: int, kind: str):
    # Around the renormalisation every 8 steps, and around the memory: until then some states can't be reached.
    for steps in (1, 2, 7, 8, 9, 16, memory - 1, memory, memory + 1, 65, 300 if memory < 15 else 129):
        metrics = metrics_of(steps, memory, kind, steps)
        found = native.search(metrics, memory, viterbi.initial(memory))
        np.testing.assert_array_equal(found, viterbi._search_numpy(metrics, memory))
        assert found.dtype == np.uint8


@needs_native
@settings(max_examples=100)
@given(
    st.sampled_from((8, 9, 10, 11, 12, 13)),
    st.integers(1, 400),
    st.integers(1, branch_limit(13)),
    st.integers(0, 1 << 32),
)
def test_the_search_finds_numpy_s_bits_of_any_range(memory: int, steps: int, limit: int, seed: int):
    older, newer = taps(memory)
    metrics = np.random.default_rng(seed).integers(-limit, limit + 1, (steps, 1 << older, 1 << newer)).astype(np.int16)
    found = native.search(metrics, memory, viterbi.initial(memory))
    np.testing.assert_array_equal(found, viterbi._search_numpy(metrics, memory))


def both(monkeypatch: pytest.MonkeyPatch, function: Callable[[], Any]) -> tuple[Any, Any]:
    """What comes of a function natively and with numpy, from empty caches."""
    results = []
    for name in ("native", "numpy"):
        monkeypatch.setenv(native.VARIABLE, name)
        codebook.cache_clear()
        results.append(function())
    return results[0], results[1]


@needs_native
@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(
    ("bits", "dims"), [(1, 768), (2, 3072), (63, 3072), (64, 3072), (65, 3000), (1000, 3072), (768, 768)]
)
def test_branch_metrics_are_numpy_s(memory: int, grouped: bool, bits: int, dims: int, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(bits)
    (block,) = blocks_of(bits, dims, memory, Key(5, 6), grouped)
    spike = np.zeros(dims, np.int32)
    spike[dims // 3] = 64 * math.isqrt(dims)
    for target in (np.rint(64 * rng.normal(size=dims)).astype(np.int32), spike, np.zeros(dims, np.int32)):
        one, other = both(monkeypatch, lambda target=target: branch_metrics(target, block))
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
        assert one.shape == other.shape


@needs_native
@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("size", [1 << 11, 1 << 16, 1 << 22, 1 << 26])
def test_branch_metrics_are_numpy_s_where_sums_are_large(size: int, monkeypatch: pytest.MonkeyPatch):
    """As they are in large pictures: beyond 2^24 numbers are scaled as float64, beyond 2^31 they are added as such."""
    (block,) = blocks_of(100, 4096, 12, Key(5, 6))
    target = np.random.default_rng(size).integers(-size, size, 4096).astype(np.int32)
    monkeypatch.setattr("ddpmcodec.channel.metrics.rotate", lambda x, book, shape: x)
    one, other = both(monkeypatch, lambda: branch_metrics(target, block))
    np.testing.assert_array_equal(one, other)
    assert len(np.unique(one)) > 100


@needs_native
@pytest.mark.usefixtures("vectors")
@pytest.mark.parametrize("order", range(4, 13))
@pytest.mark.parametrize("rows", [1, 3])
def test_hadamard_transforms_are_exact(order: int, rows: int):
    x = np.random.default_rng(order).integers(-(1 << 18), 1 << 18, (rows, 1 << order)).astype(np.int32)
    expected = hadamard_transform(x)
    native.hadamard(x)
    np.testing.assert_array_equal(x, expected)


@needs_native
@pytest.mark.parametrize(("count", "skip"), [(0, 0), (1, 0), (5, 4), (4096, 1 << 32), (1000, (1 << 34) - 1000)])
@pytest.mark.parametrize("key", [Key(0, 0), Key((1 << 64) - 1, (1 << 32) - 1, TRELLIS, 77)])
def test_words_are_numpy_s(count: int, skip: int, key: Key, monkeypatch: pytest.MonkeyPatch):
    one, other = both(monkeypatch, lambda: key.words(count, skip))
    np.testing.assert_array_equal(one, other)
    assert one.dtype == other.dtype == np.uint32


@needs_native
@pytest.mark.parametrize("memory", [8, 10, 13, 16])
@pytest.mark.parametrize("coloured", [False, True])
def test_codes_and_samples_are_the_same_to_the_bit(memory: int, coloured: bool, monkeypatch: pytest.MonkeyPatch):
    dims, bits, channel = 3072, [0, 1, 17, 300, 64], TrellisChannel(memory)
    prior = Prior(tuple(np.geomspace(4, 0.1, 24) / np.geomspace(4, 0.1, 24).mean()), dims) if coloured else None
    shifts = np.random.default_rng(3).normal(scale=0.2, size=(len(bits), dims)).astype(np.float32)

    def codes_and_samples() -> list[NDArray[Any]]:
        codes = channel.encode(shifts, bits, Key(1, 2), [prior] * len(bits))
        return [*codes, *(channel.decode(c, b, dims, Key(1, 2), prior) for c, b in zip(codes, bits, strict=True))]

    for one, other in zip(*both(monkeypatch, codes_and_samples), strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@needs_native
def test_the_search_lets_other_threads_run():
    metrics = metrics_of(4096, 16, "usual", 0)
    thread = threading.Thread(target=native.search, args=(metrics, 16, viterbi.initial(16)))
    thread.start()
    ticks, start = 0, time.perf_counter()
    while thread.is_alive():
        time.sleep(1e-4)
        ticks += 1
    thread.join()
    # With the lock held, this loop would have stood still until the end.
    assert ticks >= 3, f"{ticks} ticks in {time.perf_counter() - start:.3f} s"


@pytest.mark.parametrize("count", [1, 2, 5])
def test_threads_give_results_in_order(count: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ddpmcodec.numerics.threads.workers", lambda: count)
    monkeypatch.setattr("ddpmcodec.numerics.native.enabled", lambda: True)
    assert in_threads(lambda x: x * x, range(20)) == [x * x for x in range(20)]
    assert in_threads(str, []) == []
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda x: 1 // x, [1, 0, 1])


def test_as_many_threads_as_torch_may_have(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert workers() == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1 << 20)
    assert 1 <= workers() < 1 << 20


@pytest.mark.parametrize("memory", [8, 12])
def test_many_pictures_in_threads_are_coded_as_one_by_one(memory: int, monkeypatch: pytest.MonkeyPatch):
    channel, dims, bits = TrellisChannel(memory), 3 * 64 * 64, [40, 0, 5000, 7, 130, 64]
    shifts = np.random.default_rng(memory).normal(scale=0.3, size=(len(bits), dims)).astype(np.float32)
    alone = [channel.encode(s[None], [b], Key(1, 1))[0] for s, b in zip(shifts, bits, strict=True)]
    monkeypatch.setattr("ddpmcodec.numerics.threads.workers", lambda: 3)
    for one, other in zip(alone, channel.encode(shifts, bits, Key(1, 1)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_native_code_numpy_searches(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(native, "_library", lambda: None)
    monkeypatch.delenv(native.VARIABLE, raising=False)
    assert not native.enabled()
    assert native.description() == "numpy"
    monkeypatch.setenv(native.VARIABLE, "native")
    with pytest.raises(DdpmCodecError, match="C compiler"):
        native.enabled()


@needs_native
def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(native.VARIABLE, raising=False)
    assert native.enabled()
    monkeypatch.setenv(native.VARIABLE, "numpy")
    assert not native.enabled()
    assert native.description() == "numpy"
    monkeypatch.setenv(native.VARIABLE, "native")
    assert native.description().startswith("native, ")


def test_an_unknown_choice_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(native.VARIABLE, "fast")
    with pytest.raises(DdpmCodecError, match="expected native, numpy or nothing"):
        native.enabled()


@pytest.mark.parametrize("name", ["numpy", pytest.param("native", marks=needs_native)])
def test_the_program_says_which_search_runs(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(native.VARIABLE, name)
    said = CliRunner().invoke(app, ["--version"]).stdout.splitlines()
    assert said[0].startswith("ddpmcodec ")
    assert said[1] == f"trellis search on the CPU: {native.description()}"


def test_without_what_setup_py_builds_there_is_no_native_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Nor where a file of that name is for another machine."""
    monkeypatch.setattr(native, "EXTENSION_SUFFIXES", [".not-built.so"])
    assert native._library.__wrapped__() is None
    monkeypatch.setattr(native, "__file__", str(tmp_path / "native.py"))
    (tmp_path / "_native.not-built.so").write_bytes(b"\x7fELF of another machine")
    assert native._library.__wrapped__() is None
