"""What a reader can say in a case's form, and that no crash, no second tab and no other reader takes or shows it."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, Playwright, Route, expect, sync_playwright

from medres.review.server import default_store
from medres.review.store import ReviewStore, Verdict
from medres.review.verdicts.scored import read_scored
from tests.conftest import Medres
from tests.support.accessibility import violations
from tests.support.browsing import ARGUMENTS, CHROMIUM, PATIENCE, needs_chromium, read_as, served
from tests.support.reviewing import score_grades

pytestmark = needs_chromium
UNHEARD = "unheard-of"
"""A word that only Dr. Hidden has said, of every image."""


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model of a finding and of grades, and its scores; Dr. Hidden has said something of each label of each image."""
    model, scores = score_grades(tmp_path_factory.mktemp("form"))
    scored = read_scored(scores)
    with ReviewStore.open(default_store(scores)) as store:
        for image in scored.images:
            for label in scored.labels:
                said = Verdict(
                    image, scored.model_id, label, "disagree", "Dr. Hidden", UNHEARD, corrected_label=UNHEARD
                )
                store.save(said, expected_revision=0)
    return model, scores


@contextmanager
def _crashing(playwright: Playwright, folder: Path) -> Iterator[Page]:
    """A page of a browser that is killed at the end, with no time to keep anything."""
    context = playwright.chromium.launch_persistent_context(folder, executable_path=CHROMIUM, args=ARGUMENTS)
    page = context.pages[0]
    page.set_default_timeout(PATIENCE)
    yield page
    mine = [
        one for one in psutil.process_iter(["cmdline"]) if f"--user-data-dir={folder}" in (one.info["cmdline"] or ())
    ]
    assert mine
    for process in mine:
        os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs(mine, timeout=30)


def _ready(page: Page) -> None:
    page.locator(".room[data-ready]").wait_for()


def _kept(page: Page) -> None:
    page.locator('.room[data-draft="kept"]').wait_for()


def _open_first(page: Page, finding: str) -> str:
    """A label of the first case of the worklist; its address."""
    page.locator("tr[data-key] button").first.click()
    _ready(page)
    page.locator("select.label").select_option(finding)
    return page.url


def test_all_that_can_be_said_survives_a_crash_and_a_restart_is_saved_shown_and_exported(
    graded: tuple[Path, Path], tmp_path: Path, medres: Medres
) -> None:
    model, scores = graded
    with sync_playwright() as playwright:
        with (
            served(model, scores, default_store(scores), tmp_path / "log") as address,
            _crashing(playwright, tmp_path / "browser") as page,
        ):
            page.goto(address)
            _open_first(page, "kl_ge_2")
            page.get_by_label("Comment").fill("osteophytes")
            expect(page.locator(".unkept")).to_contain_text("once you have said who you are")
            page.get_by_label("Your name").fill("Dr. Crash")
            page.get_by_label("Your name").press("Enter")
            expect(page.get_by_text("Reading as Dr. Crash")).to_be_visible()
            page.locator("canvas.plain").focus()
            page.keyboard.press("u")
            page.get_by_role("radio", name="2", exact=True).check()  # a grade in place of a word on the model's call
            expect(page.get_by_role("radio", name="Unsure")).not_to_be_checked()
            page.keyboard.press("j")
            page.keyboard.press("ArrowLeft")  # from the first of three to the last
            _kept(page)
            where = page.url.partition("?")[2]
            assert "reader=" in where
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        with served(model, scores, default_store(scores), tmp_path / "log") as address:
            page = browser.new_page()
            page.set_default_timeout(PATIENCE)
            page.goto(f"{address}&{where}")
            _ready(page)
            page.locator("select.label").select_option("kl_ge_2")
            expect(page.get_by_label("Comment")).to_have_value("osteophytes")
            expect(page.get_by_role("radio", name="2", exact=True)).to_be_checked()
            _say_the_rest(page)
            browser.close()
    _look_at_the_table(scores, tmp_path, medres)


def _say_the_rest(page: Page) -> None:
    """By keyboard: the grade is saved; the next case is disagreed with, and the one after it skipped."""
    page.locator("canvas.plain").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".before")).to_contain_text("Saved: Grade 2.")
    page.keyboard.press("p")
    expect(page.locator(".history")).to_contain_text("Grade 2")
    expect(page.locator(".history .details")).to_have_text(["confidence high", f"instead: {UNHEARD}"])
    page.keyboard.press("n")
    page.keyboard.press("d")
    page.get_by_label("Instead").fill("fracture")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    if page.locator(".helpfulness").is_hidden():  # the heatmap was not before anybody's eyes
        page.get_by_role("button", name="Show it anyway").click()
    page.get_by_role("radio", name="Misled").check()
    page.keyboard.press("Enter")
    expect(page.locator(".before")).to_contain_text("Saved: ✗ Disagree.")
    _ready(page)
    page.keyboard.press("/")
    page.keyboard.press("Enter")
    expect(page.locator(".told")).to_have_text("Choose why you skip it. Nothing was saved.")
    page.keyboard.press("Space")
    assert violations(page) == []
    page.keyboard.press("Enter")
    expect(page.locator(".before")).to_contain_text("Saved: – Skipped: not readable.")
    page.keyboard.press("p")
    expect(page.locator(".history li")).to_have_count(1)  # whoever skips does not see what others said
    expect(page.locator(".past")).to_contain_text("1 verdict of others is shown once yours is saved.")


def _look_at_the_table(scores: Path, tmp_path: Path, medres: Medres) -> None:
    done = medres("verdicts", "export", "--scores", scores, "--out", tmp_path / "verdicts")
    assert done.returncode == 0, done.stderr[-3000:]
    with (tmp_path / "verdicts" / "verdicts.csv").open(encoding="utf-8", newline="") as file:
        graded, disagreed, skipped = (row for row in csv.DictReader(file) if row["reviewer"] == "Dr. Crash")
    assert (graded["verdict"], graded["grade"], graded["confidence"], graded["answer"]) == ("own", "2", "75", "1")
    assert graded["comment"] == "osteophytes"
    assert (disagreed["corrected_label"], disagreed["heatmap"], disagreed["heatmap_shown"]) == (
        "fracture",
        "misled",
        "1",
    )
    assert (skipped["verdict"], skipped["skip_reason"], skipped["answer"]) == ("skipped", "not readable", "")


def test_no_byte_that_reaches_a_reader_holds_anothers_word_before_their_own_and_two_tabs_lose_none(
    graded: tuple[Path, Path], tmp_path: Path
) -> None:
    model, scores = graded
    with sync_playwright() as playwright, served(model, scores, default_store(scores), tmp_path / "log") as address:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        received = _received(page)
        page.goto(address)
        page.locator(".worklist[data-ready]").wait_for()
        read_as(page, "Dr. New")
        page.get_by_role("button", name="Readers compared").click()
        expect(page.get_by_text("Only images that you have judged count here")).to_be_visible()
        page.get_by_role("button", name="Worklist").click()
        where = _open_first(page, "disc")
        page.keyboard.press("n")
        _ready(page)
        page.keyboard.press("p")
        expect(page.locator(".past")).to_contain_text("1 verdict of others is shown once yours is saved.")
        told = b"".join(received)
        assert len(told) > 10_000 and UNHEARD.encode() not in told
        assert b'"others":[["Dr. Hidden"' not in told.replace(b" ", b"")
        _write_in_two_tabs(page, context.new_page(), where)
        assert UNHEARD.encode() in b"".join(received)  # once there is a word of one's own
        _read_as_another(page)
        page.unroute_all(behavior="ignoreErrors")
        browser.close()


def _received(page: Page) -> list[bytes]:
    """What the server says from now on, over HTTP and over the WebSocket."""
    received: list[bytes] = []

    def answered(route: Route) -> None:
        response = route.fetch()
        received.append(response.body())
        route.fulfill(response=response)

    page.route("**/room/case/**", answered)
    page.route("**/list/**", answered)
    page.on(
        "websocket",
        lambda socket: socket.on(
            "framereceived", lambda told: received.append(told if isinstance(told, bytes) else told.encode())
        ),
    )
    return received


def _write_in_two_tabs(first: Page, second: Page, where: str) -> None:
    second.set_default_timeout(PATIENCE)
    second.goto(where)
    _ready(second)
    first.get_by_label("Comment").fill("from one tab")
    _kept(first)
    second.get_by_label("Comment").fill("from another")
    expect(second.locator(".told")).to_contain_text("You had begun this in another tab as well")
    expect(second.get_by_label("Comment")).to_have_value("from one tab\nfrom another")
    second.get_by_role("radio", name="Unsure").check()
    second.get_by_role("button", name="Save", exact=True).click()
    expect(second.locator(".told")).to_have_text("Saved: ? Unsure.")
    second.close()
    first.get_by_role("radio", name="Agree").first.check()
    first.get_by_role("button", name="Save", exact=True).click()
    expect(first.locator(".told")).to_contain_text("Dr. New has saved a verdict since this page was opened")
    expect(first.get_by_label("Comment")).to_have_value("from one tab")
    expect(first.locator(".history li")).to_have_count(2)  # the other tab's, and now Dr. Hidden's


def _read_as_another(page: Page) -> None:
    """Somebody else sits down at the same page: nothing of the one before is shown, and the address says who reads."""
    before = page.url
    page.get_by_role("button", name="Change").click()
    names = page.locator(".known-readers option").evaluate_all("options => options.map(({ value }) => value)")
    assert {"Dr. Hidden", "Dr. New"} <= set(names)
    page.get_by_label("Your name").fill("Dr. Fresh")
    page.get_by_label("Your name").press("Enter")
    expect(page.get_by_text("Reading as Dr. Fresh")).to_be_visible()
    _ready(page)
    expect(page.get_by_label("Comment")).to_have_value("")
    expect(page.locator(".history li")).to_have_count(0)
    expect(page.locator(".past")).to_contain_text("2 verdicts of others are shown once yours is saved.")
    assert page.url != before and "reader=" in page.url
    page.reload()
    _ready(page)
    expect(page.get_by_text("Reading as Dr. Fresh")).to_be_visible()
    page.get_by_role("button", name="Change").click()
    page.get_by_label("Your name").fill("dr. new")  # a listed name, however it is typed
    page.get_by_label("Your name").press("Enter")
    expect(page.get_by_text("Reading as Dr. New")).to_be_visible()
    expect(page.get_by_label("Comment")).to_have_value("from one tab")
    assert page.url == before
