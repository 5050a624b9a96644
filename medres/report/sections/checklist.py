"""What the reporting guidelines CLAIM 2024 and TRIPOD+AI ask for, item by item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.report.checklist import MET, NOT_APPLICABLE, NOT_MET, Item
from medres.report.page import Content
from medres.report.run_context import RunContext


@dataclass(frozen=True, slots=True)
class ChecklistSection(Content):
    """The checklist, and how many of its topics are in each state."""

    items: Sequence[Item]

    @property
    def met(self) -> int:
        """Topics that are met."""
        return self._count(MET)

    @property
    def not_met(self) -> int:
        """Topics that are not met."""
        return self._count(NOT_MET)

    @property
    def not_applicable(self) -> int:
        """Topics that do not apply to such a run."""
        return self._count(NOT_APPLICABLE)

    def _count(self, state: str) -> int:
        return sum(item.state == state for item in self.items)


def checklist_section(context: RunContext) -> ChecklistSection:
    """The checklist, as this run answers it."""
    return ChecklistSection(context.checklist)
