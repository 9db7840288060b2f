"""`python -m ddpmcodec.eval.studies.memory`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.eval.studies import memory
from ddpmcodec.models import read_model_info
from ddpmcodec.models.info import WeightsPlace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and asks for pages by mincore")
MB = 1 << 20


def test_what_a_file_says_of_itself_is_read_without_its_weights(tmp_path: Path):
    path = tmp_path / "large.safetensors"
    memory.sparse_model(path, 1 << 30)
    assert read_model_info(path).fingerprint == read_model_info("cifar10-small").fingerprint
    assert memory.cached_bytes(path) < 32 * MB  # with what the kernel reads ahead
    path.write_bytes(bytes(4 * MB))
    assert memory.cached_bytes(path) == 4 * MB


def test_a_process_s_peak_is_what_it_took():
    found = memory.peak_of([sys.executable, "-c", "import time; b = bytearray(200 << 20); time.sleep(0.1)"])
    assert 200 * MB < found["peak_own_bytes"] <= found["peak_bytes"] < 300 * MB
    with pytest.raises(DdpmCodecError, match="no good"):
        memory.peak_of([sys.executable, "-c", "raise SystemExit('no good')"])


def test_a_pipeline_of_any_shape_becomes_a_codec(tmp_path: Path):
    pytest.importorskip("transformers")
    shape = memory.Shape((8, 16), side=8, text_width=16, text_layers=1, vocabulary=64, autoencoder_widths=(8, 8))
    counts = memory.save_pipeline(tmp_path / "pipeline", shape)
    assert set(counts) == {"unet", "vae", "text_encoder"}
    memory.save_codec(tmp_path / "pipeline", tmp_path / "codec.safetensors")
    info = read_model_info(tmp_path / "codec.safetensors")
    assert info.weights == WeightsPlace(str(tmp_path / "pipeline"))
    assert (info.factor, info.channels, info.window) == (2, 4, 8)
    assert info.config.dtype == "bfloat16"  # type: ignore[union-attr]
