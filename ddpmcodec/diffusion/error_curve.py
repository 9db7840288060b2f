"""Error curve: a model's error at every noise level, measured once on training images, which is all that a plan needs.

Integers only, stored with the model, so that sender and receiver make the same plan of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpmcodec.diffusion.resolution import Resolutions
from ddpmcodec.diffusion.spectrum import Spectrum
from ddpmcodec.errors import ModelError

FRACTION = 40  # fixed-point bits of mse and snr
REFINE = 2  # levels of the stored curve for each measured one: lets a plan place its steps more evenly
MAX_LEVELS = 1024  # levels of a curve: a plan's tables grow with their square
MAX_DIMS = 1 << 26  # sub-pixels a curve may be for; rates stay far from overflow
MAX_LOG_SNR = 64

# RMSE of x0_hat, on [0, 255], where the diffusion part of a stream ends. Rounding to whole levels adds 1/12 to its
# square, and test pictures are a little harder than training ones, so decoded pictures end just below 0.95, as the
# paper's do.
END_RMSE = 0.88
END_MSE = round((END_RMSE / 127.5) ** 2 * 2.0**FRACTION)


@dataclass(frozen=True)
class ErrorCurve:
    """Measured |x_0 - x0_hat|^2 / d of a model, in fixed point; the first level stands for pure noise as well."""

    log_snr: tuple[int, ...]  # units of 2^-16
    snr: tuple[int, ...]  # exp(log_snr), units of 2^-40: stored, so that no machine's exp() matters
    mse: tuple[int, ...]  # on the [-1, 1] scale, units of 2^-40
    dims: int  # sub-pixels of the images it was measured on; a plan's rates are for as many
    spectrum: Spectrum | None = None  # the error's; None: priors are white
    plans: tuple[tuple[int, ...], ...] = ()  # levels that plans of some lengths pass, as indices; see `placement`
    usual_plan: int | None = None  # steps of the plan where a header names none; None: that of the program
    resolutions: Resolutions | None = None  # at which the network was measured, and is used; None: pictures as they are
    bound: int | None = None  # greatest |x_0|, units of 2^-16: of latents; None: 1, that of pictures
    mirrored: int = 0  # 1: pictures that are shown are the mean of two views, see `denoiser.x0_hat_of_both`

    def __post_init__(self) -> None:
        n = len(self.log_snr)
        if n < 2 or len(self.snr) != n or len(self.mse) != n or self.dims < 1:
            raise ModelError("the model's error curve needs equally many log-SNRs, SNRs and errors, two at least")
        if n > MAX_LEVELS or self.dims > MAX_DIMS or max(map(abs, self.log_snr)) > MAX_LOG_SNR << 16:
            raise ModelError(
                f"the model's error curve has {n} levels for {self.dims} sub-pixels: expected at most "
                f"{MAX_LEVELS}, log-SNRs within ±{MAX_LOG_SNR}, and {MAX_DIMS}"
            )
        rising = all(b > a for values in (self.log_snr, self.snr) for a, b in zip(values, values[1:], strict=False))
        if not rising or min(self.mse) < 1 or self.snr[0] < 1 or max(*self.mse, *self.snr) > 1 << 60:
            raise ModelError("the model's error curve needs rising log-SNRs and positive errors")
        if any(
            not p or p[0] < 0 or p[-1] >= n or any(b <= a for a, b in zip(p, p[1:], strict=False)) for p in self.plans
        ):
            raise ModelError(f"the model's plans need rising levels, from 0 to {n - 1}")
        if self.usual_plan is not None and not 1 <= self.usual_plan <= n:
            raise ModelError(
                f"the model's usual plan has {self.usual_plan} steps: expected 1 to {n}; measure more levels (plan "
                "--spacing), or take fewer steps (--usual-steps)"
            )
        if self.bound is not None and not 1 << 16 <= self.bound <= 1 << 26:
            raise ModelError(f"the model's values end at {self.bound} / 65536: expected 1 to 1024")
        if self.mirrored not in (0, 1):
            raise ModelError(f"the model's pictures are mirrored {self.mirrored}: expected 0 or 1")
        if self.spectrum is not None and self.spectrum.channels * self.side**2 != self.dims:
            raise ModelError(
                f"the model's spectrum was measured on {self.dims} values: expected squares of "
                f"{self.spectrum.channels} channels"
            )

    @property
    def side(self) -> int:
        """Return the side of the squares it was measured on."""
        return math.isqrt(self.dims // (3 if self.spectrum is None else self.spectrum.channels))

    @classmethod
    def from_floats(
        cls,
        log_snr: NDArray[np.float64],
        mse: NDArray[np.float64],
        dims: int,
        refine: int = REFINE,
        spectrum: Spectrum | None = None,
        resolutions: Resolutions | None = None,
    ) -> ErrorCurve:
        """Round a measured curve (both (n,), log_snr even and rising) to fixed point, with `refine` levels for each.

        The error is made to fall, as it does in theory, and a level is put where the RMSE is END_RMSE. refine=1 keeps
        the levels just as they are, even or not: for a network that knows no others.
        """
        falling = np.minimum.accumulate(np.asarray(mse, np.float64))
        if refine > 1:
            between = _smooth(log_snr, np.log(falling))
            log_snr = np.linspace(log_snr[0], log_snr[-1], refine * (len(log_snr) - 1) + 1)
            falling = np.exp(between(log_snr))
        end = (END_RMSE / 127.5) ** 2
        if refine > 1 and falling[-1] < end < falling[0]:  # make the end a level of its own
            at_end = float(np.interp(-np.log(end), -np.log(falling), log_snr))
            if np.abs(log_snr - at_end).min() > 1e-3:
                place = int(np.searchsorted(log_snr, at_end))
                log_snr, falling = np.insert(log_snr, place, at_end), np.insert(falling, place, end * (1 + 1e-9))
        levels = np.rint(np.asarray(log_snr) * 65536)
        return cls(
            tuple(int(v) for v in levels),
            tuple(int(v) for v in np.rint(np.exp(levels / 65536) * 2.0**FRACTION)),
            tuple(max(1, int(v)) for v in np.rint(falling * 2.0**FRACTION)),
            dims,
            spectrum,
            resolutions=resolutions,
        )

    def expected_mse(self, log_snr: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return |x_0 - x0_hat|^2 / d at any levels, its logarithm interpolated; the ends go on level. Floats: not for
        streams.
        """
        measured = np.log(np.array(self.mse, np.float64)) - FRACTION * math.log(2)
        return np.exp(np.interp(log_snr, np.array(self.log_snr) / 65536, measured))

    def to_dict(self) -> dict[str, Any]:
        """Return the curve as a model file has it; what it lacks is left out."""
        optional = {"spectrum": self.spectrum, "resolutions": self.resolutions}
        left_out = {
            *optional,
            *(name for name in ("plans", "usual_plan", "bound", "mirrored") if not getattr(self, name)),
        }
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in left_out}
        return values | {name: part.to_dict() for name, part in optional.items() if part is not None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ErrorCurve:
        try:
            levels = {k: _wholes(values[k]) for k in ("log_snr", "snr", "mse")}
            spectrum = None
            if "spectrum" in values:
                stored = values["spectrum"]
                power, axes = (tuple(_wholes(row) for row in stored.get(k, ())) for k in ("power", "axes"))
                spectrum = Spectrum(_wholes(stored["log_snr"]), power, axes)
            resolutions = None
            if "resolutions" in values:
                resolutions = Resolutions(*(_wholes(values["resolutions"][k]) for k in ("log_snr", "factor", "merged")))
            plans = tuple(_wholes(plan) for plan in values.get("plans", ()))
            usual, bound = (_whole(values[k]) if k in values else None for k in ("usual_plan", "bound"))
            return cls(
                levels["log_snr"],
                levels["snr"],
                levels["mse"],
                _whole(values["dims"]),
                spectrum,
                plans,
                usual,
                resolutions,
                bound,
                _whole(values.get("mirrored", 0)),
            )
        except (KeyError, TypeError) as error:
            raise ModelError(f"the model's error curve is not understood: {error!r}") from error


def _smooth(x: NDArray[np.float64], y: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return a curve through points that falls wherever they do (Fritsch & Butland 1984): without kinks, at which steps
    would be placed.
    """
    from scipy.interpolate import PchipInterpolator  # only measuring needs it

    return PchipInterpolator(x, y)  # type: ignore[no-any-return]


def _wholes(values: Any) -> tuple[int, ...]:
    return tuple(_whole(value) for value in values)


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"found {str(value)[:40]}, expected a whole number")
    return value
