from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpmcodec.eval.studies import solid
from ddpmcodec.models import CodecModel
from tests.conftest import coloured_pictures


def test_every_size_of_block_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coloured_model: CodecModel):
    Image.fromarray(np.concatenate(coloured_pictures(5), axis=1)).save(tmp_path / "tiles.png")
    monkeypatch.setattr(solid, "load_model", lambda name: coloured_model)
    out = tmp_path / "solid.json"
    wanted = ["--images", "5", "--plan-steps", "4", "--channel", "trellis:8", "--together", "2", "5", "--rmse", "8"]
    solid.main(["--data", str(tmp_path / "tiles.png"), *wanted, "-o", str(out)])
    result = json.loads(out.read_text())
    assert result["images"] == 5
    assert set(result["rows"]) == {"1", "2", "5"}
    for row in result["rows"].values():
        (at,) = row["at"]
        assert at["ratio"] > 1
        assert 0 < at["side"] < 0.5
        assert row["archive_bits_per_dim"] > 0
    assert result["rows"]["1"]["at"][0]["saved"] == 0
