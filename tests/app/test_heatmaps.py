"""What a clinician sees of heatmaps: their licence, a contour, other methods, and nothing of what has failed."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Page, expect

from medres.review.cases import Case, Worklist
from tests.support.browsing import Open, needs_chromium, served
from tests.support.licences import REASONS, licensed
from tests.support.reviewing import score_incoming

pytestmark = needs_chromium
LABEL = "disc"


def _store(folder: Path) -> str:
    return f"sqlite:///{(folder / 'verdicts.db').as_posix()}"


def _canvas(page: Page, name: str) -> np.ndarray:
    """What a canvas shows, (rows, columns, 3)."""
    page.wait_for_timeout(300)  # two frames of the screen
    address = page.locator(f"canvas.{name}").evaluate("canvas => canvas.toDataURL('image/png')")
    data = np.frombuffer(base64.b64decode(address.split(",")[1]), dtype=np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)).astype(int)


def _differs(page: Page) -> bool:
    return not np.array_equal(_canvas(page, "overlay"), _canvas(page, "plain"))


def _opened(visit: Open, address: str, case: Case) -> Page:
    page = visit(f"{address}&case={case.key}")
    page.locator(f'.room[data-ready^="{case.key}"][data-checked="same"]').wait_for()
    return page


def _choose(page: Page, method: str) -> None:
    page.get_by_role("combobox", name="Heatmap").select_option(method)
    page.locator(f'.room[data-method="{method}"]').wait_for()
    expect(page.get_by_text("Computing the heatmap …")).to_be_hidden()


def test_a_label_whose_heatmaps_have_failed_has_words_and_no_map(
    visit: Open, small_model: Path, scores: Path, worklist: Worklist, tmp_path: Path
) -> None:
    model = licensed(small_model, tmp_path / "model", {LABEL: "failed"})
    with served(model, scores, _store(tmp_path), tmp_path / "server.log") as address:
        page = _opened(visit, address, worklist.sorted_by(LABEL)[0])
        said = f"No heatmap of “{LABEL}” is shown: heatmap failed: {REASONS['failed']}."
        expect(page.locator(".withheld p")).to_have_text(said)
        expect(page.get_by_role("button", name="Show it anyway")).to_be_hidden()
        expect(page.locator(".legend")).to_be_hidden()
        expect(page.locator(".licence")).to_have_text(f"Heatmap failed: {REASONS['failed']}.")
        expect(page.locator("input.opacity")).to_be_disabled()
        assert not _differs(page)
        _choose(page, "Grad-CAM")
        expect(page.locator(".withheld p")).to_have_text(said)
        assert not _differs(page)
        page.close()


def test_a_heatmap_says_its_licence_and_has_a_contour(visit: Open, address: str, worklist: Worklist) -> None:
    page = _opened(visit, address, worklist.sorted_by(LABEL)[0])
    expect(page.locator(".licence")).to_contain_text("Heatmap not validated: nobody has measured")
    expect(page.locator("figcaption .state")).to_have_text("· heatmap not validated")  # seen without scrolling
    scale = worklist.model.heatmap_scale(LABEL)
    expect(page.locator(".legend .full")).to_have_text(f"full colour: {scale:.1f} logits, on every image")
    expect(page.locator(".legend .contour-place")).to_have_text(f"contour: {scale / 2:.1f} logits")
    lined = _canvas(page, "overlay")
    page.get_by_text("Contour", exact=True).click()
    plain = _canvas(page, "overlay")
    assert np.abs(lined - plain).max() > 60
    assert 0 < (np.abs(lined - plain).max(axis=2) > 20).mean() < 0.1  # a line, not an area
    page.locator("canvas.overlay").focus()
    page.keyboard.press("c")
    assert np.array_equal(_canvas(page, "overlay"), lined)


def test_another_method_is_computed_for_the_case_and_says_what_it_lacks(
    visit: Open, address: str, worklist: Worklist
) -> None:
    page = _opened(visit, address, worklist.sorted_by(LABEL)[0])
    own = _canvas(page, "overlay")
    _choose(page, "EigenCAM")
    expect(page.locator(".legend .full")).to_have_text("full colour: no unit, this image's own scale")
    expect(page.locator(".licence")).to_contain_text("Heatmap not validated")
    assert not np.array_equal(_canvas(page, "overlay"), own)
    page.get_by_role("button", name="Next", exact=True).click()
    page.locator(f'.room[data-ready^="{worklist.sorted_by(LABEL)[1].key}"][data-method="EigenCAM"]').wait_for()
    page.locator('.room[data-checked="same"]').wait_for()  # the choice stays
    _choose(page, "Class-activation map")
    expect(page.locator(".legend .full")).to_contain_text("logits")


def test_where_the_networks_disagree_stands_beside_their_mean(visit: Open, small_run: Path, tmp_path: Path) -> None:
    scores = score_incoming(small_run, tmp_path)
    case = Worklist.open(scores, small_run).sorted_by(LABEL)[0]
    with served(small_run, scores, _store(tmp_path), tmp_path / "server.log") as address:
        page = _opened(visit, address, case)
        mean = _canvas(page, "overlay")
        page.get_by_text("Where they disagree").click()
        expect(page.locator("figcaption .title")).to_have_text(f"Where the networks disagree about “{LABEL}”")
        assert not np.array_equal(_canvas(page, "overlay"), mean)
        page.get_by_text("Their mean").click()
        expect(page.locator("figcaption .title")).to_have_text(f"Where the score of “{LABEL}” comes from")
        page.close()
