"""axe-core finds nothing to mend, whatever is shown and on whatever screen, in Streamlit's nodes either."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.support.accessibility import violations
from tests.support.browsing import Open, needs_chromium

pytestmark = needs_chromium
SCREENS = [(1280, 800), (1920, 1080), (1200, 1920), (390, 844)]


def judge(page: Page) -> None:
    page.wait_for_timeout(300)  # what fades in has its colours then
    assert violations(page) == []


def test_every_page_is_accessible(visit: Open, address: str) -> None:
    page = visit(address)
    page.locator("tr[data-key] button").first.wait_for()
    for width, height in (SCREENS[0], SCREENS[-1]):
        page.set_viewport_size({"width": width, "height": height})
        judge(page)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.get_by_text("Files not in this list").click()
    judge(page)
    page.get_by_role("button", name="About the model").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    judge(page)
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Readers compared").click()
    expect(page.get_by_role("heading", name="Readers compared")).to_be_visible()
    judge(page)


@pytest.mark.parametrize(("width", "height"), SCREENS)
def test_the_case_page_is_accessible_on_every_screen(visit: Open, address: str, width: int, height: int) -> None:
    page = visit(address, width=width, height=height)
    page.locator("tr[data-key] button").first.click()
    page.locator(".room[data-ready]").wait_for()
    page.locator("summary").first.click()
    page.get_by_role("button", name="Save", exact=True).click()  # which is told, as there is no verdict
    judge(page)
    if width > 1000:
        box = page.locator("canvas.plain").bounding_box()
        assert box is not None and box["width"] > 0.3 * width and box["height"] > 0.3 * height
    expect(page.get_by_text("Not for diagnostic use").first).to_be_in_viewport()
    if (width, height) == SCREENS[0]:
        page.get_by_role("button", name="Keys").click()
        judge(page)
        page.keyboard.press("Escape")
        page.evaluate("() => { window.fetch = async () => { throw new TypeError('as where the server ended'); }; }")
        expect(page.get_by_role("alert").filter(has_text="does not answer any more")).to_be_visible()
        judge(page)


def test_a_planted_fault_is_found(visit: Open, address: str) -> None:
    page = visit(address)
    page.locator("tr[data-key] button").first.click()
    page.locator(".room[data-ready]").wait_for()
    page.locator("canvas.plain").evaluate("(canvas) => canvas.removeAttribute('aria-label')")
    page.locator("select.method").evaluate("(select) => select.parentElement.replaceWith(select)")
    page.locator(".claim").evaluate("(claim) => { claim.textContent = 'pale'; claim.style.color = '#333'; }")
    assert {said.split(":")[0] for said in violations(page)} >= {"role-img-alt", "select-name", "color-contrast"}
