"""Model files: safetensors with configuration, error curve and fingerprint in the metadata. Never pickled."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ddpmcodec.errors import ModelError
from ddpmcodec.models.base import CodecModel, EpsModel
from ddpmcodec.models.diffusers_adapter import DiffusersConfig
from ddpmcodec.models.unet import UNet, UNetConfig
from ddpmcodec.plan import ErrorCurve
from ddpmcodec.whole_file import write_whole

EMBEDDED = Path(__file__).parent / "data"
DEFAULT_MODEL = "cifar10-small"


class NetworkConfig(Protocol):
    """Architecture of a network that a model file can hold: enough to build it and to know what to ask of it."""

    architecture: ClassVar[str]  # how the file names the kind

    @property
    def window(self) -> int: ...
    @property
    def image_channels(self) -> int: ...
    @property
    def min_log_snr(self) -> float: ...
    @property
    def max_log_snr(self) -> float: ...
    def to_dict(self) -> dict[str, Any]: ...
    def build(self) -> torch.nn.Module:
        """The network with initial weights. Raises ModelError when what it needs is not installed."""
        ...


def parse_config(architecture: str, values: dict[str, Any]) -> NetworkConfig:
    """The configuration as a model file stores it. Raises ModelError for an architecture this version does not know."""
    if architecture == UNetConfig.architecture:
        return UNetConfig.from_dict(values)
    if architecture == DiffusersConfig.architecture:
        return DiffusersConfig.from_dict(values)
    known = f"{UNetConfig.architecture} and {DiffusersConfig.architecture}"
    raise ModelError(f"a network of architecture {architecture!r}: this version of ddpmcodec knows {known}")


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says of itself; enough to parse streams, without a network."""

    name: str
    path: Path
    fingerprint: str
    config: NetworkConfig
    measured: ErrorCurve | None  # None: trained, but no codec yet
    note: str = ""  # how it was made

    @property
    def curve(self) -> ErrorCurve:
        """The error curve; ModelError when it has not been measured yet."""
        if self.measured is None:
            raise ModelError(
                f"{self.path} has no error curve yet, so it has no plan: run `ddpmcodec plan {self.path} --data IMAGES` "
                "on training images first"
            )
        return self.measured


def model_names() -> list[str]:
    """Models that come with the package."""
    return sorted(p.stem for p in EMBEDDED.glob("*.safetensors"))


def find_model(name_or_path: str | os.PathLike[str]) -> Path:
    """A path as it is, or the file of an embedded model. Raises ModelError when there is neither."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    embedded = EMBEDDED / f"{name_or_path}.safetensors"
    if path.name == str(name_or_path) and embedded.is_file():
        return embedded
    raise ModelError(
        f"model {str(name_or_path)!r} not found: expected a .safetensors file or one of {', '.join(model_names())}"
    )


def fingerprint(tensors: dict[str, Tensor], config: dict[str, Any], curve: dict[str, Any]) -> str:
    """SHA-256 over everything that decides a stream or its pictures: stored weights, configuration and error curve."""
    digest = hashlib.sha256(_canonical(config) + b"\n" + _canonical(curve) + b"\n")
    for name in sorted(tensors):
        t = tensors[name].contiguous().cpu()
        digest.update(f"{name} {t.dtype} {list(t.shape)}\n".encode())
        digest.update(t.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_model(
    path: str | os.PathLike[str],
    network: torch.nn.Module,
    curve: ErrorCurve | None,
    name: str,
    note: str = "",
    config: NetworkConfig | None = None,
) -> str:
    """Writes an fp16 model file, whole or not at all; returns its fingerprint. Raises OSError.

    curve: None stores a network that is no codec yet. config: of a network that is no `UNet`.
    """
    config = config or network.config  # type: ignore[assignment]
    assert config is not None
    tensors = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in network.state_dict().items()}
    stored, stored_curve = config.to_dict(), {} if curve is None else curve.to_dict()
    mark = fingerprint(tensors, stored, stored_curve)
    metadata = {
        "format": "ddpmcodec-model-1",
        "name": name,
        "architecture": config.architecture,
        "config": _canonical(stored).decode(),
        "curve": _canonical(stored_curve).decode(),
        "fingerprint": mark,
        "note": note,
    }
    write_whole(path, save(tensors, metadata))
    return mark


def read_model_info(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL) -> ModelInfo:
    """Reads a model's metadata only. Raises ModelError when the file is not a ddpmcodec model."""
    path = find_model(name_or_path)
    try:
        with safe_open(path, "pt") as file:
            return _info(path, file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a readable safetensors file: {error}") from error


def load_model(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL, device: str | torch.device = "cpu") -> CodecModel:
    """An embedded model by name, or a model file by path, ready to code on `device`, in float32.

    Raises ModelError for a file that is missing, damaged (its fingerprint is checked), or of another architecture, and
    for a device that isn't there.
    """
    where = _device(device)
    network, info = load_network(name_or_path)
    curve = info.curve
    network.to(where)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    config = info.config
    return CodecModel(
        name=info.name,
        eps_model=_frozen(network, info.config) if where.type == "cpu" and isinstance(network, UNet) else network,
        curve=curve,
        fingerprint=info.fingerprint,
        window=config.window,
        channels=config.image_channels,
        min_log_snr=config.min_log_snr,
        max_log_snr=config.max_log_snr,
        device=where,
    )


def load_network(name_or_path: str | os.PathLike[str] = DEFAULT_MODEL) -> tuple[torch.nn.Module, ModelInfo]:
    """The network itself, float32 in evaluation mode without gradients on the CPU, and its file's metadata.

    It may have no error curve yet. Raises ModelError.
    """
    info = read_model_info(name_or_path)
    with safe_open(info.path, "pt") as file:
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118  (not a dict)
        metadata = file.metadata()
    # Over the configuration as it is stored: a later version's new fields, at their defaults, leave old files alone.
    if fingerprint(tensors, json.loads(metadata["config"]), json.loads(metadata["curve"])) != info.fingerprint:
        raise ModelError(f"{info.path} is damaged: its fingerprint does not match its contents; get the file again")
    # The initial weights are drawn from torch's generator, and not used. (The meta device would avoid that, but loads
    # torch's compiler, which takes seconds.)
    with torch.random.fork_rng(devices=[]):
        network = info.config.build()
    try:
        network.load_state_dict({k: v.float() for k, v in tensors.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{info.path}: the weights don't fit the configuration: {reason[:300]}") from error
    return network.requires_grad_(False).eval(), info


def _frozen(network: UNet, config: NetworkConfig) -> EpsModel:
    """The same operations without Python between them: 1.7 times as fast for one window on a CPU, equal to the last bit."""
    x_t = torch.zeros(2, config.image_channels, config.window, config.window)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit is deprecated in favour of torch.compile, which needs a C++ compiler
        traced = torch.jit.trace(network, (x_t, torch.zeros(2)), check_trace=False)  # type: ignore[no-untyped-call]
        frozen: EpsModel = torch.jit.freeze(traced)
    return frozen


def codec_model(
    eps_model: torch.nn.Module,
    curve: ErrorCurve,
    name: str,
    *,
    window: int = 32,
    channels: int = 3,
    min_log_snr: float = -8.0,
    max_log_snr: float = 9.5,
    device: str | torch.device = "cpu",
) -> CodecModel:
    """Any trained ε-network as a codec: `eps_model(x_t, log_snr)` as `EpsModel` says, `curve` from `measure_curve`.

    The fingerprint covers the network's state and the numbers given here, so sender and receiver must build it alike.
    """
    config = {
        "class": type(eps_model).__qualname__,
        "window": window,
        "channels": channels,
        "log_snr": [min_log_snr, max_log_snr],
    }
    mark = fingerprint(dict(eps_model.state_dict()), config, curve.to_dict())
    where = _device(device)
    network = eps_model.eval().to(where)
    return CodecModel(name, network, curve, mark, window, channels, min_log_snr, max_log_snr, where)


def _info(path: Path, metadata: dict[str, str]) -> ModelInfo:
    if metadata.get("format") != "ddpmcodec-model-1":
        found = metadata.get("format", "no format at all")
        raise ModelError(f"{path} is not a ddpmcodec model: its metadata has {found}, expected ddpmcodec-model-1")
    try:
        config = parse_config(metadata.get("architecture", "unet"), json.loads(metadata["config"]))
        stored_curve = json.loads(metadata["curve"])
        curve = ErrorCurve.from_dict(stored_curve) if stored_curve else None
        return ModelInfo(metadata["name"], path, metadata["fingerprint"], config, curve, metadata.get("note", ""))
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise ModelError(f"{path}: the model's metadata is not understood: {error}") from error


def _device(device: str | torch.device) -> torch.device:
    try:
        where = torch.device(device)
        torch.zeros(1, device=where)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(f"device {str(device)!r} can't be used here: {str(error).splitlines()[0]}") from error
    return where


def _canonical(values: dict[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
