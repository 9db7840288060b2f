"""Picture files to arrays: what a file declares is judged first, then Pillow decodes it, one frame or all."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from ddpmcodec.errors import ImageError
from ddpmcodec.io.ancillary import APP13, PHOTOSHOP, without_harm
from ddpmcodec.io.declared import JPEG_START, PNG_START, declared, jpeg_segments, png_chunks
from ddpmcodec.io.exif import as_srgb
from ddpmcodec.io.limits import MAX_PIXELS
from ddpmcodec.io.metadata import NOTHING, Metadata, exif_of, turned, xmp_of
from ddpmcodec.io.shown import Note, check_declared, check_depth, ignore_note, to_rgb

_ONE_PICTURE = {"PSD", "ICO", "ICNS", "CUR"}  # layers, or sizes, of which Pillow gives the whole or the largest
_MP_ENTRIES, _MULTI_FRAME = 0xB002, "Multi-Frame"
# TIFF's tags: description, make, model, date, artist, copyright, EXIF and GPS data; IPTC's and Photoshop's.
_TIFF_EXIF, _TIFF_IPTC = (270, 271, 272, 306, 315, 33432, 34665, 34853), (33723, 34377)
# JPEG 2000's boxes of XMP and EXIF data (XMP specification, part 3; "JpgTiffExif->JP2").
_JP2_XMP, _JP2_EXIF = bytes.fromhex("be7acfcb97a942e89c71999491e3afac"), b"JpgTiffExif->JP2"
_ORIENTATION_ALONE = 40  # bytes of EXIF data that hold nothing else
APART = "save its frames as files of their own"  # advice for those who can't name one


@dataclass(frozen=True)
class Reading:
    """Way that picture files are read."""

    flatten: tuple[int, int, int] | None = None  # colour put behind transparent pixels; None refuses any alpha channel
    keep_profile: bool = False  # leave colours as they are, and keep what the file says they mean
    keep_metadata: bool = False  # EXIF and XMP
    several: str = "name one with --frame N (from 0), or code all of them to an archive with --all-frames"  # advice
    note: Note = ignore_note  # is told what is converted, and what is left out


@dataclass(frozen=True)
class Picture:
    """Picture of a file."""

    rgb: NDArray[np.uint8]  # (h, w, 3)
    metadata: Metadata = NOTHING  # what was to be kept


def read_image(
    data: bytes,
    flatten: tuple[int, int, int] | None = None,
    *,
    frame: int | None = None,
    note: Note = ignore_note,
) -> NDArray[np.uint8]:
    """Return the pixels of `read_picture`, the other arguments being those of `Reading`. Raises ImageError."""
    return read_picture(data, Reading(flatten, note=note), frame).rgb


def read_picture(data: bytes, how: Reading, frame: int | None = None) -> Picture:
    """Decode a picture file: EXIF orientation applied, palettes and grey expanded, colours in sRGB.

    frame: which one of several frames or pages, from 0; None refuses files of several. Pictures of more than 8 bits a
    channel and CMYK are refused with advice. Raises ImageError.
    """
    file, frames = _opened(data)
    if frame is None and len(frames) > 1:
        raise ImageError(f"the file holds {len(frames)} frames or pages, and a stream holds one picture: {how.several}")
    if frame is not None and not 0 <= frame < len(frames):
        raise ImageError(f"frame {frame}: the file has {len(frames)}, counted from 0")
    return _decoded(file, frames[frame or 0], data, how)


def read_frames(data: bytes, how: Reading) -> Iterator[Picture]:
    """Decode every frame or page of a picture file like `read_picture`, one after another. Raises ImageError."""
    file, frames = _opened(data)
    for place in frames:
        yield _decoded(file, place, data, how)


def _opened(data: bytes) -> tuple[ImageFile.ImageFile, list[int]]:
    """Open the file, nothing of it decoded; return it with the places of its frames."""
    if not data:
        raise ImageError("the input is empty; expected a picture (PNG, JPEG, WebP, …)")
    about = declared(data)
    check_declared(about)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limit on the size follows; the rest is no news to a user
            file = Image.open(io.BytesIO(without_harm(data)))
            _check_size(file)
            return file, _frames(file, about.pages)
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        kind = kind_of(data)
        if kind is None:
            raise ImageError(
                "the input is not a picture that Pillow can read; expected PNG, JPEG, WebP or the like"
            ) from error
        raise ImageError(f"the picture is damaged, or a {kind} file of a kind that Pillow can't read") from error
    except Exception as error:  # Pillow's decoders raise what they like on damaged files
        raise ImageError(f"the picture is damaged: {error}") from error


def _decoded(file: ImageFile.ImageFile, place: int, data: bytes, how: Reading) -> Picture:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if file.tell() != place:
                file.seek(place)
            _check_size(file)
            check_depth(file)
            file.load()
    except (ImageError, MemoryError):
        raise
    except Exception as error:
        if file.format == "EPS" or isinstance(file, ImageFile.StubImageFile):  # which others draw, if they are there
            raise ImageError(f"Pillow can't draw {file.format} pictures here ({error}); convert it to PNG") from error
        raise ImageError(f"the picture is damaged: {error}") from error
    exif, xmp = (exif_of(file), xmp_of(file, data)) if how.keep_metadata else (None, None)
    kept = Metadata(exif=exif, xmp=xmp).in_words()
    if left_out := [what for what in _left_out(file, data) if what not in kept]:
        how.note(f"left out: {', '.join(left_out)}")
    about = declared(data)
    if about.profile:
        file.info["icc_profile"] = about.profile
    shown = to_rgb(file, how.flatten, about.code_points, how.keep_profile, how.note)
    exif, xmp = turned(exif, xmp)
    exif = as_srgb(exif) if exif and shown.converted else exif
    return Picture(shown.rgb, replace(shown.meaning, exif=exif, xmp=xmp))


def _check_size(file: Image.Image) -> None:
    if file.width * file.height > MAX_PIXELS:
        raise ImageError(f"picture of {file.width}x{file.height}: expected at most {MAX_PIXELS >> 20} megapixels")


def _frames(file: ImageFile.ImageFile, pages: tuple[int, ...]) -> list[int]:
    """Return the places of what is a picture of its own: no thumbnails, layers or other sizes of the same one."""
    if file.format == "TIFF" and pages:
        return list(pages)
    count = getattr(file, "n_frames", 1)
    if count <= 1 or file.format in _ONE_PICTURE:
        return [file.tell()]
    if file.format == "MPO":  # cameras put previews and gain maps behind a photo, and the views of panoramas
        entries = file.mpinfo.get(_MP_ENTRIES, [])  # type: ignore[attr-defined]
        views = [i for i, entry in enumerate(entries) if str(entry["Attribute"]["MPType"]).startswith(_MULTI_FRAME)]
        return views if len(views) > 1 else [0]
    return list(range(count))


def _left_out(file: ImageFile.ImageFile, data: bytes) -> list[str]:
    """Say in words what a file has beside its picture. The orientation is no part of it: it is applied."""
    chunks = {name: content for name, content, _ in png_chunks(data)} if data.startswith(PNG_START) else {}
    texts = {b"tEXt", b"zTXt", b"iTXt"} & chunks.keys()
    xmp = b"XML:com.adobe.xmp" in chunks.get(b"iTXt", b"")
    jp2 = data if file.format == "JPEG2000" else b""
    found = {
        "EXIF data": _JP2_EXIF in jp2
        or _says_more(file)
        or (b"eXIf" in chunks and len(chunks[b"eXIf"]) > _ORIENTATION_ALONE),
        "XMP data": bool(file.info.get("xmp")) or xmp or _JP2_XMP in jp2,
        "IPTC data": _has_photoshop(file, data),
        "a comment": bool(file.info.get("comment")) or bool(texts - ({b"iTXt"} if xmp else set())),
    }
    return [name for name, there in found.items() if there]


def _has_photoshop(file: ImageFile.ImageFile, data: bytes) -> bool:
    """Return whether there are Photoshop's blocks, or IPTC data without them."""
    if file.format == "TIFF":
        return any(tag in file.tag_v2 for tag in _TIFF_IPTC)  # type: ignore[attr-defined]
    with suppress(IndexError):
        if data.startswith(JPEG_START):
            return any(m == APP13 and content.startswith(PHOTOSHOP) for m, _, content in jpeg_segments(data))
    return False


def _says_more(file: ImageFile.ImageFile) -> bool:
    if file.format == "TIFF":
        return any(tag in file.tag_v2 for tag in _TIFF_EXIF)  # type: ignore[attr-defined]
    exif = file.info.get("exif") if file.format != "PNG" else None
    return isinstance(exif, bytes) and len(exif) > _ORIENTATION_ALONE


def kind_of(data: bytes) -> str | None:
    """Return Pillow's name of the format that a file's first bytes are those of; None for none that they tell."""
    Image.init()
    for kind in Image.ID:
        accepts = Image.OPEN[kind][1]
        with suppress(Exception):  # some unpack numbers that a short file doesn't have
            if accepts is not None and accepts(data[:16]) is True:
                return kind
    return None
