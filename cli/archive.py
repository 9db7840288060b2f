"""Archives, many pictures of one size in one file: what encode, decode and info do with them."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpmcodec.cli.archive_names import png_names
from ddpmcodec.cli.archive_report import ArchiveReport
from ddpmcodec.cli.files import check_outputs, check_remote, write_output
from ddpmcodec.cli.folders import PICTURES, check_results, make_empty
from ddpmcodec.cli.size import weigh
from ddpmcodec.cli.speech import progress_bar, say, tell
from ddpmcodec.errors import DdpmCodecError, ImageError
from ddpmcodec.io.places import Remote, place_of

if TYPE_CHECKING:
    from ddpmcodec.io.reading import Picture


def encode_all(
    read: Callable[[], Iterable[tuple[str, Picture]]],
    output: str,
    *,
    model: str,
    device: str,
    verbose: bool,
    quiet: bool,
    as_json: bool,
    yes: bool,
    names: bool = False,
    **options: Any,
) -> None:
    """Write the archive of pictures, in the order in which they are read, each with its name. names: keep these in the
    archive. options: those of `encode_archive`.
    """
    start = time.perf_counter()
    from ddpmcodec.bitstream.archive import pack_archive, read_archive
    from ddpmcodec.bitstream.file import with_fields
    from ddpmcodec.bitstream.header import read_header
    from ddpmcodec.codec.archive_encoding import encode_archive
    from ddpmcodec.codec.metadata import to_fields
    from ddpmcodec.codec.trajectory import steps_of_plan
    from ddpmcodec.models import load_model
    from ddpmcodec.models.choice import AUTO, name_for

    found = _of_one_size(read)
    pictures, fields = [picture.rgb for _, picture in found], [to_fields(picture.metadata) for _, picture in found]
    if (options["solid"] or 1) > 1 and len(pictures) > 1:
        if any(own != fields[0] for own in fields):
            raise DdpmCodecError(
                "the pictures' metadata or colour profiles differ, and pictures of a block have one header: "
                "leave out --solid, or --keep-metadata, or convert with --icc srgb"
            )
        options["fields"], fields = fields[0], []
    called = [Path(name).name for name, _ in found] if names else None
    codec = load_model(name_for(*pictures[0].shape[:2]) if model == AUTO else model, device)
    height, width = pictures[0].shape[:2]
    steps = steps_of_plan(codec, options["plan_steps"], height * width, exact=options["lossless"])
    options["plan_steps"] = steps
    coding = {"plan_steps": steps, "channel": options["channel"], "encoding": True}
    weigh(codec, height, width, yes=yes, quiet=quiet, pictures=len(pictures), **coding)
    loaded = time.perf_counter()
    report = ArchiveReport(pictures, verbose, options["lossless"])
    with progress_bar("encoding", len(pictures) * steps, not quiet) as advance:

        def on_step(sent: Any) -> None:
            report.add(sent)
            advance(len(sent.x_s))

        data = encode_archive(
            pictures, names=called, model=codec, on_step=on_step, on_batch=report.batch_done, **options
        )
    if any(fields):
        archive = read_archive(data)
        streams = [archive.stream(i) for i in range(archive.count)]
        more = [[*read_header(stream).fields, *own.items()] for stream, own in zip(streams, fields, strict=True)]
        data = pack_archive([with_fields(stream, all) for stream, all in zip(streams, more, strict=True)])
    coded = time.perf_counter()
    write_output(output, data)
    values = report.values(read_archive(data)) | {
        "model": codec.name,
        "seconds_load": round(loaded - start, 3),
        "seconds_encode": round(coded - loaded, 3),
    }
    if as_json:
        say(json.dumps(values))
    elif not quiet:
        psnr = "exact" if values["psnr"] is None else f"{values['psnr']:.2f} dB"
        tell(
            f"{_counted(values['pictures'])}, {values['bytes']} bytes ({values['index_bytes']} of index), "
            f"{values['real_bits_per_dim']:.4f} bits/dim real ({values['ideal_bits_per_dim']:.4f} ideal), {psnr}, "
            f"RMSE {values['rmse']:.3f}, {values['steps']} steps, {values['seconds_encode']:.2f} s",
        )


def _of_one_size(read: Callable[[], Iterable[tuple[str, Picture]]]) -> list[tuple[str, Picture]]:
    """Return the pictures that are read, and their names. Raises ImageError where they differ in size."""
    found: list[tuple[str, Picture]] = []
    for name, picture in read():
        found.append((name, picture))
        first, (first_height, first_width, _) = found[0][0], found[0][1].rgb.shape
        height, width, _ = picture.rgb.shape
        if (height, width) != (first_height, first_width):
            raise ImageError(
                f"{name} is {width}x{height} and {first} is {first_width}x{first_height}: an archive holds pictures of "
                "one size"
            )
    return found


def decode_all(
    data: bytes,
    output: str,
    steps: int | None,
    allow_partial: bool,
    model: str,
    device: str,
    quiet: bool,
    yes: bool,
    overwrite: bool,
    keep: Iterable[object],
) -> None:
    """Write an archive's pictures into a directory, which is made where it doesn't exist: by the names that the archive
    keeps, else as 00000.png and so on. overwrite, keep: see `check_results`.
    """
    from ddpmcodec.bitstream.archive import read_archive
    from ddpmcodec.bitstream.header import read_header
    from ddpmcodec.codec.archive_decoding import decode_archive
    from ddpmcodec.codec.metadata import of_fields
    from ddpmcodec.io.writing import image_bytes
    from ddpmcodec.models import load_model
    from ddpmcodec.models.choice import receiving_info

    archive, folder = read_archive(data, allow_partial=allow_partial), place_of(output)
    digits = max(5, len(str(archive.count - 1)))
    named = png_names(archive)
    names = named or [f"{i:0{digits}d}.png" for i in range(archive.begun)]
    naming = re.compile("|".join([PICTURES.pattern, *map(re.escape, named or [])]))
    check_results(folder, naming, overwrite, keep)
    _check_folder(output, archive.count)
    known = receiving_info(model, archive.header.fingerprint)
    found = _pictures_of(archive, known) if archive.begun else 0
    codec, start = load_model(known.path, device), time.perf_counter()
    header = archive.header
    job: dict[str, Any] = {"plan_steps": header.plan_steps, "steps": steps or found or None, "encoding": False}
    weigh(codec, header.height, header.width, yes=yes, quiet=quiet, pictures=archive.begun, **job)
    done, item, damaged, shorter = 0, None, list[int](), list[int]()
    with progress_bar("decoding", archive.begun * (steps or found), not quiet) as advance:
        for item in decode_archive(data, steps=steps, model=codec, allow_partial=allow_partial, on_step=advance):
            if not done:
                make_empty(folder, naming)
            own = header if archive.solid > 1 else read_header(archive.stream(item.index))
            metadata = of_fields(own.fields)
            picture = image_bytes(item.image, Path("-.png"), metadata)
            write_output(str(folder / names[item.index]), picture)
            done += 1
            damaged += [] if item.sound else [item.index]
            shorter += [item.index] if item.steps < (steps or 0) else []
    if quiet or item is None:
        return
    if not archive.complete:
        which = f"; not as they were sent: {_ranges(damaged)}" if damaged else ""
        tell(
            f"warning: the archive is cut or damaged; decoded {done} of {archive.count} pictures, unverified; the "
            f"last, picture {item.index}, has {item.steps} steps{which}",
        )
    elif shorter:  # by allow_partial; else it's an error
        tell(f"warning: {steps} steps were asked for; decoded all that pictures with fewer have: {_ranges(shorter)}")
    height, width, _ = item.image.shape
    tell(f"{_counted(done)} of {width}x{height}, {time.perf_counter() - start:.2f} s")


def _pictures_of(archive: Any, known: Any) -> int:
    """Return how many pictures a decoder yields of the archive's first, one a step and the exact one."""
    from ddpmcodec.bitstream.file import read_info
    from ddpmcodec.bitstream.solid import read_block

    if archive.solid > 1:
        return read_block(archive.header, archive.payload(0), len(archive.members(0)), known).pictures
    return read_info(archive.stream(0), known).pictures


def _ranges(places: list[int]) -> str:
    """Rising numbers in words: 3, 16-31."""
    runs = list[list[int]]()
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _check_folder(output: str, count: int) -> None:
    """Fail before any work is done where a directory is not, and can't be made or written to."""
    from PIL import Image

    path = place_of(output)
    if isinstance(path, Remote):
        check_remote(path)
        return
    if path.is_dir():
        if not os.access(path, os.W_OK):
            raise DdpmCodecError(f"can't write to {output}: no permission")
        return
    picture = path.suffix.lower() in Image.registered_extensions() and not output.endswith("/")
    if output == "-" or path.exists() or picture:
        raise DdpmCodecError(
            f"{output} can't take an archive's {count} pictures: name a directory with -o, or one of the pictures with "
            "--index"
        )
    check_outputs(path)


def _counted(pictures: int) -> str:
    return "1 picture" if pictures == 1 else f"{pictures} pictures"
