"""Page itself: HTML, CSS, JavaScript and pictures in one file that loads nothing."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddpmcodec._version import __version__
from ddpmcodec.bitstream.header import read_header
from ddpmcodec.codec.metadata import of_fields
from ddpmcodec.io.images import as_picture
from ddpmcodec.io.metadata import Metadata, held_by, saving
from ddpmcodec.models.cache import ModelLike
from ddpmcodec.numerics.arguments import text
from ddpmcodec.page.shown import ShownStream, shown_stream

_FRAME_HEIGHT = 720  # of a notebook's cell, in CSS pixels


@dataclass(frozen=True)
class Page:
    """Page as text. Notebooks show it in a frame of its own."""

    html: str

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" title="Steps of a stream" sandbox="allow-scripts" '
            f'style="width: 100%; height: {_FRAME_HEIGHT}px; border: 0"></iframe>'
        )


def view(data: bytes, *, original: Any = None, name: str = "picture", every: int = 1, model: ModelLike = None) -> Page:
    """Return a page of a stream's steps, which notebooks show: a slider, the curve, side by side and differences.

    original: the picture that was encoded, as `encode` takes it, for PSNR and differences. every: show every `every`-th
    step only, and the first and the last. Raises DdpmCodecError as `decode` does.
    """
    text(name, "name")
    keep = of_fields(read_header(data).fields).says_colours
    source = None if original is None else as_picture(original, keep).rgb
    return page_of([shown_stream(data, name, original=source, every=every, model=model)], name)


def page_of(streams: Sequence[ShownStream], title: str) -> Page:
    """Return the page of one stream, or a gallery of several; pictures are in it without loss, as WebP."""
    place = files(__package__)
    style, script, frame = (place.joinpath(f"page.{kind}").read_text("utf-8") for kind in ("css", "js", "html"))
    values = json.dumps([_values(stream) for stream in streams], allow_nan=False, separators=(",", ":"))
    # In a script element, only the beginning of a tag or a comment could end it.
    filled = {"data": values.replace("<", "\\u003c"), "style": style, "script": script, "version": __version__}
    return Page(Template(frame).substitute(filled, title=html.escape(title)))


def _values(stream: ShownStream) -> dict[str, Any]:
    height, width, _ = stream.steps[0].image.shape
    return {
        "name": stream.name,
        "width": width,
        "height": height,
        "model": stream.model,
        "planned": stream.planned,
        "shared": stream.shared,
        "original": None if stream.original is None else _data_url(stream.original, stream.metadata),
        "steps": [
            {
                "n": step.n,
                "size": step.size,
                "bpp": round(step.bits_per_pixel, 5),
                "psnr": None if step.psnr is None else round(step.psnr, 3),
                "exact": step.exact,
                "src": _data_url(step.image, stream.metadata),
            }
            for step in stream.steps
        ],
    }


def _data_url(picture: NDArray[np.uint8], metadata: Metadata) -> str:
    buffer = io.BytesIO()
    kind = "PNG" if metadata.has_grey_profile else "WEBP"  # which holds no profiles of grey
    held = held_by(kind, metadata, grey=metadata.has_grey_profile)
    options = {"lossless": True, "quality": 50, "method": 2, "exact": True} if kind == "WEBP" else {}
    shown = picture[..., 0] if metadata.has_grey_profile else picture
    Image.fromarray(shown).save(buffer, kind, **options, **saving(kind, replace(held, exif=None, xmp=None)))
    return f"data:image/{kind.lower()};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
