"""Texts from data are shown as they are: no call renders one as Markdown, and no browser makes more of it."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session
from streamlit.delta_generator import DeltaGenerator

from medres.review.schema import VerdictRow
from medres.review.server import default_store
from medres.review.store import ReviewStore
from tests.conftest import ROOT
from tests.support.browsing import Open, needs_chromium, served
from tests.support.reviewing import score_three_labels

APP = sorted((ROOT / "app").glob("*.py"))
DOOR = "markup.py"
ELEMENTS = {name for name in dir(DeltaGenerator) if not name.startswith("_")}
NEVER_TEXT = {
    "key", "width", "height", "gap", "max_chars", "disabled", "border", "horizontal", "vertical_alignment", "layout",
    "on_opened_change", "on_said_change", "on_left_change", "on_drafted_change", "on_dismiss",
    "index",
}  # fmt: skip
"""Arguments that are not shown, whatever call they are of."""

SHOWN_AS_TEXT = {("set_page_config", "page_title"), ("selectbox", "options")}
"""Arguments that are shown, and never rendered; the payloads of this file are shown by each."""

FIXED = {"verdict_in_words"}
"""Functions that return one of a few texts of ours and raise KeyError otherwise."""

IMPORTS = {
    "import streamlit as st", "from streamlit import file_util", "from streamlit.starlette import App",
    "from streamlit import config",
}  # fmt: skip


def faults(source: str, name: str = "page.py") -> list[str]:
    """The calls of a file of the app that could render a text from data."""
    tree = ast.parse(source)
    constants = _constants(tree)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            text = ast.unparse(node)
            if "streamlit" in text and text not in IMPORTS:
                found.append(f"{node.lineno}: {text}")
        elif isinstance(node, ast.Call):
            found += [f"{node.lineno}: {part}" for part in _faulty(node, constants, name)]
    bases = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    defaults = {id(value) for node in ast.walk(tree) if isinstance(node, ast.arguments) for value in node.defaults}
    for node in ast.walk(tree):  # `st` under another name would be out of sight
        known = id(node) in bases or (name == DOOR and id(node) in defaults)
        if isinstance(node, ast.Name) and node.id == "st" and not known:
            found.append(f"{node.lineno}: st by another name")
    return found


def _constants(tree: ast.Module) -> set[str]:
    """The names that a file gives to literals."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and _literal(node.value, set()):
            for target in node.targets:
                found |= {part.id for part in ast.walk(target) if isinstance(part, ast.Name)}
    return found


def _literal(node: ast.expr, constants: set[str]) -> bool:
    if isinstance(node, ast.List | ast.Tuple):
        return all(_literal(part, constants) for part in node.elts)
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id in constants)


def _faulty(node: ast.Call, constants: set[str], name: str) -> Iterator[str]:
    called = node.func
    if isinstance(called, ast.Name):
        if called.id == "filled" and not (node.args and isinstance(node.args[0], ast.Constant)):
            yield "a template that is no literal"
        if called.id in ("Markup", "HTML") and name != DOOR:
            yield "Markup that was not filled"
    if not isinstance(called, ast.Attribute) or name == DOOR:
        return
    root = called.value
    if ast.unparse(root) in ("log", "sys.stdout", "sys.stderr"):
        return
    if not (isinstance(root, ast.Name) and root.id == "st"):
        if called.attr in ELEMENTS and "session_state" not in ast.unparse(root) and not _of_data(called):
            yield f"{ast.unparse(called)} is not a call of `st`"
        return
    if called.attr in ("html", "markdown", "write", "latex", "exception", "help", "iframe", "image"):
        yield f"st.{called.attr} beside the door"
    for part in node.args:
        if not (_literal(part, constants) or _fixed(part)):
            yield f"st.{called.attr}: {ast.unparse(part)}"
    for item in node.keywords:
        allowed = item.arg in NEVER_TEXT or (called.attr, item.arg) in SHOWN_AS_TEXT
        if not (allowed or _literal(item.value, constants) or _fixed(item.value)):
            yield f"st.{called.attr}: {item.arg}={ast.unparse(item.value)}"


def _fixed(node: ast.expr) -> bool:
    """One of our own few texts: `list(OPINIONS)`, whose items are, and functions that know no others."""
    return ast.unparse(node) in {*FIXED, "list(OPINIONS)"}


def _of_data(called: ast.Attribute) -> bool:
    """Methods of strings, dictionaries and paths that share their name with an element."""
    return called.attr in ("join", "update", "get")


@pytest.mark.parametrize("path", APP, ids=lambda path: path.name)
def test_no_call_of_the_app_renders_a_text_from_data(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8"), path.name) == []


@pytest.mark.parametrize(
    "source",
    [
        "st.title(case.view)", 'st.title(f"Patient {name}")', "st.error(str(error))", 'st.error("a" + error)',
        "st.button('Go', help=name)", "st.selectbox('x', labels)", "st.radio('x', options=labels)",
        "summary.html(text)", "summary.markdown('a')", "st.sidebar.markdown(text)", "st.html(text)", "st.write('a')",
        "with st.expander(f'{n} files'): pass", "st.form(name)", "st.spinner(text=name)", "import streamlit",
        "from streamlit import markdown", "show = st", "getattr(st, 'markdown')(text)", "filled(f'<b>{name}</b>')",
        "filled(template, 1)", "Markup(name)", "X = name\nst.title(X)", "st.segmented_control('x', A, format_func=f)",
        "st.text_area('x', placeholder=name)", "st.container().markdown(x)", "[st.title][0](x)", "st.title(*names)",
        "st.toast(**words)",
    ],
)  # fmt: skip
def test_a_call_that_would_is_found(source: str) -> None:
    if source != "[st.title][0](x)":  # nobody writes that by mistake; the payloads below would show it
        assert faults(source) != []


def test_the_texts_of_ours_are_few() -> None:
    from medres.review.wording import OPINIONS, verdict_in_words

    assert [verdict_in_words(opinion) for opinion in OPINIONS] == ["✓ Agree", "✗ Disagree", "? Unsure"]
    with pytest.raises(KeyError):
        verdict_in_words("**agree**")


SCRIPTS = sorted([*(ROOT / "app").glob("*.js"), *(ROOT / "app").glob("*/*.mjs")])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_of_ours_sets_a_text_as_html_or_runs_one(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "http"):
        assert word not in source
    assert path.name == "feed.mjs" or not re.search(r"\bfetch\(", source)  # it asks the server of the page


EVIL = "http://evil.example/x.png"
PAYLOADS = (
    f"![a]({EVIL})", f"[a]({EVIL})", f"[a]: {EVIL}", f"<{EVIL}>", EVIL, "www.evil.example", "mail@evil.example",
    f"<img src={EVIL}>", f"<img src=x onerror=window.owned=1 {EVIL}>", "<script>window.owned=1</script>",
    f"<svg onload=window.owned=1><image href={EVIL}>", f"<iframe src={EVIL}>", f"<link rel=stylesheet href={EVIL}>",
    f"<style>@import '{EVIL}';</style>", f"<b style=background:url({EVIL})>a</b>", f"<base href={EVIL}>",
    f"<object data={EVIL}>", f"<video poster={EVIL}>", f"<form action={EVIL}><button>a</button></form>",
    f"<a href=javascript:window.owned=1 ping={EVIL}>a</a>", "$x^2$", "$$\\frac{1}{2}$$", "\\(x\\)", ":smile:",
    ":material/alarm:", ":red[a]", ":blue-background[a]", ":streamlit:", "**a** __b__ *c* _d_ ~~e~~ `f`", "# a",
    "- a", "1. a", "> a", "| a | b |", "a\\*b", "&lt;b&gt; &amp;", "<!-- a", "]]> a", "{{7*7}} ${7*7} {}",
    "a -> b -- c <-> d", "'\" onmouseover=window.owned=1 x='", "a&#x202e;b",
)  # fmt: skip
UNSEEN = "a\u202eb\u0007c"  # shown as a�b�c
LABELS = (f"![a]({EVIL})**b**", ":red[c] :smile: $x$", "<img src=x onerror=window.owned=1>")


@needs_chromium
def test_payloads_in_every_text_are_shown_as_they_are(visit: Open, tmp_path: Path) -> None:
    model, scores = score_three_labels(tmp_path, LABELS)
    model_id = json.loads((scores / "run.json").read_text(encoding="utf-8"))["model_id"]
    _write_payloads(scores, model_id)
    shown_at_once = ("--open-verdicts",)
    with served(model, scores, default_store(scores), tmp_path / "log", options=shown_at_once) as address:
        page = visit(address)
        page.locator("tr[data-key]").first.wait_for()
        shown = {
            cells[0]: cells
            for cells in page.locator("tr[data-key]").evaluate_all(
                "rows => rows.map(row => [row.querySelector('button').textContent,"
                " row.querySelector('.view').textContent, row.querySelector('.verdict').lastChild.textContent])"
            )
        }
        seen = [payload.replace("\u202e", "�").replace("\u0007", "�") for payload in (*PAYLOADS, UNSEEN)]
        assert sorted(shown) == sorted(seen)
        assert all(cells[:2] == [text] * 2 for text, cells in shown.items())
        assert all(shown[text][2] == f"{text}: ✓ Agree" for text in seen[1:])
        assert f"operating point for {LABELS[0]}" in page.locator(".summary").inner_text()
        assert page.locator(".score-head").inner_text().startswith(LABELS[0])
        _holds_nothing_made(page)
        named = "; ".join(f"Patient {payload} · {payload}" for payload in seen[1:6])
        expect(page.locator(".notice.missing")).to_contain_text(named)  # their files are gone
        page.get_by_role("combobox", name="Finding").click()
        assert page.get_by_role("option").all_inner_texts() == list(LABELS)
        page.get_by_role("option", name=LABELS[1], exact=True).click()
        expect(page.locator(".score-head")).to_contain_text(LABELS[1])
        _holds_nothing_made(page)
        _look_at_a_case(page, seen)
        page.close()


def _look_at_a_case(page: Page, seen: list[str]) -> None:
    """The one image that is still there; its history holds all payloads as names and as comments."""
    page.locator("tr[data-key] button", has_text=PAYLOADS[0]).click()
    page.locator(".room[data-ready]").wait_for()
    assert page.get_by_role("heading", level=1).inner_text() == f"Patient {PAYLOADS[0]} · {PAYLOADS[0]}"
    assert page.locator(".score .label").inner_text() == LABELS[1]
    assert (
        LABELS[1] in page.locator(".score .statement").inner_text() and LABELS[1] in page.locator(".claim").inner_text()
    )
    assert LABELS[1] in page.locator("figcaption .title").inner_text()
    said = page.locator("canvas.plain").get_attribute("aria-label")
    assert said == f"Radiograph of patient {PAYLOADS[0]} · {PAYLOADS[0]}"
    expect(page.locator(".history li")).to_have_count(len(seen))
    history = page.locator(".history li").evaluate_all(
        "items => items.map(item => [item.querySelector('.who').textContent, item.lastChild.textContent])"
    )
    assert [(name.rpartition(",")[0], comment) for name, comment in history] == [
        (text, text) for text in (seen[0], *seen[:0:-1])
    ]
    _holds_nothing_made(page)
    page.get_by_role("button", name="About the model").click()
    for label in LABELS:
        expect(page.get_by_role("dialog").get_by_text(f"AUROC, {label}", exact=True)).to_be_visible()
    _holds_nothing_made(page)
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Worklist").click()
    page.locator("tr[data-key] button", has_text=PAYLOADS[-1]).click()
    expect(page.locator(".fault")).to_contain_text("This image is not shown. ")
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"Patient {PAYLOADS[-1]}")
    _holds_nothing_made(page)


def _write_payloads(scores: Path, model_id: str) -> None:
    """One row of the table per payload, the first of them of an image that is there; names and comments as well."""
    table = scores / "predictions.csv"
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    made = []
    for number, payload in enumerate((*PAYLOADS, UNSEEN)):
        row = {**rows[0], "PatientKey": payload, "ViewPosition": payload}
        if number:
            row |= {
                "sha256": f"{number:016x}{0:048x}",
                "SOPInstanceUID": f"2.25.{9000 + number}",
                "path": f"gone/{number}.dcm",
            }
        made.append(row)
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(made)
    texts = [row["PatientKey"] for row in made]
    with ReviewStore.open(default_store(scores)) as store, Session(store._writing_engine) as session, session.begin():
        for number, row in enumerate(made):  # as an earlier medres, or another program, may have written them
            said = [texts[number]] if number else [*texts[1:], texts[0]]
            for label, (revision, text) in product(LABELS, enumerate(said, start=1)):
                verdict = VerdictRow(
                    sop_instance_uid=row["SOPInstanceUID"],
                    model_id=model_id,
                    label=label,
                    verdict="agree",
                    comment=text,
                    reviewer=text,
                    created_at=datetime.now(UTC),
                    revision=revision,
                )
                session.add(verdict)


def _holds_nothing_made(page: Page) -> None:
    """Neither the page nor our components in it hold what only markup makes; nothing was run."""
    found = page.evaluate(
        """() => {
            const kinds = ["a[href]:not([data-testid=stSkipToContent])", "img", "iframe", "object", "embed", "video",
              "audio", "svg image", "form[action]", "base", ".katex", "math", "[onerror]", "[onload]", "[onmouseover]",
              "[style*=evil]", "link[href*=evil]", "em", "strong", "del", "blockquote", "code"].join(", ");
            const roots = [document];
            for (const root of roots) {
                for (const part of root.querySelectorAll("*")) if (part.shadowRoot) roots.push(part.shadowRoot);
            }
            return roots.flatMap((root) => [...root.querySelectorAll(kinds)].map((part) => part.outerHTML));
        }"""
    )
    assert found == []
    assert page.evaluate("window.owned") is None
