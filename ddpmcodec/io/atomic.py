"""Files appear whole or not at all: written beside their place, then renamed into it.

What a process that was killed leaves is called `.NAME.partial-…`, and is never mistaken for the file. While a process
writes, it holds a lock on it, so `remove_leftovers` can tell the living from the dead.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ddpmcodec.io.outputs import is_stream, send
from ddpmcodec.io.places import Remote

try:
    import fcntl
except ImportError:  # Windows: leftovers stay, by a name that says what they are
    fcntl = None  # type: ignore[assignment]

_MARK = ".partial-"


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same directory that becomes `path` when the block ends, and vanishes when it
    raises.

    A link stays a link; what it points to is replaced. A file that was there keeps its permissions and, where the
    system lets it, its owner. What is no regular file (a device, a pipe, /dev/stdout) is never replaced: the bytes are
    sent to it when the block ends. Raises OSError.
    """
    if is_stream(path):
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            collected = Path(folder) / f"bytes{Path(path).suffix}"
            yield collected
            send(path, collected.read_bytes())
        return
    target = Path(os.path.realpath(path))
    # The suffix is kept: writers such as matplotlib's choose the format by it. Names of 255 bytes leave no room for
    # more.
    suffix = target.suffix if 0 < len(target.suffix) <= 16 else ".tmp"
    temporary = target.parent / f".{target.stem[:40]}{_MARK}{os.urandom(4).hex()}{suffix}"
    before = os.stat(target) if target.exists() else None
    private = before is not None and not before.st_mode & 0o077  # from its first byte on
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
    try:
        try:
            _lock(handle)
            yield temporary
            if before is not None:
                _keep(handle, temporary, before)
            os.fsync(handle)  # or a crash could leave the new name with none of its bytes
        finally:
            if fcntl is None:  # Windows renames no open file
                os.close(handle)
        os.replace(temporary, target)
        _sync_directory(target.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    finally:
        if fcntl is not None:
            os.close(handle)


def write_whole(path: str | os.PathLike[str] | Remote, data: bytes) -> None:
    """Write bytes by rename, so that a reader sees the old file or the whole new one; streams get them, and what is
    remote as `Remote.write_bytes` says. Raises OSError.
    """
    if isinstance(path, Remote):
        path.write_bytes(data)
        return
    if is_stream(path):
        send(path, data)
        return
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def remove_leftovers(directory: str | os.PathLike[str]) -> None:
    """Remove what killed processes left of `replacing` in a directory; what others are writing now stays."""
    if fcntl is None:
        return
    for path in Path(directory).glob(f".*{_MARK}*"):
        with suppress(OSError):  # gone meanwhile, or locked by who writes it
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
            try:
                if _lock(handle):
                    path.unlink()
            finally:
                os.close(handle)


def _keep(handle: int, path: Path, before: os.stat_result) -> None:
    """Give a new file the owner and the permissions of the one whose place it takes; what another group had, no other
    gets.
    """
    mode, now = stat.S_IMODE(before.st_mode), os.fstat(handle)
    if (before.st_uid, before.st_gid) != (now.st_uid, now.st_gid):
        for owner, group in ((before.st_uid, before.st_gid), (-1, before.st_gid)):
            with suppress(OSError, AttributeError):  # Windows has no owners of this kind
                os.chown(handle, owner, group)
                break
        else:
            mode &= ~0o070
    os.chmod(path, mode)


def _sync_directory(directory: Path) -> None:
    """Have the new name on the disk, too, where the system can: after a power cut it is the whole file's, or the old
    one's.
    """
    with suppress(OSError):  # Windows opens no directories, and some network file systems can't sync them
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _lock(handle: int) -> bool:
    """Lock a file; whether it could be had: some network file systems have none."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False
