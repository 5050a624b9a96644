"""A study of depth as one page: no script, no network, nothing that is not in depth.json."""

from __future__ import annotations

from pathlib import Path

from medres.documents import read_document
from medres.evaluation.depth import DepthStudy
from medres.report.depth_sections import SECTIONS
from medres.report.depth_sections.answer import answer
from medres.report.depth_sections.context import DepthContext
from medres.report.page import Page, render, render_page
from medres.runs.records import read_run_record
from medres.tables import write_text


def write_depth(folder: Path) -> Path:
    """Write depth.html into the folder of a study, from its depth.json and run.json.

    Returns:
        The path of the page.

    Raises:
        UsageError: one of them is missing, damaged, or of a newer version.
    """
    context = DepthContext(read_document(folder / "depth.json", DepthStudy), read_run_record(folder))
    page = Page(
        title=f"medres depth: {', '.join(context.study.labels)}",
        head=render("depth/answer.html", answer(context)),
        sections=[one for section in SECTIONS for one in section.shown(context)],
    )
    target = folder / "depth.html"
    write_text(target, render_page("depth_page.html", page))
    return target
