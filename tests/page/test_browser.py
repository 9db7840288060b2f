"""The page in a real browser: what a hand does to it, and what is seen then. Needs playwright and Debian's chromium."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import ddpmcodec
from ddpmcodec.models import CodecModel
from ddpmcodec.page.page import page_of
from ddpmcodec.page.shown import shown_stream

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
STEPS = 6


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pictures(tiny_model: CodecModel, prior_picture: NDArray[np.uint8]) -> list[list[NDArray[np.uint8]]]:
    """Two streams' pictures, step by step."""
    return [[s.image for s in shown.steps] for shown in _shown(tiny_model, prior_picture)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, tiny_model: CodecModel, prior_picture: NDArray[np.uint8]) -> str:
    path: Path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page_of(_shown(tiny_model, prior_picture), "Two").html, "utf-8")
    return path.as_uri()


def _shown(model: CodecModel, picture: NDArray[np.uint8]) -> list[Any]:
    turned = picture[::-1].copy()
    one = ddpmcodec.encode(picture, model=model, plan_steps=STEPS)
    other = ddpmcodec.encode(turned, model=model, plan_steps=STEPS, steps=STEPS - 2)
    first = shown_stream(one, "one", original=picture, model=model)
    return [first, shown_stream(other, "other", model=model)]


@pytest.fixture
def page(browser: Any, address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page, opened; at the end nothing may have gone wrong in it, or been asked for outside."""
    context = browser.new_context(has_touch=True, **getattr(request, "param", {}))
    page, wrong = context.new_page(), list[str]()
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith(("file:", "data:")) else None)
    page.goto(address)
    painted(page, f"0 {STEPS} one")
    yield page
    context.close()
    assert wrong == []


def painted(page: Any, what: str) -> None:
    """Wait until stream, step and view are on the screen."""
    page.wait_for_function("what => (document.body.dataset.painted || '').startsWith(what + ' ')", arg=what)


def seen(page: Any, canvas: str = "canvas") -> NDArray[np.uint8]:
    url = page.evaluate("id => document.getElementById(id).toDataURL('image/png')", canvas)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))


def test_the_slider_goes_through_the_very_pictures_that_are_decoded(page: Any, pictures: list[list[NDArray[np.uint8]]]):
    slider = page.get_by_label("Step", exact=True)
    slider.focus()
    for n in range(STEPS, 0, -1):
        painted(page, f"0 {n} one")
        np.testing.assert_array_equal(seen(page), pictures[0][n - 1])
        assert slider.get_attribute("aria-valuetext").startswith(f"Step {n}: ")
        assert page.locator("#n").inner_text() == f"{n} of {STEPS}"
        page.keyboard.press("ArrowLeft")
    slider.fill("3")
    painted(page, "0 4 one")
    assert page.locator("#curve .grown").get_attribute("points").count(",") == 4


def test_views_are_of_this_step_and_the_original(
    page: Any, pictures: list[list[NDArray[np.uint8]]], prior_picture: NDArray[np.uint8]
):
    stage = page.locator("#stage")
    stage.focus()
    stage.press("Home")
    stage.press("2")
    painted(page, "0 1 beside")
    np.testing.assert_array_equal(seen(page, "reference"), prior_picture)
    page.get_by_label("Difference", exact=True).check()
    page.get_by_label("Differences").select_option("4")
    painted(page, "0 1 difference 4".removesuffix(" 4"))
    difference = np.minimum(4 * np.abs(pictures[0][0].astype(int) - prior_picture), 255)
    np.testing.assert_array_equal(seen(page), difference)
    assert not page.locator("#beside").is_visible()


def test_keys_and_fingers_move_it_and_what_is_shown_is_said(page: Any):
    page.keyboard.press("ArrowLeft")
    painted(page, f"0 {STEPS - 1} one")
    page.wait_for_function("n => document.getElementById('said').textContent.startsWith(`Step ${n}: `)", arg=STEPS - 1)
    page.keyboard.press("Home")
    painted(page, "0 1 one")
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 20 + box["width"] / 2, box["y"] + 20, steps=4)
    page.mouse.up()
    page.wait_for_function("() => Number(document.body.dataset.painted.split(' ')[1]) > 3")
    page.keyboard.press("Home")
    page.get_by_role("button", name="Play").tap()
    painted(page, f"0 {STEPS} one")
    assert page.get_by_role("button", name="Play").get_attribute("aria-pressed") == "false"


def test_a_gallery_s_other_picture_and_its_curve_of_bytes(page: Any, pictures: list[list[NDArray[np.uint8]]]):
    page.get_by_role("button", name="other").click()
    painted(page, f"1 {STEPS - 2} one")
    np.testing.assert_array_equal(seen(page), pictures[1][-1])
    assert page.get_by_role("button", name="other").get_attribute("aria-current") == "true"
    assert "Bytes after each step" in page.locator("#graph").inner_text()
    page.locator("summary").click()
    assert page.locator("#table tr").count() == STEPS - 2 + 1
    box = page.locator("#curve").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.12, box["y"] + box["height"] / 2)
    painted(page, "1 1 one")


@pytest.mark.parametrize(
    ("page", "dark"), [({"color_scheme": "dark"}, True), ({"color_scheme": "light"}, False)], indirect=["page"]
)
def test_it_is_dark_where_the_reader_wants_it(page: Any, dark: bool):
    colours = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    ground, ink = (sum(map(int, colour[4:-1].split(","))) for colour in colours)
    assert (ground < ink) == dark


@pytest.mark.parametrize("page", [{"viewport": {"width": 320, "height": 640}}], indirect=True)
def test_nothing_is_wider_than_a_small_phone(page: Any):
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


@pytest.mark.parametrize("page", [{"viewport": {"width": 320, "height": 640}}], indirect=True)
def test_a_long_row_of_pictures_says_how_long_and_follows_the_chosen_one(
    page: Any, tmp_path: Path, tiny_model: CodecModel, prior_picture: NDArray[np.uint8]
):
    one = _shown(tiny_model, prior_picture)[1]
    many = tmp_path / "many.html"
    many.write_text(page_of([replace(one, name=f"picture {i}") for i in range(8)], "Many").html, "utf-8")
    page.goto(many.as_uri())
    row = page.get_by_role("navigation")
    assert row.get_attribute("aria-label") == "8 pictures, in a row that scrolls sideways"
    assert page.locator("#about").inner_text().startswith("Picture 1 of 8, picture 0: ")
    page.locator("#stage").focus()
    for _ in range(7):
        page.keyboard.press("PageDown")
    page.wait_for_function("() => document.querySelector('#about').textContent.startsWith('Picture 8 of 8, ')")
    last, whole = page.get_by_role("button", name="picture 7").bounding_box(), row.bounding_box()
    assert whole["x"] <= last["x"]
    assert last["x"] + last["width"] <= whole["x"] + whole["width"] + 1
    page.screenshot(path=str(tmp_path / "many.png"))
