"""One batch of files, coded in whichever process it is given to: each to its result, or to the reason why there is
none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ddpmcodec.bitstream.file import read_info, require_complete, with_fields
from ddpmcodec.bitstream.header import read_header
from ddpmcodec.codec.decoding import decode, decode_batch
from ddpmcodec.codec.encoding import encode, encode_batch
from ddpmcodec.codec.metadata import of_fields, to_fields
from ddpmcodec.codec.options import Options
from ddpmcodec.errors import DdpmCodecError
from ddpmcodec.io.reading import Reading, read_picture
from ddpmcodec.io.writing import image_bytes
from ddpmcodec.many.journal import digest
from ddpmcodec.models.base import CodecModel
from ddpmcodec.models.choice import AUTO, name_for, receiving_info
from ddpmcodec.models.memory import is_out_of_memory
from ddpmcodec.models.weights import load_model

_SEVERAL = "--frame 0 takes the first of each file; code this file by itself for another, or for all with --all-frames"


@dataclass(frozen=True)
class Coded:
    """Outcome of a file: a result, or an error in one line."""

    result: bytes | None = None
    error: str | None = None
    source: str = ""  # digest of the file's bytes
    notes: tuple[str, ...] = ()  # on what its picture lost on the way in


@dataclass(frozen=True)
class Encoding:
    """Way that pictures are encoded: `model` by its name or file, the options of `encode`, and how files are read."""

    model: str = AUTO
    device: str = "cpu"
    options: Mapping[str, Any] = field(default_factory=dict)  # of `EncodeOptions`
    flatten: tuple[int, int, int] | None = None
    frame: int | None = None
    keep_profile: bool = False  # leave colours as they are where a profile says what they mean
    keep_metadata: bool = False  # EXIF and XMP
    most_pixels: int | None = None  # of a picture; larger ones are refused

    def __call__(self, sources: Sequence[bytes], wanted: Sequence[bool]) -> list[Coded]:
        """Encode picture files of one size, in one batch where no target ends their streams; those not wanted are only
        there for the others' sake. Each has its result or its error.
        """
        chosen = Options(**self.options)
        read = [_caught(self._read, source) for source in sources]
        if not any(isinstance(r, tuple) and w for r, w in zip(read, wanted, strict=True)):
            return [_failed(r, s) for r, s in zip(read, sources, strict=True)]
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, found in enumerate(read):
            if isinstance(found, tuple):
                groups.setdefault(found[0].shape, []).append(i)
        results: dict[int, bytes | str] = {}
        for (height, width, _), members in groups.items():
            model = _model(name_for(height, width) if self.model == AUTO else self.model, self.device)
            pictures = [read[i][0] for i in members]
            one = lambda picture, model=model: encode(picture, model=model, **self.options)  # noqa: E731
            many = lambda pictures, model=model: encode_batch(pictures, model=model, **self.options)  # noqa: E731
            found = [_caught(one, p) for p in pictures] if chosen.has_target else _together(many, one, pictures)
            for i, result in zip(members, found, strict=True):
                results[i] = result if isinstance(result, str) else _with_more_fields(result, read[i][2])
        return [
            _coded(results[i], source, found[1]) if isinstance(found, tuple) else _failed(found, source)
            for i, (found, source) in enumerate(zip(read, sources, strict=True))
        ]

    def _read(self, data: bytes) -> tuple[Any, tuple[str, ...], Mapping[int, bytes]]:
        """A picture, the notes on it, and the fields that keep what is to be kept."""
        notes = list[str]()
        kept = {"keep_profile": self.keep_profile, "keep_metadata": self.keep_metadata}
        found = read_picture(data, Reading(self.flatten, several=_SEVERAL, note=notes.append, **kept), self.frame)
        picture = found.rgb
        height, width, _ = picture.shape
        _check_size(height, width, self.most_pixels)
        return picture, tuple(dict.fromkeys(notes)), to_fields(found.metadata)


@dataclass(frozen=True)
class Decoding:
    """Way that streams are decoded to PNG: `model` by its name or file."""

    model: str = AUTO
    device: str = "cpu"
    steps: int | None = None
    allow_partial: bool = False
    most_pixels: int | None = None  # of one picture: larger ones are refused

    def __call__(self, sources: Sequence[bytes], wanted: Sequence[bool]) -> list[Coded]:
        """Decode streams that share a header, those that are whole in one batch; those not wanted are only there for
        the others' sake. Each has its result or its error.
        """
        counts = [_caught(self._count, source) for source in sources]
        whole = [i for i, count in enumerate(counts) if isinstance(count, int) and 1 <= (self.steps or 1) <= count]
        results = dict[int, bytes | str]()
        if any(wanted[i] for i in whole):
            results = dict(zip(whole, _together(self._many, self._one, [sources[i] for i in whole]), strict=True))
        for i, source in enumerate(sources):
            if wanted[i] and i not in results:  # cut, damaged or shorter: alone, for its own reason
                results[i] = _caught(self._one, source)
        return [_coded(results.get(i, ""), source, ()) for i, source in enumerate(sources)]

    def _count(self, source: bytes) -> int:
        """Return how many pictures a whole stream has. Raises DdpmCodecError for any other."""
        info = read_info(source, self._model(source))
        require_complete(info)
        return info.pictures

    def _many(self, sources: Sequence[bytes]) -> list[bytes]:
        pictures = decode_batch(sources, self.steps, model=self._model(sources[0]))
        return [_png(picture, source) for picture, source in zip(pictures, sources, strict=True)]

    def _one(self, source: bytes) -> bytes:
        picture = decode(source, self.steps, model=self._model(source), allow_partial=self.allow_partial)
        return _png(picture, source)

    def _model(self, source: bytes) -> CodecModel:
        header = read_header(source)
        _check_size(header.height, header.width, self.most_pixels)
        return _model(str(receiving_info(self.model, header.fingerprint).path), self.device)


def _check_size(height: int, width: int, most: int | None) -> None:
    if most is not None and height * width > most:
        raise DdpmCodecError(
            f"{width}x{height}: on a CPU, pictures of more than {most >> 20} megapixels are only begun with --yes"
        )


def _png(picture: Any, source: bytes) -> bytes:
    return image_bytes(picture, Path("-.png"), of_fields(read_header(source).fields))


def _with_more_fields(stream: bytes, fields: Mapping[int, bytes]) -> bytes:
    return with_fields(stream, [*read_header(stream).fields, *fields.items()]) if fields else stream


@lru_cache(maxsize=4)
def _model(name: str, device: str) -> CodecModel:
    return load_model(name, device)


def _together(
    many: Callable[[list[Any]], list[bytes]], one: Callable[[Any], bytes], sources: list[Any]
) -> list[bytes | str]:
    """Each source's result from one batch; where the batch fails, from as many calls as there are sources."""
    if len(sources) > 1:
        found = _caught(many, sources)
        if not isinstance(found, str):
            return list(found)
    return [_caught(one, source) for source in sources]


def _caught(function: Callable[[Any], Any], argument: Any) -> Any:
    """Return what a function returns, or the error that it raises, as text."""
    try:
        return function(argument)
    except DdpmCodecError as error:
        return str(error)
    except Exception as error:  # one file's bug must not end a run of many hours
        if is_out_of_memory(error):
            return "out of memory: a smaller picture needs less; --device cpu has the whole machine's"
        return f"internal error: {type(error).__name__}: {error}"


def _coded(result: bytes | str, source: bytes, notes: tuple[str, ...]) -> Coded:
    if isinstance(result, str):
        return Coded(error=result, source=digest(source), notes=notes)
    return Coded(result, source=digest(source), notes=notes)


def _failed(error: object, source: bytes) -> Coded:
    return Coded(error=error if isinstance(error, str) else None, source=digest(source))
