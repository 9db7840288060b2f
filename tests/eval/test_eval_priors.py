"""`python -m ddpmcodec.eval.studies.priors`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.studies import priors
from ddpmcodec.eval.studies.priors import compare
from ddpmcodec.models import CodecModel
from tests.conftest import coloured_pictures


def test_a_comparison_has_both_priors_at_each_rmse(coloured_model: CodecModel, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(priors, "RMSES", (10.0, 8.5, 0.5))
    monkeypatch.setattr(priors, "BATCH", 3)
    result = compare(coloured_model, list(coloured_pictures(4)), 6, "trellis:8", 0)
    for name in ("white", "coloured"):
        for kind in ("payload_bits_per_dim", "ideal_bits_per_dim"):
            first, second, beyond = result[name][kind]
            assert 0 < first < second
            assert beyond is None
    assert 0 <= result["white_steps"] < 0.5
    for kind in ("payload", "ideal"):
        white, coloured = (result[n][f"{kind}_bits_per_dim"][1] for n in ("white", "coloured"))
        assert result[f"{kind}_change_percent"][1] == pytest.approx(100 * (coloured / white - 1))
        assert result[f"{kind}_change_percent"][2] is None
    assert result["ideal_change_percent"][1] < -5


def test_a_model_without_a_spectrum_is_refused(coloured_model: CodecModel):
    white = replace(coloured_model, curve=replace(coloured_model.curve, spectrum=None))
    with pytest.raises(DdpmCodecError, match="no spectrum"):
        compare(white, list(coloured_pictures(1)), 3, "trellis:8", 0)


def test_the_command(
    coloured_model: CodecModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for i, picture in enumerate(coloured_pictures(2)):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    monkeypatch.setattr(priors, "load_model", lambda name: coloured_model)
    out = tmp_path / "out.json"
    priors.main(["--data", str(tmp_path), "--steps", "3", "--channel", "trellis:8", "-o", str(out)])
    stored = json.loads(out.read_text())
    assert (stored["images"], stored["plans"][0]["steps"], stored["fingerprint"]) == (2, 3, coloured_model.fingerprint)
    assert "ideal, coloured" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="error"):
        priors.main(["--data", str(tmp_path / "nowhere"), "-o", str(out)])
