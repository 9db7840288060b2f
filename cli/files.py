"""Input and output of the commands: `-` is stdin or stdout, and an output file appears whole or not at all."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.atomic import write_whole

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
    """All bytes of a file, or of stdin for `-`."""
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DdpmCodecError(f"can't read {path}: {error.strerror or error}") from error


def check_output(path: str) -> None:
    """Fails before any work is done where an output could not be written at the end."""
    target = Path(path)
    if path == "-" or (target.exists() and not target.is_file() and not target.is_dir()):
        return  # stdout, a pipe or a device: nothing to replace
    target = target.resolve()
    if target.is_dir():
        raise DdpmCodecError(f"can't write {path}: it is a directory; name a file")
    if not target.absolute().parent.is_dir():
        raise DdpmCodecError(f"can't write {path}: the directory {target.absolute().parent} does not exist")
    if not os.access(target.absolute().parent, os.W_OK):
        raise DdpmCodecError(f"can't write {path}: no permission to write in {target.absolute().parent}")


def write_output(path: str, data: bytes) -> None:
    """Writes by rename, so that a reader sees the old file or the whole new one."""
    if path == "-":
        _written["-"] = None
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(data)  # a pipe or a device: nothing to replace
        else:
            write_whole(target, data)
        _written[path] = None
    except OSError as error:
        raise DdpmCodecError(f"can't write {path}: {error.strerror or error}") from error
