"""Configuration of a network that diffusers saved: enough to build it, and to know what to ask of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ddpmcodec.diffusion.schedule import NoiseSchedule
from ddpmcodec.errors import ModelError
from ddpmcodec.models.foreign.adapter import Adapter
from ddpmcodec.models.foreign.autoencoder_config import autoencoder_factor, build_autoencoder, check_autoencoder
from ddpmcodec.models.foreign.folder import diffusers_package, error_line, without_warnings
from ddpmcodec.models.foreign.networks import READS_TEXT, adapter_of
from ddpmcodec.models.prediction import SIGMA_DATA, Prediction, prediction
from ddpmcodec.models.space import Pixels
from ddpmcodec.models.times import EdmTimes, Times, times_from_dict

if TYPE_CHECKING:
    import torch

    from ddpmcodec.models.foreign.network import DiffusersEps
    from ddpmcodec.models.foreign.texts import TextEncoders

DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class DiffusersConfig:
    """Configuration of a network, and of what it was trained on. Raises ModelError when it can't be a codec."""

    architecture: ClassVar[str] = "diffusers"

    kind: str  # its class in diffusers
    network: dict[str, Any] = field(hash=False)  # as in its config.json, without the entries about diffusers itself
    times: Times
    predicts: str = "epsilon"  # as `prediction` names it
    autoencoder: dict[str, Any] | None = field(default=None, hash=False)  # config.json, with the class
    dtype: str = "float32"  # of the network and its text encoders; an autoencoder's is float32
    texts: str | None = None  # hash of what decides how a text is read, as `hash_of_texts` makes it

    def __post_init__(self) -> None:
        try:
            self.adapter.check(self.network)
            _ = self.prediction, self.window, self.image_channels
            if self.autoencoder is not None:
                check_autoencoder(self.autoencoder, self.image_channels)
            else:
                Pixels(self.image_channels)
            if self.dtype not in DTYPES:
                raise ModelError(f"a network of dtype {self.dtype!r}: expected one of {', '.join(DTYPES)}")
            if (self.kind in READS_TEXT) != (self.texts is not None) or not isinstance(self.texts, str | None):
                raise ModelError(f"a {self.kind}, with texts {self.texts}: expected text encoders where it reads text")
        except ModelError:
            raise
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ModelError(f"diffusers configuration not understood: {error}") from error

    @property
    def adapter(self) -> Adapter:
        return adapter_of(self.kind)

    @property
    def prediction(self) -> Prediction:
        return prediction(self.predicts, self.times.sigma_data if isinstance(self.times, EdmTimes) else SIGMA_DATA)

    @property
    def schedule(self) -> NoiseSchedule | None:
        """Return the discrete chain it was trained on, where it knows no other levels."""
        return self.times.schedule

    @property
    def factor(self) -> int:
        """Pixels along a side for each value of x_0."""
        return 1 if self.autoencoder is None else autoencoder_factor(self.autoencoder)

    @property
    def window(self) -> int:
        return self.adapter.window(self.network)

    @property
    def image_channels(self) -> int:
        return self.adapter.channels(self.network)

    @property
    def min_log_snr(self) -> float:
        return self.times.limits[0]

    @property
    def max_log_snr(self) -> float:
        return self.times.limits[1]

    @property
    def any_size(self) -> bool:
        """Return whether pictures of any size will do: no, only windows of its own."""
        return False

    @property
    def canvas(self) -> int:
        """Least side of what the chain runs on."""
        return self.window

    @property
    def elements(self) -> int:
        """Numbers in the state of the network that `build` makes, found without memory for them. Raises ModelError."""
        diffusers = diffusers_package()  # imported on a real device: it makes tensors
        import torch

        with torch.device("meta"):
            return sum(v.numel() for v in self._build(diffusers).state_dict().values())

    @property
    def size(self) -> int:
        """Bytes of a network and its autoencoder in memory. Raises ModelError."""
        return self.elements * (4 if self.dtype == "float32" else 2)

    def state_dtype(self, name: str) -> str:
        """Return the dtype of a tensor of the network's state, by its name."""
        return "float32" if name.startswith("autoencoder.") else self.dtype

    def build(self) -> DiffusersEps:
        return self._build(diffusers_package())

    def _build(self, diffusers: Any) -> DiffusersEps:
        try:
            import torch

            if self.texts is not None:
                raise ModelError("a network that reads text is loaded from its own folder, with its encoders")
            with without_warnings():
                network = getattr(diffusers, self.kind).from_config(self.network).to(getattr(torch, self.dtype))
                if self.autoencoder is None:
                    return self.of(network)
                return self.of(network, build_autoencoder(diffusers, self.autoencoder))
        except ModelError:
            raise
        except Exception as error:  # of any kind: diffusers checks some values, and stumbles over others
            raise ModelError(f"diffusers can't build this {self.kind}: {error_line(error)}") from error

    def of(
        self,
        network: torch.nn.Module,
        autoencoder: torch.nn.Module | None = None,
        texts: TextEncoders | None = None,
    ) -> DiffusersEps:
        """Return the ε-model of networks of this configuration."""
        from ddpmcodec.models.foreign.network import DiffusersEps

        return DiffusersEps(self, network, autoencoder, texts)

    def to_dict(self) -> dict[str, Any]:
        values = {"kind": self.kind, "network": self.network, "times": self.times.to_dict(), "predicts": self.predicts}
        optional = {"autoencoder": self.autoencoder, "texts": self.texts}
        optional["dtype"] = None if self.dtype == "float32" else self.dtype
        return values | {name: value for name, value in optional.items() if value is not None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DiffusersConfig:
        needed, optional = ("kind", "network", "times", "predicts"), {"autoencoder", "dtype", "texts"}
        if not isinstance(values, dict) or set(values) - optional != set(needed):
            raise ModelError(f"diffusers configuration not understood: expected an object with {', '.join(needed)}")
        if not all(isinstance(values.get(name, {}), dict) for name in ("network", "autoencoder")):
            raise ModelError("diffusers configuration not understood: expected objects as networks")
        return cls(**{**values, "times": times_from_dict(values["times"])})
