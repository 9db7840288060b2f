"""Folders encoded and decoded: one result a file, the tree mirrored, and broken files listed at the end."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from ddpmcodec.cli.files import check_remote
from ddpmcodec.cli.progress import showing
from ddpmcodec.cli.size import ASK_PIXELS
from ddpmcodec.cli.speech import bar_of, say, tell, tell_error, tell_interrupted
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.places import Place, Remote, place_of

_FILES = (".bin", ".ddpc", ".png", ".jpg", ".jpeg", ".webp")  # suffixes that nobody means a folder by


def encode_folder(
    folder: str,
    output: str,
    *,
    recursive: bool,
    jobs: int | None,
    engine: str,
    overwrite: bool,
    yes: bool,
    device: str,
    quiet: bool,
    as_json: bool,
    **coding: Any,
) -> None:
    """Write one stream for each picture of a folder. Raises typer.Exit(2) where some could not be coded."""
    from ddpmcodec.channel.names import parse_channel
    from ddpmcodec.codec.options import Options
    from ddpmcodec.many.coding import Encoding
    from ddpmcodec.many.folder import encoding_work

    parse_channel(Options(**coding["options"]).channel)  # what is wrong with all of them is said once
    encoding = Encoding(device=device, most_pixels=_most_pixels(yes, device), **coding)
    work = encoding_work(place_of(folder), _folder(output), encoding, recursive=recursive, overwrite=overwrite)
    _run(work, "encoding", jobs, engine, quiet, as_json)


def decode_folder(
    folder: str,
    output: str,
    *,
    recursive: bool,
    jobs: int | None,
    engine: str,
    overwrite: bool,
    yes: bool,
    device: str,
    quiet: bool,
    **coding: Any,
) -> None:
    """Write one PNG for each coded picture of a folder. Raises typer.Exit(2) where some could not be decoded."""
    from ddpmcodec.many.coding import Decoding
    from ddpmcodec.many.folder import decoding_work

    decoding = Decoding(device=device, most_pixels=_most_pixels(yes, device), **coding)
    if decoding.steps is not None and decoding.steps < 1:
        raise DdpmCodecError(f"{decoding.steps} steps were asked for: expected at least 1")
    work = decoding_work(place_of(folder), _folder(output), decoding, recursive=recursive, overwrite=overwrite)
    _run(work, "decoding", jobs, engine, quiet, as_json=False)


def _most_pixels(yes: bool, device: str) -> int | None:
    return None if yes or device != "cpu" else ASK_PIXELS


def _folder(output: str) -> Place:
    if output == "-":
        raise DdpmCodecError("a folder's results go into a folder: name one with -o")
    path = place_of(output)
    if isinstance(path, Remote):
        check_remote(path)
    if path.suffix.lower() in _FILES and not output.endswith("/") and not path.is_dir():
        raise DdpmCodecError(
            f"{output} is called like a file, and a folder's results go into a directory: name one with -o, or end it "
            "with /"
        )
    return path


def _run(work: Any, what: str, jobs: int | None, engine: str, quiet: bool, as_json: bool) -> None:
    how = _engine(engine)
    start, size, done = time.perf_counter(), 0, 0
    failed, notes = list[Any](), Counter[str]()
    verb = what.replace("ing", "ed")
    try:
        with _progress(what, work, not quiet) as advance:
            for item in work.run(jobs, **how):
                size, done = size + item.size, done + (item.error is None)
                failed += [item] if item.error is not None else []
                notes.update(item.notes)
                advance(item)
    except KeyboardInterrupt as error:
        tell_interrupted(f"{_files(work.finished + done)} {verb} so far; the same command goes on from there")
        raise typer.Exit(130) from error
    failed.sort(key=lambda item: item.file)
    if not quiet:
        for note, count in sorted(notes.items()):
            tell(f"note: {count} picture{'' if count == 1 else 's'}: {note}")
        before = f", {work.finished} were done before" if work.finished else ""
        tell(f"{_files(done)}, {size} bytes{before}, {time.perf_counter() - start:.1f} s")
    if failed:
        tell_error(f"{_files(len(failed))} could not be {verb}:")
        for item in failed:
            tell(f"  {item.file}: {item.error}")
    if as_json:
        reasons = [{"file": item.file, "error": item.error} for item in failed]
        seconds = round(time.perf_counter() - start, 3)
        say(json.dumps({"done": done, "before": work.finished, "bytes": size, "seconds": seconds, "failed": reasons}))
    if failed:
        raise typer.Exit(2)


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _engine(name: str) -> dict[str, Any]:
    """Return what `Work.run` takes for an engine. Raises DdpmCodecError."""
    if name == "processes":
        return {}
    if name != "ray":
        raise DdpmCodecError(f"--engine {name}: expected processes or ray")
    try:
        from ddpmcodec.ray import run_on_ray
    except ImportError as error:
        raise DdpmCodecError(f"--engine ray needs Ray ({error}): pip install 'ddpmcodec[ray]'") from error
    return {"run_tasks": run_on_ray}


@contextmanager
def _progress(what: str, work: Any, show: bool) -> Iterator[Callable[[Any], None]]:
    """Show one bar for all files. It goes by pixels, so that the time left is right for pictures of many sizes."""
    if not showing(not show):
        yield lambda item: None
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    fields = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[files]}/{task.fields[of]} files"))
    with bar_of(*fields, TimeElapsedColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task(what, total=max(1, work.pixels), files=0, of=work.files)

        def advance(item: Any) -> None:
            bar.update(task, advance=item.pixels, files=bar.tasks[0].fields["files"] + 1)

        yield advance
