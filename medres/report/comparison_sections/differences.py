"""Differences of AUROC from the reference, which decide; and the record of a difference of any metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.evaluation.comparison_results import ADDED_VARIANCES, ComparedDifference, Comparison
from medres.records import Interval
from medres.report.comparison_context import ComparisonContext
from medres.report.page import Content


@dataclass(frozen=True, slots=True)
class DifferenceRow:
    """A difference with what it is the difference of."""

    compared: ComparedDifference
    candidate: Interval  # mean of its runs
    reference: Interval
    assumed: bool  # what seeds change was not measured


@dataclass(frozen=True, slots=True)
class DifferencesSection(Content):
    """The differences that decide; none where all runs are one recipe."""

    comparison: Comparison
    rows: Sequence[DifferenceRow]
    several_labels: bool
    method: str  # how the intervals were made; "" where no difference has one

    @property
    def earlier_rule(self) -> bool:
        """Whether the verdicts are those of an earlier version's rule."""
        return self.comparison.rule != ADDED_VARIANCES


def differences_section(context: ComparisonContext) -> DifferencesSection:
    """The differences that decide."""
    deciding = context.comparison.deciding()
    methods = [item.difference.method for item in deciding if item.difference.low is not None]
    return DifferencesSection(
        context.comparison,
        [difference_row(context, item) for item in deciding],
        context.several_labels,
        methods[0] if methods else "",
    )


def difference_row(context: ComparisonContext, item: ComparedDifference) -> DifferenceRow:
    """A difference, and the means of both recipes."""
    candidate, reference = (
        context.mean(item.label, item.metric, recipe) for recipe in (item.candidate, item.reference)
    )
    return DifferenceRow(item, candidate, reference, not context.comparison.seed_spread[item.label].degrees)
