"""What the tests of the review app share: a scored folder, a server, a browser that lets no fault of a page pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from medres import Classifier
from medres.review.cases import Worklist
from medres.review.server import default_store
from tests.support.browsing import ARGUMENTS, BANNER, CHROMIUM, PATIENCE, Open, leaves, served
from tests.support.reviewing import score_incoming

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def scores(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Path:
    return score_incoming(small_model, tmp_path_factory.mktemp("app"))


@pytest.fixture(scope="session")
def worklist(scores: Path, small_model: Path) -> Worklist:
    return Worklist.open(scores, small_model)


@pytest.fixture(scope="session")
def classifier(small_model: Path) -> Classifier:
    return Classifier.load(small_model, device="cpu")


@pytest.fixture(scope="session")
def address(scores: Path, small_model: Path) -> Iterator[str]:
    """The address that `medres app` printed, with its key."""
    with served(small_model, scores, default_store(scores), scores.parent / "server.log") as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Opens pages; at the end nothing may have gone wrong in them, and nothing may have left this machine."""
    problems: list[str] = []
    contexts = []

    def open_page(url: str, *, width: int = 1440, height: int = 900) -> Page:
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(request.url) if leaves(request) else None)
        page.goto(url)
        expect(page.get_by_text(BANNER).first).to_be_visible(timeout=PATIENCE)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []
