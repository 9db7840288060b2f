"""Networks that diffusers saved, tiny and with random weights, made codecs. Skipped without the extra, but for its
absence.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import ddpmcodec
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.diffusion.plan import make_plan, most_steps
from ddpmcodec.diffusion.schedule import alpha_bar_of, linear
from ddpmcodec.errors import ModelError
from ddpmcodec.models import (
    CodecModel,
    DiffusersConfig,
    DiffusersEps,
    codec_model,
    load_diffusers,
    load_model,
    load_network,
    measure_curve,
    own_levels,
    read_model_info,
    save_model,
)
from ddpmcodec.models.foreign.scheduler import read_scheduler
from ddpmcodec.models.info import WeightsPlace
from ddpmcodec.models.source import open_network
from ddpmcodec.models.times import DiscreteTimes, EdmTimes, FlowTimes
from tests.cli.test_cli import assert_refused, run

TINY: dict[str, Any] = {
    "sample_size": 32,
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "attention_head_dim": 8,
}


def config_of(betas: Any, **changes: Any) -> DiffusersConfig:
    return DiffusersConfig("UNet2DModel", TINY | changes, DiscreteTimes(tuple(betas)))


CONFIG = config_of(np.linspace(1e-4, 0.02, 1000))


@pytest.fixture(scope="session")
def diffusers() -> Any:
    return pytest.importorskip("diffusers")


def unet_of(diffusers: Any, **changes: Any) -> Any:
    """A network whose weights are random, and half-precision numbers: storing loses nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return diffusers.UNet2DModel(**(TINY | changes)).half().float().eval().requires_grad_(False)


def saved(folder: Path, unet: Any, scheduler: Any, bare: bool = False, safe: bool = True) -> Path:
    """As DDPMPipeline saves them: each in a folder of its own; or bare, as in the first repositories of the hub."""
    unet.save_pretrained(folder if bare else folder / "unet", safe_serialization=safe)
    scheduler.save_pretrained(folder if bare else folder / "scheduler")
    return folder


def edited(path: Path, **changes: Any) -> None:
    """The JSON file with other values; None removes one."""
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


@pytest.fixture
def folder(tmp_path: Path, diffusers: Any) -> Path:
    return saved(tmp_path, unet_of(diffusers), diffusers.DDPMScheduler())


def noisy(n: int, side: int = 32) -> torch.Tensor:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(n))


# The same network


def agrees(network: DiffusersEps, unet: Any, ts: list[int]) -> None:
    """ε̂ at timesteps counted from 0, one by one and all in one batch, is what diffusers computes."""
    levels = torch.tensor([network.config.schedule.log_snr(t + 1) for t in ts])
    x_t = noisy(len(ts))
    for i, t in enumerate(ts):
        expected = unet(x_t[i : i + 1], t).sample[:, :3]
        torch.testing.assert_close(network(x_t[i : i + 1], levels[i : i + 1]), expected, rtol=0, atol=1e-5)
    expected = unet(x_t, torch.tensor(ts)).sample[:, :3]
    torch.testing.assert_close(network(x_t, levels), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("safe", [False, True])
def test_a_saved_network_predicts_what_diffusers_does(tmp_path: Path, diffusers: Any, bare: bool, safe: bool):
    unet = unet_of(diffusers)
    state = torch.random.get_rng_state()
    network, config = load_diffusers(saved(tmp_path, unet, diffusers.DDPMScheduler(), bare, safe))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert (config.window, config.image_channels) == (32, 3)
    agrees(network, unet, [0, 1, 17, 250, 500, 998, 999])


@pytest.mark.parametrize(
    "options", [{"max_shard_size": "20KB"}, {"variant": "fp16"}, {"variant": "fp16", "max_shard_size": "20KB"}]
)
@pytest.mark.parametrize("safe", [True, False])
def test_weights_in_shards_and_in_half_precision_load(
    tmp_path: Path, diffusers: Any, options: dict[str, str], safe: bool, capfd: pytest.CaptureFixture[str]
):
    unet = unet_of(diffusers)
    (unet.half() if "variant" in options else unet).save_pretrained(
        tmp_path / "unet", safe_serialization=safe, **options
    )
    diffusers.DDPMScheduler().save_pretrained(tmp_path / "scheduler")
    assert not (tmp_path / "unet" / "diffusion_pytorch_model.safetensors").exists()
    capfd.readouterr()
    network, _ = load_diffusers(tmp_path)
    assert capfd.readouterr().err == ""  # no bars
    agrees(network, unet.float(), [0, 500, 999])


def test_a_pipeline_s_folder_loads(tmp_path: Path, diffusers: Any):
    diffusers.DDPMPipeline(unet_of(diffusers), diffusers.DDPMScheduler()).save_pretrained(tmp_path)
    network, _ = load_diffusers(str(tmp_path))
    agrees(network, unet_of(diffusers), [3, 700])


def test_learned_variances_are_left_out(tmp_path: Path, diffusers: Any):
    unet = unet_of(diffusers, out_channels=6, resnet_time_scale_shift="scale_shift")
    scheduler = diffusers.DDPMScheduler(variance_type="learned_range", beta_schedule="squaredcos_cap_v2")
    network, _ = load_diffusers(saved(tmp_path, unet, scheduler))
    assert network(noisy(2), torch.tensor([-3.0, 5.0])).shape == (2, 3, 32, 32)
    agrees(network, unet, [0, 400, 999])


def test_attention_saved_under_its_first_names_loads(tmp_path: Path, diffusers: Any):
    """The repositories of 2022 (google/ddpm-*) call the projections query, key, value and proj_attn."""
    blocks = {"down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
    unet = unet_of(diffusers, **blocks)
    saved(tmp_path, unet, diffusers.DDPMScheduler(), bare=True, safe=False)
    first_names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = unet.state_dict()
    for now, then in first_names.items():
        tensors = {k.replace(now, then): v for k, v in tensors.items()}
    assert set(tensors) != set(unet.state_dict())
    torch.save(tensors, tmp_path / "diffusion_pytorch_model.bin")
    network, _ = load_diffusers(tmp_path)
    agrees(network, unet, [5, 800])


# Noise levels


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear"},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"beta_schedule": "sigmoid"},
        {"trained_betas": [0.001, 0.01, 0.1, 0.3], "num_train_timesteps": 4},
        {"num_train_timesteps": 50},
    ],
)
def test_the_schedule_is_the_scheduler_s(tmp_path: Path, diffusers: Any, options: dict[str, Any]):
    scheduler = diffusers.DDPMScheduler(**options)
    network, config = load_diffusers(saved(tmp_path, unet_of(diffusers), scheduler))
    ours = [alpha_bar_of(level) for level in config.schedule.log_snrs]
    np.testing.assert_allclose(ours, scheduler.alphas_cumprod, rtol=2e-4, atol=1e-7)  # diffusers multiplies in float32
    assert (config.min_log_snr, config.max_log_snr) == (config.schedule.log_snrs[-1], config.schedule.log_snrs[0])
    between = torch.tensor([config.min_log_snr - 1, config.schedule.log_snr(2) + 1e-3, config.max_log_snr + 1])
    x_t, last = noisy(3), len(config.schedule) - 1
    expected = network.network(x_t, torch.tensor([last, 1, 0])).sample
    torch.testing.assert_close(network(x_t, between), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "kind", ["DDIMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler"]
)
def test_another_sampler_has_the_same_noise_levels(tmp_path: Path, diffusers: Any, kind: str):
    scheduler = getattr(diffusers, kind)(beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    _, config = load_diffusers(saved(tmp_path, unet_of(diffusers), scheduler))
    np.testing.assert_allclose(config.schedule.log_snrs, linear().log_snrs, atol=1e-4)


def test_pure_noise_is_no_level(tmp_path: Path, diffusers: Any):
    scheduler = diffusers.DDPMScheduler(rescale_betas_zero_snr=True)
    network, config = load_diffusers(saved(tmp_path, unet_of(diffusers), scheduler))
    assert len(config.schedule) == 999
    agrees(network, unet_of(diffusers), [0, 998])


@pytest.mark.parametrize(("timesteps", "count"), [(1000, 141), (1000, 10), (12, 141)])
def test_levels_to_measure_are_the_model_s_own(timesteps: int, count: int):
    config = config_of(np.linspace(1e-4, 0.02, timesteps))
    levels = own_levels(config.times, count)
    assert set(levels) <= set(config.schedule.log_snrs)
    assert 0.8 * min(count, timesteps) <= len(levels) <= min(count, timesteps)
    assert (np.diff(levels) > 0).all()
    assert (levels[0], levels[-1]) == (config.min_log_snr, config.max_log_snr)


def test_levels_where_nothing_can_be_learned_are_left_out():
    levels = own_levels(DiscreteTimes((1e-9, 1e-3, 0.5, 0.9, 1 - 1e-9)), 141)
    assert len(levels) == 3
    with pytest.raises(ModelError, match="at least 2"):
        own_levels(DiscreteTimes((0.5,)), 141)


@pytest.mark.parametrize(
    ("kind", "options", "predicts"),
    [
        ("DDPMScheduler", {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}, "v_prediction"),
        ("DDIMScheduler", {"prediction_type": "v_prediction", "beta_schedule": "scaled_linear"}, "v_prediction"),
        ("DDPMScheduler", {"prediction_type": "sample", "beta_schedule": "squaredcos_cap_v2"}, "sample"),
        ("FlowMatchEulerDiscreteScheduler", {}, "flow_prediction"),
        ("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, "flow_prediction"),
        ("FlowMatchEulerDiscreteScheduler", {"use_dynamic_shifting": True}, "flow_prediction"),
        ("EDMEulerScheduler", {}, "edm"),
        ("EDMEulerScheduler", {"prediction_type": "v_prediction", "sigma_data": 1.0}, "edm_v"),
    ],
)
def test_what_the_network_predicts_is_what_its_scheduler_says(
    tmp_path: Path, diffusers: Any, kind: str, options: dict[str, Any], predicts: str
):
    """x̂_0 from the network's output as a pipeline of this scheduler asks for it."""
    unet, scheduler = unet_of(diffusers), getattr(diffusers, kind)(**options)
    network, config = load_diffusers(saved(tmp_path, unet, scheduler))
    assert config.predicts == predicts
    for level in np.linspace(config.min_log_snr + 0.5, config.max_log_snr - 0.5, 5):
        if config.schedule is not None:
            level = config.schedule.log_snr(config.schedule.nearest_timestep(level))
        alpha, x_t = float(alpha_bar_of(level)) ** 0.5, noisy(1)
        noise = float(np.exp(-level / 2))
        if predicts == "flow_prediction":
            s = noise / (1 + noise)
            state = x_t / alpha * (1 - s)
            theirs = state - s * unet(state, torch.tensor([1000 * s])).sample
        elif predicts.startswith("edm"):
            seen = scheduler.precondition_inputs(x_t / alpha, torch.tensor(noise))
            output = unet(seen, scheduler.precondition_noise(torch.tensor(noise))).sample
            theirs = scheduler.precondition_outputs(x_t / alpha, output, noise)
        else:
            output = unet(x_t, config.schedule.nearest_timestep(level) - 1).sample
            # Salimans & Ho 2022
            theirs = output if predicts == "sample" else alpha * x_t - (1 - alpha**2) ** 0.5 * output
        ours = (x_t - (1 - alpha**2) ** 0.5 * network(x_t, torch.tensor([level], dtype=torch.float32))) / alpha
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 / alpha)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"_class_name": "DDPMScheduler", "trained_betas": [0.1, 0.2]}, ("epsilon", DiscreteTimes((0.1, 0.2)))),
        (
            {"_class_name": "DDPMScheduler", "trained_betas": [0.1, 0.2], "predict_epsilon": False},  # of 2022
            ("sample", DiscreteTimes((0.1, 0.2))),
        ),
        (
            {"_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction", "flow_shift": 3.0},
            ("flow_prediction", FlowTimes(1000, 3.0)),
        ),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 50, "shift": 3.0},
            ("flow_prediction", FlowTimes(50, 3.0)),
        ),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True, "shift": 3.0},
            ("flow_prediction", FlowTimes(1000, 1.0)),  # trained at all levels; samplers shift by a picture's size
        ),
        ({"_class_name": "EDMEulerScheduler", "sigma_max": 20.0}, ("edm", EdmTimes(sigma_max=20.0))),
        (
            {"_class_name": "EDMDPMSolverMultistepScheduler", "prediction_type": "v_prediction", "sigma_data": 1.0},
            ("edm_v", EdmTimes(sigma_data=1.0)),
        ),
    ],
)
def test_a_scheduler_s_configuration_is_read(diffusers: Any, values: dict[str, Any], expected: tuple[str, Any]):
    predicts, times = read_scheduler(diffusers, values)
    assert predicts == expected[0]
    assert type(times) is type(expected[1])
    for name, value in expected[1].to_dict().items():
        np.testing.assert_allclose(times.to_dict()[name], value, rtol=1e-6)  # diffusers' betas are float32


def test_weights_load_alike_without_a_package_that_saves_memory(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """accelerate builds networks without numbers in them; diffusers alone fills them first."""
    monkeypatch.setattr("ddpmcodec.models.foreign.folder.find_spec", lambda name: None)
    network, _ = load_diffusers(folder)
    monkeypatch.undo()
    again, _ = load_diffusers(folder)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in network.state_dict().items())


# A codec


def pictures(n: int) -> np.ndarray:
    y, x = np.mgrid[:32, :32] / 31
    waves = [np.stack([np.sin((i + 2) * x), np.cos((i + 1) * y), x * y], -1) for i in range(n)]
    return np.rint((np.stack(waves) + 1) * 127.5).astype(np.uint8)


def test_the_curve_is_measured_at_the_levels_given():
    levels, asked = np.array([-6.0, -1.5, -1.0, 9.2]), []

    def eps_model(x_t: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:
        asked.append(log_snr.tolist())
        return torch.zeros_like(x_t)

    curve = measure_curve(eps_model, pictures(3), log_snrs=levels, max_log_snr=5.0)
    np.testing.assert_allclose(asked[:4], levels[:, None].repeat(3, 1), rtol=1e-6)
    assert {round(level, 3) for call in asked for level in call} == set(levels)  # for mirrored pictures, too
    assert curve.log_snr == tuple(round(level * 65536) for level in levels)
    assert (np.diff(np.array(curve.mse)) <= 0).all()
    assert most_steps(curve) <= 4


@pytest.mark.parametrize("levels", [[], [1.0], [2.0, 1.0], [1.0, 1.0], [-40.0, 1.0]])
def test_levels_that_make_no_curve_are_refused_before_anything_is_measured(levels: list[float]):
    with pytest.raises(ModelError, match="error curve"):
        measure_curve(lambda x_t, log_snr: pytest.fail("measured"), pictures(1), log_snrs=np.array(levels))


def test_someone_else_s_network_becomes_a_codec(tmp_path: Path, folder: Path, diffusers: Any):
    network, config = load_diffusers(folder)
    levels = own_levels(config.times, 12)
    curve = measure_curve(network, pictures(4), log_snrs=levels, batch=4)
    path = tmp_path / "theirs.safetensors"
    mark = save_model(path, network, curve, "theirs", config=config)
    model, info = load_model(path), read_model_info(path)
    assert info.config == config
    assert hash(info.config) == hash(config)
    assert model.fingerprint == info.fingerprint == mark
    assert (model.window, model.min_log_snr, model.max_log_snr) == (32, config.min_log_snr, config.max_log_snr)
    for level in make_plan(curve, most_steps(curve)).log_snr:
        assert np.abs(config.schedule.log_snrs - level).min() <= 2**-17
        t = config.schedule.nearest_timestep(level)
        expected = unet_of(diffusers)(noisy(2), t - 1).sample
        torch.testing.assert_close(model.predict_eps(noisy(2), level), expected, rtol=0, atol=1e-5)
    data = ddpmcodec.encode(pictures(5)[4], model=model, plan_steps=4)
    *_, last = ddpmcodec.decode_progressive(data, model=model)
    assert last.n == 4
    assert np.array_equal(ddpmcodec.decode(data, model=load_model(path)), last.image)


def test_saving_what_was_loaded_keeps_the_fingerprint(tmp_path: Path, folder: Path, curve: ErrorCurve):
    network, config = load_diffusers(folder)
    assert DiffusersConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    mark = save_model(first, network, curve, "one")
    again, info = load_network(first)
    assert save_model(second, again, curve, "two") == mark == info.fingerprint
    assert isinstance(codec_model(network, curve, "unsaved"), CodecModel)


def test_weights_that_are_no_halves_are_stored_as_they_are(tmp_path: Path, diffusers: Any, curve: ErrorCurve):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        unet = diffusers.UNet2DModel(**TINY).eval()
    network, config = load_diffusers(saved(tmp_path, unet, diffusers.DDPMScheduler()))
    save_model(tmp_path / "exact.safetensors", network, curve, "exact", config=config)
    x_t, level = noisy(1), torch.tensor([0.5])
    again = load_network(tmp_path / "exact.safetensors")[0]
    weights, stored = network.state_dict(), again.state_dict()
    assert all(torch.equal(stored[name], weights[name]) for name in weights)
    # Not bit by bit: products are added in another order where memory is aligned otherwise.
    assert torch.allclose(again(x_t, level), network(x_t, level), atol=1e-5)
    halves, _ = load_diffusers(saved(tmp_path / "half", unet_of(diffusers), diffusers.DDPMScheduler()))
    save_model(tmp_path / "half.safetensors", halves, curve, "half", config=config)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("exact", "half")]
    assert sizes[0] > 1.5 * sizes[1]


def test_large_weights_stay_where_they_are(
    tmp_path: Path, folder: Path, diffusers: Any, monkeypatch: pytest.MonkeyPatch
):
    """Here large begins early; `plan` says how long it takes where that is more than a minute."""
    monkeypatch.setattr("ddpmcodec.cli.plan._draw", lambda curve, picture: True)
    monkeypatch.setattr("ddpmcodec.cli.size._A_MINUTE", 0)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pictures(1)[0]).save("p.png")
    some = ("--data", "p.png", "--spacing", 1.0)
    small = run("plan", folder, *some, "-o", "small.safetensors")
    assert "this will take about" in small.stderr
    assert read_model_info("small.safetensors").weights is None
    monkeypatch.setattr("ddpmcodec.cli.plan.MOST_BYTES", 1000)
    assert run("plan", folder, *some, "-o", "large.safetensors", "-q").exit_code == 0
    info = read_model_info("large.safetensors")
    assert info.weights is not None
    assert info.weights.place == str(folder.resolve())
    assert Path("large.safetensors").stat().st_size < Path("small.safetensors").stat().st_size
    again = run("plan", "large.safetensors", *some, "-o", "again.safetensors", "-q")
    assert again.exit_code == 0, again.output
    assert read_model_info("again.safetensors").weights == info.weights
    levels = (torch.tensor([0.5]), torch.tensor([-2.0]))
    for level in levels:
        both = [load_network(f"{name}.safetensors")[0](noisy(1), level) for name in ("small", "large")]
        torch.testing.assert_close(both[0], both[1], rtol=0, atol=1e-6)
    assert_refused(run("plan", "small.safetensors", *some, "-o", "x.safetensors", "--dtype", "bfloat16"), "--dtype")
    assert_refused(run("plan", folder, *some, "-o", "x.safetensors", "--dtype", "int8"), "float32, bfloat16")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak")
def test_info_reads_no_weights(tmp_path: Path, folder: Path, curve: ErrorCurve):
    """A file of a gigabyte of weights, which are a hole: reading them would show in memory and take its time."""
    network, config = load_diffusers(folder)
    path = tmp_path / "large.safetensors"
    save_model(path, network, curve, "large", config=config)
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    size = 1 << 30
    kept = {
        "__metadata__": header["__metadata__"],
        "w": {"dtype": "F16", "shape": [size // 2], "data_offsets": [0, size]},
    }
    start = json.dumps(kept).encode()
    with path.open("wb") as file:
        file.write(len(start).to_bytes(8, "little") + start)
        file.truncate(8 + len(start) + size)
    code = (
        "import sys; from ddpmcodec.models import read_model_info; print(read_model_info(sys.argv[1]).name); "
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    name, peak = done.stdout.split()
    assert name == "large"
    assert int(peak) < 200 << 10  # KiB; 30,000 where this was written


# What can't be used


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "UNet1DModel"}, "UNet1DModel: expected a UNet2DModel"),
        ({"_class_name": None}, "None: expected a UNet2DModel"),
        ({"in_channels": 1}, "from 1 to 3 channels"),
        ({"out_channels": 4}, "from 3 to 4 channels"),
        ({"num_class_embeds": -10}, "-10 classes"),
        ({"class_embed_type": "timestep"}, "class_embed_type 'timestep'"),
        ({"sample_size": None}, "sample_size None"),
        ({"sample_size": [32, 64]}, r"sample_size \[32, 64\]"),
        ({"sample_size": [32]}, "not understood"),
        ({"sample_size": 31}, "multiple of 2"),
        ({"block_out_channels": 8}, "not understood"),
        ({"block_out_channels": [16, 16]}, "can't be loaded"),
        ({"down_block_types": ["DownBlock2D", "NoBlock"]}, "can't be loaded.*NoBlock"),
        ({"add_attention": False}, r"doesn't fit config.json: missing \[\], not expected \['mid_block.attentions.0"),
    ],
)
def test_a_network_that_can_t_be_a_codec_is_refused(folder: Path, changes: dict[str, Any], message: str):
    edited(folder / "unet" / "config.json", **changes)
    with pytest.raises(ModelError, match=message) as refused:
        load_diffusers(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prediction_type": "score"}, "'score'.*expected epsilon, v_prediction"),
        ({"_class_name": "EDMEulerScheduler", "prediction_type": "sample"}, "EDMEulerScheduler"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "invert_sigmas": True}, "invert_sigmas"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 0}, "positive shift"),
        ({"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}, "continuous"),
        ({"_class_name": "ScoreSdeVeScheduler"}, "ScoreSdeVeScheduler: expected one with betas"),
        ({"_class_name": "NoScheduler"}, "NoScheduler"),
        ({"_class_name": None}, "scheduler None"),
        ({"beta_schedule": "mine"}, "mine"),
        ({"trained_betas": [0.1, 1.5]}, "every beta"),
        ({"trained_betas": []}, "not understood"),
    ],
)
def test_a_schedule_that_can_t_be_used_is_refused(folder: Path, changes: dict[str, Any], message: str):
    edited(folder / "scheduler" / "scheduler_config.json", **changes)
    with pytest.raises(ModelError, match=message) as refused:
        load_diffusers(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unet/config.json", "no unet/config.json or transformer/config.json or config.json"),
        ("scheduler/scheduler_config.json", "no scheduler/scheduler_config.json or scheduler_config.json"),
        ("unet/diffusion_pytorch_model.safetensors", "no weights"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused(folder: Path, name: str, message: str):
    (folder / name).unlink()
    with pytest.raises(ModelError, match=message):
        load_diffusers(folder)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"null", b"\xff\xfe"])
def test_a_configuration_that_is_no_json_object_is_refused(folder: Path, content: bytes):
    (folder / "unet" / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match="not a readable JSON object"):
        load_diffusers(folder)


def test_damaged_weights_are_refused(folder: Path):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="can't be loaded"):
        load_diffusers(folder)


def test_weights_that_lack_a_tensor_are_refused(folder: Path):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({k: v for k, v in load_file(weights).items() if k != "conv_in.bias"}, weights, {"format": "pt"})
    with pytest.raises(ModelError, match=r"missing \['conv_in.bias'\], not expected \[\]"):
        load_diffusers(folder)


class Trap:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_pickled_code_is_not_run(folder: Path, tmp_path: Path):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    sprung, weights = tmp_path / "sprung", folder / "unet" / "diffusion_pytorch_model.bin"
    for save in (
        lambda: torch.save({"w": Trap(sprung)}, weights),
        lambda: weights.write_bytes(pickle.dumps(Trap(sprung), 2)),
    ):
        save()
        with pytest.raises(ModelError, match="can't be loaded"):
            load_diffusers(folder)
        assert not sprung.exists()


# The hub


def test_a_hub_id_is_fetched_configuration_first(folder: Path, diffusers: Any, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def snapshot_download(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision, {Path(p).suffix for p in allow_patterns}))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    network, _ = load_diffusers("someone/their-model", revision="v1")
    agrees(network, unet_of(diffusers), [10])
    assert asked == [("someone/their-model", "v1", suffixes) for suffixes in ({".json"}, {".json", ".safetensors"})]
    asked.clear()
    edited(folder / "unet" / "config.json", in_channels=4)
    with pytest.raises(ModelError, match="channels"):
        load_diffusers("someone/their-model")
    assert len(asked) == 1


def test_a_hub_s_weights_are_named_by_their_commit(
    folder: Path, tmp_path: Path, curve: ErrorCurve, monkeypatch: pytest.MonkeyPatch
):
    revisions = set()

    def snapshot_download(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        revisions.add(revision)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    source = open_network("someone/their-model")
    assert source.weights == WeightsPlace("someone/their-model", folder.name)  # snapshots are named by their commit
    target = tmp_path / "codec.safetensors"
    save_model(target, source.network, curve, "theirs", config=source.config, weights=source.weights)
    assert revisions == {None}
    load_model(target)
    assert revisions == {None, folder.name}


def test_a_hub_that_can_t_be_reached_is_one_clear_error(diffusers: Any, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    for kind in (LocalEntryNotFoundError, ConnectionError, RuntimeError):

        def snapshot_download(*args: Any, kind: type[Exception] = kind, **options: Any) -> str:
            raise kind("no route\nto host")

        monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
        with pytest.raises(
            ModelError, match=r"'google/ddpm-cifar10-32' is no folder here.*no route\).*give their folder$"
        ):
            load_diffusers("google/ddpm-cifar10-32")


@pytest.mark.parametrize(
    "name", ["cifar10-small", "/nowhere/at/all", "a/b/c", "../models", "https://huggingface.co/google"]
)
def test_a_name_that_is_neither_folder_nor_hub_id_is_refused(diffusers: Any, name: str):
    with pytest.raises(ModelError, match="is no folder: expected one that diffusers saved, or a hub id"):
        load_diffusers(name)


# Without the extra


def test_without_diffusers_the_error_says_what_to_install(
    tmp_path: Path, curve: ErrorCurve, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "theirs.safetensors"
    save_model(path, torch.nn.Identity(), curve, "theirs", config=CONFIG)
    monkeypatch.setitem(sys.modules, "diffusers", None)
    for load in (lambda: load_diffusers(tmp_path), lambda: load_model(path)):
        with pytest.raises(ModelError, match=r"pip install 'ddpmcodec\[diffusers\]'"):
            load()
    assert read_model_info(path).config == CONFIG  # describing a file and parsing its streams need no network


STORED = CONFIG.to_dict()


@pytest.mark.parametrize(
    "values",
    [
        None,
        {},
        {"network": TINY},
        STORED | {"network": None},
        STORED | {"network": TINY | {"in_channels": 4}},
        STORED | {"kind": "UNet1DModel"},
        STORED | {"predicts": "score"},
        STORED | {"dtype": "int8"},
        STORED | {"dtype": None},
        STORED | {"texts": "0" * 64},
        STORED | {"texts": 7},
        STORED | {"kind": "UNet2DConditionModel"},
        STORED | {"autoencoder": {"_class_name": "AutoencoderKL", "latent_channels": 4}},
        STORED | {"autoencoder": []},
        STORED | {"kind": "FluxTransformer2DModel", "network": {"in_channels": "x"}, "texts": ""},
        STORED | {"kind": "SD3Transformer2DModel", "network": {"num_layers": 10**9}, "texts": ""},
        *(STORED | {"times": {"betas": betas}} for betas in (None, "many", [0.1, float("nan")], [0.1, 1.0], [])),
        *(STORED | {"times": {"timesteps": n, "shift": s}} for n, s in ((0, 1.0), (1.5, 1.0), (9, -1.0), (9, "x"))),
        STORED | {"times": {"sigma_min": 1.0, "sigma_max": 0.1, "sigma_data": 0.5}},
        STORED | {"times": [0.1, 0.2]},
    ],
)
def test_a_stored_configuration_that_is_not_understood_is_refused(values: Any):
    with pytest.raises(ModelError):
        DiffusersConfig.from_dict(values)


def test_a_stored_configuration_that_diffusers_refuses_is_an_error(diffusers: Any):
    with pytest.raises(ModelError, match="can't build"):
        config_of(CONFIG.times.betas, up_block_types=["NoBlock", "NoBlock"]).build()
