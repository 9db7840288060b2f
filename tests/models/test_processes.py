"""Worker processes: errors and models travel to them, and a forked child of a busy parent doesn't wait for ever."""

from __future__ import annotations

import importlib
import inspect
import os
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import ddpmcodec
from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.errors import ModelError
from ddpmcodec.models import CodecModel, UNet, UNetConfig, codec_model, load_model, save_model

TINY = UNetConfig(channels=(8,), groups=4, heads=2, embedding=8, frequencies=4, window=16)


def error_classes() -> list[type[Exception]]:
    found = set[type[Exception]]()
    for module in pkgutil.walk_packages(ddpmcodec.__path__, "ddpmcodec."):
        if module.name.endswith("._native"):  # loaded through ctypes, never imported
            continue
        if "__main__" in module.name or ".cli" in module.name or ".eval" in module.name:
            continue
        try:
            imported = importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name != "ray":  # an extra's
                raise
            continue
        for _, value in inspect.getmembers(imported, inspect.isclass):
            if issubclass(value, Exception) and value.__module__.startswith("ddpmcodec"):
                found.add(value)
    return sorted(found, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", error_classes(), ids=lambda kind: kind.__name__)
def test_every_error_comes_back_from_another_process(kind: type[Exception]):
    own = inspect.signature(kind).parameters if "__init__" in vars(kind) else {}
    error = kind("what was found", *range(3, 2 + len(own)))
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert str(back) == "what was found"
    assert vars(back) == vars(error)


@pytest.fixture
def path(tmp_path: Path, curve: ErrorCurve) -> Path:
    save_model(tmp_path / "m.safetensors", UNet(TINY), curve, "tiny")
    return tmp_path / "m.safetensors"


def test_a_model_travels_as_its_file(path: Path, curve: ErrorCurve):
    model = load_model(path)
    travelling = pickle.dumps(model)
    assert len(travelling) < 1000
    again = pickle.loads(travelling)
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    assert ddpmcodec.encode(picture, model=again, plan_steps=2) == ddpmcodec.encode(picture, model=model, plan_steps=2)
    save_model(path, UNet(TINY), curve, "another")
    with pytest.raises(ModelError, match="has been replaced"):
        pickle.loads(travelling)


def test_an_embedded_model_travels_by_its_name(model: CodecModel):
    assert b"cifar10-small" in pickle.dumps(model)
    assert str(Path(ddpmcodec.__file__).parent).encode() not in pickle.dumps(model)
    assert pickle.loads(pickle.dumps(model)).fingerprint == model.fingerprint


def test_a_caller_s_network_travels_with_its_weights(curve: ErrorCurve):
    model = codec_model(UNet(TINY), curve, "mine", window=16)
    assert pickle.loads(pickle.dumps(model)).fingerprint == model.fingerprint


FORKING = """
import multiprocessing, sys
import numpy as np
import torch
import ddpmcodec

def work(seed):
    return ddpmcodec.encode(np.full((64, 64, 3), 90, np.uint8), plan_steps=1, seed=seed)

def fail(_):
    ddpmcodec.decode(whole[:-20])

whole = work(1)
assert torch.get_num_threads() == 2
with multiprocessing.get_context("fork").Pool(1) as pool:
    assert pool.map(work, [1]) == [whole]
    try:
        pool.map(fail, [0])
    except ddpmcodec.TruncatedStreamError as error:
        print("intact", error.intact_steps)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_of_a_busy_parent_works_and_its_errors_come_back(picture: NDArray[np.uint8]):
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("intact ")
