"""What a folder of results holds and what it was made of: one line a result, written before the result itself.

So a run that was killed goes on where it stopped, by the files' contents and not only by their names; and files that
nobody made here are never taken for results.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ddpmcodec.errors import DdpmCodecError

NAME = ".ddpmcodec.jsonl"


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


def digest_of_file(path: Path) -> str | None:
    """Return the digest of a file's bytes, None where it can't be read."""
    with suppress(OSError):
        return digest(path.read_bytes())
    return None


class Journal:
    """Entries of a folder of results, the last one of each file first."""

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self.entries: dict[str, list[Entry]] = {}
        self._torn = False  # a process was killed in the middle of a line
        for line in self._lines():
            with suppress(ValueError, TypeError, KeyError):
                entry = Entry(**json.loads(line))
                self.entries.setdefault(entry.file, []).insert(0, entry)

    def found(self, file: Path, name: str) -> Entry | None:
        """Return the entry of a result that lies there as it was made; None where it does not."""
        if not self.entries.get(name) or (made := digest_of_file(file)) is None:
            return None
        return next((entry for entry in self.entries[name] if entry.made == made), None)

    def add(self, entries: list[Entry]) -> None:
        """Write entries, and have them on the disk. Raises DdpmCodecError."""
        text = "".join(json.dumps(asdict(entry), separators=(",", ":")) + "\n" for entry in entries)
        try:
            with self.path.open("ab") as file:
                file.write(("\n" if self._torn else "").encode() + text.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DdpmCodecError(f"can't write {self.path}: {error.strerror or error}") from error
        self._torn = False
        for entry in entries:
            self.entries.setdefault(entry.file, []).insert(0, entry)

    def _lines(self) -> list[str]:
        try:
            text = self.path.read_text("utf-8", "replace")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DdpmCodecError(f"can't read {self.path}: {error.strerror or error}") from error
        self._torn = bool(text) and not text.endswith("\n")
        return text.splitlines()
