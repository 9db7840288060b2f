"""Networks that are told a class: the very ε of diffusers' own call, stored in the header, guided where asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ddpmcodec
from ddpmcodec.errors import DdpmCodecError, ModelError
from ddpmcodec.models import CodecModel, load_diffusers, load_model, measure_curve, save_model
from ddpmcodec.models.condition import Condition
from tests.cli.test_cli import assert_refused, run
from tests.models.test_diffusers_adapter import edited, unet_of
from tests.models.test_latents import autoencoder_of, smooth

CLASSES = 5
LEVELS = (950, 700, 400, 200, 50)


@pytest.fixture(scope="session")
def diffusers() -> Any:
    return pytest.importorskip("diffusers")


def dit_of(diffusers: Any) -> Any:
    """Tiny, with random weights: a fresh one's output layer is all noise, and its modulation would be nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        made = diffusers.DiTTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=8,
            in_channels=4,
            out_channels=8,
            num_layers=2,
            sample_size=8,
            patch_size=2,
            num_embeds_ada_norm=CLASSES,
            norm_num_groups=2,
        )
        made.requires_grad_(False)
        for parameter in made.parameters():  # halves, so that storing loses nothing; its buffers are made anew
            parameter.copy_(parameter.half().float())
        return made.eval()


def codec(folder: Path, condition: Condition) -> CodecModel:
    network, config = load_diffusers(folder)
    levels = np.array([config.schedule.log_snrs[t] for t in LEVELS])  # type: ignore[union-attr]
    limits = {"min_log_snr": config.min_log_snr, "max_log_snr": config.max_log_snr}
    side = config.window * config.factor
    space = network.space if config.factor > 1 else None
    curve = measure_curve(
        network.told(condition), smooth(2, side, side), log_snrs=levels, window=config.window, space=space, **limits
    )
    save_model(folder / "codec.safetensors", network, curve, "classes", config=config)
    return load_model(folder / "codec.safetensors")


@pytest.fixture(scope="session")
def unet(tmp_path_factory: pytest.TempPathFactory, diffusers: Any) -> CodecModel:
    folder = tmp_path_factory.mktemp("unet")
    unet_of(diffusers, num_class_embeds=CLASSES).save_pretrained(folder / "unet")
    diffusers.DDPMScheduler().save_pretrained(folder / "scheduler")
    return codec(folder, Condition(label=2))


@pytest.fixture(scope="session")
def dit(tmp_path_factory: pytest.TempPathFactory, diffusers: Any) -> CodecModel:
    folder = tmp_path_factory.mktemp("dit")
    pipeline = diffusers.DiTPipeline(dit_of(diffusers), autoencoder_of(diffusers), diffusers.DDIMScheduler())
    pipeline.save_pretrained(folder)
    return codec(folder, Condition())


def x_t(channels: int, side: int) -> torch.Tensor:
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(1))


def level(diffusers: Any, t: int) -> float:
    alpha_bar = float(diffusers.DDPMScheduler().alphas_cumprod[t])
    return float(np.log(alpha_bar / (1 - alpha_bar)))


@pytest.mark.parametrize("label", [0, 3, CLASSES - 1])
def test_a_unet_is_told_its_class(unet: CodecModel, diffusers: Any, label: int):
    found = unet.told(Condition(label=label)).predict_eps(x_t(3, 32), level(diffusers, 300))
    reference = unet_of(diffusers, num_class_embeds=CLASSES)
    torch.testing.assert_close(found, reference(x_t(3, 32), 300, torch.tensor([label] * 2)).sample, rtol=0, atol=1e-5)


@pytest.mark.parametrize("label", [None, 0, CLASSES - 1])
def test_a_transformer_is_told_its_class_or_none(dit: CodecModel, diffusers: Any, label: int | None):
    found = dit.told(Condition(label=label)).predict_eps(x_t(4, 8), level(diffusers, 300))
    labels = torch.tensor([CLASSES if label is None else label] * 2)
    expected = dit_of(diffusers)(x_t(4, 8), timestep=torch.tensor([300, 300]), class_labels=labels).sample[:, :4]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (dit.factor, dit.window, dit.channels) == (8, 8, 4)


def test_guidance_is_that_of_the_pipeline(dit: CodecModel, diffusers: Any):
    """As DiTPipeline has it: the unconditional prediction plus so many times the difference."""
    said, unsaid = (dit.told(Condition(label=label)).predict_eps(x_t(4, 8), 0.5) for label in (1, None))
    found = dit.told(Condition(label=1, guidance=250)).predict_eps(x_t(4, 8), 0.5)
    torch.testing.assert_close(found, unsaid + 2.5 * (said - unsaid), rtol=0, atol=1e-5)
    assert (found - said).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["unet", "dit"])
def test_the_header_tells_the_receiver(name: str, request: pytest.FixtureRequest):
    model = request.getfixturevalue(name)
    side = model.window * model.factor
    picture = smooth(1, side, side)[0]
    options: dict[str, Any] = {"class_label": 3} | ({"guidance": 1.5} if name == "dit" else {})
    sent: list[Any] = []
    data = ddpmcodec.encode(picture, model=model, full=True, on_step=sent.append, **options)
    *_, last = ddpmcodec.decode_progressive(data, model=model)
    np.testing.assert_array_equal(last.state.x0_hat, sent[-1].chain.x0_hat())
    others = {ddpmcodec.encode(picture, model=model, full=True, class_label=label) for label in (0, 1)}
    assert len(others | {data}) == 3
    parts = ddpmcodec.encode_archive([picture, picture[::-1]], model=model, full=True, **options)
    *_, second = ddpmcodec.decode_archive(parts, model=model)
    alone = ddpmcodec.decode(ddpmcodec.encode(picture[::-1], model=model, full=True, **options), model=model)
    assert np.abs(second.image.astype(int) - alone).max() <= 1  # a batch's floats aren't those of one


def test_a_condition_that_a_network_can_t_have_is_refused(unet: CodecModel, dit: CodecModel, model: CodecModel):
    picture = smooth(1, 32, 32)[0]
    for codec_, options, message in (
        (unet, {}, "--class N"),
        (unet, {"class_label": CLASSES}, "0 to 4"),
        (unet, {"class_label": 1, "guidance": 2.0}, "can't be guided"),
        (unet, {"class_label": 1, "prompt": "a house"}, "--prompt"),
        (dit, {"class_label": CLASSES}, "0 to 4"),
        (dit, {"prompt": "a house"}, "--prompt"),
        (model, {"class_label": 1}, "no class"),
        (model, {"prompt": "a house"}, "no class, prompt"),
        (model, {"class_label": -1}, "from 0 to"),
    ):
        with pytest.raises(DdpmCodecError, match=message):
            ddpmcodec.encode(picture, model=codec_, **options)  # type: ignore[arg-type]


def test_the_command_line_takes_a_class(unet: CodecModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(smooth(1, 32, 32)[0]).save("p.png")
    some = ("--model", str(unet.source), "-q")
    assert_refused(run("encode", "p.png", "-o", "s.bin", *some), "--class N")
    assert run("encode", "p.png", "-o", "s.bin", "--class", 3, *some).exit_code == 0
    assert run("decode", "s.bin", "-o", "s.png", *some).exit_code == 0
    shown = run("info", "s.bin", "--model", unet.source)
    assert "class" in shown.stdout
    assert_refused(run("plan", str(unet.source), "--data", "p.png", "-o", "c.safetensors"), "--class N")
    monkeypatch.setattr("ddpmcodec.cli.plan._draw", lambda curve, picture: True)
    done = run("plan", str(unet.source), "--data", "p.png", "-o", "c.safetensors", "--class", 1, "--spacing", 1.0, "-q")
    assert done.exit_code == 0, done.output
    done = run("sample", "c.safetensors", "-o", "g.png", "--count", 1, "--ddim-steps", 2, "--class", 1, "-q")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_embeds_ada_norm": -1}, "-1 classes"),
        ({"num_layers": 10**6}, "whole numbers"),
        ({"num_attention_heads": 0}, "whole numbers"),
        ({"sample_size": 9}, "multiple"),
        ({"in_channels": 3}, "3 to 8 channels"),
        ({"norm_type": "layer_norm"}, "can't be loaded"),
    ],
)
def test_a_transformer_that_can_t_be_used_is_refused(
    tmp_path: Path, diffusers: Any, changes: dict[str, Any], message: str
):
    dit_of(diffusers).save_pretrained(tmp_path / "transformer")
    diffusers.DDIMScheduler().save_pretrained(tmp_path / "scheduler")
    autoencoder_of(diffusers).save_pretrained(tmp_path / "vae")
    edited(tmp_path / "transformer" / "config.json", **changes)
    with pytest.raises(ModelError, match=message):
        load_diffusers(tmp_path)
