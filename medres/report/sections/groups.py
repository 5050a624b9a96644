"""What the frozen thresholds of one label reach in parts of the cohort, and how a part differs from the rest."""

from __future__ import annotations

from dataclasses import dataclass

from medres.evaluation.results import LabelResults
from medres.report.group_table import GroupTable, group_table
from medres.report.page import Content
from medres.report.table_files import TableFile, table_file


@dataclass(frozen=True, slots=True)
class Groups(Content):
    """The part of a label's results that shows subgroups in a table."""

    table: GroupTable
    file: TableFile
    several_thresholds: bool  # each fold has its own


def groups(results: LabelResults, slug: str, *, several_thresholds: bool) -> Groups | None:
    """The subgroups of one label; None where none has enough patients, or all images lie in one.

    Args:
        results: of the label.
        slug: the label in names of files.
        several_thresholds: each fold has its own.
    """
    table = group_table(results)
    if table is None:
        return None
    return Groups(table, table_file("groups", table.frame(), slug), several_thresholds)
