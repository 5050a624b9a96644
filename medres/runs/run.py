"""A finished run, opened: what it recorded, its figures and its table, typed."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Self

import pandas as pd

from medres.documents import read_document
from medres.errors import UsageError
from medres.evaluation.results import Metrics
from medres.evaluation.table import JudgedImages, judged_images, read_table
from medres.runs.records import COMPARISON, DEPTH, FoldRecord, RunRecord, read_run_record
from medres.tables import MARKER


class OpenRun:
    """A cross-validation, or a model that was judged on another cohort, as it lies on disk.

    Args:
        folder: what `medres crossval` or `medres evaluate` wrote.
        record: its `run.json`.
        metrics: its `metrics.json`.
    """

    def __init__(self, folder: Path, record: RunRecord, metrics: Metrics) -> None:
        self.folder, self.record, self.metrics = folder, record, metrics

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open the folder of a run.

        Raises:
            UsageError: it is none, or one of its files is damaged or of a newer version.
        """
        folder = Path(folder)
        if not (folder / MARKER).is_file():
            raise UsageError(f"{folder} is not a run: it holds no {MARKER}")
        record = read_run_record(folder)
        if record.kind == COMPARISON:
            raise UsageError(f"{folder} is a comparison, not a run; open the runs that it compares")
        if record.kind == DEPTH:
            raise UsageError(f"{folder} is a study of depth, not a run; open one of {folder / 'runs'}")
        if not (folder / "metrics.json").is_file():
            raise UsageError(
                f"{folder} is not a run of `medres crossval` or `medres evaluate`: it holds no metrics.json"
                + (" (a model: Classifier.load opens it)" if (folder / "medres.json").is_file() else "")
            )
        return cls(folder, record, read_document(folder / "metrics.json", Metrics))

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of its networks."""
        return self.record.labels or tuple(self.metrics.labels)

    @property
    def folds(self) -> tuple[FoldRecord, ...]:
        """What is recorded of its folds; none of an external validation."""
        return self.record.folds

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """`oof.csv`, read once: one row per judged image, identifiers as text; every figure follows from it.

        Raises:
            UsageError, ManifestError: it is missing or damaged.
        """
        return read_table(self.folder / "oof.csv")

    def images(self, label: str) -> JudgedImages:
        """The images whose label is known, as arrays: truth, probabilities, decisions, patients and folds.

        Raises:
            UsageError: the run has no such label.
        """
        if label not in self.labels:
            raise UsageError(f"{self.folder} has no label {label!r}; it has {', '.join(self.labels)}")
        return judged_images(self.predictions, label)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r}, labels={self.labels})"
