"""The README's pictures of the review app: `python -m tests.support.screenshots MODEL SCORES [FOLDER]`.

SCORES was made with `medres score --heatmaps` of phantoms with two views of a patient, such as a demo's test images.
Pictures go to `notebooks/images`: a case, both views, a measurement, and what is said when the server has ended.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from medres.review.server import default_store
from tests.conftest import ROOT
from tests.support.browsing import ARGUMENTS, CHROMIUM, served
from tests.support.connections import record

SIZE = {"width": 1440, "height": 900}
LOOKED_THROUGH = 30  # cases that are looked through for one with another view


def main() -> None:
    """Make every picture."""
    model, scores = map(Path, sys.argv[1:3])
    folder = Path(sys.argv[3]) if len(sys.argv) > 3 else ROOT / "notebooks" / "images"
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        record(Path(home) / "connections")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        page = browser.new_context(viewport=SIZE).new_page()
        page.set_default_timeout(300_000)
        with served(model, scores, default_store(Path(home)), Path(home) / "log") as address:
            page.goto(address)
            page.locator("tr[data-key] button").first.click()
            page.locator('.room[data-ready][data-checked="same"]').wait_for()
            page.get_by_label("Your name").fill("Dr. Reader")
            page.keyboard.press("Tab")
            _shoot(page, folder / "app.png")
            _measure(page)
            _shoot(page, folder / "app-measured.png")
            _views(page)
            _shoot(page, folder / "app-views.png")
        page.locator(".lost", has_text="does not answer").wait_for()
        _shoot(page, folder / "app-lost.png")
        browser.close()


def _shoot(page: Page, path: Path) -> None:
    page.mouse.move(5, 5)
    page.wait_for_timeout(800)
    page.screenshot(path=path)


def _measure(page: Page) -> None:
    """A ruler, a box around the finding, and the dial."""
    box = page.locator("canvas.plain").bounding_box()
    assert box is not None
    for key, (left, top), (right, bottom) in (("s", (0.3, 0.3), (0.7, 0.34)), ("k", (0.58, 0.35), (0.77, 0.52))):
        page.locator("canvas.plain").press(key)
        page.mouse.move(box["x"] + left * box["width"], box["y"] + top * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + right * box["width"], box["y"] + bottom * box["height"], steps=4)
        page.mouse.up()
    page.locator("summary").click()
    page.locator(".means").scroll_into_view_if_needed()


def _views(page: Page) -> None:
    """The first case whose patient has another image."""
    for _ in range(LOOKED_THROUGH):
        page.locator("canvas.plain").press("y")
        if page.locator("figure.view").count():
            break
        page.keyboard.press("n")
        page.locator(".room[data-ready]").wait_for()
    page.locator("figure.view canvas[data-shown]").first.wait_for()


if __name__ == "__main__":
    main()
