"""The review app as a clinician meets it: a real server, a real Chromium, what is seen on the canvas."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
from playwright.sync_api import Locator, Page, expect

from medres import Classifier, read_radiograph
from medres.review.cases import Case, Worklist
from medres.review.server import default_store
from medres.review.store import ReviewStore, Verdict
from tests.support.browsing import BANNER, MEDRES, Open, needs_chromium, parts, read_as, served
from tests.support.reviewing import NAME, SCRIPT, score_incoming, score_shared_uid, score_three_labels

pytestmark = needs_chromium
LABEL = "disc"


def test_the_app_says_its_address_and_shows_nothing_but_the_review(
    small_model: Path, scores: Path, tmp_path: Path, visit: Open
) -> None:
    """On a machine of a developer, whom Streamlit would offer its tools, over the score of a patient."""
    (tmp_path / ".cursor").mkdir()
    command = [MEDRES, "app", "--model", str(small_model), "--scores", str(scores)]
    changed = {"HOME": str(tmp_path), "BROWSER": "true", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **changed}) as running:
        try:
            assert running.stdout is not None
            said = running.stdout.readline()
            address = said.split()[2]
            assert said == f"review app: {address} (Ctrl-C ends it)\n"
            assert parts(address).start == address
            page = visit(address)
            expect(page.get_by_text("Worklist", exact=True)).to_be_visible()
            page.wait_for_timeout(3000)  # an advertisement would come a moment later
            expect(page.get_by_text("Install")).to_have_count(0)
            page.context.close()  # before the server ends: a page without one complains on its console
        finally:
            running.terminate()


def _first(worklist: Worklist, *, positive: bool) -> Case:
    return next(case for case in worklist.sorted_by(LABEL) if case.positive[LABEL] == positive)


def _open_case(page: Page, case: Case) -> None:
    page.locator(f'tr[data-key="{case.key}"] button').click()
    _until_shown(page, case)


def _until_shown(page: Page, case: Case) -> None:
    page.locator(f'.room[data-ready^="{case.key}"]').wait_for()
    page.wait_for_timeout(300)  # two frames of the screen


def _canvas(page: Page, name: str) -> np.ndarray:
    """What a canvas shows, (rows, columns, 3), RGB."""
    address = page.locator(f"canvas.{name}").evaluate("canvas => canvas.toDataURL('image/png')")
    data = np.frombuffer(base64.b64decode(address.split(",")[1]), dtype=np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1]).astype(int)


def _slide(page: Page, name: str, value: int) -> None:
    page.locator(f"input.{name}").fill(str(value))
    page.wait_for_timeout(300)


def _save(page: Page, opinion: str, *, name: str, comment: str = "") -> None:
    page.get_by_role("radio", name=opinion).first.click()
    if comment:
        page.get_by_label("Comment").fill(comment)
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Save", exact=True).click()


def _rows(page: Page) -> Locator:
    page.locator("tr[data-key]").first.wait_for()
    return page.locator("tr[data-key]")


def test_from_worklist_to_verdict_and_back_after_a_restart(
    visit: Open, small_model: Path, scores: Path, worklist: Worklist, tmp_path: Path
) -> None:
    case = _first(worklist, positive=True)
    store = f"sqlite:///{(tmp_path / 'verdicts.db').as_posix()}"
    with served(small_model, scores, store, tmp_path / "first.log") as address:
        page = visit(address)
        rows = _rows(page)
        keys = [rows.nth(number).get_attribute("data-key") for number in range(rows.count())]
        assert keys == [item.key for item in worklist.sorted_by(LABEL)]
        _open_case(page, case)
        expect(page.get_by_text(BANNER).first).to_be_visible()
        page.locator('.room[data-checked="same"]').wait_for()
        before = _canvas(page, "overlay")
        assert np.abs(before - _canvas(page, "plain")).max() > 20  # the heatmap is over it
        _slide(page, "opacity", 20)
        fainter = _canvas(page, "overlay")
        assert np.abs(fainter - before).max() > 10
        _save(page, "Disagree", name="Dr. Reader", comment="rib, not a disc")
        expect(page.get_by_text("Saved: ✗ Disagree.")).to_be_visible()
        expect(page.get_by_text("rib, not a disc").first).to_be_visible()
        page.close()
    with served(small_model, scores, store, tmp_path / "second.log") as address:
        page = visit(address)
        row = page.locator(f'tr[data-key="{case.key}"]')
        expect(row).to_contain_text("1 other reader")  # nobody has said yet who reads
        read_as(page, "dr. reader")
        expect(row).to_contain_text("✗ Disagree")
        _open_case(page, case)
        expect(page.locator(".history")).to_contain_text("rib, not a disc")
        page.close()


def test_the_canvas_shows_the_pixels_that_the_network_saw(visit: Open, address: str, worklist: Worklist) -> None:
    case = _first(worklist, positive=True)
    page = visit(address)
    _open_case(page, case)
    expected = np.rint(255 * read_radiograph(worklist.folders[0].root / case.path).pixels).astype(int)
    shown = _canvas(page, "plain")
    assert np.array_equal(shown[:, :, 0], shown[:, :, 1]) and np.array_equal(shown[:, :, 0], shown[:, :, 2])
    assert np.abs(_sampled(shown[:, :, 0], expected.shape) - expected).max() <= 1


def test_the_heatmap_lies_where_the_model_says(
    visit: Open, address: str, worklist: Worklist, classifier: Classifier
) -> None:
    case = _first(worklist, positive=True)
    radiograph = read_radiograph(worklist.folders[0].root / case.path)
    heatmap = classifier.explain(radiograph, label=LABEL).heatmap
    page = visit(address)
    _open_case(page, case)
    page.locator('.room[data-checked="same"]').wait_for()  # the scores keep no maps
    _slide(page, "opacity", 100)
    plain, overlay = (_sampled(_canvas(page, name).sum(axis=2), heatmap.shape) for name in ("plain", "overlay"))
    strength = np.clip(heatmap / worklist.model.heatmap_scale(LABEL), 0, 1)
    assert np.abs(overlay - plain)[strength < 0.004].max(initial=0) <= 12
    assert np.abs(overlay - plain)[strength > 0.5].mean() > 30


def test_below_the_operating_point_the_heatmap_is_shown_only_when_asked_for(
    visit: Open, address: str, worklist: Worklist
) -> None:
    page = visit(address)
    _open_case(page, _first(worklist, positive=False))
    expect(page.get_by_text("is below its operating point, so no heatmap is drawn")).to_be_visible()
    expect(page.locator(".score .where")).to_have_text("▽ below the operating point")
    assert np.array_equal(_canvas(page, "overlay"), _canvas(page, "plain"))
    page.get_by_role("button", name="Show it anyway").click()
    page.wait_for_timeout(300)
    expect(page.get_by_text("so no heatmap is drawn")).to_be_hidden()
    expect(page.locator("input.opacity")).to_be_enabled()


def _seen(page: Page, *, keys: str = "") -> np.ndarray:
    """The gray of the plain pane, after these keys were pressed on it."""
    for key in keys.split():
        page.locator("canvas.plain").press(key)
    page.wait_for_timeout(300)
    return _canvas(page, "plain")[:, :, 0]


def test_windowing_happens_in_the_browser(visit: Open, address: str, worklist: Worklist) -> None:
    page = visit(address)
    _open_case(page, _first(worklist, positive=True))
    page.wait_for_timeout(1000)
    requests: list[str] = []
    page.locator('.room[data-checked="same"]').wait_for()
    asked = f"{parts(address).path}room/"  # is the server still there, and what lies beside this case?
    page.on("request", lambda request: None if asked in request.url else requests.append(request.url))
    before = _seen(page)
    brighter = _seen(page, keys="ArrowUp " * 10)
    harder = _seen(page, keys="Space " + "ArrowLeft " * 12)
    page.get_by_text("Inverted").click()
    inverted = _seen(page)
    page.get_by_role("button", name="As it was opened").click()
    assert np.array_equal(_seen(page), before)
    assert brighter.mean() > before.mean() + 10
    assert np.abs(harder - before).mean() > 2
    drawn = _sampled(harder, (96, 80))
    assert np.abs(_sampled(inverted, (96, 80)) + drawn - 255).max() <= 1
    assert requests == []
    assert page.url.endswith(f"case={_first(worklist, positive=True).key}")


def test_the_image_can_be_windowed_dragged_and_zoomed_by_mouse_and_keyboard(
    visit: Open, address: str, worklist: Worklist
) -> None:
    page = visit(address)
    _open_case(page, _first(worklist, positive=True))
    pane = page.locator("canvas.plain")

    def numbers() -> tuple[float, float, float]:
        page.wait_for_timeout(200)
        zoom = float(page.locator(".zoom-value").inner_text().removesuffix("%"))
        return *(float(page.locator(f"input.{name}").input_value()) for name in ("width", "center")), zoom

    width, centre, zoom = numbers()
    _seen(page, keys="ArrowLeft ArrowUp +")
    changed = numbers()
    assert changed[0] < width and changed[1] < centre
    assert changed[2] == pytest.approx(1.25 * zoom, rel=0.02)
    _seen(page, keys="Space")
    assert numbers() == (width, centre, zoom)
    box = pane.bounding_box()
    assert box is not None
    pane.hover(position={"x": 100, "y": 100})
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 130)
    page.mouse.up()
    wider = numbers()
    assert wider[0] > width and wider[1] > centre  # as in Cornerstone: right widens, down raises the level
    pane.hover(position={"x": 120, "y": 120})
    page.mouse.wheel(0, -400)
    assert numbers()[2] > 2 * zoom
    before = _seen(page)
    page.get_by_role("button", name="Move").click()
    pane.hover(position={"x": 200, "y": 200})
    page.mouse.down()
    page.mouse.move(box["x"] + 240, box["y"] + 230)
    page.mouse.up()
    assert numbers()[:2] == wider[:2]
    assert not np.array_equal(_seen(page), before)


def test_of_two_tabs_of_one_reader_the_second_is_told_and_keeps_the_text(
    visit: Open, address: str, worklist: Worklist
) -> None:
    case = worklist.sorted_by(LABEL)[2]
    first, second = visit(f"{address}&case={case.key}"), visit(f"{address}&case={case.key}")
    for page in (first, second):
        _until_shown(page, case)
    _save(first, "Agree", name="Dr. First")
    expect(first.get_by_text("Saved: ✓ Agree.")).to_be_visible()
    _save(second, "Unsure", name="Dr. First", comment="too faint to say")
    expect(second.get_by_text("Dr. First has saved a verdict since this page was opened")).to_be_visible()
    expect(second.locator(".history")).to_contain_text("Dr. First")
    expect(second.get_by_label("Comment")).to_have_value("too faint to say")
    second.get_by_role("button", name="Save", exact=True).click()
    expect(second.get_by_text("Saved: ? Unsure.")).to_be_visible()
    expect(second.get_by_label("Comment")).to_have_value("")  # said once
    expect(second.get_by_text("Reading as Dr. First")).to_be_visible()
    expect(second.locator(".history li")).to_have_count(2)
    first.get_by_role("button", name="Worklist").click()
    _open_case(first, case)
    expect(first.locator(".history li")).to_have_count(2)  # read again when the case is opened again


def test_the_page_follows_every_choice_of_a_finding(visit: Open, tmp_path: Path) -> None:
    model, scores = score_three_labels(tmp_path)
    with served(model, scores, default_store(scores), tmp_path / "server.log") as address:
        page = visit(address)
        for label in "bca":
            _choose_finding(page, label)
            expect(page.locator(".score-head")).to_contain_text(f"{label} (")
        _choose_finding(page, "c")
        expect(page.locator(".score-head")).to_contain_text("c (")
        page.locator("tr[data-key] button").first.click()
        page.locator('.room[data-ready$=" c"]').wait_for()
        for label in "bac":
            page.locator("select.label").select_option(label)
            page.locator(f'.room[data-ready$=" {label}"]').wait_for()
            expect(page.locator(".score .label").first).to_have_text(label)
            expect(page.locator(".claim").first).to_contain_text(f"“{label}”")
        page.get_by_role("button", name="Next", exact=True).click()
        expect(page.get_by_text("2 of 12")).to_be_visible()
        expect(page.locator(".score .label").first).to_have_text("c")
        page.get_by_role("button", name="Worklist").click()
        expect(page.locator(".score-head")).to_contain_text("c (")
        for label in "bca":
            _choose_finding(page, label)
            expect(page.locator(".score-head")).to_contain_text(f"{label} (")
        page.close()


def _choose_finding(page: Page, label: str) -> None:
    page.get_by_role("combobox", name="Finding").click()
    page.get_by_role("option", name=label, exact=True).click()
    expect(page.get_by_role("combobox", name="Finding")).to_have_value(label)


def test_a_verdict_on_one_of_two_images_with_one_uid_is_not_shown_as_the_others(
    visit: Open, small_model: Path, tmp_path: Path
) -> None:
    scores = score_shared_uid(small_model, tmp_path)
    worklist = Worklist.open(scores, small_model)
    one, two = worklist.cases
    with ReviewStore.open(default_store(scores)) as store:  # before keys told them apart
        old = Verdict(one.sop_instance_uid, worklist.model.model_id, LABEL, "unsure", "Dr. Earlier", "long ago")
        store.save(old, expected_revision=0)
    with served(small_model, scores, default_store(scores), tmp_path / "server.log") as address:
        page = visit(f"{address}&case={one.key}")
        _until_shown(page, one)
        _save(page, "Agree", name="Dr. A", comment="of the first")
        expect(page.get_by_text("Saved: ✓ Agree.")).to_be_visible()
        page.get_by_role("button", name="Worklist").click()
        expect(page.locator(f'tr[data-key="{one.key}"]')).to_contain_text("✓ Agree")
        expect(page.locator(f'tr[data-key="{two.key}"]')).not_to_contain_text("Agree")
        page.get_by_text("Not reviewed").click()
        expect(page.locator("tr[data-key]")).to_have_count(1)
        _open_case(page, two)
        expect(page.get_by_text("1 verdict of others is shown once yours is saved.")).to_be_visible()
        assert "long ago" not in page.locator(".room").inner_text()
        page.get_by_role("radio", name="Unsure").check()
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("Saved under the SOPInstanceUID that this image shares")).to_be_visible()
        expect(page.locator(".history").last).to_contain_text("long ago")
        assert "of the first" not in page.content()
        page.close()


def test_scripts_in_tags_and_comments_are_text(visit: Open, address: str, worklist: Worklist) -> None:
    case = next(case for case in worklist.cases if case.sop_instance_uid == "2.25.800")
    assert case.view_position == ""  # a script is no view: what is not valid is left out
    page = visit(address)
    _open_case(page, case)
    expect(page.get_by_role("heading", level=1)).to_contain_text(case.patient_key)
    comment = f"{SCRIPT}<img src=x onerror='window.owned=1'> **not bold** $x$"
    _save(page, "Unsure", name=SCRIPT, comment=comment)
    expect(page.get_by_text("the reviewer's name holds “<”; a name has letters")).to_be_visible()
    page.get_by_label("Your name").fill("Dr. A")
    page.get_by_role("button", name="Save", exact=True).first.click()
    expect(page.locator(".history")).to_contain_text(comment)
    assert page.evaluate("window.owned") is None
    assert NAME not in page.content()


def test_a_verdict_needs_an_opinion_and_a_name(visit: Open, address: str, worklist: Worklist) -> None:
    case = worklist.sorted_by(LABEL)[-1]
    page = visit(f"{address}&case={case.key}")
    _until_shown(page, case)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Choose agree, disagree or unsure. Nothing was saved.")).to_be_visible()
    _save(page, "Agree", name="  ")
    expect(page.get_by_text("Enter your name. Nothing was saved.")).to_be_visible()
    assert page.locator(".history").count() == 0


def test_keys_go_from_case_to_case_but_not_while_writing(visit: Open, address: str, worklist: Worklist) -> None:
    first, second = worklist.sorted_by(LABEL)[:2]
    page = visit(address)
    _open_case(page, first)
    page.get_by_label("Comment").press_sequentially("new plain window")
    page.wait_for_timeout(500)
    assert page.url.endswith(first.key)
    page.get_by_label("Comment").fill("")
    page.get_by_role("heading", level=1).click()
    page.keyboard.press("n")
    _until_shown(page, second)
    page.keyboard.press("p")
    _until_shown(page, first)
    page.keyboard.press("b")
    assert _rows(page).count() == len(worklist.cases)


def test_the_worklist_filters_and_lists_what_has_no_score(visit: Open, address: str, worklist: Worklist) -> None:
    page = visit(address)
    total = _rows(page).count()
    look = sum(case.status == "review" for case in worklist.cases)
    page.get_by_text("Needs a look").click()
    expect(page.locator("tr[data-key]")).to_have_count(look)
    page.get_by_text("All", exact=True).click()
    expect(page.locator("tr[data-key]")).to_have_count(total)
    page.get_by_text("Files not in this list: 2 refused, 1 duplicate").click()
    expect(page.get_by_text("The file is not DICOM, or is empty.")).to_be_visible()
    assert NAME not in page.content()


def test_the_model_explains_itself(visit: Open, address: str, worklist: Worklist) -> None:
    page = visit(address)
    page.get_by_role("button", name="About the model").click()
    for text in (worklist.model.model_id, "random start", "interval", "Youden", "Not a medical device"):
        expect(page.get_by_role("dialog").get_by_text(text).first).to_be_visible()


@pytest.mark.parametrize("page_name", ["worklist", "case"])
def test_a_phone_shows_every_page_without_sideways_scrolling(
    visit: Open, address: str, worklist: Worklist, page_name: str
) -> None:
    case = worklist.sorted_by(LABEL)[0]
    page = visit(address if page_name == "worklist" else f"{address}&case={case.key}", width=390, height=844)
    if page_name == "case":
        _until_shown(page, case)
        expect(page.get_by_role("button", name="Save", exact=True)).to_be_visible()
    else:
        assert _rows(page).count()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("[...document.querySelectorAll('*')].every(e => e.scrollWidth <= 390)")


def test_a_changed_file_is_refused_in_one_sentence(
    visit: Open, small_model: Path, tmp_path: Path, worklist: Worklist
) -> None:
    scores = score_incoming(small_model, tmp_path)
    case = worklist.sorted_by(LABEL)[0]
    (tmp_path / "incoming" / case.path).write_bytes(b"")
    with served(small_model, scores, default_store(scores), tmp_path / "server.log") as address:
        page = visit(f"{address}&case={case.key}")
        expect(page.get_by_text("This image is not shown.")).to_contain_text("the file has changed since it was scored")
        expect(page.get_by_text(BANNER).first).to_be_visible()
        assert page.get_by_role("button", name="Save", exact=True).count() == 0
        page.close()


def test_only_this_machine_can_reach_the_app(address: str) -> None:
    port = parts(address).port
    listening = {
        item.laddr.ip for item in psutil.net_connections("tcp") if item.laddr.port == port and item.status == "LISTEN"
    }
    assert listening == {"127.0.0.1"}


def _sampled(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The values at the centres of an image's pixels, where a canvas shows the whole image as large as it can."""
    height, width = picture.shape
    scale = min(height / shape[0], width / shape[1])
    rows = (height - shape[0] * scale) / 2 + (np.arange(shape[0]) + 0.5) * scale
    columns = (width - shape[1] * scale) / 2 + (np.arange(shape[1]) + 0.5) * scale
    return picture[np.ix_(rows.astype(int), columns.astype(int))]
