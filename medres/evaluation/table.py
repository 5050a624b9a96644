"""The out-of-fold table as it is read: identifiers stay text, and a label's known images become arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medres.errors import ManifestError
from medres.model.calibration import RULES, Rule
from medres.statistics.metric import metric
from medres.tables import read_csv

_TARGETS = (0.0, 1.0, -1.0)
_OF_NUMBERS = ("label_", "logit_", "prob_", "positive_")


@dataclass(frozen=True, slots=True)
class JudgedImages:
    """The rows of a table whose label is known, as arrays of one value per image."""

    truth: NDArray[np.int64]  # 0 or 1
    probabilities: NDArray[np.float64]
    positive: NDArray[np.int64]  # the decision at the fold's frozen threshold, 0 or 1
    patients: NDArray[np.str_]
    folds: NDArray[np.int64]
    rows: NDArray[np.intp]  # places in the table
    uncertain: int  # rows left out because the label is -1
    unknown: int  # rows left out because the label is blank

    def scores(self, name: str) -> NDArray[Any]:
        """What a metric judges: decisions or probabilities."""
        return self.positive if metric(name).judges == "decisions" else self.probabilities

    def part(self, chosen: NDArray[np.bool_]) -> JudgedImages:
        """Some of the images."""
        return JudgedImages(
            truth=self.truth[chosen],
            probabilities=self.probabilities[chosen],
            positive=self.positive[chosen],
            patients=self.patients[chosen],
            folds=self.folds[chosen],
            rows=self.rows[chosen],
            uncertain=0,
            unknown=0,
        )


def read_table(path: Path) -> pd.DataFrame:
    """Read `oof.csv`: identifiers as text with their leading zeros, floats to the last bit.

    Columns `fold`, `label_…`, `logit_…`, `prob_…` and `positive_…` are numbers (blank is NaN), all others text.

    Raises:
        ManifestError: the file is missing or not a table, or a cell that must be a number is not.
    """
    table = read_csv(path)
    for name in map(str, table.columns):
        if name == "fold" or name.startswith(_OF_NUMBERS):
            try:
                table[name] = np.array([float(cell) if cell.strip() else np.nan for cell in table[name]])
            except ValueError as error:
                raise ManifestError(f"{path}: column {name}: {error}") from None
    if "fold" in table.columns:
        if table["fold"].isna().any():
            raise ManifestError(f"{path}: column fold: a cell is blank")
        table["fold"] = table["fold"].astype(np.int64)
    return table


def as_read(table: pd.DataFrame) -> pd.DataFrame:
    """A table that was just written as CSV, as `read_table` would read it back: no figure knows more than the file."""
    found: dict[str, Any] = {}
    for name in map(str, table.columns):
        if name == "fold":
            found[name] = table[name].to_numpy(dtype=np.int64)
        elif name.startswith(_OF_NUMBERS):
            found[name] = _numbers(table, name)
        else:
            found[name] = [_written(cell) for cell in table[name]]
    return pd.DataFrame(found)


def _written(cell: object) -> str:
    """A cell as text, as `tables.write_csv` leaves it."""
    return str(cell).replace("\r", " ").encode("utf-8", errors="backslashreplace").decode("utf-8")


def judged_images(table: pd.DataFrame, label: str) -> JudgedImages:
    """The images of a table whose label is 0 or 1, with what the model said of them.

    Raises:
        ManifestError: a column is missing; or a known label has no score or no decision.
    """
    needed = ["PatientID", "fold", *(f"{kind}_{label}" for kind in ("label", "prob", "positive"))]
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise ManifestError(f"the out-of-fold table lacks the columns {', '.join(missing)}")
    target = _numbers(table, f"label_{label}")
    odd = ~(np.isnan(target) | np.isin(target, _TARGETS))
    if odd.any():
        raise ManifestError(f"column label_{label} holds {target[odd][0]:g}; known are 1, 0, -1 and blank")
    known = np.isin(target, (0.0, 1.0))
    probability, decision = (_numbers(table, f"{kind}_{label}")[known] for kind in ("prob", "positive"))
    if not (np.isfinite(probability).all() and np.isin(decision, (0.0, 1.0)).all()):
        raise ManifestError(f"label {label}: an image with a known label has no probability or no decision")
    return JudgedImages(
        truth=target[known].astype(np.int64),
        probabilities=probability,
        positive=decision.astype(np.int64),
        patients=table["PatientID"].to_numpy(dtype=object)[known].astype(str),
        folds=table["fold"].to_numpy(dtype=np.int64)[known],
        rows=np.flatnonzero(known),
        uncertain=int((target == -1).sum()),
        unknown=int(np.isnan(target).sum()),
    )


def decisions_by_rule(table: pd.DataFrame, label: str, images: JudgedImages) -> dict[Rule, NDArray[np.int64]]:
    """The decisions at the frozen threshold of every rule, for the judged images; {} where the table has none.

    Raises:
        ManifestError: an image with a known label lacks a decision.
    """
    found = {}
    for rule in RULES:
        if (column := f"positive_{label}_at_{rule}") in table.columns:
            decision = _numbers(table, column)[images.rows]
            if not np.isin(decision, (0.0, 1.0)).all():
                raise ManifestError(f"column {column}: an image with a known label has no decision")
            found[rule] = decision.astype(np.int64)
    return found


def _numbers(table: pd.DataFrame, column: str) -> NDArray[np.float64]:
    cells = table[column]
    return np.array([np.nan if cell is None or cell == "" else float(cell) for cell in cells], dtype=np.float64)
