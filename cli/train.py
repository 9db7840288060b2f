"""Command that trains, by Algorithm 1, on one process or under torchrun: train."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddpmcodec.cli.common import DebugOption, JsonOption, QuietOption, SkipOption, command
from ddpmcodec.cli.speech import bar_of, say, tell, tell_interrupted, tell_left_out, tells_a_terminal
from ddpmcodec.errors import TrainingError

if TYPE_CHECKING:
    from ddpmcodec.training import Record

_LINE_SECONDS = 30.0  # between progress lines where stderr is no terminal


@command
def train(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The run's directory: checkpoint, model, log, plot, samples.")
    ],
    data: Annotated[
        list[str],
        typer.Option(
            "--data", help="Training images: cifar10 (downloads), a folder, a mosaic, a zip or tar. May be repeated."
        ),
    ],
    preset: Annotated[
        str | None,
        typer.Option(help="cifar10-small (default), photo-small, photo-fine, photo-last, cifar10-base or ddpm-paper."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Number of steps to train in all.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes to train in all.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in the run's directory.")] = False,
    init: Annotated[
        str | None, typer.Option(help="Start from this model's weights: a model file or an embedded name.")
    ] = None,
    objective: Annotated[
        str | None, typer.Option(help="vlb (log-SNR uniform: the bound) or simple (the paper's).")
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="Of the simple objective: linear or cosine.")] = None,
    batch: Annotated[int | None, typer.Option(help="Crops a step and process.")] = None,
    muon: Annotated[
        bool | None, typer.Option("--muon/--adamw", help="Muon for convolutions, or AdamW for all.")
    ] = None,
    muon_lr: Annotated[float | None, typer.Option(help="Peak learning rate of Muon.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of AdamW.")] = None,
    ema: Annotated[
        list[float] | None, typer.Option(help="Decay of an average of the weights. May be repeated.")
    ] = None,
    dropout: Annotated[float | None, typer.Option(help="In the residual blocks.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, data order and noise.")] = None,
    bf16: Annotated[bool | None, typer.Option("--bf16/--no-bf16", help="Autocast to bfloat16.")] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="torch.compile the network; needs a C++ compiler.")
    ] = False,
    hold_out: Annotated[
        bool, typer.Option("--hold-out/--all", help="Keep 1 picture in 16 (tile in 256) from training, to measure on.")
    ] = True,
    skip_unusable: SkipOption = False,
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1; under torchrun cuda means each process its own.")
    ] = "cpu",
    log_every: Annotated[int, typer.Option(help="Steps between records.", min=1)] = 50,
    save_minutes: Annotated[float, typer.Option(help="Minutes between checkpoints, plots and sample sheets.")] = 5.0,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train an ε-model; `ddpmcodec plan` then makes it a codec. Ctrl-C saves; --resume goes on."""
    given: dict[str, Any] = {
        "objective": objective,
        "schedule": schedule,
        "batch": batch,
        "muon": muon,
        "muon_lr": muon_lr,
        "lr": lr,
    }
    given |= {"ema": tuple(ema) if ema else None, "seed": seed, "bf16": bf16}
    recipe: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    network = {} if dropout is None else {"dropout": dropout}
    if resume and (recipe or network or preset or init):
        extra = ", ".join(
            f"--{k.replace('_', '-')}"
            for k in [*recipe, *network, *(["preset"] if preset else []), *(["init"] if init else [])]
        )
        raise TrainingError(f"--resume goes on with the run's own settings; leave out {extra}")
    if schedule is not None and objective != "simple" and preset != "ddpm-paper":
        raise TrainingError("--schedule belongs to --objective simple; the vlb objective draws log-SNRs uniformly")
    if not save_minutes > 0:
        raise TrainingError(f"--save-minutes {save_minutes}: expected a positive number")
    from ddpmcodec.training import (
        Goal,
        HeldOut,
        Trainer,
        TrainingImages,
        initial_weights,
        load_checkpoint,
        processes,
        training_images,
    )
    from ddpmcodec.training import preset as find_preset
    from ddpmcodec.training.checkpoint import NAME
    from ddpmcodec.training.report import Reporter

    state = load_checkpoint(output) if resume else None
    if state is None:
        if (output / NAME).exists():
            raise TrainingError(
                f"{output} already holds a run: add --resume to go on with it, or name another directory"
            )
        chosen = find_preset(preset or "cifar10-small", network, recipe)
        config, settings = chosen.network, chosen.recipe
        goal = Goal(steps, minutes)
    else:
        config, settings = state.network, state.recipe
        goal = Goal(steps, minutes) if steps is not None or minutes is not None else state.goal
        if goal.progress(state.step, state.seconds) >= 1:
            raise TrainingError(
                f"the run is done: {state.step} steps, "
                f"{state.seconds / 60:.1f} minutes; name a later --steps or --minutes"
            )
    weights = None if init is None else initial_weights(init, config)
    with processes(device) as where:
        if state is not None:
            settings = state.recipe_for(where.count)
            if where.count != state.processes and where.first:
                tell(
                    f"note: the run had {state.processes} processes, and goes on with {where.count}, each "
                    f"{settings.batch} images a step: the whole batch is the same"
                )
        with where.one_goes_first():
            pictures = training_images(data, config.window, hold_out, tell_left_out if skip_unusable else None)
        if state is not None and state.pictures != len(pictures.training):
            found = f"{state.pictures} images, found {len(pictures.training)}"
            raise TrainingError(f"the run was trained on {found}: give the same --data, and --all if it had that")
        images = TrainingImages(pictures.training, config.window, settings.seed, where.device)
        if state is not None and state.data not in (None, images.digest):
            raise TrainingError("the run was trained on other pictures, as many as these: give the same --data")
        low, high = settings.views_of(config)[0].levels
        held_out = HeldOut.of(pictures.held_out, config.window, low, high)
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"can't make {output}: {error.strerror or error}") from error
        trainer = Trainer(config, settings, images, where, compiled)
        if weights is not None:
            trainer.load_weights(weights)
        if state is not None:
            trainer.resume(state)
        reporter = Reporter(output, trainer, " ".join(data), held_out)
        with _progress(goal, where.first and not quiet) as show:

            def on_record(record: Record) -> None:
                reporter.record(record)
                show(record, reporter.held_out_bound)

            reached = trainer.run(
                goal,
                output,
                log_every=log_every,
                save_every_seconds=60 * save_minutes,
                on_record=on_record,
                on_save=reporter.save,
            )
        if not where.first:
            return
    last: Any = reporter.last
    if as_json:
        values = {"step": last.step, "images": last.images, "seconds": round(last.seconds, 1), "loss": last.loss}
        values |= {"bits_per_dim": last.bits_per_dim, "held_out_bits_per_dim": trainer.best}
        say(json.dumps(values | {"model": str(reporter.model), "done": reached}))
    elif not quiet:
        for note in reporter.notes:
            tell(f"note: {note}")
        what = "done" if reached else "stopped"
        tell(f"{what}: {last.step} steps, {last.images} images, {last.bits_per_dim:.4f} bits/dim ideal")
        if trainer.best is not None:
            tell(f"{reporter.model}: {trainer.best:.4f} bits/dim ideal on held-out pictures")
        if reached:
            tell(f"make it a codec: ddpmcodec plan {output} --data {data[0]}")
    if not reached:
        tell_interrupted("the same command with --resume goes on")
        raise typer.Exit(130)


@contextmanager
def _progress(goal: Any, show: bool) -> Iterator[Callable[[Any, float | None], None]]:
    """Return a function that shows a record: a line that moves on a terminal, one line in a while elsewhere."""

    def text(record: Any, bound: float | None) -> str:
        done = goal.progress(record.step, record.seconds)
        left = int(max(0.0, record.seconds * (1 / max(done, 1e-9) - 1)))
        held_out = "" if bound is None else f"{bound:.4f} held out  "
        return (
            f"step {record.step}  loss {record.loss:.4f}  {record.bits_per_dim:.4f} bits/dim ideal  {held_out}"
            f"{record.images_per_second:.0f} images/s  {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
        )

    if not show:
        yield lambda record, bound: None
        return
    if not tells_a_terminal():
        printed = [-_LINE_SECONDS]

        def line(record: Any, bound: float | None) -> None:
            if time.monotonic() - printed[0] >= _LINE_SECONDS or goal.progress(record.step, record.seconds) >= 1:
                printed[0] = time.monotonic()
                tell(text(record, bound))

        yield line
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    with bar_of(BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn()) as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda record, bound: bar.update(
            task, description=text(record, bound), completed=min(1.0, goal.progress(record.step, record.seconds))
        )
