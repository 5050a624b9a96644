"""Help of a verb with many options: what belongs together stands together, under a title."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

_OTHERS = "Other options"


class SectionedCommand(click.Command):
    """A verb whose help lists its options in sections.

    Args:
        sections: options by title, in the order in which they are shown; those of no section come last.
    """

    def __init__(self, *arguments: Any, sections: Mapping[str, Sequence[str]], **others: Any) -> None:
        super().__init__(*arguments, **others)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each section as click writes its one."""
        left = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):  # arguments stand in the line of usage
                left[max(parameter.opts, key=len)] = record
        for title, names in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([left.pop(name) for name in names])
        with formatter.section(_OTHERS):
            formatter.write_dl(list(left.values()))
