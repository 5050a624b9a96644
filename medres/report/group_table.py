"""Parts of a cohort as a table: what the frozen thresholds reach in each, and how each differs from the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from medres.evaluation.results import IntersectionResults, LabelResults, SubgroupResults
from medres.records import Interval
from medres.statistics.metric import shown_in


@dataclass(frozen=True, slots=True)
class GroupRow:
    """One group of enough patients."""

    division: str  # "Sex", or "Sex and view"
    name: str
    n: int  # images
    n_patients: int
    n_positive: int
    figures: Mapping[str, Interval]  # by metric
    differences: Mapping[str, Interval]  # from all other images; {} for an intersection

    @property
    def shown(self) -> list[Interval | None]:
        """The figures in the order of their titles; None where a run of an earlier version has none."""
        return [self.figures.get(one.name) for one in shown_in("subgroups")]

    @property
    def differing(self) -> dict[str, Interval]:
        """The differences, by metric, whose interval excludes 0; it holds for all groups and metrics at once."""
        return {
            name: one
            for name, one in self.differences.items()
            if one.low is not None and one.high is not None and (one.low > 0 or one.high < 0)
        }


@dataclass(frozen=True, slots=True)
class GroupTable:
    """The groups of one label, and what is not shown of intersections."""

    rows: Sequence[GroupRow]
    suppressed_groups: int
    suppressed_images: int

    @property
    def titles(self) -> list[str]:
        """What the figures of a group are called."""
        return [one.title for one in shown_in("subgroups")]

    def divisions(self) -> dict[str, list[GroupRow]]:
        """The rows by what divides them."""
        found: dict[str, list[GroupRow]] = {}
        for row in self.rows:
            found.setdefault(row.division, []).append(row)
        return found

    def frame(self) -> pd.DataFrame:
        """The table that is written beside the page: a value and two bounds for every figure."""
        records = []
        for row in self.rows:
            record = {name: value for name, value in asdict(row).items() if name not in ("figures", "differences")}
            parts = [("", row.figures), ("_difference", row.differences)]
            for suffix, figures in parts:
                for name in [one.name for one in shown_in("subgroups")]:
                    one = figures.get(name)
                    bounds = (one.value, one.low, one.high) if one else (None, None, None)
                    for end, value in zip(("", "_low", "_high"), bounds, strict=True):
                        record[f"{name}{suffix}{end}"] = np.nan if value is None else value
            records.append(record)
        return pd.DataFrame(records)


def group_table(results: LabelResults) -> GroupTable | None:
    """Gather the groups of a label; None where none has enough patients, or all lie in one."""
    rows = []
    for division in results.subgroups:
        for group in division.groups:
            figures = _figures(group)
            if figures and group.n < results.n:
                title = f"{division.title} (divides as {division.alike})" if division.alike else division.title
                rows.append(_row(title, group.value, group, figures, group.difference))
    for crossed in results.intersections:
        title = " and ".join(crossed.titles)
        rows += [_row(title, ", ".join(group.values), group, _figures(group), {}) for group in crossed.groups]
    if not rows:
        return None
    return GroupTable(
        rows,
        sum(crossed.suppressed_groups for crossed in results.intersections),
        sum(crossed.suppressed_images for crossed in results.intersections),
    )


def _figures(group: SubgroupResults | IntersectionResults) -> dict[str, Interval]:
    return {name: one for name, one in group.figures.items() if one is not None}


def _row(
    division: str,
    name: str,
    group: SubgroupResults | IntersectionResults,
    figures: Mapping[str, Interval],
    differences: Mapping[str, Interval],
) -> GroupRow:
    return GroupRow(division, name, group.n, group.n_patients, group.n_positive, figures, differences)
