"""The viewer on large films: every stored value can be seen again, pixel for pixel, and measured."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from medres import read_radiograph
from medres.review.server import default_store
from tests.support.browsing import PATIENCE, Open, needs_chromium, served
from tests.support.dicom_files import radiograph, write
from tests.support.reviewing import score_folder_of

pytestmark = needs_chromium
ROWS, COLUMNS = 1200, 900


def film() -> np.ndarray:
    """12 bits, of which the header's window shows a quarter."""
    down, across = np.mgrid[:ROWS, :COLUMNS]
    return ((down * 7 + across * 3) % 4096).astype(np.uint16)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Iterator[tuple[str, Path]]:
    """The address of an app that reviews one large film, and the film."""
    home = tmp_path_factory.mktemp("film")
    dataset = radiograph(film())
    dataset.WindowCenter, dataset.WindowWidth = [1024, 2048], [1024, 4096]
    dataset.WindowCenterWidthExplanation = ["BONE", "ALL"]
    dataset.ImagerPixelSpacing = [0.2, 0.2]
    dataset.PatientOrientation = ["L", "F"]
    (home / "incoming").mkdir()
    write(home / "incoming" / "film.dcm", dataset)
    scores = score_folder_of(small_model, home / "incoming", home / "scored")
    with served(small_model, scores, default_store(scores), home / "server.log") as address:
        yield address, home / "incoming" / "film.dcm"


@pytest.fixture
def page(visit: Open, opened: tuple[str, Path]) -> Page:
    page = visit(opened[0])
    page.locator("tr[data-key] button").click()
    page.locator(".room[data-ready]").wait_for()
    page.wait_for_timeout(300)
    return page


def gray(page: Page) -> np.ndarray:
    page.wait_for_timeout(300)
    address = page.locator("canvas.plain").evaluate("canvas => canvas.toDataURL('image/png')")
    data = np.frombuffer(base64.b64decode(address.split(",")[1]), dtype=np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, 0]).astype(int)


def assert_shows(page: Page, film: np.ndarray) -> None:
    """At one to one the pane shows the film's middle, pixel by pixel; its left half holds no letter."""
    shown = gray(page)
    height, width = shown.shape
    part = shown[40 : height - 40, 40 : width // 2 - 40]
    top, left = (film.shape[0] - height) // 2 + 40, (film.shape[1] - width) // 2 + 40
    apart = [
        np.abs(film[row : row + part.shape[0], column : column + part.shape[1]] - part).max()
        for row in (top - 1, top, top + 1)
        for column in (left - 1, left, left + 1)
    ]
    assert min(apart) <= 1


def test_at_one_to_one_the_screen_shows_the_film_s_own_pixels(page: Page, opened: tuple[str, Path]) -> None:
    page.locator("canvas.plain").press("0")
    assert_shows(page, np.rint(255 * read_radiograph(opened[1]).pixels).astype(int))


def test_what_the_header_s_window_clipped_can_be_seen_in_another(page: Page) -> None:
    page.locator("canvas.plain").press("0")
    assert (gray(page) == 255).mean() > 0.3
    expect(page.locator("select.voi option")).to_have_text(
        ["Own window", "BONE", "ALL", "Full range", "Percentiles 0.5 to 99.5", "As the network sees it"]
    )
    page.locator("select.voi").select_option("ALL")
    assert_shows(page, np.floor(255 * np.clip((film() - 2047.5) / 4095 + 0.5, 0, 1) + 0.5))


def test_a_ruler_says_millimetres_and_which(page: Page) -> None:
    page.locator("canvas.plain").press("0")
    expect(page.locator(".spacing")).to_have_text(
        "Millimetres at the detector; the body lies magnified on it (ImagerPixelSpacing)."
    )
    page.get_by_role("button", name="Ruler").click()
    box = page.locator("canvas.plain").bounding_box()
    assert box is not None
    before = gray(page)
    page.mouse.move(box["x"] + 100, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.up()
    after = gray(page)
    changed = np.argwhere(np.abs(after - before) > 60)
    assert np.abs(changed[:, 0] - 200).max() < 40
    assert changed[:, 1].max() - 100 > 90
    page.locator("canvas.plain").press("Delete")
    assert np.array_equal(gray(page), before)


def test_a_turned_or_mirrored_image_says_so(page: Page) -> None:
    expect(page.locator(".changed")).to_have_text("")
    page.locator("canvas.plain").press("h")
    expect(page.locator(".changed")).to_have_text("Not as it was taken: mirrored.")
    page.locator("canvas.plain").press("r")
    expect(page.locator(".changed")).to_have_text("Not as it was taken: mirrored, turned by 90°.")
    page.locator("canvas.plain").press("Space")
    expect(page.locator(".changed")).to_have_text("")


def test_the_keys_are_told_when_asked_for(page: Page) -> None:
    page.locator("canvas.plain").press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    expect(page.get_by_text("flip left to right")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_a_film_without_a_smaller_copy_is_decoded_once(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/room/picture/" in request.url else None)
    page.reload()
    page.locator(".room[data-ready]").wait_for()
    page.wait_for_timeout(500)
    assert len(asked) == 1


def test_the_pictures_are_kept_on_no_disk(page: Page) -> None:
    with page.expect_response(lambda response: "/room/picture/" in response.url) as told:
        page.reload()
    headers = told.value.headers
    assert headers["cache-control"] == "no-store"
    assert headers["content-encoding"] == "identity"


def test_a_server_that_ended_is_told_within_seconds(
    opened: tuple[str, Path], small_model: Path, browser: Browser
) -> None:
    scores = opened[1].parents[1] / "scored"
    store = f"sqlite:///{(scores.parent / 'others.db').as_posix()}"
    with served(small_model, scores, store, scores.parent / "other.log") as address:
        page = browser.new_context().new_page()  # whose console says that nobody answers
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.locator("tr[data-key] button").click()
        page.locator(".room[data-ready]").wait_for()
    expect(page.locator(".lost")).to_contain_text("does not answer any more", timeout=4000)
    page.context.close()
