"""`plan` never takes away a codec that streams may still need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.models import UNet, UNetConfig, read_model_info, save_model
from tests.cli.test_cli import assert_refused, names, run

TINY = UNetConfig(channels=(8,), groups=4, heads=2, embedding=8, frequencies=4, window=16)
PLAN = ("--data", "mosaic.png", "--limit", 2, "-q")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, curve: ErrorCurve) -> Path:
    """The working directory: a network, another one, a codec in use, and a file of something else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ddpmcodec.cli.plan._draw", lambda curve, picture: True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)).save("mosaic.png")
    for i, name in enumerate(("network", "another", "codec")):
        with torch.random.fork_rng():
            torch.manual_seed(i)
            save_model(f"{name}.safetensors", UNet(TINY), curve if name == "codec" else None, name)
    Path("other.safetensors").write_bytes(b"weights of another program")
    return tmp_path


@pytest.mark.parametrize("target", ["codec", "another", "other"])
def test_what_is_there_stays_unless_it_is_to_be_replaced(folder: Path, target: str):
    path = Path(f"{target}.safetensors")
    before = path.read_bytes()
    assert_refused(run("plan", "network.safetensors", "-o", path, *PLAN), "--overwrite")
    assert_refused(run("plan", "codec.safetensors", "-o", "codec.safetensors", *PLAN), "--overwrite")
    assert path.read_bytes() == before


def test_a_network_becomes_a_codec_in_its_own_file(folder: Path):
    assert run("plan", "network.safetensors", "-o", "network.safetensors", *PLAN).exit_code == 0
    assert read_model_info("network.safetensors").measured is not None


def test_pictures_that_can_t_be_used_are_named_or_skipped(folder: Path):
    pictures = folder / "pictures"
    pictures.mkdir()
    for i in range(3):
        Image.new("RGB", (20, 16 + i), (90 * i, 40, 10)).save(pictures / f"{i}.png")
    (pictures / "broken.png").write_bytes(Path("mosaic.png").read_bytes()[:200])
    Image.new("RGB", (9, 9)).save(pictures / "small.png")
    plan = ("plan", "network.safetensors", "-o", "new.safetensors", "--data", pictures, "--limit", 2)
    assert_refused(run(*plan, "-q"), "broken.png")
    (pictures / "broken.png").rename(pictures / "z.png")
    assert_refused(run(*plan, "-q"), "small.png", "--skip-unusable")
    done = run(*plan, "--skip-unusable")
    assert done.exit_code == 0, done.output
    left_out = [line.partition(":")[0] for line in done.stderr.splitlines() if "left out" in line]
    assert len(left_out) == 2
    assert read_model_info("new.safetensors").measured is not None


def test_a_codec_that_is_replaced_is_kept_under_its_fingerprint(folder: Path):
    before, mark = Path("codec.safetensors").read_bytes(), read_model_info("codec.safetensors").fingerprint
    done = run("plan", "network.safetensors", "-o", "codec.safetensors", "--overwrite", *PLAN[:-1])
    assert done.exit_code == 0, done.output
    kept = Path(f"codec.{mark[:8]}.safetensors")
    assert kept.read_bytes() == before
    assert str(kept) in done.stderr
    assert read_model_info("codec.safetensors").fingerprint != mark
    assert run("plan", "codec.safetensors", "-o", "codec.safetensors", "--overwrite", *PLAN).exit_code == 0
    assert len([name for name in names(folder) if name.startswith("codec")]) == 3
