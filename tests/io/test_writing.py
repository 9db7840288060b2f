from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ddpmcodec.errors import DdpmCodecError, ImageError
from ddpmcodec.io.outputs import check_place
from ddpmcodec.io.writing import image_bytes, image_format, what_it_loses

KINDS = sorted(Image.registered_extensions())


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def test_a_suffix_is_exact_or_says_what_it_loses_or_is_refused():
    """Every suffix that Pillow knows, at sizes that rows of bytes and squares of icons don't fit."""
    kept, lost, refused = set(), set(), set()
    for suffix in KINDS:
        path = Path(f"x{suffix}")
        try:
            loses = what_it_loses(path)
        except ImageError:
            refused.add(suffix)
            continue
        (lost if loses else kept).add(suffix)
        if loses or suffix in (".eps", ".ps"):  # which Pillow reads by Ghostscript only
            continue
        for shape in ((40, 57), (1, 1), (3, 1), (1, 7)):
            picture = noise(*shape)
            with Image.open(io.BytesIO(image_bytes(picture, path))) as written:
                np.testing.assert_array_equal(np.asarray(written.convert("RGB")), picture, err_msg=suffix)
    assert kept >= {".png", ".tif", ".webp", ".jp2", ".j2k", ".bmp", ".ppm", ".qoi", ".tga"}
    assert lost >= {".jpg", ".jpeg", ".avif", ".gif", ".pdf"}
    assert refused >= {".ico", ".icns", ".pgm", ".pfm"}


@pytest.mark.parametrize("suffix", [".ico", ".icns", ".cur", ".pgm", ".xbm", ".psd", ".h5", ".txt"])
def test_what_can_t_hold_the_picture_is_refused_at_once(suffix: str):
    with pytest.raises(ImageError, match=r"use \.png"):
        image_format(Path("x" + suffix))


def test_a_codestream_s_suffix_gets_a_codestream():
    assert image_bytes(noise(8, 8), Path("x.j2k")).startswith(b"\xff\x4f")
    assert image_bytes(noise(8, 8), Path("x.jp2"))[4:8] == b"jP  "


def test_what_a_format_can_t_hold_is_refused_with_advice():
    with pytest.raises(ImageError, match=r"output a\.webp: Pillow can't write this picture as WEBP .*; use \.png"):
        image_bytes(np.zeros((1, 1 << 14, 3), np.uint8), Path("a.webp"))


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no terminals of this kind here")
def test_a_terminal_gets_no_bytes_of_a_picture():
    ours, theirs = os.openpty()
    reading, writing = os.pipe()
    try:
        for path in (os.ttyname(theirs), f"/dev/fd/{theirs}"):
            with pytest.raises(DdpmCodecError, match=f"can't write {path}: it is a terminal, and these are no letters"):
                check_place(path)
        check_place(f"/dev/fd/{writing}")
        check_place(os.devnull)
    finally:
        for handle in (ours, theirs, reading, writing):
            os.close(handle)
