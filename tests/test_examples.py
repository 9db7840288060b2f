"""The examples run as they stand, with less to do."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


def main(name: str, *arguments: object) -> None:
    runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]([str(a) for a in arguments])


def test_encode_and_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main("encode_and_look", ROOT / "docs" / "astronaut-32.png", "-o", tmp_path / "out", "--plan-steps", 4)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["astronaut-32.png.ddpc", "half-way.png", "steps.html"]
    assert Image.open(tmp_path / "out" / "half-way.png").size == (32, 32)
    assert "step  4:" in capsys.readouterr().out


def test_own_model(capsys: pytest.CaptureFixture[str]):
    main("own_model", "--pictures", 300)
    lossy, exact = capsys.readouterr().out.splitlines()
    assert "RMSE" in lossy
    assert exact.endswith("exact")


def test_paper_curve(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    main("paper_curve", "-o", tmp_path / "curve.png", "--pictures", 2, "--plan-steps", 6)
    rows = np.array([[float(x) for x in line.split()[1::2] if x[0].isdigit()] for line in _lines(capsys)])
    assert rows.shape[0] == 6
    assert (np.diff(rows[:, 0]) > 0).all()
    assert Image.open(tmp_path / "curve.png").width > 300


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.replace("bits/dim  ", "").splitlines()


def test_each_example_is_here():
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == ["encode_and_look", "own_model", "paper_curve"]
