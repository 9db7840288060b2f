"""Models whose chain runs on an autoencoder's latents, or on one channel of pixels, with random weights."""

from __future__ import annotations

import logging.handlers
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.channel.basis import basis_of
from ddpmcodec.codec.step_target import step_target
from ddpmcodec.diffusion.axes import principal_axes, rotation
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.errors import DdpmCodecError, ImageError, ModelError
from ddpmcodec.models import (
    CodecModel,
    codec_model,
    load_diffusers,
    load_model,
    measure_curve,
    read_model_info,
    save_model,
)
from ddpmcodec.models.foreign import autoencoder_config
from ddpmcodec.models.space import Pixels
from tests.cli.test_cli import assert_refused, run
from tests.models.test_diffusers_adapter import TINY, edited, unet_of
from tests.tools import format_parser as second

SCALE, SHIFT = 0.7, 0.2
PLAN = ("-o", "codec.safetensors", "--name", "mine", "-q")


@pytest.fixture(scope="session")
def diffusers() -> Any:
    return pytest.importorskip("diffusers")


def autoencoder_of(diffusers: Any, kind: str = "AutoencoderKL") -> Any:
    """Eight pixels for a latent, four channels; halves, so that storing loses nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        if kind == "AutoencoderTiny":
            widths = {"encoder_block_out_channels": [8] * 4, "decoder_block_out_channels": [8] * 4}
            blocks = {"num_encoder_blocks": [1] * 4, "num_decoder_blocks": [1] * 4}
            made = diffusers.AutoencoderTiny(**widths, **blocks, scaling_factor=SCALE, shift_factor=SHIFT)
        else:
            made = diffusers.AutoencoderKL(
                block_out_channels=[8, 8, 16, 16],
                down_block_types=["DownEncoderBlock2D"] * 4,
                up_block_types=["UpDecoderBlock2D"] * 4,
                norm_num_groups=4,
                latent_channels=4,
                scaling_factor=SCALE,
                shift_factor=SHIFT,
            )
        return made.half().float().eval().requires_grad_(False)


def saved_latent(folder: Path, diffusers: Any, kind: str = "AutoencoderKL") -> Path:
    """A pipeline's folder: 8×8 latents of 64×64 pixels."""
    unet_of(diffusers, in_channels=4, out_channels=4, sample_size=8).save_pretrained(folder / "unet")
    autoencoder_of(diffusers, kind).save_pretrained(folder / "vae")
    diffusers.DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).save_pretrained(
        folder / "scheduler"
    )
    return folder


def smooth(n: int, height: int = 64, width: int = 64) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width] / 63
    waves = [np.stack([np.sin((i + 2) * x), np.cos((i + 1) * y), x * y], -1) for i in range(n)]
    return np.rint((np.stack(waves) + 1) * 127.5).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session", params=["AutoencoderKL", "AutoencoderTiny"])
def latent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, diffusers: Any) -> CodecModel:
    """A codec of latents, from its file."""
    folder = saved_latent(tmp_path_factory.mktemp("latent"), diffusers, request.param)
    network, config = load_diffusers(folder)
    levels = np.array([config.schedule.log_snrs[t] for t in (950, 800, 600, 400, 200, 50)])  # type: ignore[union-attr]
    limits = {"min_log_snr": config.min_log_snr, "max_log_snr": config.max_log_snr}
    curve = measure_curve(network, smooth(3), log_snrs=levels, window=8, space=network.space, **limits)
    save_model(folder / "codec.safetensors", network, curve, "latent", config=config)
    return load_model(folder / "codec.safetensors")


def planes(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    return pictures.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5) - 1


def test_latents_and_pictures_are_diffusers_own(latent: CodecModel, diffusers: Any):
    vae = autoencoder_of(diffusers, type(latent.space.autoencoder).__name__)  # type: ignore[attr-defined]
    x = torch.from_numpy(planes(smooth(2)))
    found = vae.encode(x)
    z = found.latent_dist.mean if hasattr(found, "latent_dist") else found.latents
    x_0 = latent.space.of_pictures(x.numpy())
    np.testing.assert_allclose(x_0, (z - SHIFT) * SCALE, atol=1e-5)
    shown = latent.space.to_pictures(x_0, 64, 64)
    np.testing.assert_allclose(shown, vae.decode(torch.from_numpy(x_0) / SCALE + SHIFT).sample.clip(-1, 1), atol=1e-5)
    assert (latent.factor, latent.window, latent.channels) == (8, 8, 4)
    assert latent.bound >= np.abs(latent.space.of_pictures(planes(smooth(3)))).max()


def test_sides_that_the_factor_doesn_t_divide_are_extended_by_the_last_rows_and_columns(latent: CodecModel):
    picture = smooth(1, 20, 33)
    extended = np.concatenate([picture, picture[:, -1:].repeat(4, axis=1)], axis=1)
    extended = np.concatenate([extended, extended[:, :, -1:].repeat(7, axis=2)], axis=2)
    found, expected = (latent.space.of_pictures(planes(p)) for p in (picture, extended))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.shape == (1, 4, 3, 5)


@pytest.mark.parametrize("kind", ["AutoencoderKL", "AutoencoderTiny"])
def test_an_old_configuration_without_a_scale_has_the_class_s(diffusers: Any, kind: str):
    config = dict(getattr(diffusers, kind)().config)
    assert autoencoder_config.latent_scale({"_class_name": kind}) == config["scaling_factor"]
    assert autoencoder_config.latent_shift({"_class_name": kind}) == (config["shift_factor"] or 0)
    assert autoencoder_config.latent_scale({"_class_name": kind, "scaling_factor": SCALE}) == SCALE


def test_loading_says_nothing_of_its_own(latent: CodecModel):
    """diffusers warns of entries that its own autoencoders leave in their configurations."""
    said, logger = logging.handlers.BufferingHandler(99), logging.getLogger("diffusers")
    logger.addHandler(said)
    load_diffusers(Path(str(latent.source)).parent)
    load_model(latent.source)  # type: ignore[arg-type]
    logger.removeHandler(said)
    assert not said.buffer


def test_eps_is_the_network_s_own(latent: CodecModel, diffusers: Any):
    unet = unet_of(diffusers, in_channels=4, out_channels=4, sample_size=8)
    x_t = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    scheduler = diffusers.DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    alpha_bar = float(scheduler.alphas_cumprod[400])
    found = latent.predict_eps(x_t, float(np.log(alpha_bar / (1 - alpha_bar))))
    torch.testing.assert_close(found, unet(x_t, 400).sample, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (20, 33), (75, 130)])
def test_pictures_of_any_size_go_through_windows_of_latents(latent: CodecModel, size: tuple[int, int]):
    picture = smooth(1, *size)[0]
    data = ddpmcodec.encode(picture, model=latent, plan_steps=5, full=True)
    items = list(ddpmcodec.decode_progressive(data, model=latent))
    assert [item.image.shape for item in items] == [(*size, 3)] * 5
    assert np.array_equal(ddpmcodec.decode(data, model=latent), items[-1].image)
    height, width = (max(8, -(-side // 8)) for side in size)
    assert items[-1].state.x0_hat.shape == (1, 4, height, width)
    assert np.array_equal(
        ddpmcodec.decode(ddpmcodec.truncate(data, steps=2, model=latent), model=latent), items[1].image
    )


def test_the_last_step_brings_the_latents_themselves(latent: CodecModel):
    """The network knows nothing, so what arrives is the channel's doing: the error falls with every step's rate."""
    picture = smooth(1)[0]
    x_0 = latent.space.of_pictures(planes(picture[None]))
    data = ddpmcodec.encode(picture, model=latent, full=True)
    *_, last = ddpmcodec.decode_progressive(data, model=latent)
    error = np.mean((last.state.x_t / np.sqrt(1 / (1 + np.exp(-last.state.log_snr))) - x_0) ** 2)
    assert error < 3 * np.exp(-last.state.log_snr)


def test_an_independent_parser_reads_the_stream(latent: CodecModel):
    about = second.model_file(Path(str(latent.source)))
    for size, steps in (((64, 64), 5), ((75, 130), None)):
        data = ddpmcodec.encode(smooth(1, *size)[0], model=latent, plan_steps=steps, full=True)
        parsed = second.stream(data, about)
        assert parsed.complete
        assert [step.bits for step in parsed.steps] == [p.bits for p in ddpmcodec.read_info(data, latent).packets]


def test_the_spectrum_s_axes_are_stored(latent: CodecModel):
    spectrum = latent.curve.spectrum
    assert spectrum is not None
    assert len(spectrum.axes) == 4
    turned = rotation(spectrum.axes)
    np.testing.assert_allclose(turned @ turned.T, np.eye(4), atol=1e-5)
    info = read_model_info(latent.source)  # type: ignore[arg-type]
    assert info.curve == latent.curve
    assert (info.factor, info.channels) == (8, 4)


MIXED = np.linalg.qr(np.random.default_rng(4).normal(size=(5, 5)))[0] * [60, 20, 8, 3, 1]  # columns: sources


def mixed_channels(n: int, seed: int) -> NDArray[np.uint8]:
    """(n, 16, 16, 5): independent sources of different strength, mixed into five channels."""
    noise = np.random.default_rng(seed).normal(size=(n, 16, 16, 5))
    return np.rint(127.5 + noise @ MIXED.T / 2).clip(0, 255).astype(np.uint8)


def test_coloured_priors_of_any_channels_follow_the_measured_axes():
    """A network that knows nothing: its error is the picture, whose sources the measured axes find."""
    curve = measure_curve(lambda x_t, log_snr: x_t, mixed_channels(40, 0), spacing=2.0)
    spectrum = curve.spectrum
    assert spectrum is not None
    assert (spectrum.channels, curve.side) == (5, 16)
    sources = MIXED / np.linalg.norm(MIXED, axis=0)
    found = np.abs(rotation(spectrum.axes) @ sources)
    assert (np.diag(found)[:2] > 0.95).all()
    basis = basis_of(spectrum.row(-8.0), 16, 16, spectrum.axes)
    shift = mixed_channels(1, 1).transpose(0, 3, 1, 2).astype(np.float32) / 42.5 - 3
    coefficients = basis.analyse(shift[0])
    assert np.linalg.norm(coefficients) == pytest.approx(np.linalg.norm(shift), rel=1e-5)
    np.testing.assert_allclose(basis.synthesise(coefficients), shift[0], atol=1e-5)
    target = step_target(shift, basis)
    assert target.priors == (basis.prior,)
    assert target.ideal_bits[0] < 0.9 * step_target(shift, None).ideal_bits[0]
    unturned = basis_of(spectrum.row(-8.0), 16, 16, tuple(tuple(row) for row in np.eye(5, dtype=int) << 20))
    assert target.ideal_bits[0] < 0.9 * step_target(shift, unturned).ideal_bits[0]


@pytest.mark.parametrize("axes", [((1 << 20, 0), (0, 1 << 20)), ((1 << 20,) * 5,) * 5, (((1 << 20) + 9999,),)])
def test_axes_that_are_no_rotation_are_refused(axes: Any):
    stored = measure_curve(lambda x_t, log_snr: x_t, mixed_channels(2, 0), spacing=4.0).to_dict()
    stored["spectrum"] |= {"axes": axes}
    with pytest.raises(ModelError, match=r"rotation|powers"):
        ErrorCurve.from_dict(stored)


def test_axes_are_the_principal_ones():
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))
    covariance = basis @ np.diag([5.0, 4.0, 3.0, 2.0, 1.0]) @ basis.T
    axes = rotation(principal_axes(covariance))
    np.testing.assert_allclose(axes @ covariance @ axes.T, np.diag([5.0, 4.0, 3.0, 2.0, 1.0]), atol=1e-4)
    assert principal_axes(np.eye(1)) == ((1 << 20,),)


def test_a_target_is_of_the_picture(latent: CodecModel):
    picture = smooth(1)[0]
    ends = [
        float(np.mean((ddpmcodec.decode(data, steps=n, model=latent).astype(float) - picture) ** 2)) ** 0.5
        for data in [ddpmcodec.encode(picture, model=latent, full=True)]
        for n in (1, 6)
    ]
    wanted = (min(ends) + max(ends)) / 2
    data = ddpmcodec.encode(picture, model=latent, target_rmse=wanted)
    assert np.mean((ddpmcodec.decode(data, model=latent).astype(float) - picture) ** 2) ** 0.5 <= wanted
    data = ddpmcodec.encode(picture, model=latent, target_bytes=60)
    assert len(data) <= 60


def test_grey_is_the_picture_s(latent: CodecModel):
    picture = np.repeat(smooth(1)[0][:, :, :1], 3, axis=2)
    shown = ddpmcodec.decode(ddpmcodec.encode(picture, model=latent, plan_steps=5, full=True), model=latent)
    assert np.array_equal(shown[..., 0], shown[..., 1])
    assert np.array_equal(shown[..., 0], shown[..., 2])


def test_lossless_is_refused_and_says_why(latent: CodecModel):
    with pytest.raises(DdpmCodecError, match="known of latents"):
        ddpmcodec.encode(smooth(1)[0], model=latent, lossless=True)


def test_the_command_line_makes_and_uses_one(tmp_path: Path, diffusers: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(saved_latent(tmp_path, diffusers))
    monkeypatch.setattr("ddpmcodec.cli.plan._draw", lambda curve, picture: True)
    Path("photos").mkdir()
    for i, picture in enumerate(smooth(2, 70, 90)):
        Image.fromarray(picture).save(f"photos/{i}.png")
    done = run("plan", ".", "--data", "photos", "--limit", 2, "--spacing", 1.0, *PLAN)
    assert done.exit_code == 0, done.output
    assert run("encode", "photos/0.png", "-o", "s.bin", "--model", "codec.safetensors", "-q").exit_code == 0
    assert run("info", "s.bin", "--model", "codec.safetensors").exit_code == 0
    assert run("decode", "s.bin", "-o", "s.png", "--model", "codec.safetensors", "-q").exit_code == 0
    assert Image.open("s.png").size == (90, 70)
    made = run(
        "sample", "codec.safetensors", "-o", "grid.png", "--count", 1, "--ddim-steps", 2, "--size", "72x64", "-q"
    )
    assert made.exit_code == 0, made.output
    assert Image.open("grid.png").size == (72, 64)
    assert_refused(run("nll", "codec.safetensors", "--data", "photos/0.png"), "pixels")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_class_name": "VQModel"}, "VQModel"),
        ({"latent_channels": 3}, "3 channels, and a network of 4"),
        ({"in_channels": 1}, "three colours"),
        ({"block_out_channels": [1 << 17]}, "widths"),
        ({"scaling_factor": "one"}, "scale one"),
        ({"scaling_factor": 0}, "scale 0"),
    ],
)
def test_an_autoencoder_that_can_t_be_used_is_refused(
    tmp_path: Path, diffusers: Any, changes: dict[str, Any], message: str
):
    edited(saved_latent(tmp_path, diffusers) / "vae" / "config.json", **changes)
    with pytest.raises(ModelError, match=message):
        load_diffusers(tmp_path)


# One channel


@pytest.fixture(scope="session")
def grey(tmp_path_factory: pytest.TempPathFactory, diffusers: Any) -> CodecModel:
    folder = tmp_path_factory.mktemp("grey")
    unet_of(diffusers, in_channels=1, out_channels=1).save_pretrained(folder / "unet")
    diffusers.DDPMScheduler().save_pretrained(folder / "scheduler")
    network, config = load_diffusers(folder)
    levels = np.array([config.schedule.log_snrs[t] for t in (950, 700, 400, 200, 50, 5)])  # type: ignore[union-attr]
    curve = measure_curve(network, smooth(3, 32, 32)[..., :1], log_snrs=levels)
    save_model(folder / "codec.safetensors", network, curve, "grey", config=config)
    return load_model(folder / "codec.safetensors")


def test_a_model_of_one_channel_codes_grey_as_grey(grey: CodecModel):
    assert grey.curve.spectrum is not None
    assert grey.curve.spectrum.axes == ((1 << 20,),)
    picture = smooth(1, 32, 40)[0][..., 0]
    data = ddpmcodec.encode(picture, model=grey)
    assert ddpmcodec.read_header(data).grey
    shown = ddpmcodec.decode(data, model=grey)
    assert shown.shape == (32, 40, 3)
    assert np.array_equal(shown[..., 0], shown[..., 1])
    steps = list(ddpmcodec.decode_progressive(data, model=grey))
    errors = [float(np.mean((item.image[..., 0].astype(float) - picture) ** 2)) for item in steps]
    assert errors[-1] == min(errors)
    exact = ddpmcodec.encode(picture, model=grey, lossless=True)
    assert np.array_equal(ddpmcodec.decode(exact, model=grey), np.repeat(picture[:, :, None], 3, axis=2))
    with pytest.raises(ImageError, match="grey"):
        ddpmcodec.encode(smooth(1, 32, 32)[0], model=grey)


def test_channels_and_spectra_must_agree(grey: CodecModel, curve: ErrorCurve):
    with pytest.raises(ModelError, match="spectrum of 1 channels"):
        replace(grey, channels=3, space=Pixels())
    with pytest.raises(ModelError, match="2 channels: expected 3, or 1"):
        codec_model(torch.nn.Identity(), curve, "two", channels=2)
    assert TINY["sample_size"] == 32
