"""Input and output of the commands: `-` is stdin or stdout, and an output file appears whole or not at all."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.atomic import write_whole


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
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(data)  # a pipe or a device: nothing to replace
        else:
            write_whole(target, data)
    except OSError as error:
        raise DdpmCodecError(f"can't write {path}: {error.strerror or error}") from error
