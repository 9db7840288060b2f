"""Pictures to files: formats that hold 8-bit RGB as it is, those that lose some of it and say so, and animations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddpmcodec.errors import ImageError
from ddpmcodec.io.images import is_grey
from ddpmcodec.io.metadata import NOTHING, Metadata, held_by, saving

# Formats by Pillow's names, and the options with which they are exact.
_EXACT: dict[str, dict[str, Any]] = {
    "PNG": {},
    "TIFF": {},
    "WEBP": {"lossless": True},
    "JPEG2000": {"irreversible": False},
    "BMP": {},
    "DIB": {},
    "DDS": {},
    "EPS": {},
    "PCX": {},
    "PPM": {},
    "QOI": {},
    "SGI": {},
    "TGA": {},
}
_LOSSY = {
    "JPEG": "loses detail of its own",
    "MPO": "loses detail of its own",
    "AVIF": "loses detail of its own",
    "PDF": "loses detail of its own",
    "GIF": "holds 256 colours",
}
_RESIZED = {"ICO", "CUR", "ICNS"}
_GREY = {".pbm", ".pgm", ".pfm", ".bw"}  # suffixes of grey alone; the formats have RGB under other ones
_BARE_JPEG2000 = {".j2k", ".j2c", ".jpc"}
_FRAME_MS, _LAST_FRAME_MS = 200, 2000  # how long an animation shows a frame, and its last one


def image_format(path: Path) -> str:
    """Return Pillow's name of the format that a path's suffix stands for; PNG where it has none.

    Raises ImageError for one that it can't write, or that can't hold the picture's size or colours.
    """
    suffix = path.suffix.lower() or ".png"
    kind = Image.registered_extensions().get(suffix)
    if kind in _RESIZED:
        raise ImageError(f"output {path.name}: {suffix} files hold icons of fixed sizes, not this picture; use .png")
    if suffix in _GREY:
        raise ImageError(f"output {path.name}: {suffix} files hold no 8-bit colours; use .png or .ppm")
    if kind is None or kind not in Image.SAVE or kind not in _EXACT.keys() | _LOSSY.keys():
        raise ImageError(f"output {path.name}: Pillow can't write {path.suffix} files of 8-bit RGB; use .png")
    return kind


def what_it_loses(path: Path) -> str | None:
    """Say what a path's format does to a picture ("holds 256 colours"); None where it keeps every pixel. Raises
    ImageError.
    """
    return _LOSSY.get(image_format(path))


def what_it_leaves_out(rgb: NDArray[np.uint8], path: Path, metadata: Metadata) -> list[str]:
    """Return in words what of a picture's metadata a path's format can't hold. Raises ImageError."""
    held = held_by(image_format(path), metadata, is_grey(rgb)).in_words()
    return [what for what in metadata.in_words() if what not in held]


def image_bytes(rgb: NDArray[np.uint8], path: Path, metadata: Metadata = NOTHING) -> bytes:
    """Return the picture in the format of the path's suffix; PNG where it has none, of a grey picture in grey.

    metadata: what the format holds of it is put in. Raises ImageError for an unknown suffix.
    """
    kind, buffer = image_format(path), io.BytesIO()
    held = held_by(kind, metadata, is_grey(rgb))
    options = dict(_EXACT.get(kind, {})) | saving(kind, held)
    # A profile of colours isn't for grey pixels, nor the other way round.
    grey = held.has_grey_profile or (kind == "PNG" and held.profile is None and is_grey(rgb))
    if path.suffix.lower() in _BARE_JPEG2000:
        options["no_jp2"] = True
    try:
        Image.fromarray(rgb[..., 0] if grey else rgb).save(buffer, kind, **options)
    except (OSError, ValueError) as error:
        raise ImageError(
            f"output {path.name}: Pillow can't write this picture as {kind} ({error}); use .png"
        ) from error
    return buffer.getvalue()


def animation_bytes(pictures: Sequence[NDArray[np.uint8]], kind: str, metadata: Metadata = NOTHING) -> bytes:
    """Return pictures of one size as an animation that ends with a pause; kind: GIF (256 colours), or WEBP, which is
    lossless.
    """
    buffer, frames = io.BytesIO(), [Image.fromarray(p) for p in pictures]
    durations = [_FRAME_MS] * (len(frames) - 1) + [_LAST_FRAME_MS]
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    options |= saving(kind, replace(held_by(kind, metadata, grey=False), exif=None, xmp=None))
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    return buffer.getvalue()
