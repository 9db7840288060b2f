from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

import ddpmcodec
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.errors import ModelError
from ddpmcodec.models import (
    CodecModel,
    UNet,
    UNetConfig,
    codec_model,
    load_model,
    load_network,
    measure_curve,
    model_names,
    read_model_info,
    save_model,
)
from ddpmcodec.models.fingerprint import fingerprint
from ddpmcodec.models.places import EMBEDDED
from ddpmcodec.models.unet import Upsample
from tests.conftest import PRIOR_VARIANCE, WienerModel, prior_mean, wiener_mse

pytestmark = pytest.mark.usefixtures("_traced_anew")
TINY = UNetConfig(channels=(8, 16), groups=4, heads=2, embedding=16, frequencies=4, window=8)


def network(config: UNetConfig = TINY, seed: int = 0) -> UNet:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return UNet(config).eval().requires_grad_(False)


@pytest.fixture
def saved(tmp_path: Path, curve: ErrorCurve) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_model(path, network(), curve, "tiny", note="a test")
    return path


def rewritten(path: Path, **metadata: str) -> Path:
    """The model file with other metadata."""
    with safe_open(path, "pt") as file:
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118  (not a dict)
        kept = file.metadata()
    save_file(tensors, path, kept | metadata)
    return path


# Files


def test_a_saved_model_loads_as_it_was(saved: Path, curve: ErrorCurve, tmp_path: Path):
    loaded, info = load_model(saved), read_model_info(saved)
    assert [p.name for p in tmp_path.iterdir()] == [saved.name]
    assert loaded.curve == info.curve == curve
    assert info.config == TINY
    assert loaded.fingerprint == info.fingerprint
    assert (loaded.name, loaded.window, loaded.channels) == ("tiny", 8, 3)
    assert (loaded.min_log_snr, loaded.max_log_snr) == (TINY.min_log_snr, TINY.max_log_snr)
    x_t = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = network().half().float()(x_t, torch.full((2,), 1.0))  # stored in half precision
    torch.testing.assert_close(loaded.predict_eps(x_t, 1.0), expected, rtol=1e-4, atol=1e-5)


def test_loading_and_saving_again_keeps_the_fingerprint(saved: Path, curve: ErrorCurve):
    net, info = load_network(saved)
    assert save_model(saved, net, curve, "another name", note="another note") == info.fingerprint


def test_the_fingerprint_covers_weights_configuration_and_curve(tmp_path: Path, curve: ErrorCurve):
    path = tmp_path / "m.safetensors"
    other_curve = replace(curve, mse=(*curve.mse[:-1], curve.mse[-1] - 1))
    nudged = network()
    nudged.conv_out.bias[0] += 0.01
    marks = [
        save_model(path, network(), curve, "m"),
        save_model(path, nudged, curve, "m"),
        save_model(path, network(), other_curve, "m"),
        save_model(path, network(replace(TINY, max_log_snr=9.0)), curve, "m"),
    ]
    assert len(set(marks)) == len(marks)
    assert all(len(mark) == 64 for mark in marks)


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9, 0.999])
def test_a_damaged_file_is_refused(saved: Path, where: float):
    data = bytearray(saved.read_bytes())
    data[int(len(data) * where)] ^= 0x10
    saved.write_bytes(data)
    with pytest.raises(ModelError):
        load_model(saved)


@pytest.mark.parametrize("size", [0, 7, 100, 5000, -1])
def test_a_cut_file_is_refused(saved: Path, size: int):
    saved.write_bytes(saved.read_bytes()[:size])
    for read in (load_model, read_model_info):
        with pytest.raises(ModelError, match="not a readable safetensors file"):
            read(saved)


@pytest.mark.parametrize("kind", ["text", "pickle", "safetensors"])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, kind: str):
    path = tmp_path / "other.safetensors"
    if kind == "safetensors":
        save_file({"weight": torch.zeros(3)}, path)
    else:
        path.write_bytes(b"hello" * 100 if kind == "text" else pickle.dumps({"weight": [1.0] * 100}))
    with pytest.raises(ModelError, match="not a ddpmcodec model" if kind == "safetensors" else "not a readable"):
        load_model(path)


@pytest.mark.parametrize(
    "metadata",
    [
        {"format": "ddpmcodec-model-4"},
        {"config": "{"},
        {"config": "[]"},
        {"config": json.dumps({"depth": 3})},
        {"config": json.dumps(TINY.to_dict() | {"channels": "many"})},
        {"curve": "null"},
        {"curve": "{}"},
        {"curve": json.dumps({"log_snr": [float("inf")] * 2, "snr": [1, 2], "mse": [1, 1], "dims": 1})},
        {"fingerprint": "0" * 64},
        {"config": json.dumps(TINY.to_dict() | {"groups": 2})},  # fits the weights, but is not what was fingerprinted
    ],
)
def test_metadata_that_does_not_fit_is_refused(saved: Path, metadata: dict[str, str]):
    with pytest.raises(ModelError):
        load_model(rewritten(saved, **metadata))


def test_weights_of_another_architecture_are_refused(saved: Path, curve: ErrorCurve):
    odd = network()
    odd.config = replace(TINY, blocks=2)
    save_model(saved, odd, curve, "odd")
    with pytest.raises(ModelError, match="don't fit"):
        load_model(saved)


def test_a_model_that_can_t_be_saved_leaves_nothing_behind(tmp_path: Path, curve: ErrorCurve):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        save_model(tmp_path / "taken", network(), curve, "m")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("name", ["cifar10-huge", "../data/cifar10-small", "/nowhere/model.safetensors", ""])
def test_an_unknown_name_is_refused_with_those_that_exist(name: str):
    with pytest.raises(ModelError, match="cifar10-small"):
        load_model(name)


def test_a_folder_is_told_of_what_makes_a_codec_of_it(tmp_path: Path):
    with pytest.raises(ModelError, match="ddpmcodec plan"):
        load_model(tmp_path)


@pytest.mark.parametrize("device", ["toaster", "cpu:x", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(saved: Path, device: str):
    with pytest.raises(ModelError, match="can't be used here"):
        load_model(saved, device)


def test_embedded_models_are_small_and_load(model: CodecModel):
    assert "cifar10-small" in model_names()
    for name in model_names():
        assert (EMBEDDED / f"{name}.safetensors").stat().st_size <= 14 << 20
        assert read_model_info(name).name == name
    assert model.fingerprint == read_model_info("cifar10-small").fingerprint
    assert not any(p.requires_grad for p in model.eps_model.parameters())


# Models


def test_levels_outside_the_training_range_are_asked_at_its_end(tiny_model: CodecModel):
    assert [tiny_model.trained_level(level) for level in (-math.inf, -9.0, 0.25, 50.0)] == [-8.0, -8.0, 0.25, 9.5]


def test_a_batch_is_asked_at_one_level(tiny_model: CodecModel):
    asked = []
    watched = replace(tiny_model, eps_model=lambda x, log_snr: asked.append(log_snr.tolist()) or x)
    watched.predict_eps(torch.zeros(2, 3, 32, 32), 0.25)
    assert asked == [[0.25, 0.25]]


@pytest.mark.parametrize("change", [{"fingerprint": "abc"}, {"fingerprint": "G" * 64}, {"channels": 2}])
def test_a_codec_that_can_t_work_is_refused(tiny_model: CodecModel, change: dict):
    with pytest.raises(ModelError, match="expected"):
        replace(tiny_model, **change)


def test_any_network_becomes_a_codec(curve: ErrorCurve):
    one = codec_model(network(), curve, "mine", window=8)
    assert (one.name, one.window, one.curve) == ("mine", 8, curve)
    data = ddpmcodec.encode(np.zeros((9, 10, 3), np.uint8), model=one, plan_steps=3, channel="trellis:8")
    again = codec_model(network(), curve, "the same, built by the receiver", window=8)
    assert ddpmcodec.decode(data, model=again).shape == (9, 10, 3)
    others = [
        codec_model(network(seed=1), curve, "mine", window=8),
        codec_model(network(), curve, "mine", window=16),
        codec_model(network(), curve, "mine", window=8, max_log_snr=9.0),
        codec_model(network(), replace(curve, dims=192), "mine", window=8),
    ]
    assert len({m.fingerprint for m in (one, *others)}) == len(others) + 1


def test_prediction_is_without_autograd_and_in_full_precision(saved: Path):
    loaded, x_t = load_model(saved), torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        low = loaded.predict_eps(x_t.double(), 0.0)
    assert low.dtype == torch.float32
    assert not low.requires_grad
    torch.testing.assert_close(low, loaded.predict_eps(x_t, 0.0), rtol=0, atol=0)


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        replace(TINY, channels=(8,), window=5),
        replace(TINY, channels=(4, 8, 12, 16), heads=4, window=16),
        replace(TINY, blocks=3),
        replace(TINY, attention_levels=(0, 1)),
        replace(TINY, groups=1, heads=1),
        replace(TINY, dropout=0.5),
        replace(TINY, middle_blocks=4),
        replace(TINY, scale=False),
        replace(TINY, knots=5),
    ],
)
def test_odd_architectures_run_and_describe_themselves(config: UNetConfig):
    net = network(config)
    x_t = torch.randn(2, 3, config.window, config.window)
    eps = net(x_t, torch.tensor([-8.0, 9.5]))
    assert eps.shape == x_t.shape
    assert eps.isfinite().all()
    assert UNetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_upsampling_is_nearest_neighbour_then_a_convolution():
    layer = Upsample(8)
    x = torch.randn(2, 8, 5, 7)
    plain = F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), plain)


def test_preconditioning_starts_as_v_and_interpolates():
    """Without a learned part, skip * x_t = sqrt(1 - alpha_bar) x_t: the ε that goes with v = 0."""
    net = network(replace(TINY, knots=1001))
    net.zero_branches()
    x_t, log_snr = torch.randn(4, 3, 8, 8), torch.tensor([-8.0, -2.345, 1.0, 9.5])
    expected = torch.sigmoid(-log_snr).sqrt()[:, None, None, None] * x_t
    torch.testing.assert_close(net(x_t, log_snr), expected, rtol=1e-4, atol=1e-5)
    beyond = net(x_t[:1], torch.tensor([-30.0]))
    torch.testing.assert_close(beyond, net(x_t[:1], torch.tensor([-8.0])), rtol=0, atol=1.0)
    assert beyond.isfinite().all()


def test_new_fields_of_the_configuration_leave_old_files_alone(saved: Path, tmp_path: Path):
    """A file whose configuration lacks a later version's fields still has its fingerprint."""
    with safe_open(saved, "pt") as file:
        tensors, metadata = {k: file.get_tensor(k) for k in file.keys()}, file.metadata()  # noqa: SIM118
    config = {k: v for k, v in json.loads(metadata["config"]).items() if k not in ("knots", "scale", "middle_blocks")}
    mark = fingerprint(tensors, config, json.loads(metadata["curve"]))
    old = {k: v for k, v in metadata.items() if k != "architecture"} | {
        "config": json.dumps(config),
        "fingerprint": mark,
    }
    save_file(tensors, tmp_path / "old.safetensors", old)
    assert load_model(tmp_path / "old.safetensors").fingerprint == mark


def test_each_picture_has_its_own_noise_level():
    net, x_t = network(), torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    both = net(x_t, torch.tensor([-3.0, 5.0]))
    torch.testing.assert_close(both[1:], net(x_t[1:], torch.tensor([5.0])), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(both[1:], net(x_t[1:], torch.tensor([-3.0])))


@pytest.mark.parametrize(
    "change",
    [
        {"channels": ()},
        {"channels": (8, 10)},
        {"channels": (0,)},
        {"channels": (-8,)},
        {"heads": 3},
        {"heads": 0},
        {"groups": 0},
        {"blocks": 0},
        {"embedding": 0},
        {"middle_blocks": 1},
        {"knots": 1},
        {"frequencies": 0},
        {"window": 9},
        {"window": 0},
    ],
)
def test_an_impossible_architecture_is_refused(change: dict):
    with pytest.raises(ModelError):
        replace(TINY, **change)


@pytest.mark.parametrize("values", [{"depth": 3}, {"channels": 8}, {"channels": "many"}, {"window": None}, [], None, 3])
def test_a_configuration_that_is_not_understood_is_refused(values: object):
    with pytest.raises(ModelError):
        UNetConfig.from_dict(values)


# Error curves


def prior_pictures(n: int) -> np.ndarray:
    noise = np.random.default_rng(9).normal(scale=PRIOR_VARIANCE**0.5, size=(n, 3, 32, 32))
    return np.clip(np.rint((prior_mean() + noise + 1) * 127.5), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def test_a_measured_curve_is_the_model_s_error():
    curve = measure_curve(WienerModel(), prior_pictures(12), min_log_snr=-4.0, max_log_snr=5.0, spacing=1.0, batch=5)
    assert curve.dims == 3072
    levels, measured = np.array(curve.log_snr) / 65536, np.array(curve.mse) / 2**40
    asked = (levels <= 5) & (levels % 1 == 0)  # levels between are interpolated, those beyond are asked at the end
    np.testing.assert_allclose(measured[asked], wiener_mse(levels[asked]), rtol=0.05)
    assert asked.sum() == 10


def test_any_network_s_curve_falls():
    seen = []
    images = np.random.default_rng(4).integers(0, 256, (7, 8, 8, 3)).astype(np.uint8)
    curve = measure_curve(network(), images, spacing=2.0, batch=3, progress=lambda *done: seen.append(done))
    assert seen == [(3, 7), (6, 7), (7, 7)]
    assert (np.diff(np.array(curve.mse)) <= 0).all()
    assert curve.mse[-1] < curve.mse[0]
    assert curve.log_snr[0] == -8 << 16
    assert curve.log_snr[-1] >= 19 << 15


def test_a_loaded_model_computes_what_its_network_does(tmp_path: Path):
    """On the CPU the loaded network is frozen; that must change no bit, at any batch size."""
    path = tmp_path / "tiny.safetensors"
    save_model(path, network(), load_model().curve, "tiny")
    eager = UNet(TINY).eval()
    eager.load_state_dict({k: v.half().float() for k, v in network().state_dict().items()})
    eager.to(memory_format=torch.channels_last)
    loaded = load_model(path)
    for batch in (1, 2, 5):
        x_t = torch.randn(batch, 3, TINY.window, TINY.window, generator=torch.Generator().manual_seed(batch))
        with torch.inference_mode():
            expected = eager(x_t, torch.full((batch,), 1.5))
        assert torch.equal(loaded.predict_eps(x_t, 1.5), expected)


def test_gradients_have_the_strides_of_their_weights():
    """Where they don't, DistributedDataParallel copies each gradient, and says so at every start."""
    unet = network().to(memory_format=torch.channels_last).requires_grad_(True)
    x_t = torch.randn(2, 3, TINY.window, TINY.window).contiguous(memory_format=torch.channels_last)
    unet(x_t, torch.zeros(2)).sum().backward()
    assert {name: p.grad.stride() for name, p in unet.named_parameters() if p.grad is not None} == {
        name: p.stride() for name, p in unet.named_parameters()
    }
