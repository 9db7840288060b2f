"""`python -m ddpmcodec.eval.studies.before_after`: two codes, each from its own folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ddpmcodec
from ddpmcodec.eval.studies import before_after

HERE = Path(ddpmcodec.__file__).resolve().parents[1]


def test_a_part_is_measured(tmp_path: Path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 64, 3), np.uint8)).save(tmp_path / "t.png")
    part = {"picture": str(tmp_path / "t.png"), "side": 32, "count": 2, "repeat": 1, "model": "cifar10-small"}
    found = before_after.measured(HERE, part | {"given": {"plan_steps": 2}})
    assert min(found["encode"], found["decode"], found["file_bytes"], found["rmse"]) > 0


def test_code_that_comes_from_elsewhere_is_refused(tmp_path: Path):
    Image.new("RGB", (32, 32)).save(tmp_path / "t.png")
    part = {"picture": str(tmp_path / "t.png"), "side": 32, "count": 1, "repeat": 1, "model": "cifar10-small"}
    with pytest.raises(RuntimeError, match="was to be measured, but"):
        before_after.measured(tmp_path, part | {"given": {"plan_steps": 2}})
