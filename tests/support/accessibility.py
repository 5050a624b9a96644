"""What a page owes to people who do not see it as its makers do: names, contrast, headings, an order of keys.

A few rules of WCAG 2.1 AA, judged in the browser, of our own nodes: those of our components and of our HTML. With the
variable MEDRES_AXE naming a copy of axe-core, which medres does not hold, its verdict is asked for as well.
"""

from __future__ import annotations

import os
from pathlib import Path

from playwright.sync_api import Page

AXE = "MEDRES_AXE"

_JUDGE = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")

_OURS = """
async () => {
  const { violations } = await axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] });
  return violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => [id, JSON.stringify(target)]));
}
"""


def faults(page: Page) -> list[str]:
    """What our own nodes of a page owe; with axe-core also what that says, Streamlit's nodes apart."""
    found: list[str] = page.evaluate(_JUDGE)
    return [*found, *(f"{rule} {target}" for rule, target in axe_violations(page) if is_ours(target))]


def axe_violations(page: Page) -> list[tuple[str, str]]:
    """(rule, node) of every violation that axe-core finds; () without it."""
    if not os.environ.get(AXE):
        return []
    page.evaluate(Path(os.environ[AXE]).read_text(encoding="utf-8"))
    return [(rule, target) for rule, target in page.evaluate(_OURS)]


def is_ours(target: str) -> bool:
    """Whether a node lies in one of our components: in a shadow root, whose nodes axe-core names by lists in lists."""
    return target.startswith("[[") or any(name in target for name in (".banner", ".brand", ".notice", ".facts"))
