"""docs/architecture.md says which way a picture takes through the code; here it is followed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import ddpmcodec
from ddpmcodec.models import CodecModel
from tests.conftest import coloured_pictures

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def test_the_walk_is_the_one_that_the_page_describes(coloured_model: CodecModel):
    picture, passed = coloured_pictures(1)[0], set[str]()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT / "ddpmcodec"):
            passed.add(path.relative_to(ROOT / "ddpmcodec").with_suffix("").as_posix())

    assert all(
        hasattr(ddpmcodec, name) for name in ddpmcodec.__all__
    )  # imports all there is, which is no part of the walk
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        ddpmcodec.encode(picture, model=coloured_model, plan_steps=3, seed=77)
    finally:
        sys.setprofile(before)
    (walk,) = re.findall(r"^## From a picture to bytes\n(.*?)^With `lossless", PAGE, re.M | re.S)
    named = set(re.findall(r"`([a-z]+/[a-z0-9_]+)`", walk))
    kept = {
        "diffusion/plan",
        "diffusion/error_curve",
        "diffusion/spectrum",
        "diffusion/axes",
        "numerics/fixed_point",
    }  # cached
    assert passed <= named
    assert named - kept <= passed


def test_what_the_page_names_is_there():
    for name in re.findall(r"`([a-z]+/[a-z0-9_]*)`", PAGE):
        assert (ROOT / "ddpmcodec" / name).is_dir() or (ROOT / "ddpmcodec" / f"{name}.py").is_file(), name
