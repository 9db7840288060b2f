"""Input and output of the commands: `-` is stdin or stdout, and an output file appears whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import BinaryIO

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.atomic import write_whole
from ddpmcodec.io.outputs import cant_write, check_apart, check_place, descriptor_of
from ddpmcodec.io.places import Remote, is_url, place_of

_written: dict[str, None] = {}  # what the running command has written so far, in order


def forget_written() -> None:
    """Begin a command: nothing has been written yet."""
    _written.clear()


def written() -> str:
    """Return what the command has written so far, as words for whoever interrupts it."""
    files = [name for name in _written if name != "-"]
    kept = ["bytes on stdout"] if "-" in _written else []
    if files:
        kept.append(files[0] if len(files) == 1 else f"{len(files)} files, the last one {files[-1]}")
    return f"what was written stays: {' and '.join(kept)}" if kept else "nothing was written"


def read_input(path: str) -> bytes:
    """Return all bytes of a file, or of stdin for `-`. Raises DdpmCodecError."""
    try:
        if path == "-":
            return bytes(stdin().read())
        place = _place(path)
        if isinstance(place, Remote):
            return place.read_bytes()
        number = descriptor_of(
            place
        )  # opening /dev/stdin anew would read from the file's beginning, or fail on a socket
        with open(place if number is None else os.dup(number), "rb") as file:
            return file.read()
    except OSError as error:
        raise DdpmCodecError(f"can't read {path}: {error.strerror or error}") from error


def stdin() -> BinaryIO:
    """Return stdin, for bytes. Raises DdpmCodecError where it is closed."""
    if sys.stdin is None:
        raise DdpmCodecError("can't read -: stdin is closed; name a file, or pipe one in")
    return sys.stdin.buffer


def check_outputs(*outputs: object, inputs: Iterable[object] = (), report: bool = False) -> None:
    """Fail before any work is done where an output could not be written at the end, or would destroy an input or
    another.

    None among them stands for nothing. report: stdout takes a report beside them. Raises DdpmCodecError.
    """
    places = [_place(str(path)) for path in outputs if path is not None]
    if report:
        check_stdout()
    for place in places:
        path = str(place)
        if path == "-":
            check_stdout()
            if sys.stdout.isatty():
                raise DdpmCodecError("can't write -: stdout is a terminal, and these are no letters; redirect it")
        elif isinstance(place, Remote):
            if path.endswith("/"):
                raise DdpmCodecError(f"can't write {path}: it is a directory; name a file")
            check_remote(place)
        else:
            check_place(place)
    check_apart([str(_place(str(path))) for path in inputs], [*map(str, places), *(["-"] if report else [])])


def check_remote(place: Remote) -> None:
    """Raise DdpmCodecError where a URL can't be written to, as far as that is seen before it is done."""
    try:
        place.check_writable()
    except OSError as error:
        raise cant_write(place, error) from error


def _place(name: str) -> str | Remote:
    """The place of a URL; a local file's path as it was given."""
    if not is_url(name):
        return name
    place = place_of(name)
    return place if isinstance(place, Remote) else str(place)


def check_stdout() -> None:
    """Raise DdpmCodecError where stdout is closed."""
    if sys.stdout is None:
        raise DdpmCodecError("can't write to stdout: it is closed; redirect it to a file or a pipe")


def goes_on(path: str) -> bool:
    """Return whether what is written to an output follows what was written before: on stdout, /dev/fd/3 and the
    like.
    """
    return path == "-" or descriptor_of(path) is not None


def write_output(path: str, data: bytes) -> None:
    """Write files by rename, so that a reader sees the old one or the whole new one; stdout, devices and pipes as they
    are.
    """
    try:
        if path == "-":
            check_stdout()
            _written["-"] = None
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        write_whole(_place(path), data)
        _written[path] = None
    except BrokenPipeError:
        raise  # whoever read has enough
    except OSError as error:
        raise cant_write("to stdout" if path == "-" else path, error) from error
