"""`python -m ddpmcodec.eval.studies.last_levels`, in small."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpmcodec.eval.studies import last_levels
from ddpmcodec.models import save_model
from ddpmcodec.training import preset
from ddpmcodec.training.held_out import is_held_out


def test_chain_and_tail_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(last_levels, "LEVELS", np.array([8.0, 8.5, 9.5]))
    name = next(f"{i}.png" for i in range(400) if is_held_out(f"{i}.png"))
    noise = np.random.default_rng(0).integers(0, 256, (100, 120, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    network = preset("photo-last").network.build()
    network.zero_branches()
    last = tmp_path / "last.safetensors"
    save_model(last, network, None, "last")
    last_levels.main(["--data", str(tmp_path), "--last", str(last), "-o", str(tmp_path / "r.json")])
    found = json.loads((tmp_path / "r.json").read_text())
    rows = found["together"]
    assert [row["log_snr"] for row in rows] == [8.0, 8.5, 9.5]
    assert rows[0]["chain"] == 0
    errors = [min(of["eps_mse"][i] for of in found["networks"].values()) for i in range(3)]
    assert rows[1]["chain"] == pytest.approx((errors[0] + errors[1]) / 2 * 0.5 / (2 * math.log(2)))
    assert all(row["sum"] == pytest.approx(row["chain"] + row["tail"]) for row in rows)
    assert rows[0]["tail"] > rows[1]["tail"] > rows[2]["tail"] > 0
