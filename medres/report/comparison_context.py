"""A comparison as the sections of its page need it: its files, read by one reader."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medres.documents import read_document
from medres.evaluation.comparison_results import Comparison
from medres.records import Interval
from medres.runs.records import RunRecord, read_run_record


@dataclass(frozen=True, slots=True)
class ComparisonContext:
    """The files of a comparison."""

    comparison: Comparison
    record: RunRecord

    @property
    def several_labels(self) -> bool:
        """Whether more than one label was compared."""
        return len(self.comparison.labels) > 1

    @property
    def several_repeats(self) -> bool:
        """Whether the runs are of several repeats of one split file."""
        return len(self.comparison.repeats) > 1

    def mean(self, label: str, metric: str, recipe: str) -> Interval:
        """The mean of a recipe's runs."""
        return self.comparison.means[label][metric][recipe]


def read_comparison(folder: Path) -> ComparisonContext:
    """Read the files of a comparison.

    Raises:
        UsageError: one of them is missing, damaged, or of a newer version.
    """
    return ComparisonContext(read_document(folder / "comparison.json", Comparison), read_run_record(folder))
