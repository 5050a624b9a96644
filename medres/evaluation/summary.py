"""From the out-of-fold table to every figure of performance: `metrics.json` is this function of `oof.csv`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medres.cohort.tasks import Task
from medres.config import Evaluation
from medres.errors import ManifestError
from medres.evaluation.grades import summarise_task
from medres.evaluation.intervals import Sample, bootstrap, bootstraps, calibration_intervals
from medres.evaluation.metrics import statistic
from medres.evaluation.operating import OF_DECISIONS, points_of_rules
from medres.evaluation.paired import PairedFigures, disjoint_pairs
from medres.evaluation.probes import auroc_within
from medres.evaluation.resampling import Kernel, patient_numbers
from medres.evaluation.subgroups import divided
from medres.model.calibration import RULES, Rule
from medres.records import Interval
from medres.tables import read_csv

_OF_PROBABILITIES = ("auroc", "average_precision", "partial_auroc")
_OF_CALIBRATION = ("brier", "expected_calibration_error")
METRICS = (
    *_OF_PROBABILITIES,
    *OF_DECISIONS,
    *_OF_CALIBRATION,
    "calibration_slope",
    "calibration_intercept",
)
"""Names of the pooled metrics, in the order they are shown."""

WITHIN_FOLDS = "auroc_within_folds"
"""The pooled AUROC compares scores of different networks, too; this one only images that the same network scored."""

_IN_FOLDS = (*_OF_PROBABILITIES, *OF_DECISIONS, "brier")
_TARGETS = (0.0, 1.0, -1.0)


@dataclass(frozen=True, slots=True)
class Judged:
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
        return self.positive if name in OF_DECISIONS else self.probabilities

    def part(self, chosen: NDArray[np.bool_]) -> Judged:
        """Some of the images."""
        return Judged(
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
        if name == "fold" or name.startswith(("label_", "logit_", "prob_", "positive_")):
            try:
                table[name] = np.array([float(cell) if cell.strip() else np.nan for cell in table[name]])
            except ValueError as error:
                raise ManifestError(f"{path}: column {name}: {error}") from None
    if "fold" in table.columns:
        if table["fold"].isna().any():
            raise ManifestError(f"{path}: column fold: a cell is blank")
        table["fold"] = table["fold"].astype(np.int64)
    return table


def judged(table: pd.DataFrame, label: str) -> Judged:
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
    return Judged(
        truth=target[known].astype(np.int64),
        probabilities=probability,
        positive=decision.astype(np.int64),
        patients=table["PatientID"].to_numpy(dtype=object)[known].astype(str),
        folds=table["fold"].to_numpy(dtype=np.int64)[known],
        rows=np.flatnonzero(known),
        uncertain=int((target == -1).sum()),
        unknown=int(np.isnan(target).sum()),
    )


def decisions_by_rule(table: pd.DataFrame, label: str, images: Judged) -> dict[Rule, NDArray[np.int64]]:
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


def summarise(
    table: pd.DataFrame, *, labels: Sequence[str | Task], evaluation: Evaluation, seed: int
) -> dict[str, Any]:
    """Every pooled and per-fold figure of an out-of-fold table, as the content of `metrics.json`.

    Args:
        table: one row per image, as `read_table` gives it: `path, PatientID, SOPInstanceUID, fold, label_<L>,
            logit_<L>, prob_<L>, positive_<L>`, and maybe `positive_<L>_at_<RULE>`. Blank labels are unknown, -1
            uncertain: both are left out and counted.
        labels: which labels, or tasks with theirs.
        evaluation: replicates and confidence of the intervals.
        seed: of the resamples.

    Returns:
        `{"labels": {L: {"pooled": {METRIC: {"value", "low", "high", "method", "n", "n_patients"}; WITHIN_FOLDS too
        where there are folds}, "folds": [...], "undefined_folds", "n", "n_patients", "n_positive", "prevalence",
        "uncertain", "unknown", "subgroups", "intersections": see `subgroups.divided`, "operating_points": see
        `operating.points_of_rules`, where the table has decisions by rule}}, "tasks": {T: see
        `grades.summarise_task`, for grades and classes}}`; JSON values only, None where undefined.

    Raises:
        ManifestError: see `judged`.
    """
    tasks = [Task(item) if isinstance(item, str) else item for item in labels]
    return {
        "labels": {label: _label(table, label, evaluation, seed) for task in tasks for label in task.labels},
        "tasks": {
            task.name: summarise_task(table, task, evaluation=evaluation, seed=seed)
            for task in tasks
            if task.kind != "binary"
        },
    }


def _label(table: pd.DataFrame, label: str, evaluation: Evaluation, seed: int) -> dict[str, Any]:
    images = judged(table, label)
    folds = [_fold(images, number, evaluation, seed) for number in sorted(set(map(int, table["fold"])))]
    n = len(images.truth)
    content = {
        "pooled": {
            name: asdict(found)
            for name, found in (pooled(images, evaluation, seed) | _within_folds(images, evaluation, seed)).items()
        },
        "folds": folds,
        "undefined_folds": sum(fold["auroc"] is None for fold in folds),
        "n": n,
        "n_patients": len(np.unique(images.patients)),
        "n_positive": int(images.truth.sum()),
        "prevalence": float(images.truth.mean()) if n else None,
        "uncertain": images.uncertain,
        "unknown": images.unknown,
        **divided(table, images, evaluation=evaluation, seed=seed),
    }
    by_rule = decisions_by_rule(table, label, images)
    if by_rule:
        content["operating_points"] = points_of_rules(
            images.truth, by_rule, images.patients, evaluation=evaluation, seed=seed
        )
    json.dumps(content, allow_nan=False)  # what is returned can be written
    return content


def pooled(images: Judged, evaluation: Evaluation, seed: int) -> dict[str, Interval]:
    """All of `METRICS` over all images."""
    names = [name for name in METRICS if not name.startswith("calibration_")]
    samples = [Sample(images.truth, images.scores(name), images.patients, name) for name in names]
    intervals = bootstraps(samples, replicates=evaluation.replicates, confidence=evaluation.confidence, seed=seed)
    found = dict(zip(names, intervals, strict=True))
    found |= calibration_intervals(
        images.truth, images.probabilities, images.patients, confidence=evaluation.confidence
    )
    return {name: found[name] for name in METRICS}


def auroc_within_folds(images: Judged) -> float | None:
    """WITHIN_FOLDS without its interval; None where no fold has both classes."""
    patients = len(np.unique(images.patients))
    value = float(_kernel_of_folds(images)(np.ones((1, patients), dtype=np.int64))[0])
    return None if np.isnan(value) else value


def _kernel_of_folds(images: Judged) -> Kernel:
    return auroc_within(images.truth, images.probabilities, patient_numbers(images.patients), images.folds)


def _within_folds(images: Judged, evaluation: Evaluation, seed: int) -> dict[str, Interval]:
    """WITHIN_FOLDS with its interval; {} where there is one fold."""
    if len(np.unique(images.folds)) < 2:
        return {}
    patient = patient_numbers(images.patients)
    figures = PairedFigures(
        {WITHIN_FOLDS: _kernel_of_folds(images)},
        n=len(patient),
        n_patients=len(np.unique(patient)),
        pairs={WITHIN_FOLDS: disjoint_pairs(images.truth, patient, images.folds)},
        evaluation=evaluation,
        seed=seed,
    )
    return {WITHIN_FOLDS: figures.one(WITHIN_FOLDS, "; pairs within a fold")}


def interval(images: Judged, name: str, evaluation: Evaluation, seed: int) -> Interval:
    """One metric with its bootstrap interval."""
    return bootstrap(
        images.truth,
        images.scores(name),
        images.patients,
        statistic=name,
        replicates=evaluation.replicates,
        confidence=evaluation.confidence,
        seed=seed,
    )


def _fold(images: Judged, number: int, evaluation: Evaluation, seed: int) -> dict[str, Any]:
    """One fold's figures, None where it has no such image; the AUROC with `auroc_low`, `auroc_high`, `auroc_method`."""
    part = images.part(images.folds == number)
    auroc = interval(part, "auroc", evaluation, seed)
    return {
        "fold": number,
        "n": len(part.truth),
        "n_patients": len(np.unique(part.patients)),
        "n_positive": int(part.truth.sum()),
        **{name: statistic(name, part.truth, part.scores(name)) for name in _IN_FOLDS},
        "auroc_low": auroc.low,
        "auroc_high": auroc.high,
        "auroc_method": auroc.method,
    }
