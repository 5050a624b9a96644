"""Differences of other metrics than the one that decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.report.comparison_context import ComparisonContext
from medres.report.comparison_sections.differences import DifferenceRow, difference_row
from medres.report.metric_rows import metric_title
from medres.report.page import Content
from medres.statistics.metric import METRICS


@dataclass(frozen=True, slots=True)
class OtherMetricsSection(Content):
    """Every such difference under the title of its metric."""

    rows: Sequence[tuple[str, DifferenceRow]]
    lower_is_better: Sequence[str]  # titles of metrics
    several_labels: bool
    confidence: float


def other_metrics_section(context: ComparisonContext) -> OtherMetricsSection:
    """The differences that decide nothing."""
    undecided = context.comparison.undecided()
    rows = [(metric_title(item.metric), difference_row(context, item)) for item in undecided]
    shown = {item.metric for item in undecided}
    lower = [metric.title for metric in METRICS.values() if metric.name in shown and metric.better == "lower"]
    return OtherMetricsSection(rows, lower, context.several_labels, context.comparison.confidence)
