"""Differences of other metrics than the one that decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.report.comparison_context import ComparisonContext
from medres.report.comparison_sections.differences import DifferenceRow, difference_row
from medres.report.metric_rows import metric_title
from medres.report.page import Content


@dataclass(frozen=True, slots=True)
class OtherMetricsSection(Content):
    """Every such difference under the title of its metric."""

    rows: Sequence[tuple[str, DifferenceRow]]
    several_labels: bool
    confidence: float


def other_metrics_section(context: ComparisonContext) -> OtherMetricsSection:
    """The differences that decide nothing."""
    rows = [(metric_title(item.metric), difference_row(context, item)) for item in context.comparison.undecided()]
    return OtherMetricsSection(rows, context.several_labels, context.comparison.confidence)
