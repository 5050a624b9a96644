"""What is said instead of a case, and that nothing of its score was in the page before: files, models, the server."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from medres.review.cases import Worklist
from medres.review.server import default_store
from tests.support.browsing import ORDINARY, PATIENCE, needs_chromium, parts, served

pytestmark = [needs_chromium, pytest.mark.skipif(os.name == "nt", reason="accounts and links of POSIX")]
LABEL = "disc"
MOST_SECONDS = 6.0  # until a dead server is told: 3 are asked of a machine that does nothing else
CHANGED = "CHANGED: the file has changed since it was scored; score the folder again"
GONE = "UNREADABLE: the file is not there any more"
OTHER_MODEL = "CHANGED: model resnet18-another has scored the folder since; start medres app again with it"
SCORES = """
window.scores = [];
const attach = Element.prototype.attachShadow;
Element.prototype.attachShadow = function attachShadow(init) {
  const root = attach.call(this, init);
  const look = () => {
    const score = root.querySelector(".score .value")?.textContent;
    if (score) window.scores.push(root.querySelector(".room").dataset.case);
  };
  new MutationObserver(look).observe(root, { childList: true, subtree: true, characterData: true, attributes: true });
  return root;
};
"""
"""Of which case the page held a score, after every single change of it."""


def changed(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0\0")


def in_a_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def elsewhere(path: Path) -> None:
    outside = shutil.move(path, path.parents[1] / "outside.dcm")
    path.symlink_to(outside)


FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (changed, CHANGED),
    (Path.unlink, GONE),
    (lambda path: path.chmod(0), "UNREADABLE: Permission denied"),
    (in_a_circle, "UNREADABLE: links lead in a circle instead of to the file"),
    (elsewhere, "OUTSIDE_ROOT: the table of scores names a file outside of the folder that was scored"),
]


def test_what_is_wrong_is_said_in_a_sentence_and_no_score_was_ever_in_the_page(
    scores: Path, small_model: Path, tmp_path: Path, browser: Browser
) -> None:
    """One server, one page: files that changed, are gone, may not be read; scores of another model; no server."""
    shutil.copytree(scores.parent / "incoming", tmp_path / "incoming")
    shutil.copytree(scores, tmp_path / "scored", ignore=shutil.ignore_patterns("*.db*"))
    rewrite(tmp_path / "scored" / "run.json", input=str(tmp_path / "incoming"))
    sound, *others = Worklist.open(tmp_path / "scored", small_model).sorted_by(LABEL)
    store = default_store(tmp_path / "scored")
    with served(small_model, tmp_path / "scored", store, tmp_path / "log", account=ORDINARY) as address:
        for case, (damage, _) in zip(others, FAULTS, strict=False):
            damage(tmp_path / "incoming" / case.path)
        page = browser.new_context().new_page()
        page.set_default_timeout(PATIENCE)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.add_init_script(SCORES)
        page.goto(address)
        page.locator(f'tr[data-key="{sound.key}"] button').click()
        page.locator(f'.room[data-ready^="{sound.key}"]').wait_for()
        for case, (_, said) in zip(others, FAULTS, strict=False):
            page.keyboard.press("n")
            assert_only_said(page, case.key, said)
        page.keyboard.press("p")
        assert_only_said(page, others[len(FAULTS) - 2].key, FAULTS[-2][1])
        assert set(page.evaluate("window.scores")) == {sound.key}
        was = rewrite(tmp_path / "scored" / "run.json", model_id="resnet18-another")
        page.reload()
        assert_only_said(page, others[len(FAULTS) - 2].key, OTHER_MODEL)
        page.locator(".worklist").click()
        page.locator(f'tr[data-key="{sound.key}"] button').click()
        assert_only_said(page, sound.key, OTHER_MODEL)
        assert page.evaluate("window.scores") == []
        rewrite(tmp_path / "scored" / "run.json", model_id=was["model_id"])
        page.reload()  # what was wrong is mended
        page.locator(f'.room[data-ready^="{sound.key} {LABEL}"]').wait_for()
        assert problems == []
        seconds = until_told(page, address)
        print(f"a dead server was told after {seconds:.2f} s")
        assert seconds < MOST_SECONDS, f"told {seconds:.1f} s after the server had ended"
        page.context.close()


def rewrite(path: Path, **changes: str) -> dict[str, str]:
    """Change a JSON file; returns what it held."""
    content: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")
    return content


def assert_only_said(page: Page, key: str, said: str) -> None:
    """A case is one sentence, and neither a picture nor a score nor a form."""
    page.locator(f'.room[data-ready="{key} failed"]').wait_for()
    expect(page.locator(".fault")).to_contain_text(f"This image is not shown. {said}")
    assert page.locator(".fault").inner_text().count("\n") == 0
    for part in (".score", "canvas.plain", ".verdict"):
        expect(page.locator(part)).to_be_hidden()
    expect(page.locator(".score .value")).to_have_text("")


def until_told(page: Page, address: str) -> float:
    """Seconds from the end of the server's process to the moment when the page says so."""
    port = parts(address).port
    listening = (item for item in psutil.net_connections("tcp") if item.laddr.port == port and item.status == "LISTEN")
    psutil.Process(next(listening).pid).kill()
    started = time.monotonic()
    expect(page.locator(".lost")).to_contain_text("does not answer any more")
    return time.monotonic() - started
