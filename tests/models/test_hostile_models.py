"""Model files that a stranger made or a disk spoiled: a clear ModelError, nothing run, nothing built that isn't in the
file.
"""

from __future__ import annotations

import json
import pickle
import random
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.diffusion.plan import make_plan
from ddpmcodec.errors import DdpmCodecError, ModelError
from ddpmcodec.models import UNet, UNetConfig, codec_model, load_model, load_network, read_model_info, save_model
from ddpmcodec.models.fingerprint import fingerprint
from ddpmcodec.models.safetensors_file import MAX_METADATA_BYTES

TINY = UNetConfig(channels=(4,), groups=2, heads=1, embedding=4, frequencies=2, window=4, knots=2)
READERS: tuple[Callable[[Path], Any], ...] = (read_model_info, load_network, load_model)
MUTATIONS, REWRITES = 400, 150


@pytest.fixture
def good(tmp_path: Path, curve: ErrorCurve) -> Path:
    path = tmp_path / "tiny.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_model(path, UNet(TINY), curve, "tiny", "a note")
    return path


def parts_of(path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and the bytes after it."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write(path: Path, header: dict[str, Any] | bytes, body: bytes, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + body)
    return path


def signed(path: Path, **changes: Any) -> Path:
    """The model with other configuration or curve, and a fingerprint that covers them: what a liar would write."""
    header, body = parts_of(path)
    metadata = header["__metadata__"]
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            tensors[name] = torch.from_numpy(np.frombuffer(body[begin:end], np.float16).copy()).reshape(entry["shape"])
    for key in ("config", "curve"):
        if key in changes:
            metadata[key] = json.dumps(json.loads(metadata[key]) | changes[key])
    metadata["fingerprint"] = fingerprint(tensors, json.loads(metadata["config"]), json.loads(metadata["curve"]))
    return write(path, header, body)


def refused(path: Path, match: str | None = None) -> None:
    """By everything that reads weights, with a message that names the file and has no control characters."""
    for read in (load_network, load_model):
        with pytest.raises(ModelError, match=match) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 800


# The file


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (b"", None),
        (b"{", None),
        (b"not json", None),
        (b"[]", None),
        (b"\xff\xfe\x00", None),
        (b"{}" + b" " * 100, 1 << 62),
        (b"{}", (1 << 64) - 1),
        (b"{}", 101_000_000),
        (b'{"a":' * 5000, None),
        (b"[" * 100_000, None),
        (
            b'{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            None,
        ),
    ],
)
def test_a_header_that_is_none(tmp_path: Path, header: bytes, length: int | None):
    refused(
        write(tmp_path / "x.safetensors", header, bytes(64), length), "not a readable safetensors file|not a ddpmcodec"
    )


@pytest.mark.parametrize(
    "entry",
    [
        {"data_offsets": [0, 1 << 40]},
        {"data_offsets": [-2, 2]},
        {"data_offsets": [6, 2]},
        {"data_offsets": [0, 2]},  # lies where another tensor does
        {"data_offsets": [1, 9]},
        {"shape": [1 << 40]},
        {"shape": [1 << 63, 2]},
        {"shape": [-4]},
        {"shape": []},
        {"dtype": "F64"},
        {"dtype": "Q3"},
        {"dtype": 7},
    ],
)
def test_a_tensor_that_lies_about_itself(good: Path, entry: dict[str, Any]):
    header, body = parts_of(good)
    header["stem.bias"] |= entry
    refused(write(good, header, body), "not a readable safetensors file")


def test_a_header_longer_than_any_is_not_parsed(good: Path):
    header, body = parts_of(good)
    header["__metadata__"]["note"] = "x" * MAX_METADATA_BYTES
    write(good, header, body)
    for read in READERS:
        with pytest.raises(ModelError, match=f"expected at most {MAX_METADATA_BYTES}"):
            read(good)


@pytest.mark.parametrize("dtype", ["I16", "U16", "F8_E4M3", "BOOL", "C64", "F64"])
def test_other_numbers_than_networks_have(good: Path, dtype: str):
    header, body = parts_of(good)
    size = {"F8_E4M3": 1, "BOOL": 1, "C64": 8, "F64": 8}.get(dtype, 2)
    header["zz"] = {"dtype": dtype, "shape": [4], "data_offsets": [len(body), len(body) + 4 * size]}
    refused(write(good, header, body + bytes(4 * size)), f"'zz' is of type {dtype}")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers(good: Path, value: float):
    header, body = parts_of(good)
    begin, _ = header["conv_out.weight"]["data_offsets"]
    write(good, header, body[:begin] + np.float16(value).tobytes() + body[begin + 2 :])
    refused(good, "no finite numbers")


def test_missing_extra_and_misshapen_weights(good: Path):
    header, body = parts_of(good)
    missing = {
        k: v
        for k, v in header.items()
        if k != max((k for k in header if k[0] != "_"), key=lambda k: header[k]["data_offsets"][1])
    }
    end = max(v["data_offsets"][1] for k, v in missing.items() if k != "__metadata__")
    refused(signed(write(good, missing, body[:end])), "don't fit the configuration")
    extra = header | {"extra": {"dtype": "F16", "shape": [3], "data_offsets": [len(body), len(body) + 6]}}
    refused(signed(write(good, extra, body + bytes(6))), "don't fit the configuration")
    renamed = {("stem.shift" if k == "stem.bias" else k): v for k, v in header.items()}
    refused(signed(write(good, renamed, body)), "don't fit the configuration")
    turned = json.loads(json.dumps(header))
    turned["stem.weight"]["shape"].reverse()
    refused(signed(write(good, turned, body)), "don't fit the configuration")


@pytest.mark.parametrize("missing", ["format", "name", "config", "curve", "fingerprint"])
def test_metadata_that_is_missing(good: Path, missing: str):
    header, body = parts_of(good)
    del header["__metadata__"][missing]
    refused(write(good, header, body), missing)


@pytest.mark.parametrize("key", ["config", "curve"])
@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "[" * 3000, '{"a":' * 3000, "9" * 5000, "NaN", "\x00"])
def test_metadata_that_is_no_json_object(good: Path, key: str, text: str):
    header, body = parts_of(good)
    header["__metadata__"][key] = text
    refused(write(good, header, body), "not understood")


def test_deep_nesting_where_nothing_is_expected(good: Path):
    for depth in (500, 900, 990, 2000):
        header, body = parts_of(good)
        curve = header["__metadata__"]["curve"]
        header["__metadata__"]["curve"] = curve[:-1] + ',"more":' + "[" * depth + "]" * depth + "}"
        refused(write(good, header, body))


def test_names_can_t_control_a_terminal(good: Path):
    header, body = parts_of(good)
    header["__metadata__"] |= {"name": "\x1b[2J[red]tiny\u202e", "note": "a\nb\x07"}
    info = read_model_info(write(good, header, body))
    assert info.name == "?[2J[red]tiny?"
    assert info.note == "a?b?"


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def run(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("unpickled")

    pickled = pickle.dumps({"weights": np.zeros(9)})
    torch.save({"weights": torch.zeros(9)}, tmp_path / "zip.safetensors")
    (tmp_path / "pickle.safetensors").write_bytes(pickled)
    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, run)
    refused(tmp_path / "zip.safetensors")
    refused(tmp_path / "pickle.safetensors")


# The configuration


@pytest.mark.parametrize(
    "config",
    [
        {"channels": [1 << 16]},
        {"channels": [1 << 40]},
        {"channels": [4] * 1000},
        {"channels": [4.0]},
        {"channels": [True]},
        {"channels": [[4]]},
        {"blocks": 10**12},
        {"middle_blocks": 10**9},
        {"embedding": 1 << 40},
        {"frequencies": 10**15},
        {"knots": 10**11},
        {"window": 1 << 30},
        {"window": 10**300},
        {"heads": 0},
        {"heads": 1.0},
        {"image_channels": 10**9},
        {"image_channels": 0},
        {"attention_levels": [0] * 5},
        {"attention_levels": {"0": 0}},
        {"min_log_snr": float("nan")},
        {"max_log_snr": float("inf")},
        {"max_log_snr": -9.0},
        {"min_log_snr": -1e300},
        {"min_log_snr": 10**400},
        {"scale": "yes"},
        {"dropout": None},
        {"more": 1},
    ],
)
def test_an_absurd_configuration_is_refused_before_it_is_built(
    good: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    def build(self: UNetConfig) -> None:
        raise AssertionError("built")

    monkeypatch.setattr(UNetConfig, "build", build)
    refused(signed(good, config=config))


@pytest.mark.parametrize(
    "changes",
    [
        {"dims": 10**30},
        {"dims": 1 << 40},
        {"dims": 0},
        {"dims": 1.5},
        {"log_snr": [0] * 25},
        {"log_snr": [10**400 + i for i in range(25)]},
        {"log_snr": [-(10**9) + i for i in range(25)]},
        {"mse": [1 << 61] * 25},
        {"snr": "12345"},
        {"mse": [float("inf")] * 25},
        {"log_snr": list(range(5000)), "snr": list(range(1, 5001)), "mse": [1] * 5000},
        {"log_snr": [], "snr": [], "mse": []},
    ],
)
def test_an_absurd_curve_is_refused(good: Path, changes: dict[str, Any]):
    refused(signed(good, curve=changes))


@pytest.mark.parametrize(
    "config",
    [
        TINY,
        UNetConfig(),
        replace(
            TINY, channels=(4, 8, 12), heads=2, attention_levels=(1, 2), blocks=2, middle_blocks=3, scale=False, knots=0
        ),
        replace(TINY, channels=(8, 4), attention_levels=(0,), image_channels=1, embedding=5),
        replace(TINY, channels=(4, 4), attention_levels=(0, 0), blocks=3),
    ],
)
def test_the_size_of_a_network_is_known_before_it_is_built(config: UNetConfig):
    assert config.elements == sum(v.numel() for v in config.build().state_dict().values())


_NUMBERS = (
    st.integers(-2, 40) | st.integers() | st.floats() | st.sampled_from([1 << 16, 1 << 31, 1 << 63, 0.5, 4, 8, 16])
)
_VALUES = st.recursive(
    _NUMBERS | st.none() | st.booleans() | st.text(max_size=3), lambda v: st.lists(v, max_size=4), max_leaves=5
)


@given(st.dictionaries(st.sampled_from(sorted(TINY.to_dict())), _VALUES))
def test_any_configuration_is_refused_or_has_a_size(changes: dict[str, Any]):
    try:
        config = UNetConfig.from_dict(TINY.to_dict() | changes)
    except ModelError:
        return
    assert 0 < config.elements < 1 << 50
    if config.elements < 100_000:
        assert config.elements == sum(v.numel() for v in config.build().state_dict().values())


def test_a_diffusers_configuration_is_measured_without_memory(good: Path):
    pytest.importorskip("diffusers")
    unet = {"sample_size": 32, "block_out_channels": [1 << 15, 1 << 15], "norm_num_groups": 4, "layers_per_block": 2}
    unet |= {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2}
    header, body = parts_of(good)
    header["__metadata__"] |= {"architecture": "diffusers", "config": "{}"}
    write(good, header, body)
    stored = {"kind": "UNet2DModel", "network": unet, "times": {"betas": [0.01, 0.02]}, "predicts": "epsilon"}
    refused(signed(good, config=stored), "don't fit the configuration")
    for absurd in (
        {"layers_per_block": 10**9},
        {"block_out_channels": [4] * 10**4},
        {"sample_size": 1 << 40},
        {"dropout": "x"},
    ):
        refused(signed(good, config={"unet": unet | absurd, "betas": [0.01, 0.02]}))


# Mutations


def _mutated(data: bytes, chance: random.Random) -> bytes:
    """One to three changes: mostly in the header, where there is something to misunderstand."""
    out = bytearray(data)
    (length,) = struct.unpack("<Q", data[:8])
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(min(len(out), 8 + length) if chance.random() < 0.8 else len(out) or 1)
        kind = chance.randrange(7)
        if kind == 0:
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            out[at] = chance.choice(b'0123456789-+eE.,:[]{}" \\\x00\xff')
        elif kind == 2:
            del out[at : at + chance.choice((1, 2, 9, 100))]
        elif kind == 3:
            out[at:at] = chance.choice((b"9", b"-", b"[[[[", b'"a":', b"1e999", out[at : at + 40], bytes(50)))
        elif kind == 4:
            del out[at:]
        elif kind == 5:
            out[:8] = struct.pack(
                "<Q", chance.choice((0, 1, length - 1, length + 1, length + 8, 1 << 20, 1 << 40, 1 << 63))
            )
        else:
            other = chance.randrange(len(out) or 1)
            out[at : at + 8] = out[other : other + 8]
        if not out:
            break
    return bytes(out)


def test_mutated_files_load_or_are_refused(good: Path, tmp_path: Path):
    data, chance, loaded = good.read_bytes(), random.Random(6), 0
    path = tmp_path / "mutated.safetensors"
    for _ in range(MUTATIONS):
        path.write_bytes(_mutated(data, chance))
        try:
            load_network(path)
            loaded += 1
        except ModelError:
            pass
    assert loaded < MUTATIONS / 10  # only what no stream depends on, such as the note, may change unnoticed


def test_rewritten_files_with_a_matching_fingerprint_work_or_are_refused(good: Path):
    """Past the fingerprint, which a liar computes too: numbers of the configuration and the curve changed at will."""
    data, chance, worked = good.read_bytes(), random.Random(7), 0
    config, curve = (json.loads(parts_of(good)[0]["__metadata__"][k]) for k in ("config", "curve"))
    odd = (
        0,
        1,
        2,
        3,
        7,
        64,
        -1,
        1 << 20,
        1 << 62,
        1 << 70,
        0.5,
        1e30,
        -1e30,
        float("nan"),
        None,
        True,
        "4",
        [],
        [4, 8],
        {},
    )
    for _ in range(REWRITES):
        good.write_bytes(data)
        key = chance.choice([*config, *curve, *curve])
        value = chance.choice(odd)
        if key in curve and key != "dims" and chance.random() < 0.8:
            value = list(curve[key])
            value[chance.randrange(len(value))] = chance.choice((*odd, value[0], value[-1], value[0] - 9))
        try:
            network, info = load_network(signed(good, **{"config" if key in config else "curve": {key: value}}))
            window, level = info.config.window, make_plan(info.curve, 3).level(2)
            eps = codec_model(network, info.curve, "m", window=window).predict_eps(
                torch.zeros(1, 3, window, window), level
            )
        except DdpmCodecError:
            continue
        assert eps.shape == (1, 3, window, window)
        worked += 1
    assert 0 < worked < REWRITES
