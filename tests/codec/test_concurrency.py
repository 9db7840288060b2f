"""One loaded model, several threads: the same bytes and pictures as one after the other, and the caller's settings
intact.
"""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import ddpmcodec
from ddpmcodec.bitstream.bit_counts import _frequencies
from ddpmcodec.channel.codebook import codebook, geometry, sylvester
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.diffusion.plan import _costs, make_plan
from ddpmcodec.io.atomic import replacing, write_whole
from ddpmcodec.models import CodecModel, UNet, UNetConfig, load_model, save_model
from ddpmcodec.models.precision import full_precision
from ddpmcodec.numerics.symbol_model import categorical

pytestmark = pytest.mark.usefixtures("_traced_anew")
TINY = UNetConfig(channels=(8, 16), groups=4, heads=2, embedding=16, frequencies=4, window=16, knots=4)
THREADS = 4
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, curve: ErrorCurve) -> Path:
    place = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(place, UNet(TINY), curve, "tiny")
    return place


@pytest.fixture
def _many_switches() -> Iterator[None]:
    """Threads change places hundreds of times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def together(work: Callable[[int], Any], count: int) -> list[Any]:
    """The results for 0 … count - 1, from threads that start at the same moment."""
    start = threading.Barrier(THREADS)

    def begin(i: int) -> Any:
        if i < THREADS:
            start.wait()
        return work(i)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(count)))


def clear_caches() -> None:
    for cached in (categorical, codebook, geometry, sylvester, _frequencies, _costs, make_plan):
        cached.cache_clear()


@pytest.mark.usefixtures("_many_switches")
def test_threads_share_a_model(path: Path):
    model = load_model(path)
    random = np.random.default_rng(0)
    sizes = [(16, 16), (19, 21), (5, 30), (16, 16)]

    def picture(i: int) -> NDArray[np.uint8]:
        height, width = sizes[i % len(sizes)]
        y, x = np.mgrid[:height, :width]
        base = np.stack([120 + 4 * y, 120 - 3 * x, 7 * x], axis=-1) + offsets[i]
        return base.clip(0, 255).astype(np.uint8)

    offsets = random.integers(-60, 60, (8, 3))

    def round_trip(i: int) -> tuple[bytes, list[NDArray[np.uint8]]]:
        options: dict[str, Any] = {
            "plan_steps": 3 + i % 2,
            "channel": ("trellis:8", "orc:8")[i % 3 == 2],
            "seed": i // 4,
        }
        data = ddpmcodec.encode(picture(i), model=model, **options)
        return data, [step.image for step in ddpmcodec.decode_progressive(data, model=model)]

    serial = [round_trip(i) for i in range(8)]
    clear_caches()
    for (data, images), (data_again, images_again) in zip(serial, together(round_trip, 8), strict=True):
        assert data == data_again
        assert len(images) == len(images_again)
        assert all(np.array_equal(a, b) for a, b in zip(images, images_again, strict=True))


def test_streams_can_be_decoded_by_turns(tiny_model: CodecModel, picture: NDArray[np.uint8]):
    datas = [ddpmcodec.encode(p, model=tiny_model, plan_steps=4, channel="trellis:8") for p in (picture, picture[::-1])]
    apart = [[step.image for step in ddpmcodec.decode_progressive(d, model=tiny_model)] for d in datas]
    turns = zip(*(ddpmcodec.decode_progressive(d, model=tiny_model) for d in datas), strict=True)
    for n, (first, second) in enumerate(turns):
        assert np.array_equal(first.image, apart[0][n])
        assert np.array_equal(second.image, apart[1][n])


@pytest.mark.usefixtures("_many_switches")
def test_a_model_loaded_by_several_threads_at_once(path: Path):
    x_t = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = load_model(path).predict_eps(x_t, 1.0)
    before = list(warnings.filters)
    for eps in together(lambda i: load_model(path).predict_eps(x_t, 1.0), THREADS):
        assert torch.equal(eps, expected)
    assert list(warnings.filters) == before


class TestPrecision:
    @pytest.fixture(autouse=True)
    def _medium(self) -> Iterator[None]:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium")
        yield
        torch.set_float32_matmul_precision(before)

    def test_the_last_to_leave_puts_it_back(self):
        """The order in which a setting kept by each thread for itself would be lost: in, in, out, out."""
        entered, leave = threading.Event(), threading.Event()
        seen: list[str] = []

        def other() -> None:
            with full_precision(CPU):
                entered.set()
                leave.wait(10)
                seen.append(torch.get_float32_matmul_precision())

        thread = threading.Thread(target=other)
        with full_precision(CPU):
            thread.start()
            assert entered.wait(10)
        leave.set()
        thread.join()
        assert seen == ["highest"]
        assert torch.get_float32_matmul_precision() == "medium"

    @pytest.mark.usefixtures("_many_switches")
    def test_nobody_computes_with_less(self, tiny_model: CodecModel):
        seen: set[str] = set()

        def watched(x_t: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:
            seen.add(torch.get_float32_matmul_precision())
            return tiny_model.eps_model(x_t, log_snr)

        model = replace(tiny_model, eps_model=watched)
        together(lambda i: [model.predict_eps(torch.zeros(1, 3, 32, 32), 0.0) for _ in range(50)], THREADS)
        assert seen == {"highest"}
        assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.usefixtures("_many_switches")
def test_files_appear_whole_whoever_is_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And nobody touches the process's umask, which other threads' files depend on."""

    def touched(mask: int) -> int:
        raise AssertionError("umask")

    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", touched)
        contents = [bytes([i]) * 50_000 for i in range(16)]
        together(lambda i: write_whole(tmp_path / "x.bin", contents[i]), 16)
        monkeypatch.undo()
    finally:
        os.umask(before)
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]
    assert (tmp_path / "x.bin").read_bytes() in contents
    assert (tmp_path / "x.bin").stat().st_mode & 0o777 == 0o640


def test_two_writers_of_one_name_use_different_files(tmp_path: Path):
    with replacing(tmp_path / "x.bin") as first, replacing(tmp_path / "x.bin") as second:
        assert first != second
        first.write_bytes(b"1")
        second.write_bytes(b"2")
    assert (tmp_path / "x.bin").read_bytes() == b"1"
