from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpmcodec.eval.channels import search_speed, states
from ddpmcodec.models import CodecModel
from ddpmcodec.numerics import native
from tests.numerics.test_native import needs_native


def test_payload_and_ideal_bits_of_each_l_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coloured_model: CodecModel
):
    noise = np.random.default_rng(0).integers(80, 176, (96, 96, 3)).astype(np.uint8)
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path in paths:
        Image.fromarray(noise).save(path)
    monkeypatch.setattr(states, "load_model", lambda name: coloured_model)
    out = tmp_path / "states.json"
    wanted = ["--crop", "32", "--plan-steps", "4", "--memory", "8", "10", "--rmse", "30", "-o", str(out)]
    states.main(["--data", *map(str, paths), *wanted])
    result = json.loads(out.read_text())
    assert result["images"] == 2
    assert set(result["rows"]) == {"8", "10"}
    for row in result["rows"].values():
        assert row["bits_an_image"] > 0
        assert row["search_us_per_bit"] > 0
        assert row["at"][0]["ratio"] is None or row["at"][0]["ratio"] > 1
    assert result["rows"]["8"]["at"][0]["saved"] in (0.0, None)


@needs_native
def test_both_searches_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(native.VARIABLE, "numpy")  # put back afterwards
    out = tmp_path / "speed.json"
    search_speed.main(["--memory", "8", "--bits", "16", "--seconds", "0", "-o", str(out)])
    (row,) = json.loads(out.read_text())["rows"]
    assert {*row["native"], *row["numpy"]} == {"search", "encode", "decode"}
    assert all(us > 0 for name in ("native", "numpy") for us in row[name].values())
