"""Clock of a network: which time to tell it at a log-SNR, and which log-SNRs it knows."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.diffusion.schedule import NoiseSchedule, from_betas
from ddpmcodec.errors import ModelError
from ddpmcodec.models.prediction import flow_time

if TYPE_CHECKING:
    from torch import Tensor

# Levels worth coding at: below, even a picture of 256×256 pixels sends less than a bit; above, an 8-bit picture is
# exact.
NOISIEST, CLEANEST = -12.0, 13.0
MAX_TIMESTEPS = 1 << 16


class Times(Protocol):
    """Noise schedule seen from the network."""

    @property
    def limits(self) -> tuple[float, float]:
        """Least and greatest log-SNR it may be asked at."""
        ...

    @property
    def schedule(self) -> NoiseSchedule | None:
        """Return the only log-SNRs it knows; None: all within its limits."""
        ...

    def of(self, log_snr: Tensor) -> Tensor:
        """Return the network's time (n,) at log-SNRs (n,)."""
        ...

    def to_dict(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class DiscreteTimes:
    """Timesteps 0 … T - 1 of a chain with these betas; asked between them, the nearest (Ho et al. 2020, sec. 2)."""

    betas: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(float(beta) for beta in self.betas))
        if len(self.betas) > MAX_TIMESTEPS:
            raise ModelError(f"a schedule of {len(self.betas)} timesteps: expected at most {MAX_TIMESTEPS}")
        try:
            len(self.schedule)
        except ValueError as error:
            raise ModelError(f"the network's schedule is not understood: {error}") from error

    @cached_property
    def schedule(self) -> NoiseSchedule:
        """Log-SNRs of the timesteps the network knows: 1 … T here, 0 … T - 1 in diffusers."""
        return from_betas(np.array(self.betas))

    @property
    def limits(self) -> tuple[float, float]:
        return self.schedule.log_snr(len(self.schedule)), self.schedule.log_snr(1)

    def of(self, log_snr: Tensor) -> Tensor:
        nearest = self.schedule.nearest_timestep
        return log_snr.new_tensor([nearest(level) - 1 for level in log_snr.tolist()]).long()

    def to_dict(self) -> dict[str, Any]:
        return {"betas": list(self.betas)}


@dataclass(frozen=True)
class FlowTimes:
    """Time s · timesteps of a rectified flow, s = 1/timesteps … 1 shifted to shift s / (1 + (shift - 1) s).

    The shift (Esser et al. 2024, eq. 23) says at which levels the network was trained; what it is told at one is the
    same. s = 1 is pure noise, and no level.
    """

    timesteps: int = 1000
    shift: float = 1.0

    def __post_init__(self) -> None:
        if type(self.timesteps) is not int or not 2 <= self.timesteps <= MAX_TIMESTEPS or not 0 < self.shift < 1e6:
            raise ModelError(
                f"a flow of {self.timesteps} timesteps, shift {self.shift}: expected 2 to {MAX_TIMESTEPS}, and a "
                "positive shift"
            )

    @property
    def schedule(self) -> None:
        return None

    @property
    def limits(self) -> tuple[float, float]:
        ends = (self._log_snr(s) for s in (1 - 1 / self.timesteps, 1 / self.timesteps))
        low, high = (min(max(level, NOISIEST), CLEANEST) for level in ends)
        return low, high

    def _log_snr(self, s: float) -> float:
        shifted = self.shift * s / (1 + (self.shift - 1) * s)
        return 2 * math.log((1 - shifted) / shifted)

    def of(self, log_snr: Tensor) -> Tensor:
        return flow_time(log_snr) * self.timesteps

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class EdmTimes:
    """Time ln(n) / 4 of pictures with noise of standard deviation n: c_noise of Karras et al. 2022, table 1."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    sigma_data: float = 0.5

    def __post_init__(self) -> None:
        if not 1e-6 <= self.sigma_min < self.sigma_max <= 1e6 or not 1e-3 <= self.sigma_data <= 1e3:
            raise ModelError(
                f"noise from {self.sigma_min} to {self.sigma_max}, data {self.sigma_data}: expected rising positive "
                "numbers"
            )

    @property
    def schedule(self) -> None:
        return None

    @property
    def limits(self) -> tuple[float, float]:
        low, high = (min(max(-2 * math.log(n), NOISIEST), CLEANEST) for n in (self.sigma_max, self.sigma_min))
        return low, high

    def of(self, log_snr: Tensor) -> Tensor:
        return -log_snr / 8  # n = exp(-λ/2)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def times_from_dict(values: Any) -> Times:
    """Return what `to_dict` stored. Raises ModelError."""
    kinds: tuple[tuple[type, set[str]], ...] = (
        (DiscreteTimes, {"betas"}),
        (FlowTimes, {"timesteps", "shift"}),
        (EdmTimes, {"sigma_min", "sigma_max", "sigma_data"}),
    )
    for kind, names in kinds:
        if isinstance(values, dict) and set(values) == names:
            try:
                return kind(**values)  # type: ignore[no-any-return]
            except (TypeError, ValueError) as error:
                raise (
                    error if isinstance(error, ModelError) else ModelError(f"schedule not understood: {error}")
                ) from error
    raise ModelError("the network's schedule is not understood: expected betas, a flow's shift or EDM's noise levels")


def own_levels(times: Times, count: int) -> NDArray[np.float64] | None:
    """Return at most `count` of the only log-SNRs a network knows, rising and as evenly spaced as they come, for
    `measure_curve`; None where it knows all in its limits.

    A plan over a curve measured at these asks the network only at noise levels it was trained on. Raises ModelError
    when the schedule has fewer than two levels between noise and picture.
    """
    if times.schedule is None:
        return None
    known = times.schedule.log_snrs
    own = known[(known >= NOISIEST) & (known <= CLEANEST)]
    if len(own) < 2:
        raise ModelError(f"{len(own)} of {len(known)} log-SNRs lie in {NOISIEST} … {CLEANEST}: expected at least 2")
    even = np.linspace(own.min(), own.max(), count)
    return np.unique(own[np.abs(own[:, None] - even).argmin(axis=0)])
