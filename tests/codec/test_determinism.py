"""One stream, one picture: whatever the caller has set, however the network runs; and nothing of the caller's is
changed.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import ddpmcodec
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.errors import ModelError
from ddpmcodec.eval.studies import determinism, determinism_ways
from ddpmcodec.lossless.rounding import TOLERANCE, UNIT
from ddpmcodec.models import CodecModel, UNet, UNetConfig, load_model, load_network, save_model
from ddpmcodec.models.precision import full_precision
from ddpmcodec.numerics.philox import _gaussian_table

pytestmark = pytest.mark.usefixtures("_traced_anew")
TINY = UNetConfig(channels=(8, 16), groups=4, heads=2, embedding=16, frequencies=4, window=16, knots=4)
CPU = torch.device("cpu")
Coded = tuple[bytes, NDArray[np.uint8], NDArray[np.float32]]
NEW_SETTINGS = hasattr(torch._C, "_get_fp32_precision_getter")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, curve: ErrorCurve) -> Path:
    place = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(place, UNet(TINY), curve, "tiny")
    return place


@pytest.fixture(scope="module")
def small() -> NDArray[np.uint8]:
    """(19, 21, 3): several windows of the tiny model."""
    y, x = np.mgrid[:19, :21]
    return np.stack([9 * y, 9 * x, 200 - 4 * x - 3 * y], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def loaded(path: Path) -> CodecModel:
    return load_model(path)


@pytest.fixture(scope="module")
def plain(loaded: CodecModel, small: NDArray[np.uint8]) -> Coded:
    return code(loaded, small)


def code(model: CodecModel, picture: NDArray[np.uint8]) -> Coded:
    data = ddpmcodec.encode(picture, model=model, plan_steps=3, channel="trellis:8")
    *_, last = ddpmcodec.decode_progressive(data, model=model)
    return data, last.image, last.state.x0_hat


def precision_settings() -> dict[str, Any]:
    try:
        found: dict[str, Any] = {"matmul": torch.get_float32_matmul_precision()}
    except RuntimeError as error:
        found = {"matmul": type(error)}
    if NEW_SETTINGS:
        names = [("generic", "all"), *((b, o) for b in ("cuda", "mkldnn") for o in ("all", "matmul", "conv", "rnn"))]
        found |= {f"{b} {o}": torch._C._get_fp32_precision_getter(b, o) for b, o in names}
    return found


def global_state() -> dict[str, Any]:
    """Everything of the process that a program would be surprised to find changed."""
    return precision_settings() | {
        "torch rng": torch.get_rng_state().tolist(),
        "numpy rng": [str(v) for v in np.random.get_state()],  # noqa: NPY002  (the global one is the point)
        "python rng": random.getstate(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "cudnn": (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "onednn": (torch.backends.mkldnn.enabled, torch.backends.mkldnn.deterministic)
        if hasattr(torch.backends.mkldnn, "deterministic")
        else torch.backends.mkldnn.enabled,
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": (torch.ones(1, 1) @ torch.ones(1, 1)).dtype,
        "default": (torch.get_default_dtype(), torch.empty(0).device),
        "warnings": list(warnings.filters),
        "numpy errors": np.geterr(),
    }


@contextmanager
def setting(get: Callable[[], Any], put: Callable[[Any], None], value: Any) -> Iterator[None]:
    before = get()
    put(value)
    try:
        yield
    finally:
        put(before)


@contextmanager
def new_setting(backend: str, operation: str, value: str) -> Iterator[None]:
    if not NEW_SETTINGS:
        pytest.skip("this version of torch has no such setting")
    torch._C._set_fp32_precision_setter(backend, operation, value)
    try:
        yield
    finally:
        torch._C._set_fp32_precision_setter(backend, operation, "none")


Settings = Callable[[], AbstractContextManager[Any]]
SETTINGS: dict[str, Settings] = {
    "nothing": nullcontext,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default dtype": lambda: setting(torch.get_default_dtype, torch.set_default_dtype, torch.float64),
    "half default dtype": lambda: setting(torch.get_default_dtype, torch.set_default_dtype, torch.float16),
    "default device": lambda: torch.device("meta"),
    "medium": lambda: setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"),
    "high": lambda: setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "high"),
    "all products in tf32": lambda: new_setting("generic", "all", "tf32"),
    "convolutions in bf16": lambda: new_setting("mkldnn", "conv", "bf16"),
    "products in bf16": lambda: new_setting("mkldnn", "matmul", "bf16"),
    "oneDNN in bf16": lambda: new_setting("mkldnn", "all", "bf16"),
    "grad": torch.enable_grad,
    "inference": torch.inference_mode,
    "deterministic": lambda: setting(  # not use_deterministic_algorithms, which loads torch's compiler
        torch.are_deterministic_algorithms_enabled, torch._C._set_deterministic_algorithms, True
    ),
    "numpy raises": lambda: np.errstate(divide="raise", over="raise", invalid="raise"),
}

AT_LOADING = {"nothing", "autocast", "default dtype", "half default dtype", "default device", "medium", "numpy raises"}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_caller_s_settings_change_nothing_and_stay(
    name: str, path: Path, loaded: CodecModel, small: NDArray[np.uint8], plain: Coded
):
    with SETTINGS[name]():
        before = global_state()
        found = code(load_model(path) if name in AT_LOADING else loaded, small)
        assert global_state() == before
    assert found[0] == plain[0]
    assert np.array_equal(found[1], plain[1])
    assert np.array_equal(found[2], plain[2])


@pytest.mark.parametrize("name", [n for n in SETTINGS if n != "numpy raises"])
def test_inside_every_product_is_float32(name: str):
    with SETTINGS[name]():
        before = precision_settings()
        with full_precision(CPU):
            inside = precision_settings()
            with full_precision(CPU):
                assert precision_settings() == inside
            assert precision_settings() == inside
        assert precision_settings() == before
    assert inside["matmul"] == "highest"
    for operation in ("matmul", "conv"):
        assert inside.get(f"mkldnn {operation}", "none") in ("none", "ieee")


def test_settings_come_back_after_an_error(tiny_model: CodecModel):
    def broken(x_t: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:
        assert torch.get_float32_matmul_precision() == "highest"
        raise OSError("no more")

    with setting(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"):
        with pytest.raises(OSError, match="no more"):
            replace(tiny_model, eps_model=broken).predict_eps(torch.zeros(1, 3, 32, 32), 0.0)
        assert torch.get_float32_matmul_precision() == "medium"


def test_a_stream_parses_alike_whatever_the_network_computes(path: Path, loaded: CodecModel, plain: Coded):
    """Integers decide the stream: a receiver whose network is off by a lot still reads every packet as it was sent."""
    model, data = loaded, plain[0]
    exact = replace(model, eps_model=load_network(path)[0])
    wrong = replace(model, eps_model=lambda x, level: exact.eps_model(x, level) + 0.3 * x.flip(3))
    sent, read = (ddpmcodec.read_info(data, m).packets for m in (model, wrong))
    assert [(p.index, p.bits, p.code.tolist()) for p in sent] == [(p.index, p.bits, p.code.tolist()) for p in read]
    pictures = [ddpmcodec.decode(data, model=m).astype(int) for m in (exact, wrong)]
    assert np.abs(pictures[0] - plain[1]).max() <= 1
    assert np.abs(pictures[1] - pictures[0]).max() > 1  # which is why the model must be the sender's


@pytest.mark.parametrize(
    ("give", "what"),
    [
        (lambda x, level: x / 0, "finite"),
        (lambda x, level: x[:, :1], "shape"),
        (lambda x, level: x[:1], "shape"),
    ],
)
def test_a_network_that_gives_something_else_is_refused(
    give: Any, what: str, tiny_model: CodecModel, picture: NDArray[np.uint8]
):
    broken = replace(tiny_model, eps_model=give)
    with pytest.raises(ModelError, match=what):
        ddpmcodec.encode_batch([picture, picture], model=broken, plan_steps=3, channel="trellis:8")


def test_the_gaussian_table_is_the_same_everywhere():
    """It is rounded from floats, but none lies so near a half that another machine's logarithm could move it."""
    normal = NormalDist()
    half = np.array([normal.inv_cdf((i + 0.5) / 65536) for i in range(32768, 65536)])
    exact = half / np.sqrt(np.mean(half**2)) * 4096
    assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-6
    assert np.array_equal(_gaussian_table()[32768:], np.rint(exact))


@pytest.fixture(scope="module")
def rows(path: Path, small: NDArray[np.uint8]) -> dict[str, Any]:
    ways = {k: v for k, v in determinism_ways.WAYS.items() if k != determinism_ways.COMPILED}
    with pytest.MonkeyPatch.context() as patch:
        for module in (determinism, determinism_ways):
            patch.setattr(module, "load_model", lambda device="cpu": load_model(path, device))
        patch.setattr(determinism_ways, "load_network", lambda: load_network(path))
        patch.setattr(determinism, "BATCH", 3)
        return determinism.measure({"small": (small, {"plan_steps": 3, "lossless": True})}, ways, {})


class TestMeasurement:
    def test_ways_agree(self, rows: dict[str, Any]):
        for name, row in rows["ways"].items():
            if "skipped" in row:
                assert "GPU" in name
                continue
            assert row["small"]["same_parse"], name
            assert row["small"]["exact"] or row["small"]["x0_hat_max_levels"] > TOLERANCE / UNIT, name
            assert row["small"]["x0_hat_max_levels_any_step"] < 0.05, name
            if name.startswith("caller") or "again" in name or "frozen" in name:
                assert row["small"]["x0_hat_max_levels_any_step"] == 0, name
        assert rows["ways"]["network in float64"]["small"]["x0_hat_max_levels_any_step"] > 0

    def test_the_table_has_a_row_each(self, rows: dict[str, Any]):
        lines = determinism.table(rows).splitlines()
        assert len(lines) == 2 + len(rows["ways"])
        assert {line.count("|") for line in lines} == {lines[0].count("|")}

    def test_differences_are_found(self, loaded: CodecModel, small: NDArray[np.uint8], plain: Coded):
        model, data = loaded, plain[0]
        other = ddpmcodec.encode(small, model=model, plan_steps=3, channel="trellis:8", seed=1)
        found = determinism.compare(determinism.decode(data, model), determinism.decode(other, model))
        assert not found["same_parse"]
        assert found["picture_max_levels_any_step"] > 0
        assert found["x_t_max"] > 0


def test_the_document_shows_the_results():
    root = Path(__file__).parents[2]
    result = json.loads((root / "results" / "determinism.json").read_text())
    assert determinism.table(result) in (root / "docs" / "determinism.md").read_text()
