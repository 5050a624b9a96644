"""Results of a grade or a class, each in a section of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.evaluation.results import TaskResults
from medres.report.metric_rows import MetricRow, task_rows
from medres.report.page import NamedContent
from medres.report.run_context import RunContext, task_anchor


@dataclass(frozen=True, slots=True)
class TaskSection(NamedContent):
    """All that a page shows of a grade or a class."""

    results: TaskResults
    rows: Sequence[MetricRow]

    @property
    def ordinal(self) -> bool:
        """Whether its values are grades."""
        return self.results.kind == "ordinal"

    @property
    def noun(self) -> str:
        """What one of its values is called."""
        return "grade" if self.ordinal else "class"


def task_sections(context: RunContext) -> list[TaskSection]:
    """One section per grade or class."""
    return [
        TaskSection(task_anchor(place), name, results, task_rows(results))
        for place, (name, results) in enumerate(context.files.metrics.tasks.items())
    ]
