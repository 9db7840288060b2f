"""Journal of a folder's results and of what they were made: one line a result, written before the result itself.

So a run that was killed goes on where it stopped, by the files' contents and not only by their names; and files that
nobody made here are never taken for results.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass

from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.places import Place, Remote

NAME = ".ddpmcodec.jsonl"  # a file; in an object store, which appends nothing, a folder of files
AT_ONCE = 16  # files that are read at a time: most of it is waiting, where they lie on other machines


@dataclass(frozen=True)
class Entry:
    """Result: its path in the folder, and hexadecimal digests of what it is and was made from."""

    file: str
    source: str  # of the bytes of its source
    options: str  # of everything else that its bytes depend on
    batch: str  # of all that went through the network with it
    made: str  # of its own bytes


def digest(data: bytes) -> str:
    """Return the first 128 bits of SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()[:32]


def digest_of(*parts: object) -> str:
    """Return the digest of values that JSON can hold."""
    return digest(json.dumps(parts, sort_keys=True, default=str).encode())


def digest_of_file(path: Place) -> str | None:
    """Return the digest of a file's bytes, None where it can't be read."""
    with suppress(OSError):
        return digest(path.read_bytes())
    return None


def digests_of_files(paths: Iterable[Place]) -> dict[Place, str | None]:
    """Return what `digest_of_file` does of each of many."""
    paths = list(paths)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return dict(zip(paths, threads.map(digest_of_file, paths), strict=True))


class Journal:
    """Entries of a folder of results, the last one of each file first."""

    def __init__(self, folder: Place):
        self.path = folder / NAME
        self._parts = list[Remote]()
        self.entries: dict[str, list[Entry]] = {}
        self._torn = False  # a process was killed in the middle of a line
        for line in self._lines():
            with suppress(ValueError, TypeError, KeyError):
                entry = Entry(**json.loads(line))
                self.entries.setdefault(entry.file, []).insert(0, entry)

    def found(self, name: str, made: str | None) -> Entry | None:
        """Return the entry of a result that lies there as it was made; None where it does not. made: its digest."""
        return next((entry for entry in self.entries.get(name, ()) if entry.made == made), None)

    def add(self, entries: list[Entry]) -> None:
        """Write entries, and have them on the disk. Raises DdpmCodecError."""
        text = "".join(json.dumps(asdict(entry), separators=(",", ":")) + "\n" for entry in entries)
        try:
            if isinstance(self.path, Remote):
                self._add_part(self.path, text)
            else:
                with self.path.open("ab") as file:
                    file.write(("\n" if self._torn else "").encode() + text.encode())
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            raise DdpmCodecError(f"can't write {self.path}: {error.strerror or error}") from error
        self._torn = False
        for entry in entries:
            self.entries.setdefault(entry.file, []).insert(0, entry)

    def _add_part(self, folder: Remote, text: str) -> None:
        """Write a part of the journal; a run's first one has all that earlier ones have, which are removed then."""
        older = self._parts
        if len(older) > 1:
            kept = [entry for entries in self.entries.values() for entry in reversed(entries)]
            text = "".join(json.dumps(asdict(entry), separators=(",", ":")) + "\n" for entry in kept) + text
        last = int(older[-1].name.partition("-")[0]) if older else 0
        part = folder / f"{last + 1:08d}-{os.urandom(4).hex()}"
        part.write_bytes(text.encode())
        for old in older if len(older) > 1 else ():
            with suppress(OSError):  # it says what the new part says
                old.unlink()
        self._parts = [part]

    def _lines(self) -> list[str]:
        try:
            if isinstance(self.path, Remote):
                numbered = (part for part in self.path.iterdir() if part.name.partition("-")[0].isdecimal())
                self._parts = sorted(numbered, key=lambda part: part.name)
                with ThreadPoolExecutor(AT_ONCE) as threads:
                    read = [data.decode("utf-8", "replace") for data in threads.map(Remote.read_bytes, self._parts)]
                return "\n".join(read).splitlines()
            text = self.path.read_text("utf-8", "replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DdpmCodecError(f"can't read {self.path}: {error.strerror or error}") from error
        self._torn = bool(text) and not text.endswith("\n")
        return text.splitlines()
