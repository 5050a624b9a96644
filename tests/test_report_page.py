"""The report as people meet it: a real Chromium at the width of a phone, of a desk, and of a sheet of paper."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from medres import compare
from medres.config import load_config
from medres.documents import write_document
from medres.evaluation.performance import summarise
from medres.evaluation.recalibration import recalibration_record
from medres.evaluation.shift import outlier_shift, shift_record
from medres.evaluation.table import judged_images, read_table
from medres.report.comparison_page import write_comparison
from medres.report.run_page import write_report
from medres.tables import read_json, write_csv, write_json
from tests.support.documents import written
from tests.support.runs import write_gallery_files, write_run
from tests.test_comparison import run_of, tables
from tests.test_external import profile

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium absent: Debian package chromium")
PAPER = 680  # CSS pixels between the margins of an A4 sheet
SCREENS = [(390, "screen"), (1280, "screen"), (PAPER, "print")]

CLIPPED = """([width, scrolls]) => [...document.querySelectorAll('body *')]
  .filter(e => !(scrolls && e.closest('.scroll')) && !e.classList.contains('unseen'))
  .filter(e => { const box = e.getBoundingClientRect(); return box.right > width + 0.5 || box.left < -0.5; })
  .map(e => e.tagName + ' ' + e.textContent.trim().slice(0, 60))"""
HIDDEN = """() => [...document.querySelectorAll('main *, header *')]
  .filter(e => !e.closest('.unseen, svg') && !e.classList.contains('scroll'))
  .filter(e => ['hidden', 'clip', 'auto', 'scroll'].includes(getComputedStyle(e).overflowX))
  .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.tagName + ' ' + e.textContent.trim().slice(0, 60))"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One label, with a gallery."""
    folder = write_run(tmp_path_factory.mktemp("page") / "run")
    write_gallery_files(folder, "effusion")
    return write_report(folder)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six labels with names that do not break, and groups with long ones."""
    folder = write_run(tmp_path_factory.mktemp("crowded") / "run")
    table = read_table(folder / "oof.csv")
    labels = ["effusion", "Enlarged_Cardiomediastinum", *(f"support_devices_and_more_{place}" for place in range(4))]
    for label in labels[1:]:
        for kind in ("label", "logit", "prob", "positive"):
            table[f"{kind}_{label}"] = table[f"{kind}_effusion"].sample(frac=1, random_state=len(label)).to_numpy()
    table["Manufacturer"] = "Röntgenapparatebaugesellschaft_mit_beschränkter_Haftung"
    write_csv(folder / "oof.csv", table)
    evaluation = load_config("quick", ["evaluation.replicates=100"]).evaluation
    write_document(
        folder / "metrics.json",
        summarise(read_table(folder / "oof.csv"), labels=labels, evaluation=evaluation, seed=0),
    )
    return write_report(folder)


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An external validation of an ensemble, with a shift, a recalibration, and figures that have no interval."""
    folder = write_run(tmp_path_factory.mktemp("external") / "run")
    evaluation = load_config("quick", ["evaluation.replicates=100"]).evaluation
    table = read_table(folder / "oof.csv").assign(fold=0, positive_effusion=1)  # nothing called negative: NPV undefined
    write_csv(folder / "oof.csv", table)
    table = read_table(folder / "oof.csv")
    write_document(folder / "metrics.json", summarise(table, labels=["effusion"], evaluation=evaluation, seed=0))
    found, _ = recalibration_record(judged_images(table, "effusion"), evaluation=evaluation, seed=0)
    outliers = outlier_shift(expected=0.01, expected_counts=(40, 30), beyond=0.2, counts=(190, 90))
    one, other = profile(["A Very Long Manufacturer Name"] * 40), profile(["B"] * 90, ages=60, seed=1)
    record = read_json(folder / "run.json")
    for key in ("folds", "splits"):
        del record[key]
    record |= {
        "kind": "external validation",
        "members": 5,
        "frozen": {
            "thresholds": {"effusion": 0.42},
            "rules": {"effusion": "mean of 5 folds' thresholds, each: best Youden index on validation patients"},
            "temperatures": [{"effusion": 1.0 + 0.1 * place} for place in range(5)],
        },
        "shift": written(shift_record(one, other, outliers, confidence=0.95)),
        "recalibration": {"effusion": written(found)},
    }
    write_json(folder / "run.json", record)
    return write_report(folder)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs of two recipes."""
    folder = tmp_path_factory.mktemp("comparison")
    found = [run_of(folder / f"a_run_with_a_long_name_{place}", table, seed=place, architecture="resnet18" if place else
             "resnet50") for place, table in enumerate(tables(2))]  # fmt: skip
    compare(found, out=folder / "out", timing=False)
    return write_comparison(folder / "out")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


def opened(browser: Browser, path: Path, width: int, media: str) -> tuple[Page, list[str]]:
    """The page without script, and all that went wrong or was asked for besides the page itself."""
    context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=True)
    page, problems = context.new_page(), []
    address = path.as_uri()
    page.on("console", lambda message: problems.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda one: None if one.url.startswith((address, "data:")) else problems.append(one.url))
    page.emulate_media(media=media)  # type: ignore[arg-type]
    page.goto(address)
    return page, problems


@pytest.mark.parametrize(("width", "media"), SCREENS)
@pytest.mark.parametrize("kind", ["report", "crowded", "external", "comparison"])
def test_nothing_is_clipped_and_nothing_is_fetched(
    browser: Browser, request: pytest.FixtureRequest, kind: str, width: int, media: str
) -> None:
    page, problems = opened(browser, request.getfixturevalue(kind), width, media)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CLIPPED, [width, media == "screen"]) == []
    assert page.evaluate(HIDDEN) == []
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert problems == []
    page.context.close()


def test_on_a_desk_the_first_screen_holds_result_meaning_and_caveats(browser: Browser, report: Path) -> None:
    page, _ = opened(browser, report, 1280, "screen")
    for words in ("AUROC: how well it ranks", "misses", "wrongly", "Not for diagnostic use.", "What speaks against it",
                  "Where it must not be used"):  # fmt: skip
        box = page.get_by_text(words).first.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 900, words
    page.context.close()


def test_it_reads_the_same_without_script(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(report.as_uri())
    page, _ = opened(browser, report, 1280, "screen")
    assert plain.locator("main").inner_text() == page.locator("main").inner_text()
    context.close()
    page.context.close()


def test_the_copy_of_a_table_in_the_page_can_be_saved_without_the_folder(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    alone = Path(shutil.copy(report, tmp_path / "alone.html"))
    page, _ = opened(browser, alone, 1280, "screen")
    with page.expect_download() as download:
        page.get_by_text("save the copy in this page").first.click()
    name = download.value.suggested_filename
    assert Path(download.value.path()).read_bytes() == (report.parent / "tables" / name).read_bytes()
    page.context.close()


def inked(pdf: bytes, folder: Path) -> list[float]:
    """How far down each page something is printed, in parts of its height."""
    (folder / "page.pdf").write_bytes(pdf)
    subprocess.run(["pdftoppm", "-r", "30", "-gray", "page.pdf", "page"], cwd=folder, check=True)
    found = []
    for path in sorted(folder.glob("page-*.pgm")):
        dark = np.asarray(Image.open(path)) < 200
        rows = np.flatnonzero(dark.any(axis=1))
        found.append((rows[-1] + 1) / len(dark) if len(rows) else 0.0)
    return found


@pytest.mark.skipif(shutil.which("pdftoppm") is None, reason="pdftoppm absent: Debian package poppler-utils")
@pytest.mark.parametrize("kind", ["report", "crowded", "external", "comparison"])
def test_it_prints_on_pages_that_are_filled_and_breaks_no_figure(
    browser: Browser, request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    page, _ = opened(browser, request.getfixturevalue(kind), 1280, "print")
    pages = inked(page.pdf(format="A4", prefer_css_page_size=True), tmp_path)
    assert len(pages) > 2
    assert min(pages[:-1]) > 0.5, pages
    unbroken = page.evaluate(
        "[...document.querySelectorAll('figure:not(.forest):not(.flowchart), tr, .card, .gallery li')]"
        ".every(e => getComputedStyle(e).breakInside === 'avoid')"
    )
    assert unbroken
    page.context.close()
