"""A model with a spectrum as a codec, end to end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.bitstream.packet import Packet
from ddpmcodec.bitstream.reader import StreamReader
from ddpmcodec.bitstream.writer import StreamWriter
from ddpmcodec.channel.basis import Basis
from ddpmcodec.channel.names import channel_of
from ddpmcodec.codec.sender import SentStep
from ddpmcodec.codec.step_target import step_target
from ddpmcodec.diffusion.gaussians import ideal_bits
from ddpmcodec.diffusion.plan import make_plan
from ddpmcodec.errors import DdpmCodecError, ModelError
from ddpmcodec.models import CodecModel, load_model, measure_curve, read_model_info, save_model
from ddpmcodec.models.unet import UNet
from ddpmcodec.models.unet_config import UNetConfig
from tests.conftest import SpectralModel, coloured_pictures, spectral_curve

LIKE = coloured_pictures(1)[0]
Picture = NDArray[np.uint8]


def chequers() -> Picture:
    """As unlike the spectrum's pictures as can be: all at the highest frequency, where it expects nothing."""
    y, x = np.mgrid[:32, :32]
    return np.repeat(((x + y) % 2 * 200 + 20).astype(np.uint8)[..., None], 3, axis=2)


def steps_of(picture: Picture, model: CodecModel, **options: Any) -> tuple[bytes, list[SentStep]]:
    steps: list[SentStep] = []
    return ddpmcodec.encode(picture, model=model, on_step=steps.append, **options), steps


@pytest.mark.parametrize("channel", ["trellis:8", "orc:8"])
@pytest.mark.parametrize("picture", [LIKE, chequers()], ids=["like", "unlike"])
def test_files_decode_to_what_the_sender_had(coloured_model: CodecModel, picture: Picture, channel: str):
    shown: list[Picture] = []

    def keep(step: SentStep) -> None:
        plane = step.reconstruct()[0]
        shown.append(np.clip(np.rint((plane + 1) * 127.5), 0, 255).astype(np.uint8).transpose(1, 2, 0))

    data = ddpmcodec.encode(picture, model=coloured_model, plan_steps=8, channel=channel, on_step=keep)
    decoded = [state.image for state in ddpmcodec.decode_progressive(data, model=coloured_model)]
    assert len(decoded) == len(shown) == 8
    for mine, theirs in zip(decoded, shown, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_expected_pictures_take_coloured_priors_and_others_white_ones(coloured_model: CodecModel):
    data, _ = steps_of(LIKE, coloured_model, plan_steps=8)
    assert sum(p.coloured for p in ddpmcodec.read_info(data, coloured_model).packets) >= 6
    data, _ = steps_of(chequers(), coloured_model, plan_steps=8)
    assert not any(p.coloured for p in ddpmcodec.read_info(data, coloured_model).packets)


def test_coloured_priors_send_fewer_bits_ideal_and_real(coloured_model: CodecModel):
    white = replace(coloured_model, curve=replace(coloured_model.curve, spectrum=None))
    size, ideal, error = {}, {}, {}
    for name, model in (("coloured", coloured_model), ("white", white)):
        size[name] = ideal[name] = error[name] = 0.0
        for picture in coloured_pictures(6, seed=3):
            data, steps = steps_of(picture, model, plan_steps=6)
            size[name] += len(data)
            ideal[name] += sum(float(s.ideal_bits[0]) for s in steps)
            error[name] += float(np.mean((ddpmcodec.decode(data, model=model).astype(float) - picture) ** 2))
    assert ideal["coloured"] < 0.95 * ideal["white"]
    assert size["coloured"] < 0.98 * size["white"]
    assert error["coloured"] < 1.05 * error["white"]


@pytest.mark.parametrize("size", [(1, 1), (33, 41), (70, 45)])
def test_any_size(coloured_model: CodecModel, size: tuple[int, int]):
    picture = np.resize(coloured_pictures(4, seed=2), (*size, 3))
    data, _ = steps_of(picture, coloured_model, plan_steps=5)
    assert ddpmcodec.decode(data, model=coloured_model).shape == picture.shape


def test_cut_and_truncated_files_keep_their_whole_steps(coloured_model: CodecModel):
    data, _ = steps_of(LIKE, coloured_model, plan_steps=6)
    info = ddpmcodec.read_info(data, coloured_model)
    assert any(p.coloured for p in info.packets)
    for cut in range(12, len(data), 7):
        found = ddpmcodec.read_info(data[:cut], coloured_model)
        sent = [(p.bits, p.coloured, p.code.tolist()) for p in info.packets]
        assert [(p.bits, p.coloured, p.code.tolist()) for p in found.packets] == sent[: found.steps]
    for steps in range(1, 7):
        shorter = ddpmcodec.truncate(data, steps=steps, model=coloured_model)
        assert shorter == ddpmcodec.encode(LIKE, model=coloured_model, plan_steps=6, steps=steps)


@pytest.mark.parametrize("target", [{"target_bytes": 80}, {"target_rmse": 20.0}, {"lossless": True}])
def test_targets_and_lossless(coloured_model: CodecModel, target: dict[str, Any]):
    data, _ = steps_of(LIKE, coloured_model, plan_steps=6, **target)
    decoded = ddpmcodec.decode(data, model=coloured_model)
    if "target_bytes" in target:
        assert len(data) <= 80
    elif "target_rmse" in target:
        assert np.sqrt(np.mean((decoded.astype(float) - LIKE) ** 2)) <= 20
    else:
        np.testing.assert_array_equal(decoded, LIKE)


def test_archives_have_the_pictures_own_streams(coloured_model: CodecModel):
    pictures = list(coloured_pictures(3, seed=4))
    archive = ddpmcodec.read_archive(ddpmcodec.encode_archive(pictures, model=coloured_model, plan_steps=5))
    for i, picture in enumerate(pictures):
        assert archive.stream(i) == ddpmcodec.encode(picture, model=coloured_model, plan_steps=5)


def test_the_cheapest_prior_is_chosen_picture_by_picture():
    basis = Basis(spectral_curve().spectrum.row(0.0), 32, 32)  # type: ignore[union-attr]
    rng = np.random.default_rng(0)
    expected = rng.normal(size=3072) * basis.prior.spread(np.sqrt(0.1 * np.array(basis.prior.power)))
    like = basis.synthesise(expected.astype(np.float32))
    noise = rng.normal(size=(3, 32, 32)).astype(np.float32) * np.float32(0.3)
    target = step_target(np.stack([like, noise]), basis)
    white = [ideal_bits(ratio, 3072) for ratio in target.variance_ratio]
    assert target.priors == (basis.prior, None)
    np.testing.assert_allclose(target.shifts[0], basis.analyse(like))
    np.testing.assert_array_equal(target.shifts[1], noise.reshape(-1))
    assert target.ideal_bits[0] < 0.97 * white[0]
    assert target.ideal_bits[1] == white[1]


def test_a_prior_that_codewords_could_not_follow_is_not_taken():
    """All of a shift in one group: fewer ideal bits than white, but more than a bit a dimension there."""
    row = tuple([200] * 2 + [-200] * 94)
    basis = Basis(row, 32, 32)
    coefficients = np.zeros(3072, np.float32)
    coefficients[:128] = 3.0
    target = step_target(basis.synthesise(coefficients)[None], basis)
    assert basis.prior.bits(basis.prior.fit(basis.prior.energies(coefficients))) < ideal_bits(9 / 24, 3072)
    assert target.priors == (None,)


def test_streams_without_a_spectrum_have_no_flags(coloured_model: CodecModel):
    plan = make_plan(coloured_model.curve, 2)
    channel = channel_of((0, 8), 3072)
    packet = Packet(9, 9, np.array([300], np.int32))
    with_flags, without = (StreamWriter(p, channel, 3072) for p in (plan, replace(plan, spectrum=None)))
    for writer in (with_flags, without):
        writer.write(packet)
    assert with_flags.step_bits[0] - without.step_bits[0] == pytest.approx(6, abs=0.01)  # white after nothing: 1 in 64
    with_flags.write(packet)
    without.write(packet)
    assert with_flags.step_bits[1] - without.step_bits[1] == pytest.approx(np.log2(4 / 3), abs=0.01)
    reader = StreamReader(replace(plan, spectrum=None), channel, 3072)
    reader.feed(without.sealed())
    assert [reader.read().coloured for _ in range(2)] == [False, False]  # type: ignore[union-attr]


def test_the_measured_spectrum_is_the_true_one():
    curve = measure_curve(
        SpectralModel(), coloured_pictures(60, seed=9), min_log_snr=-4.0, max_log_snr=4.0, spacing=1.0
    )
    true = spectral_curve().spectrum
    assert curve.spectrum is not None
    assert true is not None
    for level in (-4.0, 0.0, 4.0):
        found, expected = np.array(curve.spectrum.row(level)), np.array(true.row(level + 0.01))
        difference = (found - expected) / 16
        assert (
            np.abs(difference - np.median(difference)).mean() < 0.3
        )  # octaves; clipping and rounding to levels add error


def test_measuring_can_leave_the_spectrum_out_and_needs_square_pictures():
    assert measure_curve(SpectralModel(), coloured_pictures(2), spacing=4.0, coloured=False).spectrum is None
    with pytest.raises(ModelError, match="expected squares"):
        measure_curve(SpectralModel(), coloured_pictures(2)[:, :, :16], spacing=4.0)


def test_model_files_with_a_spectrum_have_a_format_of_their_own(tmp_path: Path):
    network, path = UNet(UNetConfig(channels=(8, 8), groups=4, embedding=16)), tmp_path / "m.safetensors"
    curve = spectral_curve()
    save_model(path, network, curve, "m")
    assert read_model_info(path).curve == curve
    assert load_model(path).plan(3).spectrum == curve.spectrum
    assert b'"format":"ddpmcodec-model-2"' in path.read_bytes()
    save_model(path, network, replace(curve, spectrum=None), "m")
    assert b'"format":"ddpmcodec-model-1"' in path.read_bytes()


def test_a_window_too_small_for_groups_is_refused(coloured_model: CodecModel):
    small = replace(coloured_model, window=2, eps_model=lambda x_t, log_snr: x_t)
    with pytest.raises(DdpmCodecError, match="at least 24"):
        ddpmcodec.encode(np.zeros((2, 2, 3), np.uint8), model=small)


def test_the_command_line_says_which_steps_were_coloured(tmp_path: Path):
    from typer.testing import CliRunner

    from ddpmcodec.cli.app import app

    model, png, file = str(tmp_path / "m.safetensors"), str(tmp_path / "in.png"), str(tmp_path / "out.bin")
    save_model(model, UNet(UNetConfig(channels=(8, 8), groups=4, embedding=16)), spectral_curve(), "m")
    Image.fromarray(LIKE).save(png)
    sent = CliRunner().invoke(app, ["encode", png, "-o", file, "--model", model, "--plan-steps", "4", "--verbose"])
    assert sent.exit_code == 0
    shown = json.loads(CliRunner().invoke(app, ["info", file, "--model", model, "--json"]).stdout)
    assert len(shown["coloured"]) == 4
    assert sent.output.count("coloured") == sum(shown["coloured"])
