"""Command that draws pictures from a model: sample."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ddpmcodec.cli.common import MODEL_HELP, DebugOption, DeviceOption, QuietOption, command
from ddpmcodec.cli.files import check_outputs, write_output
from ddpmcodec.cli.picture_files import read_pictures
from ddpmcodec.cli.schedules import ScheduleOption, TimestepsOption, schedule_of
from ddpmcodec.cli.speech import progress_bar, tell
from ddpmcodec.errors import DdpmCodecError


@command
def sample(
    output: Annotated[str, typer.Option("-o", "--output", help="The grid to write (.png), or - for a PNG on stdout.")],
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL_HELP)] = "cifar10-small",
    count: Annotated[int, typer.Option(help="Pictures, or points of an interpolation with its ends.")] = 16,
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Width and height; default the model's window.")
    ] = None,
    timesteps: TimestepsOption = None,
    schedule: ScheduleOption = None,
    variance: Annotated[
        str | None,
        typer.Option(help="Of ancestral sampling: beta or beta-tilde (the posterior's); default beta-tilde."),
    ] = None,
    ddim_steps: Annotated[
        int | None, typer.Option(help="DDIM with this number of timesteps, instead of ancestral.")
    ] = None,
    eta: Annotated[float | None, typer.Option(help="DDIM's noise, 0 (default) to 1.")] = None,
    seed: Annotated[int, typer.Option(help="The same seed draws the same pictures.")] = 0,
    interpolate: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="A B", help="From one picture to another through their noisy states."),
    ] = None,
    at_timestep: Annotated[int, typer.Option(help="How noisy --interpolate makes them, 1 to T.")] = 500,
    class_label: Annotated[int | None, typer.Option("--class", help="Class that the network is told.", min=0)] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance towards it; default 1, which is none.")] = None,
    device: DeviceOption = "cpu",
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Draw pictures from a model, or interpolate between two, to a grid."""
    check_outputs(output, inputs=[*(interpolate or ()), model])
    target = Path("-.png" if output == "-" or not Path(output).suffix else output)
    start = time.perf_counter()
    from ddpmcodec.diffusion import sampling
    from ddpmcodec.diffusion.canvas import canvas_size
    from ddpmcodec.io.images import picture_grid, to_bytes
    from ddpmcodec.io.writing import image_bytes, image_format
    from ddpmcodec.models.condition import condition_from
    from ddpmcodec.models.source import open_denoiser

    image_format(target)
    schedule_of(schedule, timesteps, None)  # errors before the model is loaded
    noise = sampling.Noise(seed, shared=interpolate is not None)
    sampler = _sampler(variance, ddim_steps, eta)
    if interpolate is not None and size is not None:
        raise DdpmCodecError("--size is for samples; an interpolation has the size of its pictures")
    wanted = None if size is None else _parse_size(size)
    ends = None if interpolate is None else _read_pair(*interpolate, quiet)
    opened = open_denoiser(model, device)
    network = opened.network.told(condition_from(class_label, None, guidance))
    chain, _ = schedule_of(schedule, timesteps, opened.schedule)
    least = network.window * network.factor
    if wanted is not None and min(wanted) < least:
        raise DdpmCodecError(f"samples of {wanted[1]}x{wanted[0]}: expected at least {least}x{least}")
    if ends is None:
        height, width = canvas_size(*(wanted or (1, 1)), network.window, network.factor)
        x_t, level = sampling.draw_x_T(network, count, height, width, noise), None
        columns = math.isqrt(count - 1) + 1
    else:
        if network.factor > 1 or network.channels != 3:
            raise DdpmCodecError("--interpolate is for models of pixels in three colours")
        level, (height, width) = _level(chain, at_timestep), ends[0].shape[1:]
        if min(height, width) < network.window:
            raise DdpmCodecError(f"pictures of {width}x{height}: expected at least {network.window}x{network.window}")
        x_t, columns = sampling.interpolate(ends[0], ends[1], level, count, noise), count
    levels = sampling.levels_from(chain, ddim_steps, level)
    with progress_bar("sampling", len(levels), not quiet) as advance:
        x_0 = sampler(network, x_t, levels, noise=noise, on_step=lambda _: advance())
    height, width = wanted or (height * network.factor, width * network.factor)
    pictures = [to_bytes(plane, height, width) for plane in network.space.to_pictures(x_0, height, width)]
    write_output(output, image_bytes(picture_grid(pictures, columns), target))
    if not quiet:
        tell(
            f"{count} pictures of {width}x{height}, {len(levels)} network calls each, "
            f"{time.perf_counter() - start:.2f} s",
        )


def _sampler(variance: str | None, ddim_steps: int | None, eta: float | None) -> Any:
    from ddpmcodec.diffusion import sampling

    if ddim_steps is not None:
        if variance is not None:
            raise DdpmCodecError("--variance is for ancestral sampling; DDIM's noise is set by --eta")
        return partial(sampling.ddim, eta=eta or 0.0)
    if eta is not None:
        raise DdpmCodecError("--eta is for DDIM: give --ddim-steps too")
    variances = {"beta": sampling.beta, "beta-tilde": sampling.beta_tilde}
    if variance is not None and variance not in variances:
        raise DdpmCodecError(f"variance {variance!r}: expected {' or '.join(variances)}")
    return partial(sampling.ancestral, variance=variances[variance or "beta-tilde"])


def _parse_size(text: str) -> tuple[int, int]:
    """Return height and width from WIDTHxHEIGHT."""
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise DdpmCodecError(f"size {text!r}: expected WIDTHxHEIGHT in pixels, such as 96x64")
    return int(height), int(width)


def _read_pair(first: str, second: str, quiet: bool) -> list[Any]:
    from ddpmcodec.io.images import to_plane
    from ddpmcodec.io.reading import Reading

    found = read_pictures((first, second), Reading(), frame=None, all_frames=False, quiet=quiet)
    pictures = [picture.rgb for _, picture in found]
    (h, w, _), (other_h, other_w, _) = (picture.shape for picture in pictures)
    if (h, w) != (other_h, other_w):
        raise DdpmCodecError(f"{first} is {w}x{h} and {second} {other_w}x{other_h}: expected pictures of one size")
    return [to_plane(picture) for picture in pictures]


def _level(chain: Any, timestep: int) -> float:
    if not 1 <= timestep <= len(chain):
        raise DdpmCodecError(f"timestep {timestep}: expected 1 to {len(chain)}")
    return chain.log_snr(timestep)
