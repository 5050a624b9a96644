"""Forest plots as tables: one line per fold or group, its figure in words and its interval as a bar beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from medres.evaluation.results import FoldResults, LabelResults
from medres.records import Interval
from medres.report.table_files import TableFile, table_file

CHANCE = 0.5


@dataclass(frozen=True, slots=True)
class ForestRow:
    """One line of a forest plot."""

    name: str
    n: int | None  # images
    n_patients: int | None
    n_positive: int | None
    auroc: Interval | None  # None: too few patients for a figure
    pooled: bool = False
    heading: str = ""  # stands above the line where a new division begins


@dataclass(frozen=True, slots=True)
class Forest:
    """Lines that share one axis."""

    rows: tuple[ForestRow, ...]
    start: float
    end: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """Where a value lies on the axis, per cent of its length."""
        return round(100 * (value - self.start) / (self.end - self.start), 3)

    @property
    def chance(self) -> float | None:
        """Where an AUROC of one half lies, if the axis reaches it."""
        return self.at(CHANCE) if self.start <= CHANCE else None


@dataclass(frozen=True, slots=True)
class ForestFigure:
    """A forest plot with the table that is written beside the page."""

    forest: Forest
    file: TableFile


def forest_figure(kind: str, rows: Sequence[ForestRow], slug: str) -> ForestFigure | None:
    """The rows drawn, and the table that says them; None where no row has a value.

    Args:
        kind: what the rows are, in the name of the file.
        rows: of folds, or of subgroups.
        slug: the label in the name of the file.
    """
    plot = forest(rows)
    return ForestFigure(plot, table_file(kind, forest_table(rows), slug)) if plot else None


def forest(rows: Sequence[ForestRow]) -> Forest | None:
    """The rows with an axis that holds all their bounds; None where no row has a value."""
    found = [row.auroc for row in rows if row.auroc is not None]
    values = [bound for one in found for bound in (one.value, one.low, one.high) if bound is not None]
    if not values:
        return None
    margin = max(0.02, 0.06 * (max(values) - min(values)))
    start, end = max(0.0, min(values) - margin), min(1.0, max(values) + margin)
    ticks = [float(tick) for tick in MaxNLocator(5).tick_values(start, end) if start <= tick <= end]
    return Forest(tuple(rows), start, end, tuple(ticks))


def fold_rows(results: LabelResults, names: Mapping[int, str]) -> list[ForestRow]:
    """A label's folds, by name where they have one, and the pooled figure."""
    rows = [
        ForestRow(names.get(fold.fold, f"fold {fold.fold}"), fold.n, fold.n_patients, fold.n_positive, _auroc(fold))
        for fold in results.folds
    ]
    return [*rows, _pooled(results)]


def _auroc(fold: FoldResults) -> Interval:
    return Interval(fold.auroc, fold.auroc_low, fold.auroc_high, fold.auroc_method, fold.n, fold.n_patients)


def subgroup_rows(results: LabelResults) -> list[ForestRow]:
    """The groups of every column that divides the cohort, and the pooled figure last."""
    rows = [
        ForestRow(
            group.value,
            group.n,
            group.n_patients,
            group.n_positive,
            group.auroc,
            heading=division.title if place == 0 else "",
        )
        for division in results.subgroups
        for place, group in enumerate(division.groups)
    ]
    return [*rows, _pooled(results)] if rows else []


def forest_table(rows: Sequence[ForestRow]) -> pd.DataFrame:
    """The lines as the table that is written beside the page."""
    heading, found = "", []
    for row in rows:
        heading = "" if row.pooled else row.heading or heading
        interval = row.auroc or Interval(None, None, None, "too few patients", 0, 0)
        found.append(
            {
                "division": heading,
                "group": row.name,
                "images": row.n,
                "patients": row.n_patients,
                "positives": row.n_positive,
                "auroc": np.nan if interval.value is None else interval.value,
                "low": np.nan if interval.low is None else interval.low,
                "high": np.nan if interval.high is None else interval.high,
                "method": interval.method,
            }
        )
    table = pd.DataFrame(found)
    return table if table["division"].any() else table.drop(columns="division")


def _pooled(results: LabelResults) -> ForestRow:
    pooled = results.pooled["auroc"]
    return ForestRow("all", results.n, results.n_patients, results.n_positive, pooled, pooled=True)
