"""`python -m ddpmcodec.eval.studies.training_speed`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ddpmcodec.eval.studies import training_speed
from ddpmcodec.eval.studies.training_speed import WAYS, gigaflop_a_second, gigaflop_an_image
from ddpmcodec.training import preset


def test_the_arithmetic_of_a_network():
    """A network twice as wide takes about four times the products; counted are both directions."""
    small, wide = (preset("cifar10-small", {"channels": c}).network for c in ((32, 64), (64, 128)))
    assert 3 < gigaflop_an_image(wide) / gigaflop_an_image(small) < 4.5
    first = 32 * 32 * 3 * 9 * 32 * 2 / 1e9  # the first convolution alone, forward
    assert gigaflop_an_image(small) > 10 * first


def test_threads_are_put_back():
    before = torch.get_num_threads()
    assert gigaflop_a_second(torch.float32, 1, 0.1) > 0.1
    assert torch.get_num_threads() == before


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out.json"
    way = WAYS[0].name
    training_speed.main(["--minutes", "0.01", "--ways", way, "-o", str(out)])
    stored = json.loads(out.read_text())
    found = stored["ways"][way]
    assert list(stored["ways"]) == [way]
    assert found["images_per_second"] > 0
    assert found["gigaflop_a_second"] == pytest.approx(
        found["images_per_second"] * stored["gigaflop_an_image"], rel=1e-4
    )
    assert "images/s" in capsys.readouterr().out
