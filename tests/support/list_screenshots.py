"""The pictures of the review app in the README: `python -m tests.support.list_screenshots DEMO notebooks/images`.

DEMO is what `medres demo` wrote; three invented readers judge its images in a store of their own.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Page, sync_playwright

from medres.review.store import ReviewStore, Verdict
from medres.review.verdicts.backup import url_of
from medres.review.verdicts.scored import read_scored
from tests.support.browsing import ARGUMENTS, CHROMIUM, read_as, served
from tests.support.connections import record

_READERS = (("Dr. Abel", 0.95, 0.7), ("Dr. Benn", 0.85, 0.9), ("Dr. Chen", 0.75, 1.0))
"""Name, how often they agree with the model, and of how many images they say something."""


def invent(scores: Path, store: str) -> None:
    """Verdicts of three readers, the same at every run."""
    scored, drawn = read_scored(scores), random.Random(0)
    with ReviewStore.open(store) as opened:
        for name, agrees, reads in _READERS:
            for image, said in scored.images.items():
                for label in scored.labels:
                    if drawn.random() < reads:
                        chance = drawn.random()
                        opinion = "agree" if chance < agrees else "unsure" if chance > 0.98 else "disagree"
                        verdict = Verdict(image, scored.model_id, label, opinion, name, called=said.called[label])
                        opened.save(verdict, expected_revision=0)


def _worklist(page: Page, address: str) -> None:
    page.goto(address)
    page.locator(".worklist[data-ready]").wait_for()
    read_as(page, "Dr. Abel")
    page.locator(".verdict", has_text="Agree").first.wait_for()
    page.mouse.move(5, 5)
    page.evaluate("document.activeElement?.blur()")
    page.wait_for_timeout(500)


def main() -> None:
    """Take them."""
    demo, out = map(Path, sys.argv[1:3])
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        record(Path(folder) / "connections")
        store = url_of(Path(folder) / "reviews.db")
        invent(demo / "scored", store)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        with served(demo / "run", demo / "scored", store, Path(folder) / "log") as address:
            _worklist(page, address)
            page.screenshot(path=out / "worklist.png")
            page.get_by_role("button", name="Readers compared").click()
            page.locator("table.agreement").last.wait_for()
            page.wait_for_timeout(500)
            page.screenshot(path=out / "agreement.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
