"""Pillow plugin: `import ddpmcodec.pillow`, and `Image.open` and `Image.save` know streams and archives.

Opening reads the header and nothing else; the picture is decoded in `load`. Frame n of a stream is the picture after n
steps, and frame 0 all of it; an archive's frames are its pictures. `draft`, and so `thumbnail`, decode as many steps as
a smaller picture needs. A file that was cut is an OSError, or as much as is
there with `ImageFile.LOAD_TRUNCATED_IMAGES`. `save` takes the options of `ddpmcodec.encode` by their names, and
`save_all` with `append_images` makes an archive. `exif=` and `xmp=` go into the file, upright as the picture is, and
`icc_profile=` says what its colours are; an archive's are those of all its pictures. Files end with .ddpc; under other
names their first bytes tell them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from PIL import Image, ImageFile

from ddpmcodec.bitstream.archive import read_archive
from ddpmcodec.bitstream.fields import FILE_NAME
from ddpmcodec.bitstream.header import (
    MAGIC,
    VERSION,
    Header,
    announces_archive,
    missing_header_bytes,
    parse_header,
)
from ddpmcodec.codec.metadata import of_fields, to_fields
from ddpmcodec.errors import DdpmCodecError, ImageError, TruncatedArchiveError, TruncatedStreamError
from ddpmcodec.io.colorimetry import profile_for
from ddpmcodec.io.exif import as_srgb, block_of
from ddpmcodec.io.images import as_picture
from ddpmcodec.io.metadata import Metadata, turned

if TYPE_CHECKING:
    from ddpmcodec.codec.decoding import Decoded
    from ddpmcodec.models.cache import ModelLike

FORMAT, EXTENSION, MIME = "DDPM", ".ddpc", "image/x-ddpmcodec"
_model: ModelLike = None  # of all files; None: the embedded one that suits each


class DdpmImageFile(ImageFile.ImageFile):
    """Opened stream or archive. `info` has the model's fingerprint, whether the exact picture follows, and what else
    the header says: colour profile, EXIF, XMP, file name.
    """

    format = FORMAT
    format_description = "DDPM codec (progressive diffusion)"
    _shown = _frame = 0  # of an unpickled or deep copy, which has pixels and no file

    def _open(self) -> None:
        try:
            header, self._archive = _read_header(self.fp)
        except DdpmCodecError as error:  # Pillow goes on with other formats
            raise SyntaxError(str(error)) from error
        self._header, self._frame, self._shown = header, 0, -1
        self._bytes: bytes | None = None
        self._steps: Iterator[Decoded] = iter(())
        self._last: Decoded | None = None
        metadata, name = of_fields(header.fields), header.field(FILE_NAME)
        grey = header.grey and not self._archive and (metadata.has_grey_profile or not metadata.says_colours)
        self._size, self._mode = (header.width, header.height), "L" if grey else "RGB"
        said = {
            "icc_profile": metadata.profile or profile_for(metadata.colours or b""),
            "exif": metadata.exif and b"Exif\0\0" + metadata.exif,
            "xmp": metadata.xmp,
            "file_name": name and name.decode("utf-8", "replace"),
        }
        self.info |= {key: value for key, value in said.items() if value is not None}
        self.info |= {"fingerprint": header.fingerprint, "lossless": header.lossless}

    @property
    def n_frames(self) -> int:
        """Number of an archive's pictures; or a stream's steps and, as frame 0, all of it. Runs no network."""
        from ddpmcodec.bitstream.file import read_info

        try:
            if self._archive:
                return read_archive(self._data(), allow_partial=True).count
            return 1 + read_info(self._data(), self._codec()).pictures
        except DdpmCodecError as error:
            raise OSError(str(error)) from error

    @property
    def is_animated(self) -> bool:
        """Return whether frames follow one another in time: they never do."""
        return False

    def seek(self, frame: int) -> None:
        """Go to an archive's picture, or to the picture after `frame` steps of a stream. Raises EOFError."""
        if frame != self._frame and not 0 <= frame < self.n_frames:
            raise EOFError(f"no frame {frame} in this file of {self.n_frames}")
        self._frame = frame

    def tell(self) -> int:
        """Return the frame's number."""
        return self._frame

    def draft(self, mode: str | None, size: tuple[float, float] | None) -> tuple[str, tuple[int, int, int, int]] | None:
        """Go to the earliest frame that will do for a picture of this size; `size` stays. At 1/k of it, the mean of k×k
        pixels has k² times less noise, so the chain may end 2 ln k sooner. Returns what Pillow's own formats do.
        """
        from ddpmcodec.bitstream.file import read_info

        if self._archive or self._frame or self._shown == 0 or size is None or min(size) <= 0:
            return None
        smaller = max(1, min(self.width / size[0], self.height / size[1]))
        with suppress(DdpmCodecError):  # `load` says what is wrong
            info = read_info(self._data(), self._codec())
            enough = [level >= info.log_snr[-1] - 2 * math.log(smaller) for level in info.log_snr if info.complete]
            self._frame = (enough.index(True) + 1) % len(enough) if enough else 0
        return (self.mode, (0, 0, *self.size)) if self._frame else None

    def load(self) -> Any:
        """Decode the frame. Raises OSError for a file that is cut or damaged, or whose model isn't there."""
        if self._shown != self._frame:
            try:
                picture = Image.fromarray(self._decoded())
            except (TruncatedStreamError, TruncatedArchiveError) as error:
                what, _, _ = str(error).partition("; pass allow_partial")  # which Pillow's users have no place for
                raise OSError(f"{what}; ImageFile.LOAD_TRUNCATED_IMAGES = True shows what is there") from error
            except DdpmCodecError as error:
                raise OSError(str(error)) from error
            self.im, self._shown = (picture.convert("L") if self._mode == "L" else picture).im, self._frame
        return Image.Image.load(self)

    def _decoded(self) -> Any:
        from ddpmcodec.codec.archive_decoding import decode_archive
        from ddpmcodec.codec.decoding import decode_progressive

        partial, model = bool(ImageFile.LOAD_TRUNCATED_IMAGES), self._codec()
        if self._archive:
            (found,) = decode_archive(self._data(), self._frame, model=model, allow_partial=partial)
            return found.image
        if self._last is None or 0 < self._frame < self._last.n:
            self._steps = decode_progressive(self._data(), model=model, allow_partial=partial)
        while self._last is None or self._frame != self._last.n:  # frame 0 is none of theirs
            if (step := next(self._steps, None)) is None:
                break
            self._last = step
        assert self._last is not None  # decode_progressive raises where there is nothing to yield
        return self._last.image

    def _codec(self) -> Any:
        from ddpmcodec.models.cache import receiving_model

        return receiving_model(_model, self._header.fingerprint)

    def _data(self) -> bytes:
        """The whole file, read once; afterwards it isn't needed any more."""
        if self._bytes is None:
            if self.fp is None:
                raise ValueError("Operation on closed image")
            self.fp.seek(0)
            self._bytes = self.fp.read()
            if self._exclusive_fp:
                self.fp.close()
            self.fp = None
        return self._bytes


def register_ddpmcodec(model: ModelLike = None) -> None:
    """Register the format with Pillow; importing this module does. model: of all files from here on, as `encode` and
    `decode` take it; None is the embedded one that suits each.
    """
    global _model
    _model = model
    Image.register_open(FORMAT, DdpmImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_save_all(FORMAT, _save_all)
    Image.register_extension(FORMAT, EXTENSION)
    Image.register_mime(FORMAT, MIME)


def _accept(start: bytes) -> bool:
    return start.startswith(MAGIC + bytes([VERSION]))


def _read_header(file: IO[bytes] | None) -> tuple[Header, bool]:
    """The header at a file's beginning, and whether it is an archive's. Raises FormatError."""
    assert file is not None
    start = file.read(64)
    while (missing := missing_header_bytes(start)) and (piece := file.read(missing)):
        start += piece
    archive = announces_archive(start)
    return parse_header(start, whole=False, archive=archive)[0], archive


def _options(picture: Image.Image) -> dict[str, Any]:
    """Return what `save` was given for `encode`; options of other formats are passed over, as by Pillow's plugins."""
    from ddpmcodec.codec.options import EncodeOptions

    given = {name: value for name, value in picture.encoderinfo.items() if name in EncodeOptions.__annotations__}
    return given | {"model": picture.encoderinfo.get("model", _model)}


def _with_given(picture: Image.Image, given: Mapping[str, Any]) -> tuple[Any, dict[int, bytes]]:
    """A picture for `encode` as what `save` was given beside it (exif, xmp, icc_profile) says it is shown, and what the
    file keeps of that. Like Pillow's own plugins, keeps none of a source's EXIF and XMP unless given. Raises
    ImageError.
    """
    keep = bool(given.get("lossless"))
    if not {"exif", "xmp", "icc_profile"} & given.keys():
        return picture, {}
    exif, xmp = given.get("exif") or None, given.get("xmp") or None
    exif = exif.tobytes() if isinstance(exif, Image.Exif) else exif
    block = block_of(exif) if isinstance(exif, bytes) else None
    if exif is not None and block is None:
        raise ImageError("exif: expected an Image.Exif, or the bytes of an EXIF block, which begin with II or MM")
    if xmp is not None and not isinstance(xmp, bytes):
        raise ImageError(f"xmp of type {type(xmp).__name__}: expected bytes")
    as_picture(picture, keep)  # refuses what Pillow would cut to 8 bits, which a copy doesn't tell of any more
    told = picture.copy()
    said = {"exif": block and b"Exif\0\0" + block, "icc_profile": given.get("icc_profile")}
    told.info |= {name: value for name, value in said.items() if name in given}
    told.info = {name: value for name, value in told.info.items() if value is not None}
    shown = as_picture(told, keep)
    block, xmp = turned(block, xmp)
    return shown, to_fields(Metadata(exif=as_srgb(block) if block and shown.converted else block, xmp=xmp))


def _save(picture: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    from ddpmcodec.codec.encoding import encode

    options = _options(picture)
    try:
        shown, fields = _with_given(picture, picture.encoderinfo)
        file.write(encode(shown, **options | {"fields": {**options.get("fields", {}), **fields}}))
    except DdpmCodecError as error:
        raise OSError(str(error)) from error


def _save_all(picture: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    from ddpmcodec.codec.archive_encoding import encode_archive

    options, all_of_them = _options(picture), [picture, *picture.encoderinfo.get("append_images", [])]
    try:
        found = [_with_given(one, picture.encoderinfo) for one in all_of_them]
        fields = {**options.get("fields", {}), **found[0][1]}
        file.write(encode_archive([shown for shown, _ in found], **options | {"fields": fields}))
    except DdpmCodecError as error:
        raise OSError(str(error)) from error


register_ddpmcodec()
