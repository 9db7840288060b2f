"""The page that `view` makes: whole, self-contained, and true to the stream it shows."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.errors import DdpmCodecError, ImageError
from ddpmcodec.io.colorimetry import adobe_rgb, profile_for
from ddpmcodec.models import CodecModel
from ddpmcodec.page.page import page_of
from ddpmcodec.page.shown import psnr_of, shown_stream
from tests.cli.test_cli import assert_refused, run

STEPS = 6
MOST_BYTES = 200_000  # of a page beside its pictures


class Parsed(HTMLParser):
    """A page's elements, and the text of each script."""

    def __init__(self, page: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str | None, str] = {}
        self._script: str | bool | None = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._script = dict(attrs).get("id") if tag == "script" else False

    def handle_endtag(self, tag: str) -> None:
        self._script = False

    def handle_data(self, data: str) -> None:
        if self._script is not False:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data  # type: ignore[index]

    @property
    def streams(self) -> list[dict[str, Any]]:
        return list(json.loads(self.scripts["data"]))


def pixels(data_url: str) -> NDArray[np.uint8]:
    kind, _, data = data_url.partition(",")
    assert kind.startswith("data:image/")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


@pytest.fixture(scope="module")
def stream(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]) -> bytes:
    return ddpmcodec.encode(prior_picture, model=tiny_model, plan_steps=STEPS, lossless=True, steps=STEPS)


@pytest.fixture(scope="module")
def page(stream: bytes, tiny_model: CodecModel, prior_picture: NDArray[np.uint8]) -> str:
    return page_of([shown_stream(stream, "one.bin", original=prior_picture, model=tiny_model)], "one.bin").html


def test_every_step_is_there_with_its_picture_size_and_distortion(
    page: str, stream: bytes, tiny_model: CodecModel, prior_picture: NDArray[np.uint8]
):
    (shown,) = Parsed(page).streams
    assert [step["n"] for step in shown["steps"]] == list(range(1, STEPS + 2))
    np.testing.assert_array_equal(pixels(shown["original"]), prior_picture)
    for step in shown["steps"]:
        picture = ddpmcodec.decode(stream, step["n"], model=tiny_model)
        np.testing.assert_array_equal(pixels(step["src"]), picture)
        assert step["size"] == len(ddpmcodec.truncate(stream, steps=step["n"], model=tiny_model))
        assert step["bpp"] == pytest.approx(8 * step["size"] / (32 * 32), abs=1e-5)
        mse = np.mean((picture.astype(float) - prior_picture) ** 2)
        assert step["psnr"] == (None if step["exact"] else pytest.approx(10 * np.log10(255**2 / mse), abs=1e-3))
    assert [step["exact"] for step in shown["steps"]] == [False] * STEPS + [True]


def test_a_page_loads_nothing_and_is_small_beside_its_pictures(page: str):
    parsed = Parsed(page)
    for tag, attributes in parsed.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert not {"src", "href", "srcset", "data", "action"} & attributes.keys()
    assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg)|@import|url\(", page)
    (policy,) = [a["content"] for _, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert len(re.sub(r"data:image/[^\"]*", "", page).encode()) < MOST_BYTES


def test_what_is_on_a_page_has_a_name_for_a_screen_reader(page: str):
    parsed = Parsed(page)
    ids = [a["id"] for _, a in parsed.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert parsed.elements[0] == ("html", {"lang": "en"})
    labels = {a["for"] for tag, a in parsed.elements if tag == "label" and "for" in a}
    for tag, attributes in parsed.elements:
        if tag == "input" and attributes["type"] == "range":
            assert attributes["id"] in labels
        for reference in ("aria-describedby", "aria-labelledby"):
            assert attributes.get(reference) in (None, *ids)
        if tag in ("nav", "section") or attributes.get("role") == "group":
            assert attributes["aria-label"]
    assert any(a.get("aria-live") == "polite" for _, a in parsed.elements)
    script = files("ddpmcodec.page").joinpath("page.js").read_text("utf-8")
    assert set(re.findall(r'by\("([\w-]+)"\)', script)) <= set(ids)


def test_a_name_is_never_markup(stream: bytes, tiny_model: CodecModel):
    name = "</script><img src=x onerror=alert(1)>&amp;<!--"
    page = page_of([shown_stream(stream, name, model=tiny_model)], name)
    parsed = Parsed(page.html)
    assert [tag for tag, _ in parsed.elements].count("img") == 0
    assert parsed.streams[0]["name"] == name
    (frame,) = Parsed(page._repr_html_()).elements
    assert frame[0] == "iframe"
    assert frame[1]["srcdoc"] == page.html


def test_without_an_original_there_is_no_distortion_and_steps_may_be_left_out(stream: bytes, tiny_model: CodecModel):
    shown = shown_stream(stream, every=4, model=tiny_model)
    assert [step.n for step in shown.steps] == [1, 4, STEPS + 1]
    assert [step.psnr for step in shown.steps] == [None] * 3
    with pytest.raises(DdpmCodecError, match="at least 1"):
        shown_stream(stream, every=0, model=tiny_model)


def test_a_cut_file_shows_what_is_there(stream: bytes, tiny_model: CodecModel):
    cut = ddpmcodec.truncate(stream, steps=4, model=tiny_model)[:-3]
    with pytest.raises(ddpmcodec.TruncatedStreamError):
        shown_stream(cut, model=tiny_model)
    shown = shown_stream(cut, model=tiny_model, allow_partial=True)
    assert [step.n for step in shown.steps] == [1, 2, 3, 4][: len(shown.steps)]
    assert len(shown.steps) >= 3


def test_an_original_of_another_size_is_refused(stream: bytes, tiny_model: CodecModel):
    with pytest.raises(ImageError, match="8x16 and the stream's picture 32x32"):
        shown_stream(stream, original=np.zeros((16, 8, 3), np.uint8), model=tiny_model)
    assert psnr_of(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)) is None


def test_view_makes_a_gallery_of_streams_and_archives(tmp_path: Path, picture: NDArray[np.uint8]):
    turned = picture[::-1].copy()
    (tmp_path / "a.bin").write_bytes(ddpmcodec.encode(picture, plan_steps=2))
    (tmp_path / "b.ddpc").write_bytes(ddpmcodec.encode_archive([turned, picture], plan_steps=2))
    Image.fromarray(picture).save(tmp_path / "a.png")
    Image.fromarray(turned).save(tmp_path / "b.png")
    inputs = [tmp_path / "a.bin", tmp_path / "b.ddpc"]
    originals = [word for name in ("a", "b", "a") for word in ("--original", tmp_path / f"{name}.png")]
    done = run("view", *inputs, *originals, "-o", tmp_path / "page.html", "--title", "Mine & yours")
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "<title>Mine &amp; yours</title>" in text
    shown = Parsed(text).streams
    assert [one["name"] for one in shown] == ["a.bin", "b.ddpc #0", "b.ddpc #1"]
    np.testing.assert_array_equal(pixels(shown[1]["original"]), turned)
    few = run("view", *inputs, *originals[:2], "-o", tmp_path / "no.html")
    assert_refused(few, "1 originals for 3 pictures")
    assert_refused(run("view", inputs[0], "-o", inputs[0]), "one file")
    assert not (tmp_path / "no.html").exists()


def test_pictures_are_shown_in_their_own_colours(tiny_model: CodecModel, picture: NDArray[np.uint8]):
    declared = Image.fromarray(picture)
    declared.info["icc_profile"] = profile_for(adobe_rgb())
    data = ddpmcodec.encode(declared, model=tiny_model, plan_steps=STEPS, lossless=True)
    (shown,) = Parsed(ddpmcodec.view(data, original=declared, model=tiny_model).html).streams
    assert shown["steps"][-1]["exact"]
    assert shown["steps"][-1]["psnr"] is None  # against the values that were coded
    for url in (shown["original"], shown["steps"][0]["src"]):
        with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as found:
            assert found.info["icc_profile"] == declared.info["icc_profile"]
