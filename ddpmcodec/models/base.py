"""Needs of the codec from a model: an ε-predictor, its error curve, and a fingerprint over both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from ddpmcodec.diffusion.error_curve import ErrorCurve
from ddpmcodec.diffusion.plan import Plan, default_steps, fast_steps, make_plan
from ddpmcodec.diffusion.resolution import Resolutions
from ddpmcodec.errors import ModelError
from ddpmcodec.models.condition import Condition
from ddpmcodec.models.forked import remember_use
from ddpmcodec.models.outputs import output_like
from ddpmcodec.models.precision import full_precision
from ddpmcodec.models.space import Pixels, Space
from ddpmcodec.numerics.arguments import whole


class EpsModel(Protocol):
    """ε̂ = ε_θ(x_t, λ) for a batch of square windows; Ho et al. 2020, eq. 11, conditioned on the log-SNR."""

    def __call__(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        """x_t: (n, channels, window, window) float32; log_snr: (n,) float32. Returns ε̂ like x_t."""
        ...


@dataclass(frozen=True)
class CodecModel:
    """Codec made of an ε-model: what sender and receiver must have in common. `load_model` makes one."""

    name: str
    eps_model: EpsModel
    curve: ErrorCurve
    fingerprint: str  # 64 hexadecimal digits: SHA-256 over weights, configuration and curve
    window: int = 32  # side of the square images the network takes; with any_size, what sides must be multiples of
    channels: int = 3
    min_log_snr: float = -8.0  # the range it was trained on
    max_log_snr: float = 9.5
    any_size: bool = False  # the network is the same function of a neighbourhood in pictures of any size
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    space: Space = field(default_factory=Pixels)  # what the chain runs on
    source: str | None = field(
        default=None, init=False, repr=False, compare=False
    )  # the file's path, or the embedded name

    def __post_init__(self) -> None:
        if len(self.fingerprint) != 64 or set(self.fingerprint) - set("0123456789abcdef"):
            raise ModelError(f"fingerprint {self.fingerprint!r}: expected 64 lower-case hexadecimal digits")
        if isinstance(self.space, Pixels) and self.space.channels != self.channels:
            object.__setattr__(self, "space", Pixels(self.channels))
        spectrum = self.curve.spectrum
        if spectrum is not None and spectrum.channels != self.channels:
            raise ModelError(f"a spectrum of {spectrum.channels} channels, and a network of {self.channels}")

    @property
    def resolutions(self) -> Resolutions | None:
        """At which size the network looks at pictures, by level."""
        return self.curve.resolutions

    @property
    def mirrored(self) -> bool:
        """Return whether pictures that are shown are the mean of what the network makes of x_t and of x_t mirrored."""
        return bool(self.curve.mirrored)

    @property
    def factor(self) -> int:
        """Pixels along a side for each value of x_0."""
        return self.space.factor

    @property
    def bound(self) -> float:
        """Greatest |x_0|."""
        return 1.0 if self.curve.bound is None else self.curve.bound / 65536

    def plan(self, steps: int | Literal["fast"] | None = None) -> Plan:
        """Return the plan of `steps` steps; None is the model's usual one, "fast" its short one."""
        if steps == "fast":
            return make_plan(self.curve, fast_steps(self.curve, default_steps(self.curve)))
        return make_plan(self.curve, whole(steps, "plan_steps") if steps is not None else default_steps(self.curve))

    def told(self, condition: Condition) -> CodecModel:
        """Return the codec whose network is told a condition. Raises ModelError for one that it can't be told."""
        tell = getattr(self.eps_model, "told", None)
        if tell is None:
            if condition != Condition():
                raise ModelError(
                    f"{self.name} takes no class, prompt or guidance: leave out --class, --prompt and --guidance"
                )
            return self
        return replace(self, eps_model=tell(condition))

    def trained_level(self, log_snr: float) -> float:
        """Return the level the network is asked at: beyond its training range, the nearest end of that."""
        return min(max(log_snr, self.min_log_snr), self.max_log_snr)

    def predict_eps(self, x_t: Tensor, log_snr: float) -> Tensor:
        """Return ε̂ of windows, or of pictures with any_size, (n, channels, h, w), at one level.

        In float32, without autograd, on the model's device. Reduced-precision modes (autocast, TF32) would make the
        picture depend on the machine, so they are off here. Raises ModelError where the network gives something else
        than finite numbers of that shape.
        """
        remember_use()
        with torch.inference_mode(), full_precision(self.device):
            x = x_t.to(self.device, torch.float32)
            return checked_eps(self.eps_model, x, log_snr)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Travel to other processes as the file it was loaded from, and else as it is, with its weights."""
        if self.source is None:
            return super().__reduce_ex__(protocol)
        return _loaded_again, (self.source, self.fingerprint, str(self.device))


def _loaded_again(source: str, fingerprint: str, device: str) -> CodecModel:
    """The other process's side of `CodecModel.__reduce_ex__`. Raises ModelError."""
    from ddpmcodec.models.cache import as_model
    from ddpmcodec.models.weights import load_model

    model = as_model(source) if device == "cpu" else load_model(source, device)
    if model.fingerprint != fingerprint:
        raise ModelError(
            f"{source} has been replaced: its fingerprint is {model.fingerprint[:8]}, and was {fingerprint[:8]} when "
            "loaded"
        )
    return model


def checked_eps(eps_model: Callable[[Tensor, Tensor], Any], x_t: Tensor, log_snr: float) -> Tensor:
    """Return a network's ε̂ of (n, c, h, w) at one level as float32. Raises ModelError where it gives anything else."""
    eps = eps_model(x_t, torch.full((len(x_t),), log_snr, dtype=torch.float32, device=x_t.device))
    eps = output_like(eps, x_t).to(torch.float32)
    if not bool(torch.isfinite(eps).all()):
        raise ModelError(
            f"the network's prediction at log-SNR {log_snr:.3f} has values that are no finite numbers: "
            "its training diverged, or fp16 can't hold its weights"
        )
    return eps
