"""A run as one page that anyone can open, print and check: rebuilt from the run's tables and typed results alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medres.files import make_folder
from medres.report.page import Page, Section, SectionPerName, render, render_page
from medres.report.run_context import RunContext, run_context
from medres.report.sections import SECTIONS
from medres.report.sections.first_screen import first_screen
from medres.report.table_files import FOLDER, TableFile
from medres.runs.run_files import RunFiles, read_run
from medres.tables import refuse_existing, write_text


@dataclass(frozen=True, slots=True)
class Report:
    """A page and the tables that its figures were drawn from."""

    page: str
    files: tuple[TableFile, ...]


def write_report(run: Path, *, force: bool = True) -> Path:
    """Write RUN/report.html, one file, no script, no network; and the tables of its figures, RUN/tables/*.csv.

    Reads `run.json`, `metrics.json` and `oof.csv`, and where they are there `splits.json`, `refused.csv`,
    `shortcuts.json`, `heatmaps.json`, `gallery.csv` with its pictures and `models/fold-K/history.jsonl`. The same files
    give the same page, byte for byte.

    Args:
        run: folder of a cross-validation or an external validation.
        force: replace a report that is already there.

    Returns:
        The path of the page.

    Raises:
        UsageError: the folder is no such run, or a file is damaged or of a newer version.
        OutputExists: there is a report, and `force` is False.
    """
    target = run / "report.html"
    files = read_run(run)
    refuse_existing(target, force=force)
    report = make_report(run, files)
    make_folder(run / FOLDER)
    for file in report.files:
        write_text(run / FOLDER / file.name, file.text)
    write_text(target, report.page)
    return target


def make_report(
    folder: Path,
    files: RunFiles,
    sections: Sequence[Section[RunContext] | SectionPerName[RunContext]] = SECTIONS,
) -> Report:
    """The page of a run, and the tables of its figures.

    Args:
        folder: of the run.
        files: what was read of it.
        sections: what the page shows, in this order.
    """
    context = run_context(folder, files)
    head = first_screen(context)
    shown = [one for section in sections for one in section.shown(context)]
    page = Page(
        title=f"medres report: {', '.join(head.asked)}", head=render("sections/first_screen.html", head), sections=shown
    )
    return Report(render_page("run_page.html", page), tuple(file for section in shown for file in section.files))
