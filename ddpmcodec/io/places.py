"""Places of files: local paths, and URLs of other file systems, such as s3://bucket/photos/a.png, which fsspec opens.

A `Remote` has those methods of `pathlib.Path` that are called on places here; what goes wrong is an OSError, whatever
the file system's library calls it.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any, TypeAlias
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ddpmcodec.errors import DdpmCodecError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # one letter would be a drive of Windows
_BUCKETS = {"s3", "s3a", "gs", "gcs"}  # a URL begins with a bucket, and writing makes none
_STORES = {*_BUCKETS, "abfs", "abfss", "az", "memory"}  # have no directories; objects appear when their upload ends
_LIBRARIES = {"s3": "ddpmcodec[s3]", "s3a": "ddpmcodec[s3]", "gs": "ddpmcodec[gs]", "gcs": "ddpmcodec[gs]"}
_BLOCK = 1 << 16  # bytes read at a time of a file whose beginning is wanted


def is_url(name: object) -> bool:
    """Return whether a name is a URL, and no local path."""
    return _URL.match(str(name)) is not None


def place_of(name: str | os.PathLike[str]) -> Place:
    """Return the place that a name stands for; of file:// URLs, the local path. Raises DdpmCodecError for a URL of no
    known file system, or one whose library isn't installed.
    """
    if not is_url(name):
        return Path(name)
    url = str(name)
    if url.lower().startswith("file://"):
        parts = urlsplit(url.replace("#", "%23").replace("?", "%3F"))
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise DdpmCodecError(f"{url}: a local file's URL has three slashes, such as file:///home/me/photo.png")
        return Path(url2pathname(parts.path))
    place = Remote(url)
    place.opened()
    return place


@dataclass(frozen=True, order=True)
class Remote:
    """File or folder of a file system that fsspec knows."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str | PurePath) -> Remote:
        more = name if isinstance(name, str) else name.as_posix()
        return Remote(f"{self.url}{'' if self.url.endswith('/') else '/'}{more}")

    @property
    def scheme(self) -> str:
        return self.url.partition("://")[0].lower()

    @property
    def name(self) -> str:
        return self._path.name

    @property
    def suffix(self) -> str:
        return self._path.suffix

    @property
    def parent(self) -> Remote:
        parent = self._path.parent.as_posix()
        return Remote(f"{self.scheme}://{'' if parent == '.' else parent}")

    @property
    def _path(self) -> PurePosixPath:
        return PurePosixPath(self.url.partition("://")[2])

    def opened(self) -> tuple[Any, str]:
        """Return fsspec's file system, and the path in it. Raises DdpmCodecError where there is none."""
        try:
            import fsspec

            _silence()
            return fsspec.core.url_to_fs(self.url)
        except ImportError as error:
            wanted = _LIBRARIES.get(self.scheme)
            advice = f": pip install '{wanted}'" if wanted else ""
            raise DdpmCodecError(f"{self.url} needs a library ({_first_line(error)}){advice}") from error
        except Exception as error:  # a scheme that nobody knows; options that its library refuses
            raise DdpmCodecError(f"can't open {self.url}: {_first_line(error)}") from error

    @contextmanager
    def _reported(self) -> Iterator[tuple[Any, str]]:
        """Give what `opened` does; every failure in the block is an OSError with the URL."""
        opened = self.opened()
        try:
            yield opened
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "there is no such file, folder or bucket", self.url) from error
        except NotImplementedError as error:
            raise OSError(errno.ENOTSUP, f"{self.scheme}:// can't do that", self.url) from error
        except (DdpmCodecError, MemoryError):
            raise
        except Exception as error:  # libraries have errors of their own for networks, rights and credentials
            number = errno.EACCES if isinstance(error, PermissionError) else getattr(error, "errno", None)
            raise OSError(number if isinstance(number, int) else errno.EIO, _first_line(error), self.url) from error

    def exists(self) -> bool:
        """Return whether there is a file or a folder. Raises OSError."""
        with self._reported() as (system, path):
            return bool(system.exists(path))

    def is_dir(self) -> bool:
        """Return whether it is a folder, or what files' names begin with. Raises OSError."""
        with self._reported() as (system, path):
            return bool(system.isdir(path))

    def is_file(self) -> bool:
        """Return whether it is a file. Raises OSError."""
        with self._reported() as (system, path):
            return bool(system.isfile(path))

    def files(self, recursive: bool) -> list[PurePosixPath]:
        """Return the paths of the files in a folder, relative to it, as they are there now. Raises OSError."""
        with self._reported() as (system, path):
            system.invalidate_cache()
            found = system.find(path, maxdepth=None if recursive else 1)
            start = path.rstrip("/") + "/" if path else ""
            inside = [name[len(start) :] for name in found if name.startswith(start)]
            return [PurePosixPath(name) for name in inside if name and not name.endswith("/")]

    def iterdir(self) -> Iterator[Remote]:
        """Yield the files right inside a folder. Raises OSError."""
        return (self / name for name in self.files(recursive=False))

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Open a file of which little may be read. Raises OSError."""
        with self._reported() as (system, path):
            return system.open(path, mode, block_size=_BLOCK)

    def read_bytes(self) -> bytes:
        """Return a file's bytes. Raises OSError."""
        with self._reported() as (system, path):
            return bytes(system.cat_file(path))

    def write_bytes(self, data: bytes) -> None:
        """Write a file so that it appears whole: in an object store when its upload ends; in a file system that renames
        files, under another name first, `.NAME.partial-…`. Others (HTTP's PUT, say) have no such promise. Raises
        OSError.
        """
        from fsspec import AbstractFileSystem

        with self._reported() as (system, path):
            if self.scheme in _STORES:
                system.pipe_file(path, data)
                return
            folder, _, name = path.rpartition("/")
            system.makedirs(folder, exist_ok=True)
            if type(system).mv is AbstractFileSystem.mv:  # which copies and removes
                system.pipe_file(path, data)
                return
            temporary = f"{folder}/.{name[:40]}.partial-{os.urandom(4).hex()}"
            try:
                system.pipe_file(temporary, data)
                system.mv(temporary, path)
            except BaseException:
                with suppress(Exception):
                    system.rm_file(temporary)
                raise

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:
        """Make the folder where the file system has folders. Raises OSError."""
        if self.scheme not in _STORES:
            with self._reported() as (system, path):
                system.makedirs(path, exist_ok=exist_ok)

    def unlink(self) -> None:
        """Remove a file. Raises OSError."""
        with self._reported() as (system, path):
            system.rm_file(path)

    def check_writable(self) -> None:
        """Fail where it is seen without writing that nothing can be written there. Raises OSError."""
        if self.scheme in _BUCKETS:
            with self._reported() as (system, path), suppress(PermissionError):  # who may write may not be let look
                system.info(path.partition("/")[0])


Place: TypeAlias = Path | Remote


@lru_cache(maxsize=1)
def _silence() -> None:
    """Have libraries log nothing where the program has no log: what went wrong is in the error."""
    import logging

    for name in ("fsspec", "s3fs", "gcsfs"):
        logging.getLogger(name).addHandler(logging.NullHandler())


def _first_line(error: Exception) -> str:
    said = str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
    return said.splitlines()[0]
