"""Names that an archive keeps of its pictures' files, made safe to write: they are whatever its maker put there."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

from ddpmcodec.bitstream.fields import FILE_NAME
from ddpmcodec.bitstream.header import parse_header
from ddpmcodec.errors import DdpmCodecError

_LONGEST = 200  # bytes
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # Windows keeps these for itself


def png_names(archive: Any) -> list[str] | None:
    """Return what the PNGs of an archive's pictures are called; None where it keeps no names, or two would be alike."""
    try:
        kept = archive.names[: archive.begun] if archive.solid > 1 else _own_names(archive)
    except DdpmCodecError:  # cut or damaged: numbers will do
        return None
    names = [safe_png_name(name) for name in kept]
    found = [name for name in names if name is not None]
    return found if names and len({name.casefold() for name in found}) == len(names) else None


def _own_names(archive: Any) -> list[str]:
    headers = [parse_header(archive.stream(i))[0] for i in range(archive.begun)]
    return [(header.field(FILE_NAME) or b"").decode("utf-8", "replace") for header in headers]


def safe_png_name(name: str) -> str | None:
    """Return a name without its folders and what a file system refuses, with .png at its end; None where nothing is
    left.
    """
    last = _FORBIDDEN.sub("_", re.split(r"[/\\]", name)[-1]).strip(" ")
    while len(last.encode()) > _LONGEST:
        last = last[:-1]
    stem = PurePosixPath(last).stem if last.lower().endswith(".png") else last
    if not stem.strip(" .") or last.startswith(".") or _DEVICES.fullmatch(last):
        return None
    return f"{stem}.png"
