"""Weight files on their way home, where a file may be no larger than 16 MiB."""

from __future__ import annotations

from pathlib import Path

from ddpmcodec.io.atomic import write_whole

PART_BYTES = 15 << 20


def send_home(model: Path, output: Path, name: str) -> None:
    """Copy a model file into `output`, whole or in parts of 15 MiB. Raises OSError."""
    data = model.read_bytes()
    if len(data) <= PART_BYTES:
        write_whole(output / f"{name}.safetensors", data)
        return
    for i, first in enumerate(range(0, len(data), PART_BYTES)):
        write_whole(output / f"{name}.safetensors.part{i}", data[first : first + PART_BYTES])


def join_parts(folder: Path) -> list[Path]:
    """Make whole files of the parts in a folder, and returns all model files there."""
    for first in folder.glob("*.safetensors.part0"):
        parts = sorted(folder.glob(f"{first.stem}.part*"), key=lambda p: int(p.suffix.removeprefix(".part")))
        write_whole(folder / first.stem, b"".join(p.read_bytes() for p in parts))
        for part in parts:
            part.unlink()
    return sorted(folder.glob("*.safetensors"))
