"""Forest plots as tables: one line per fold or group, its figure in words and its interval as a bar beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from medres.evaluation.results import SubgroupResults
from medres.records import Interval
from medres.report.rules import read_interval

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


def fold_rows(content: Mapping[str, Any], names: Mapping[int, str]) -> list[ForestRow]:
    """A label's folds, by name where they have one, and the pooled figure, from its part of `metrics.json`."""
    rows = [
        ForestRow(
            names.get(fold["fold"], f"fold {fold['fold']}"),
            fold.get("n"),
            fold.get("n_patients"),
            fold.get("n_positive"),
            Interval(
                fold["auroc"], fold.get("auroc_low"), fold.get("auroc_high"), str(fold.get("auroc_method") or ""),
                fold.get("n") or 0, fold.get("n_patients") or 0,
            ),
        )
        for fold in content["folds"]
    ]  # fmt: skip
    return [*rows, _pooled(content)]


def subgroup_rows(
    divisions: Sequence[tuple[str, Sequence[SubgroupResults]]], content: Mapping[str, Any]
) -> list[ForestRow]:
    """The groups of every division, and the pooled figure last."""
    rows = [
        ForestRow(
            group.value,
            group.n,
            group.n_patients,
            group.n_positive,
            group.auroc,
            heading=title if place == 0 else "",
        )
        for title, groups in divisions
        for place, group in enumerate(groups)
    ]
    return [*rows, _pooled(content)] if rows else []


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


def _pooled(content: Mapping[str, Any]) -> ForestRow:
    pooled = read_interval(content["pooled"]["auroc"])
    return ForestRow("all", content["n"], content["n_patients"], content["n_positive"], pooled, pooled=True)
