"""A comparison as one page: no script, no network, nothing that is not in comparison.json."""

from __future__ import annotations

from pathlib import Path

from medres.report.comparison_context import read_comparison
from medres.report.comparison_sections import SECTIONS
from medres.report.comparison_sections.verdicts import verdicts
from medres.report.page import Page, render, render_page
from medres.tables import write_text


def write_comparison(folder: Path) -> Path:
    """Write compare.html into the folder of a comparison, from its comparison.json and run.json.

    Returns:
        The path of the page.

    Raises:
        UsageError: one of them is missing, damaged, or of a newer version.
    """
    context = read_comparison(folder)
    page = Page(
        title=f"medres comparison: {', '.join(context.comparison.labels)}",
        head=render("comparison/verdicts.html", verdicts(context)),
        sections=[one for section in SECTIONS for one in section.shown(context)],
    )
    target = folder / "compare.html"
    write_text(target, render_page("comparison_page.html", page))
    return target
