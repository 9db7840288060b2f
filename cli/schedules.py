"""Options that name the discrete chain which `sample` and `nll` run on; `diffusion.schedule` has the schedules."""

from __future__ import annotations

from typing import Annotated, Any

import typer

TimestepsOption = Annotated[
    int | None,
    typer.Option("--timesteps", help="T, timesteps of the chain; default: as the model was trained, else 1000."),
]
ScheduleOption = Annotated[
    str | None,
    typer.Option(
        "--schedule", help="linear (the DDPM paper's) or cosine; default: as the model was trained, else linear."
    ),
]


def schedule_of(schedule: str | None, timesteps: int | None, own: Any) -> tuple[Any, str]:
    """Return the NoiseSchedule to run on, and what to call it. own: the model's own, where it has one."""
    from ddpmcodec.diffusion.schedule import named

    if own is not None and schedule is None and timesteps is None:
        return own, "the model's own"
    name = schedule or "linear"
    return named(name, 1000 if timesteps is None else timesteps), name
