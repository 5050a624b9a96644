"""A page is a list of sections: each a frozen record, and a template that sees this record and nothing else.

Every text from a file is escaped; nothing is loaded, nothing runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from medres import formatting
from medres.report.table_files import TableFile

Source = TypeVar("Source", contravariant=True)
_FILTERS = (
    "figure", "signed", "bounds", "level", "count", "recorded", "duration", "percent", "percent_bounds", "probability",
    "spread",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Content:
    """What one section shows: the record that its template sees as `section`."""

    @property
    def files(self) -> Sequence[TableFile]:
        """The tables of its figures, which are written beside the page."""
        return ()


@dataclass(frozen=True, slots=True)
class NamedContent(Content):
    """What a section shows that a page may have several of: each has its own place and title."""

    anchor: str
    title: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A section as the page holds it."""

    anchor: str
    title: str
    body: Markup
    files: tuple[TableFile, ...]


@dataclass(frozen=True, slots=True)
class Section(Generic[Source]):
    """A section that a page has once, or not at all.

    The template holds an element whose id is the anchor.
    """

    anchor: str
    title: str  # in the navigation
    template: str
    content: Callable[[Source], Content | None]  # None: this page has no such section

    def shown(self, source: Source) -> list[Shown]:
        """The section of one page, or nothing."""
        content = self.content(source)
        if content is None:
            return []
        return [Shown(self.anchor, self.title, render(self.template, content), tuple(content.files))]


@dataclass(frozen=True, slots=True)
class SectionPerName(Generic[Source]):
    """A section that a page has once per label or task."""

    template: str
    contents: Callable[[Source], Sequence[NamedContent]]

    def shown(self, source: Source) -> list[Shown]:
        """The sections of one page."""
        return [
            Shown(content.anchor, content.title, render(self.template, content), tuple(content.files))
            for content in self.contents(source)
        ]


@dataclass(frozen=True, slots=True)
class Page:
    """What the frame of a page shows."""

    title: str
    head: Markup
    sections: Sequence[Shown]


def render(template: str, section: Content) -> Markup:
    """A part of a page.

    Args:
        template: of `templates/`.
        section: the record that it shows.

    Raises:
        jinja2.UndefinedError: the template names what the record lacks: a fault of medres, not of a file.
    """
    return Markup(environment().get_template(template).render(section=section))


def render_page(template: str, page: Page) -> str:
    """A whole page from the template of its frame."""
    return environment().get_template(template).render(page=page) + "\n"


@cache
def environment() -> Environment:
    """How all templates of `templates/` are read."""
    found = Environment(
        loader=PackageLoader("medres.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=formatting.printable,
    )
    found.filters.update({name: getattr(formatting, name) for name in _FILTERS})
    return found
