"""How values become a page: templates, in which every text from a file is escaped and nothing is loaded or run."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from medres import formatting


def render_template(name: str, **content: Any) -> str:
    """A page of `templates/`, every text from a file escaped.

    Raises:
        jinja2.UndefinedError: the template needs what `content` lacks.
    """
    return _environment().get_template(name).render(**content) + "\n"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medres.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=formatting.printable,
    )
    names = ("figure", "bounds", "count", "recorded", "duration", "percent", "probability", "spread")
    environment.filters.update({name: getattr(formatting, name) for name in names})
    return environment
