"""Options for the discrete chain that `sample` and `nll` run on."""

from __future__ import annotations

from typing import Annotated

import typer

TimestepsOption = Annotated[int, typer.Option("--timesteps", help="T, timesteps of the chain.")]
ScheduleOption = Annotated[str, typer.Option("--schedule", help="linear (the DDPM paper's) or cosine.")]
