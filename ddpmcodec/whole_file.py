"""Files appear whole or not at all: written beside their place, then renamed into it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path in the same directory that becomes `path` when the block ends, and vanishes when it raises.

    A link stays a link; what it points to is replaced. Permissions are those of a new file. Raises OSError.
    """
    target = Path(path).resolve()
    # The suffix is kept: writers such as matplotlib's choose the format by it.
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=target.suffix or ".tmp", dir=target.parent)
    os.close(handle)
    try:
        yield Path(name)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_whole(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes bytes by rename, so that a reader sees the old file or the whole new one. Raises OSError."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)
