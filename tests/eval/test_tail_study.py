"""`python -m ddpmcodec.eval.studies.tail_study`, in small."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ddpmcodec
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.studies import tail_study
from ddpmcodec.training.held_out import is_held_out


def test_its_sum_is_a_lossless_file_s(tmp_path: Path) -> None:
    tile = np.random.default_rng(0).integers(100, 140, (32, 32, 3), np.uint8)
    Image.fromarray(tile).save(tmp_path / "tiles.png")
    out = tmp_path / "study.json"
    tail_study.main(["--data", str(tmp_path / "tiles.png"), "--limit", "1", "--plan-steps", "8", "-o", str(out)])
    (plan,) = json.loads(out.read_text())["plans"]
    where = plan["where"]
    assert plan["plan_steps"] == where["steps"][-1] == 8
    for n, total in zip(where["steps"], where["total_bits_per_dim"], strict=True):
        file = ddpmcodec.encode(tile, plan_steps=8, lossless=True, steps=n)
        header_and_check = len(file) - total * tile.size / 8
        assert header_and_check == pytest.approx(13, abs=2)  # tails of other dithers


def test_photographs_are_held_out_ones_of_enough_pixels(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(200)]
    held = [n for n in names if is_held_out(n)][:3]
    for name, side in [*((n, 260) for n in held[:2]), (held[2], 200), (names[0], 260)]:
        Image.fromarray(np.full((side, 256 + names.index(name), 3), names.index(name), np.uint8)).save(tmp_path / name)
    found = tail_study.middles(tmp_path, 2)
    assert found.shape == (2, 256, 256, 3)
    assert {int(picture[0, 0, 0]) for picture in found} == {names.index(n) for n in held[:2]}
    with pytest.raises(DdpmCodecError, match="2 held-out pictures"):
        tail_study.middles(tmp_path, 3)


def test_a_photograph_is_studied_on_the_plan_that_it_goes_by() -> None:
    photograph = np.random.default_rng(0).integers(100, 140, (1, 65, 64, 3), np.uint8)
    found = tail_study.totals(ddpmcodec.load_model("photo-small"), photograph, None, None)
    assert found["plan_steps"] == found["where"]["steps"][-1] == 28
