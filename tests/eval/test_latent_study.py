"""`python -m ddpmcodec.eval.studies.latent`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from ddpmcodec.eval.studies import latent
from ddpmcodec.models import load_diffusers
from ddpmcodec.training import TrainingImages
from ddpmcodec.training.held_out import is_held_out
from tests.models.test_latents import smooth


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers")
    monkeypatch.setattr(latent, "WINDOW", 8)
    monkeypatch.setattr(latent, "_CROP", 32)


def test_the_command_makes_a_folder_that_becomes_a_codec(tmp_path: Path):
    names = [f"{i}.png" for i in range(20)]
    (tmp_path / "photos").mkdir()
    for name, picture in zip(names, smooth(20), strict=True):
        Image.fromarray(picture).save(tmp_path / "photos" / name)
    latent.main(["--data", str(tmp_path / "photos"), "-o", str(tmp_path / "model"), "--steps", "2", "2", "--seed", "1"])
    stored = json.loads((tmp_path / "model" / "training.json").read_text())
    held = sum(map(is_held_out, names))
    assert held
    assert (stored["photographs"], stored["held_out"]["crops"], stored["seed"]) == (20 - held, held, 1)
    network, config = load_diffusers(tmp_path / "model")
    assert (config.factor, config.image_channels, config.window) == (4, 8, 8)
    assert config.predicts == "v_prediction"
    x_0 = network.space.of_pictures(latent.planes(smooth(20)).numpy())
    assert abs(x_0.mean()) < 0.3
    assert x_0.std() == pytest.approx(1, abs=0.2)


def test_an_autoencoder_learns():
    images = TrainingImages(smooth(4), 32, seed=0)
    autoencoder = latent.autoencoder_of(8)
    x = latent.planes(images.batch(0, 4))

    def error() -> float:
        with torch.inference_mode():
            shown = autoencoder.decode(autoencoder.encode(x).latents).sample
        return float((shown - x).square().mean())

    before = error()
    latent.train_autoencoder(autoencoder, images, 60)
    assert error() < before / 2
