"""Jobs of a day, by priority, with their shares of it."""

from __future__ import annotations

from ddpmcodec.eval.gpu.checks import check
from ddpmcodec.eval.gpu.clock import Job
from ddpmcodec.eval.gpu.coding import measure_rates
from ddpmcodec.eval.gpu.optimisers import compare
from ddpmcodec.eval.gpu.speed import measure_speed
from ddpmcodec.eval.gpu.training import train

JOBS = (
    Job("checks", 75, check),
    Job("photo-small", 150, train, records=True),
    Job("photo-fine", 90, train, records=True),
    Job("photo-last", 70, train, records=True),
    Job("cifar10-small", 160, train, records=True),
    Job("rd", 55, measure_rates),
    Job("speed", 30, measure_speed),
    Job("optimisers", 200, compare),
    Job("cifar10-base", 400, train, records=True),
)
FIRST_DAY = tuple(job.name for job in JOBS[:7])
EVEN = 100  # share of every job where all is done in small
