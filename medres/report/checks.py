"""What can be verified about a run from its own files, and how its figures must not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from medres.cohort.splits import read_splits
from medres.errors import UsageError
from medres.evaluation.performance import pooled_values
from medres.evaluation.results import Metrics
from medres.evaluation.table import JudgedImages, decisions_by_rule
from medres.evaluation.tasks import confusion
from medres.runs.records import RunRecord
from medres.runs.run_files import RunFiles
from medres.statistics.metric import shown_in
from medres.tables import read_json

KEPT_APART = "Patients were kept apart"
_AGREEMENT = 1e-9  # recomputed figures may differ by what another machine's arithmetic differs


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was verified, or could not be."""

    name: str
    passed: bool | None  # None: there was nothing to verify it with
    detail: str


class _FrozenThreshold(BaseModel):
    """The part of a card's operating point that is compared."""

    model_config = ConfigDict(extra="ignore")

    threshold: float


class _Card(BaseModel):
    """The parts of a fold's `medres.json` that `run.json` records too."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    model_id: str
    temperatures: Mapping[str, float]
    operating_points: Mapping[str, _FrozenThreshold]


def verify(folder: Path, files: RunFiles, images: Mapping[str, JudgedImages]) -> list[Check]:
    """Check a run's files against each other.

    Args:
        folder: the run.
        files: what was read of it.
        images: the judged images of each label.
    """
    run, table = files.run, files.table
    found = [_figures(files.metrics, images, table), _once(table), *_splits(folder, run, table), _flow(run, table)]
    return found if run.external else [*found, _models(folder, run)]  # a saved model was verified when it was loaded


def _figures(metrics: Metrics, images: Mapping[str, JudgedImages], table: pd.DataFrame) -> Check:
    name = "Figures follow from oof.csv"
    compared, wrong = 0, []
    for label, results in metrics.labels.items():
        found = [(results.pooled.get(metric), metric, value) for metric, value in pooled_values(images[label]).items()]
        for rule, called in decisions_by_rule(table, label, images[label]).items():
            point = results.operating_points.get(rule)
            found += [
                (
                    point.figures.get(one.name) if point else None,
                    f"{rule} {one.name}",
                    one.value(images[label].truth, called),
                )
                for one in shown_in("rules")
            ]
        for interval, metric, value in found:
            if interval is None:  # a run of before there was this metric
                continue
            recorded = interval.value
            compared += 1
            same = value is recorded is None or (
                value is not None and recorded is not None and abs(value - recorded) <= _AGREEMENT * max(1, abs(value))
            )
            if not same:
                wrong.append(f"{metric} of {label}: recorded {recorded}, recomputed {value}")
    for task, answered in metrics.tasks.items():
        compared += 1
        if confusion(table, answered.task(task)).tolist() != [list(row) for row in answered.confusion]:
            wrong.append(f"the confusion of {task} is not that of the table")
    if wrong:
        return Check(name, False, "; ".join(wrong))
    return Check(name, True, f"all {compared} pooled values of metrics.json were recomputed from the table and agree")


def _once(table: pd.DataFrame) -> Check:
    name = "Every image was scored once"
    identifiers = [str(value) for value in table.get("SOPInstanceUID", pd.Series(dtype=str)) if str(value)]
    paths = [str(value) for value in table["path"]]
    twice = len(paths) - len(set(paths)) + len(identifiers) - len(set(identifiers))
    if twice:
        return Check(name, False, f"{twice} rows of oof.csv repeat a path or a SOPInstanceUID")
    return Check(name, True, f"{len(paths)} rows, no path and no SOPInstanceUID twice")


def _splits(folder: Path, run: RunRecord, table: pd.DataFrame) -> list[Check]:
    names = ("The split file is as it was written", KEPT_APART)
    if run.external:
        overlap = run.overlap
        if overlap is None:
            return [Check(names[1], None, "external validation: the training cohort is not here")]
        known = overlap.patients is not None or overlap.found
        detail = f"this cohort holds {overlap.detail}" if overlap.found else overlap.detail
        return [Check(names[1], not overlap.found if known else None, detail)]
    path = folder / "splits.json"
    if not path.is_file():
        return [Check(name, None, "splits.json is not in the run") for name in names]
    try:
        folds, document = read_splits(path)
    except UsageError as error:
        return [
            Check(names[0], False, str(error).replace(str(path), "splits.json")),
            Check(names[1], None, "see above"),
        ]
    recorded = run.splits.sha256 if run.splits else None
    same = recorded == document.sha256
    first = Check(
        names[0],
        None if recorded is None else same,
        "its SHA-256 fits its content"
        + ("" if recorded is None else " and run.json" if same else ", but run.json records another one"),
    )
    held_out = {fold.index: set(fold.held_out) for fold in folds}
    rows = zip(table["PatientID"].astype(str), table["fold"], strict=True)
    strangers = sum(patient not in held_out.get(int(fold), set()) for patient, fold in rows)
    if strangers:
        return [first, Check(names[1], False, f"{strangers} images were scored in a fold that did not hold them out")]
    detail = "no PatientID has two roles in a fold; every image was scored in the fold that held its PatientID out"
    suspicions, said = _suspicions(run)
    return [first, Check(names[1], None if suspicions else True, f"{detail}. {said}")]


def _suspicions(run: RunRecord) -> tuple[int, str]:
    """How often one person may stand under several PatientIDs, and what was looked for."""
    leaks = run.leaks
    if not leaks:
        return 0, "Whether one person stands under two PatientIDs was not looked for: run `medres check`"
    words = {
        "similar PatientID": "PatientIDs that likely name one person",
        "same SOPInstanceUID": "SOPInstanceUIDs under two PatientIDs",
        "near-duplicate": "near-duplicate images under two PatientIDs",
    }
    counts = [f"{word}: {'not looked for' if leaks.get(kind) is None else leaks[kind]}" for kind, word in words.items()]
    found = sum(leaks.get(kind) or 0 for kind in words)
    advice = ": run `medres check`" if found or any(leaks.get(kind) is None for kind in words) else ""
    return found, "; ".join(counts) + advice


def _flow(run: RunRecord, table: pd.DataFrame) -> Check:
    name = "Every row of the manifest is accounted for"
    flow = run.flow
    if flow is None:
        return Check(name, None, "the flow of images is not recorded")
    refused = sum(flow.refused.values())
    detail = f"{flow.rows} rows = {flow.used} used + {refused} not used; oof.csv has {len(table)} rows"
    return Check(name, flow.rows == flow.used + refused and flow.used == len(table), detail)


def _models(folder: Path, run: RunRecord) -> Check:
    name = "The models are those of this run"
    paths = {fold.fold: folder / "models" / f"fold-{fold.fold}" / "medres.json" for fold in run.folds if fold.model_id}
    there = {fold: _read_card(path) for fold, path in paths.items() if path.is_file()}
    if not there:
        return Check(name, None, "no model of a fold is in the run")
    wrong = []
    for fold in run.folds:
        if fold.fold not in there:
            continue
        card = there[fold.fold]
        if card is None:
            wrong.append(f"that of fold {fold.fold} cannot be read")
            continue
        thresholds = {label: point.threshold for label, point in card.operating_points.items()}
        if (card.model_id, card.temperatures, thresholds) != (fold.model_id, fold.temperature, fold.threshold):
            wrong.append(f"that of fold {fold.fold} is another, or has another temperature or threshold")
    if wrong:
        return Check(name, False, "; ".join(wrong))
    return Check(name, True, f"identifier, temperatures and thresholds of {len(there)} cards are those of run.json")


def _read_card(path: Path) -> _Card | None:
    try:
        return _Card.model_validate(read_json(path))
    except (UsageError, ValidationError):
        return None
