"""The worklist of a reader's day: sorted, filtered, searched, opened, come back to, in a real browser."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from medres.review.store import ReviewStore, Verdict
from medres.review.verdicts.backup import url_of
from medres.review.verdicts.scored import read_scored
from medres.scoring.folder import score_folder
from medres.tables import read_json, write_json
from tests.support.browsing import Open, needs_chromium, read_as, served
from tests.support.phantoms import blob, write_radiograph
from tests.support.reviewing import score_incoming

pytestmark = needs_chromium
LABEL = "disc"


def _multiplied(scores: Path, count: int, refused: int) -> None:
    """The table of a scored folder, made so long: rows that the folder has, under other names, and refused ones."""
    table = scores / "predictions.csv"
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    scored = [row for row in rows if row["status"] in ("ok", "review")]
    others = [row for row in rows if row["status"] == "refused"]
    made = list(rows)
    for number in range(count - len(scored)):
        made.append(
            {
                **scored[number % len(scored)],
                "path": f"more/{number:05d}.dcm",
                "sha256": f"{number:08x}{1:056x}",
                "SOPInstanceUID": f"2.25.{90_000 + number}",
                "StudyInstanceUID": f"2.25.7.{number // 2}",
                "PatientKey": f"{number // 2:05d}xyz",
                "ViewPosition": ("PA", "LL")[number % 2],
                "ImageLaterality": "LR"[number % 3 % 2],
                "StudyDate": f"2026{1 + number // 2 % 12:02d}{1 + number // 24 % 28:02d}",
                f"prob_{LABEL}": repr((number * 7919 % 10_007) / 10_007),
            }
        )
        made[-1][f"positive_{LABEL}"] = str(int(float(made[-1][f"prob_{LABEL}"]) >= 0.5))
    made += [{**others[number * len(others) // refused], "path": f"no/{number}"} for number in range(refused)]
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(made)


def _shown(page: Page) -> list[str]:
    """The patients of the rows that are built, from the top."""
    return [str(text) for text in page.locator("tr[data-key] button").all_inner_texts()]


def _ready(page: Page) -> Page:
    """The page, once its list is there."""
    page.locator(".worklist[data-ready]").wait_for()
    return page


def test_a_day_with_the_worklist(visit: Open, small_model: Path, tmp_path: Path) -> None:
    scores = score_incoming(small_model, tmp_path)
    _multiplied(scores, 600, 200)
    store, scored = url_of(tmp_path / "reviews.db"), read_scored(scores)
    by_score = sorted(scored.images, key=lambda name: -scored.images[name].probability[LABEL])
    with ReviewStore.open(store) as opened:
        for place, (reader, verdict) in ((0, ("A", "agree")), (0, ("B", "disagree")), (1, ("B", "agree"))):
            opened.save(Verdict(by_score[place], scored.model_id, LABEL, verdict, reader), expected_revision=0)
    with served(small_model, scores, store, tmp_path / "server.log") as address:
        page = _ready(visit(address))
        fetched: list[str] = []
        page.on("request", lambda request: fetched.append(request.url) if "/list/columns/" in request.url else None)
        patients = [scored.images[name].patient_key for name in by_score]
        assert _shown(page)[:30] == patients[:30] and len(_shown(page)) < 100  # of 600 rows
        rows = page.locator("tr[data-key]")
        expect(rows.nth(0)).to_contain_text("2 other readers")
        read_as(page, "a")
        expect(rows.nth(0)).to_contain_text("✓ Agree")
        expect(rows.nth(0)).to_contain_text("B: ✗ Disagree")
        expect(rows.nth(1)).to_contain_text("1 other reader")  # which one is seen once A has judged the image
        page.get_by_text("Disagreed", exact=True).click()
        expect(rows).to_have_count(1)
        page.get_by_text("Not reviewed", exact=True).click()
        expect(page.locator(".summary")).to_contain_text("599 shown")
        assert _shown(page)[0] == patients[1]
        _sort_search_and_filter(page)
        _open_and_come_back(page)
        assert fetched == []  # columns were shipped with the first visit, and never again
        page.wait_for_url("**list=*")
        page.reload()
        _ready(page)
        expect(page.get_by_role("combobox", name="Reading as")).to_have_value("A")
        expect(page.locator("input.search")).to_have_value("xyz")  # the address keeps what is shown
        page.get_by_text("Files not in this list").click()
        expect(page.locator(".reason")).to_have_count(3)  # 202 refused files by two reasons, and a duplicate
        page.locator(".reason summary").first.click()
        expect(page.locator(".reason p").first).to_contain_text("–")
        _look_at_agreement(page)
        page.close()


def _sort_search_and_filter(page: Page) -> None:
    page.get_by_text("All", exact=True).click()
    page.get_by_role("button", name="Patient", exact=True).click()
    assert _shown(page) == sorted(_shown(page))
    page.get_by_role("button", name="Patient", exact=True).click()
    assert _shown(page) == sorted(_shown(page), reverse=True)
    page.get_by_label("View", exact=True).select_option("LL")
    assert {text.split()[0] for text in page.locator("td.view").all_inner_texts()} == {"LL"}
    page.locator("input.search").fill("0012")
    expect(page.locator("tr[data-key]")).to_have_count(11)  # 00012xyz, and 00120xyz to 00129xyz: one view of each
    page.locator("input.search").fill("xyz")
    page.get_by_label("View", exact=True).select_option("")
    page.get_by_label("By study").check()
    expect(page.locator("tr.study").first).to_contain_text(re.compile(r", 2026-\d\d-\d\d: 2 images \(PA \w+, LL "))
    page.get_by_label("By study").uncheck()
    _look_at_days_and_sides(page)


def _look_at_days_and_sides(page: Page) -> None:
    page.get_by_role("button", name="Date", exact=True).click()
    dates = page.locator("td.date")
    assert dates.all_inner_texts() == sorted(dates.all_inner_texts(), reverse=True)
    page.get_by_label("Side", exact=True).select_option("left")
    page.get_by_label("From", exact=True).fill("2026-03")
    page.get_by_label("To", exact=True).fill("20260310")
    expect(dates.last).to_have_text(re.compile(r"2026-03-0\d"))
    assert {text[:7] for text in dates.all_inner_texts()} == {"2026-03"}
    assert set(page.locator("td.view div").all_inner_texts()) == {"left"}
    expect(page.locator(".summary")).to_contain_text("8 without a date, not shown")
    page.get_by_label("To", exact=True).fill("10.3.2026")
    expect(page.get_by_text("no date: write 2026-11-27, 2026-11 or 2026")).to_be_visible()
    for name in ("From", "To"):
        page.get_by_label(name, exact=True).fill("")
    page.get_by_label("Side", exact=True).select_option("")


def _open_and_come_back(page: Page) -> None:
    """By keyboard alone: far down the list, a case, and back to the same row."""
    page.locator("tr[data-key] button").first.focus()
    for _ in range(12):
        page.keyboard.press("PageDown")
    page.keyboard.press("ArrowUp")
    focused = page.evaluate(
        """() => {
            let at = document.activeElement;
            while (at.shadowRoot?.activeElement) at = at.shadowRoot.activeElement;
            return [at.closest("tr").dataset.key, at.closest(".pane").scrollTop];
        }"""
    )
    assert focused[1] > 3000
    page.keyboard.press("Enter")
    page.wait_for_url(f"**case={focused[0]}*")
    expect(page.get_by_text("of 592")).to_be_visible()  # the cases of this search, in this order
    page.get_by_role("button", name="Worklist").click()
    _ready(page)
    expect(page.locator(f'tr[data-key="{focused[0]}"]')).to_be_in_viewport()
    expect(page.locator(f'tr[data-key="{focused[0]}"] button')).to_be_focused()
    assert abs(page.locator(".pane").evaluate("pane => pane.scrollTop") - focused[1]) < 5


def _look_at_agreement(page: Page) -> None:
    page.get_by_role("button", name="Readers compared").click()
    table = page.locator("table.agreement").nth(1)
    expect(table).to_contain_text("A and B")
    expect(table.locator("tbody tr")).to_have_count(3)
    page.get_by_role("button", name="Worklist").click()
    _ready(page)


def test_two_readers_disagree_and_a_draft_survives_reload_and_restart(
    visit: Open, small_model: Path, scores: Path, tmp_path: Path
) -> None:
    store, scored = url_of(tmp_path / "reviews.db"), read_scored(scores)
    with served(small_model, scores, store, tmp_path / "server.log") as address:
        page = _ready(visit(address))
        read_as(page, "Dr. Abel")
        page.locator("tr[data-key] button").first.click()
        page.locator(".room[data-ready]").wait_for()
        page.get_by_role("radio", name="Disagree").check()
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("Saved: ✗ Disagree.")).to_be_visible()
        page.get_by_role("button", name="Worklist").click()
        read_as(_ready(page), "Dr. Benn")
        page.locator("tr[data-key] button").first.click()
        page.locator(".room[data-ready]").wait_for()
        expect(page.get_by_text("1 verdict of others is shown once yours is saved.")).to_be_visible()
        assert "Dr. Abel" not in page.locator(".room").inner_text()
        page.get_by_label("Comment").fill("x" * 4001)  # too long to be saved, and kept all the same
        page.get_by_role("radio", name="Agree", exact=False).first.check()
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("the comment has 4001 characters")).to_be_visible()
        page.get_by_label("Comment").fill("half a sentence")
        page.wait_for_timeout(2500)
        page.reload()
        page.locator(".room[data-ready]").wait_for()
        expect(page.get_by_label("Comment")).to_have_value("half a sentence")
        place = page.url.partition("?")[2]
        page.close()
    with served(small_model, scores, store, tmp_path / "server.log") as address:
        page = visit(f"{address}&{place}")
        page.locator(".room[data-ready]").wait_for()
        expect(page.get_by_label("Comment")).to_have_value("half a sentence")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("Saved: ✓ Agree.")).to_be_visible()
        expect(page.locator(".history li")).to_have_count(2)  # Dr. Abel's is seen now
        page.close()
    with ReviewStore.open(store) as opened:
        first, second = opened.everything()
        assert (first.reviewer, first.verdict) == ("Dr. Abel", "disagree")
        assert (second.reviewer, second.verdict, second.comment) == ("Dr. Benn", "agree", "half a sentence")
        assert second.seconds_in_view is not None and second.heatmap_shown is not None
        assert second.called == scored.images[second.sop_instance_uid].called[LABEL]
        assert opened.draft("Dr. Benn", scored.model_id, second.sop_instance_uid) is None


def test_two_folders_are_one_list(visit: Open, format3_model: Path, tmp_path: Path) -> None:
    for number in range(5):
        folder = tmp_path / "in" / ("monday" if number < 3 else "tuesday")
        pixels = blob(number, bright=True)
        write_radiograph(folder / f"{number}.dcm", pixels, patient=f"{number}", uid=f"2.25.{number + 1}")
    shutil.copy(tmp_path / "in" / "monday" / "0.dcm", tmp_path / "in" / "tuesday" / "copy.dcm")
    monday, tuesday = tmp_path / "monday", tmp_path / "tuesday"
    for out in (monday, tuesday):
        score_folder(format3_model, tmp_path / "in" / out.name, out=out, workers=1)
    store, log = url_of(tmp_path / "reviews.db"), tmp_path / "server.log"
    with served(format3_model, monday, store, log, options=["--scores", str(tuesday)]) as address:
        page = _ready(visit(address))
        expect(page.locator("tr[data-key]")).to_have_count(5)
        page.get_by_text("Files not in this list: 1 duplicate").click()
        expect(page.get_by_text("1 duplicate in tuesday")).to_be_visible()
        page.get_by_label("Folder", exact=True).select_option("tuesday")
        expect(page.locator("tr[data-key]")).to_have_count(2)
        assert set(page.locator("td.folder").all_inner_texts()) == {"tuesday"}
        page.locator("tr[data-key] button").first.click()
        page.locator(".room[data-ready]").wait_for()
        expect(page.get_by_text("of 2", exact=False).first).to_be_visible()
        page.close()
    write_json(tuesday / "run.json", {**read_json(tuesday / "run.json"), "model_id": "another"})
    with pytest.raises(AssertionError), served(format3_model, monday, store, log, options=["--scores", str(tuesday)]):
        pass
    assert f"{tuesday} was scored by model another" in log.read_text(encoding="utf-8")


@pytest.mark.sweep
def test_ten_thousand_rows_are_shown_sorted_and_searched_at_once(
    visit: Open, small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = score_incoming(small_model, tmp_path)
    _multiplied(scores, 10_000, 1884)
    with served(small_model, scores, url_of(tmp_path / "reviews.db"), tmp_path / "server.log") as address:
        page = _ready(visit(address))
        page.reload()  # the model is loaded by now: what counts is the list
        root = _ready(page).locator(".worklist")
        shown, took = int(root.get_attribute("data-shown") or ""), []
        for name in ("Patient", "View", "Patient", "View"):
            page.get_by_role("button", name=name, exact=True).click()
            took.append(int(root.get_attribute("data-took") or ""))
        for text in ("0", "01", "012", "0123", ""):
            page.locator("input.search").fill(text)
            took.append(int(root.get_attribute("data-took") or ""))
        page.close()
    with capsys.disabled():
        print(f"\n10,000 rows: shown in {shown} ms; sorted and searched in {took} ms")
    assert shown <= 1000 and max(took) <= 100
