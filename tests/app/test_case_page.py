"""The page of one case as a whole: frames, keys, what is said when something is wrong, and what it is made of."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, Route, WebSocketRoute, expect

from medres.review.cases import Worklist
from medres.review.checks import WAITING
from medres.review.server import default_store
from medres.review.store import ReviewStore
from tests.conftest import Medres
from tests.support.browsing import MEDRES, PATIENCE, Open, needs_chromium, parts, served
from tests.support.phantoms import blob, write_radiograph

pytestmark = needs_chromium
LABEL = "disc"
FRAMES = Path(__file__).with_name("room").joinpath("frames.js").read_text(encoding="utf-8")
LIBRARIES = ("torch", "monai", "sklearn", "scipy", "matplotlib")  # Streamlit itself loads pandas for a component


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, format3_run: Path, medres: Medres) -> Path:
    """Six images of three patients, each of another gray, scored with heatmaps."""
    home = tmp_path_factory.mktemp("case-page")
    for number in range(6):
        pixels = blob(950 + number, bright=number % 2 == 0) // 2 + 200 * number
        view = {"ViewPosition": "LL" if number % 2 else "PA"}
        write_radiograph(
            home / f"incoming/{number}.dcm", pixels, patient=f"P{number // 2}", uid=f"2.25.{950 + number}", **view
        )
    done = medres("score", format3_run, home / "incoming", "--out", home / "scored", "--heatmaps")
    assert done.returncode == 0, done.stderr[-3000:]
    return home


@pytest.fixture(scope="module")
def address(home: Path, format3_run: Path) -> Iterator[str]:
    with served(format3_run, home / "scored", default_store(home / "scored"), home / "server.log") as address:
        yield address


@pytest.fixture
def page(visit: Open, address: str) -> Page:
    page = visit(address)
    page.locator("tr[data-key] button").first.click()
    page.locator(".room[data-ready]").wait_for()
    return page


def test_in_no_frame_anything_of_two_cases_is_seen(page: Page) -> None:
    """A hundred changes, as fast as keys can be pressed; what a person could see of each frame is written down."""
    page.wait_for_timeout(1500)
    page.evaluate(FRAMES)
    for number in range(100):
        page.keyboard.press("n" if number % 10 < 5 else "p")
    page.wait_for_timeout(500)
    frames = page.evaluate("() => { cancelAnimationFrame(window.looking); return window.frames; }")
    assert all(frame == ["", ""] for frame in frames if len(frame) == 2)  # between cases there is nothing
    shown = {tuple(frame) for frame in frames if len(frame) > 2}
    assert all(case == panel == picture for case, panel, picture, *_ in shown)
    assert len({frame[0] for frame in shown}) == len(shown) > 3  # of each case always the same


def test_one_case_takes_three_keys(visit: Open, address: str, home: Path, format3_run: Path) -> None:
    worklist = Worklist.open(home / "scored", format3_run)
    first, second, third = worklist.sorted_by(LABEL)[:3]
    page = visit(address)
    page.locator("tr[data-key] button").first.focus()
    page.keyboard.press("Enter")
    page.locator(f'.room[data-ready^="{first.key}"]').wait_for()
    page.keyboard.press("a")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Enter your name. Nothing was saved.")).to_be_visible()
    page.get_by_label("Your name").fill("Dr. Keys")
    page.locator("canvas.plain").focus()
    page.keyboard.press("Enter")  # the name is known from here on
    page.locator(f'.room[data-ready^="{second.key}"]').wait_for()
    assert page.evaluate("document.activeElement.shadowRoot.activeElement.className") == "plain"
    expect(page.locator(".told")).to_have_text("")  # nothing was said of this case
    expect(page.locator(".before")).to_contain_text("Saved: ✓ Agree.")
    expect(page.locator(".before")).to_contain_text(f"Patient {first.patient_key}")
    for key in ("d", "Enter"):
        page.keyboard.press(key)
    page.locator(f'.room[data-ready^="{third.key}"]').wait_for()
    expect(page.locator(".before")).to_contain_text("Saved: ✗ Disagree.")
    with ReviewStore.open(default_store(home / "scored")) as store:
        kept = [store.history(case.verdict_key, worklist.model.model_id, LABEL) for case in (first, second)]
    assert [(one.verdict, one.reviewer) for (one,) in kept] == [("agree", "Dr. Keys"), ("disagree", "Dr. Keys")]
    page.keyboard.press("p")
    expect(page.locator(".history")).to_contain_text("Dr. Keys")


def test_all_views_of_a_patient_stand_side_by_side(page: Page) -> None:
    shown = page.locator("canvas.plain").get_attribute("data-shown")
    page.keyboard.press("y")
    other = page.locator("figure.view canvas[data-shown]")
    expect(other).to_have_count(1)
    assert other.get_attribute("data-shown") != shown
    expect(page.locator("figure.view figcaption")).to_contain_text("image ")
    page.keyboard.press("n")
    expect(page.locator("figure.view")).to_have_count(0)  # nothing of this patient stays


def test_leaving_and_opening_are_said_again_where_the_first_word_was_lost(visit: Open, address: str) -> None:
    """Streamlit forgets what a run was told when another run, of a draft that was kept, overtakes it."""
    page, lost = visit(address), []

    def losing(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def passed_on(message: str | bytes) -> None:
            for word in (b"opened", b"left"):
                if word in (message if isinstance(message, bytes) else message.encode()) and word not in lost:
                    lost.append(word)
                    return
            server.send(message)

        socket.on_message(passed_on)

    page.route_web_socket("**", losing)
    page.reload()
    page.locator("tr[data-key] button").first.click()
    page.locator(".room[data-ready]").wait_for()
    page.get_by_role("button", name="Worklist").click()
    page.locator(".worklist[data-ready]").wait_for()
    assert lost == [b"opened", b"left"]


def test_what_is_read_of_the_model_stays_open_while_the_page_runs_again(page: Page) -> None:
    """A draft that reaches Python, or an answer to a verdict, runs the page's script from its start."""
    page.get_by_label("Comment").fill("seen")  # kept a moment later, with the dialog open by then
    page.get_by_role("button", name="About the model").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.wait_for_timeout(3000)
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_label("Comment").fill("seen twice")
    page.wait_for_timeout(3000)
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_dial_says_what_an_ensemble_does_not_know(page: Page) -> None:
    page.locator("summary").click()
    expect(page.locator(".measured")).to_contain_text("was never measured of the 2 networks together")
    expect(page.locator(".dial")).to_be_hidden()
    expect(page.locator(".folds li")).to_have_count(2)


def not_yet(route: Route) -> None:
    """The server is asked to compute the score again, and the page is told that it has not: a slow machine."""
    route.fetch()
    route.fulfill(json=WAITING.model_dump(mode="json"))


def test_a_score_that_the_model_does_not_give_again_is_replaced_and_its_verdict_presented_again(
    visit: Open, home: Path, format3_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(home / "scored", tmp_path / "scored", ignore=shutil.ignore_patterns("*.db*"))
    case = Worklist.open(home / "scored", format3_run).sorted_by(LABEL)[0]
    table = tmp_path / "scored" / "predictions.csv"
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace(repr(case.probabilities[LABEL]), "0.6001234"), encoding="utf-8")
    with served(format3_run, tmp_path / "scored", default_store(tmp_path / "scored"), tmp_path / "log") as address:
        page = visit(address)
        page.route("**/room/check/**", not_yet)
        page.locator(f'tr[data-key="{case.key}"] button').click()
        page.locator(f'.room[data-ready^="{case.key}"][data-checked="waiting"]').wait_for()
        page.get_by_label("Your name").fill("Dr. Early")
        page.locator("canvas.plain").focus()
        for key in ("a", "Enter"):
            page.keyboard.press(key)
        expect(page.locator(".before")).to_contain_text("Saved: ✓ Agree.")
        page.unroute("**/room/check/**")
        page.get_by_role("button", name="Look at it again").click(timeout=PATIENCE)
        page.locator(f'.room[data-ready^="{case.key}"][data-checked="refused"]').wait_for()
        expect(page.locator(".replaced .why")).to_contain_text("The score is not shown.")
        expect(page.locator(".flagged")).to_be_visible()
        expect(page.locator(".history")).to_contain_text("Dr. Early")
        expect(page.locator(".score")).to_be_hidden()
        expect(page.locator(".verdict")).to_be_hidden()
        page.close()


def test_the_app_that_shows_stored_scores_holds_no_library_of_networks(page: Page, address: str) -> None:
    """What the server has mapped, once a case is open and a network has computed it in another process."""
    page.locator('.room[data-checked="same"]').wait_for()
    here = [item for item in psutil.net_connections("tcp") if item.laddr.port == parts(address).port]
    (server,) = {item.pid for item in here if item.status == "LISTEN"}
    mapped = Path(f"/proc/{server}/maps")
    if mapped.exists():
        held = mapped.read_text(encoding="utf-8")
        assert "numpy" in held
        assert [name for name in LIBRARIES if f"/{name}/" in held] == []


@pytest.mark.parametrize("damaged", ["store", "scores"])
def test_what_is_damaged_is_told_before_there_is_an_address(
    home: Path, format3_run: Path, tmp_path: Path, damaged: str
) -> None:
    shutil.copytree(home / "scored", tmp_path / "scored", ignore=shutil.ignore_patterns("*.db*"))
    if damaged == "store":
        (tmp_path / "scored" / "reviews.db").write_bytes(b"no database at all, " * 400)
    else:
        run = tmp_path / "scored" / "run.json"
        content = json.loads(run.read_text(encoding="utf-8"))
        run.write_text(json.dumps({**content, "model_id": "another"}), encoding="utf-8")
    command = [MEDRES, "app", "--model", str(format3_run), "--scores", str(tmp_path / "scored"), "--headless"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=dict(os.environ))
    assert (done.stdout, done.returncode in (1, 2)) == ("", True), (done.returncode, done.stderr)
    said = {"store": "the review store", "scores": "was scored by model another"}[damaged]
    assert done.stderr.startswith("medres: ") and said in done.stderr and "Traceback" not in done.stderr
