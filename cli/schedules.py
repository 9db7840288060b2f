"""Options for the discrete chain that `sample` and `nll` run on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ddpmcodec.errors import DdpmCodecError

if TYPE_CHECKING:
    from ddpmcodec.schedule import NoiseSchedule

TimestepsOption = Annotated[int, typer.Option("--timesteps", help="T, timesteps of the chain.")]
ScheduleOption = Annotated[str, typer.Option("--schedule", help="linear (the DDPM paper's) or cosine.")]

_LEAST = {"linear": 21, "cosine": 2}


def noise_schedule(name: str, timesteps: int) -> NoiseSchedule:
    """The named schedule. Linear β scale with 1000 / T, so that x_T is pure noise for every T (Nichol & Dhariwal 2021)."""
    from ddpmcodec.schedule import cosine, linear

    if name not in _LEAST:
        raise DdpmCodecError(f"schedule {name!r}: expected linear or cosine")
    if timesteps < _LEAST[name]:
        raise DdpmCodecError(f"{timesteps} timesteps: expected at least {_LEAST[name]} for the {name} schedule")
    return linear(timesteps, 0.1 / timesteps, 20 / timesteps) if name == "linear" else cosine(timesteps)
