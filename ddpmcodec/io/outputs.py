"""Outputs: regular files, which others replace whole (see `atomic`), and streams, which are only ever written to.

Streams are devices, pipes, sockets and the process's own open files, such as /dev/stdout and /dev/fd/3. They keep their
place: what was written before stays before, and nothing is renamed over them.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.places import is_url

PathLike = str | os.PathLike[str]
_OWN_FILES = re.compile(r"/dev/fd|/proc/(\d+)(/task/\d+)?/fd")
_MOST_LINKS = 40  # as Linux has it


def descriptor_of(path: PathLike) -> int | None:
    """Return the number of the process's open file that a path such as /dev/stdout, or a link to it, stands for; else
    None.
    """
    place = os.fspath(path)
    for _ in range(_MOST_LINKS):
        folder, name = os.path.realpath(os.path.dirname(place) or "."), os.path.basename(place)
        found = _OWN_FILES.fullmatch(folder)
        if found and name.isdecimal() and found[1] in (None, str(os.getpid())):
            return int(name)
        try:
            place = os.path.join(folder, os.readlink(os.path.join(folder, name)))
        except OSError:  # no link, or there is nothing
            return None
    return None


def status_of(path: PathLike) -> os.stat_result | None:
    """Return what a path leads to, None where there is nothing yet. Raises OSError for circles of links and the
    like.
    """
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def is_stream(path: PathLike) -> bool:
    """Return whether a path leads to something that is written to and never replaced. Raises OSError like
    `status_of`.
    """
    if descriptor_of(path) is not None:
        return True
    status = status_of(path)
    return status is not None and not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode))


def send(path: PathLike, data: bytes) -> None:
    """Write bytes to a stream, behind what is there; a pipe waits for its reader. Raises OSError."""
    number, status = descriptor_of(path), status_of(path)
    if number is None and status is not None and stat.S_ISSOCK(status.st_mode):
        import socket

        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.fspath(path))
            connection.sendall(data)
        return
    if sys.stdout is not None:
        sys.stdout.flush()  # what was printed before stays before
    # Opening /dev/stdout anew would write from the file's beginning, over what is there.
    handle = os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0)) if number is None else os.dup(number)
    with os.fdopen(handle, "wb", buffering=0) as stream:
        left = memoryview(data)
        while left:
            left = left[stream.write(left) or 0 :]


def check_place(path: str) -> None:
    """Fail before any work is done where a file could not be written at the end, or is a terminal. Raises
    DdpmCodecError.
    """
    if not path:
        raise DdpmCodecError("the output's name is empty: name a file")
    try:
        if is_stream(path):
            if _is_terminal(path):
                raise DdpmCodecError(f"can't write {path}: it is a terminal, and these are no letters; name a file")
            return
        target, status = Path(os.path.realpath(path)), status_of(path)
        if target.is_dir() or path.endswith(("/", os.sep)):
            raise DdpmCodecError(f"can't write {path}: it is a directory; name a file")
        folder = status_of(target.parent)
    except OSError as error:
        raise cant_write(path, error) from error
    if folder is None or not stat.S_ISDIR(folder.st_mode):
        raise DdpmCodecError(f"can't write {path}: the directory {target.parent} does not exist")
    if not os.access(target.parent, os.W_OK):
        raise DdpmCodecError(f"can't write {path}: no permission to write in {target.parent}")
    if status is not None and not os.access(target, os.W_OK):
        raise DdpmCodecError(f"can't write {path}: no permission to write to it; name another file, or chmod u+w it")


def cant_write(path: object, error: OSError) -> DdpmCodecError:
    """Return the error that says that a file can't be written, and what the system says to it."""
    return DdpmCodecError(f"can't write {path}: {error.strerror or error}")


def check_apart(inputs: Iterable[str], outputs: Iterable[str]) -> None:
    """Fail where an output is an input's file, or another output's: under whatever name, through links, stdin or
    stdout.

    `-` is stdin among the inputs and stdout among the outputs. Devices and pipes may be named twice. Raises
    DdpmCodecError.
    """
    taken: dict[tuple[object, ...], str] = {}
    for path in inputs:
        mark = _identity(path, sys.stdin)
        if mark is not None and mark[0] == stat.S_IFREG:  # a socket may be both
            taken.setdefault(mark, f"the input {path}")
    for path in outputs:
        if (mark := _identity(path, sys.stdout)) is None:
            continue
        if mark in taken:
            raise DdpmCodecError(
                f"the output {path} and {taken[mark]} are one file: name another, or one would be lost"
            )
        taken[mark] = f"the output {path}"


def _identity(path: str, standard: object) -> tuple[object, ...] | None:
    """Equal for two names of one file or pipe, there or not yet: what it is, and which; None for devices, which take
    all.
    """
    if is_url(path):
        return stat.S_IFREG, path
    try:
        number = standard.fileno() if path == "-" and standard is not None else descriptor_of(path)  # type: ignore[attr-defined]
        status = status_of(path) if number is None else os.fstat(number)
        if status is not None:
            kind = stat.S_IFMT(status.st_mode)
            return (kind, status.st_dev, status.st_ino) if kind in (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK) else None
        target = os.path.realpath(path)
        folder = os.stat(os.path.dirname(target))
        return stat.S_IFREG, folder.st_dev, folder.st_ino, os.path.basename(target)
    except (OSError, ValueError):  # what is wrong with it is said where it is read or written; ValueError: no real file
        return None


def _is_terminal(path: str) -> bool:
    number = descriptor_of(path)
    if number is not None:
        return os.isatty(number)
    if not stat.S_ISCHR(os.stat(path).st_mode):
        return False  # opening a pipe would wait for its reader
    handle = os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0))
    try:
        return os.isatty(handle)
    finally:
        os.close(handle)
