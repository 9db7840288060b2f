"""`python -m ddpmcodec.eval.studies.held_out`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpmcodec.eval.studies import held_out
from ddpmcodec.models.conv_unet_config import ConvUNetConfig
from ddpmcodec.models.weights import save_model
from ddpmcodec.training.held_out import is_held_out


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(held_out, "LEVELS", np.arange(-4.0, 5.0, 2.0))
    (tmp_path / "photos").mkdir()
    names = [f"{i}.png" for i in range(40)]
    for i, name in enumerate(names):
        Image.new("RGB", (128, 130), (i, 100, 200)).save(tmp_path / "photos" / name)
    network = ConvUNetConfig(
        channels=(8,), down_blocks=(1,), up_blocks=(0,), embedding=8, frequencies=4, window=8
    ).build()
    network.zero_branches()
    save_model(tmp_path / "m.safetensors", network, None, "m")
    given = [
        "--data",
        str(tmp_path / "photos"),
        "--models",
        str(tmp_path / "m.safetensors"),
        "-o",
        str(tmp_path / "out.json"),
    ]
    held_out.main([*given, "--factors", "1", "2", "4"])
    stored = json.loads((tmp_path / "out.json").read_text())
    assert stored["crops"] == 4 * sum(map(is_held_out, names))
    (found,) = stored["models"].values()
    # v = 0 says x̂_0 = √ᾱ·x_t, which is too dark and keeps some noise; averaging keeps less of it
    assert 0 < found["bits_per_dim"] < 8 / (2 * math.log(2))
    assert found["factor"][0] == 4
    assert found["factor"][-1] == 1
    assert found["bits_per_dim_to"]["0"] < found["bits_per_dim_to"]["2"] < found["bits_per_dim"]


def test_four_crops_meet_in_the_centre():
    y, x = np.mgrid[:200, :150]
    picture = np.stack([y, x, 0 * x], axis=-1).astype(np.uint8)
    crops = held_out.crops_of([picture, picture[:100]])
    assert crops.shape == (4, 64, 64, 3)
    assert [tuple(c[0, 0, :2]) for c in crops] == [(36, 11), (36, 75), (100, 11), (100, 75)]
