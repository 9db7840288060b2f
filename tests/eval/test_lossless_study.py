"""`python -m ddpmcodec.eval.studies.lossless`, in small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpmcodec.eval.studies import lossless


def test_photographs_are_files_of_their_own(tmp_path: Path):
    random = np.random.default_rng(0)
    sizes = [(24, 40), (36, 20)]
    for i, (height, width) in enumerate(sizes):
        picture = random.integers(90, 110, (height, width, 3)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    given = ["--data", str(tmp_path), "--model", "photo-small", "--plan-steps", "3", "-o", str(tmp_path / "r.json")]
    lossless.main(given)
    found = json.loads((tmp_path / "r.json").read_text())
    ours, values = found["ours"], sum(3 * h * w for h, w in sizes)
    assert ours["images"] == 2
    assert ours["bytes"] == sum(row["bytes"] for row in ours["pictures"])
    rates = ours["bits_per_dim"]
    assert rates["single_files"] == pytest.approx(8 * ours["bytes"] / values)
    assert rates["single_files"] == pytest.approx(rates["diffusion"] + rates["tail"])
    assert found["baselines"]["png"]["file_bits_per_dim"] > 0
