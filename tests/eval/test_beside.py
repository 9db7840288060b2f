"""`python -m ddpmcodec.eval.studies.beside`: another codec beside a finished measurement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.studies import beside


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random, folder = np.random.default_rng(0), tmp_path / "photos"
    folder.mkdir()
    for i in range(2):
        smooth = np.kron(random.integers(60, 190, (8, 8, 3)), np.ones((8, 8, 1)))
        Image.fromarray((smooth + random.integers(-9, 10, (64, 64, 3))).astype(np.uint8)).save(folder / f"{i}.png")
    return folder


def measured(tmp_path: Path, photos: Path, curves: dict[str, Any], pictures: list[str]) -> dict[str, Any]:
    result = {"model": "cifar10-small", "pictures": pictures, "curves": curves, "data": "photos"}
    result |= {"fingerprint": "", "plan_steps": 33, "git_commit": ""}
    path, out = tmp_path / "results.json", tmp_path / "out"
    path.write_text(json.dumps(result))
    beside.main([str(path), "--data", str(photos), "--baselines", "webp", "-o", str(out)])
    return dict(json.loads((out / "beside.json").read_text()))


def test_a_curve_is_as_good_as_itself_and_half_the_bits_are_half(tmp_path: Path, photos: Path):
    names = ["0.png", "1.png"]
    webp = measured(tmp_path, photos, {}, names)["baselines"]["webp"]
    half = webp | {rate: [v / 2 for v in webp[rate]] for rate in ("file_bits_per_dim", "payload_bits_per_dim")}
    rates = measured(tmp_path, photos, {"ideal": webp, "real-same": webp, "real-half": half}, names)["bd_rate"]
    assert set(rates) == {"real-same", "real-half"}
    assert rates["real-same"]["webp"]["file"]["percent"] == pytest.approx(0, abs=1)
    assert rates["real-half"]["webp"]["payload"]["percent"] == pytest.approx(-50, abs=1)


def test_other_pictures_are_refused(tmp_path: Path, photos: Path):
    with pytest.raises(DdpmCodecError, match=r"0\.png"):
        measured(tmp_path, photos, {}, ["0.png", "2.png"])
