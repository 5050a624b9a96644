"""What can be verified about a run from its own files, and how its figures must not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medres.cohort.splits import read_splits
from medres.cohort.tasks import Task
from medres.errors import UsageError
from medres.evaluation.performance import METRICS, WITHIN_FOLDS, auroc_within_folds
from medres.evaluation.table import JudgedImages, decisions_by_rule
from medres.evaluation.tasks import confusion
from medres.statistics.metrics import OF_DECISIONS, calibration_line, statistic
from medres.tables import read_json

KEPT_APART = "Patients were kept apart"
_AGREEMENT = 1e-9  # recomputed figures may differ by what another machine's arithmetic differs


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was verified, or could not be."""

    name: str
    passed: bool | None  # None: there was nothing to verify it with
    detail: str


def verify(
    folder: Path,
    run: Mapping[str, Any],
    metrics: Mapping[str, Any],
    table: pd.DataFrame,
    images: Mapping[str, JudgedImages],
) -> list[Check]:
    """Check a run's files against each other.

    Args:
        folder: the run.
        run: content of `run.json`.
        metrics: content of `metrics.json`.
        table: `oof.csv`.
        images: the judged images of each label.
    """
    found = [_figures(metrics, images, table), _once(table), *_splits(folder, run, table), _flow(run, table)]
    external = run.get("kind") == "external validation"  # its models lie elsewhere, and were verified when loaded
    return found if external else [*found, _models(folder, run)]


def _figures(metrics: Mapping[str, Any], images: Mapping[str, JudgedImages], table: pd.DataFrame) -> Check:
    name = "Figures follow from oof.csv"
    compared, wrong = 0, []
    for label, content in metrics["labels"].items():
        found = [(content["pooled"].get(metric), metric, value) for metric, value in recomputed(images[label]).items()]
        recorded_rules = content.get("operating_points") or {}
        for rule, called in decisions_by_rule(table, label, images[label]).items():
            places = recorded_rules.get(rule) or {}
            found += [
                (places.get(metric), f"{rule} {metric}", statistic(metric, images[label].truth, called))
                for metric in OF_DECISIONS
            ]
        for place, metric, value in found:
            if place is None:  # a run of before there was this metric
                continue
            recorded = place["value"]
            compared += 1
            same = value is recorded is None or (
                value is not None and recorded is not None and abs(value - recorded) <= _AGREEMENT * max(1, abs(value))
            )
            if not same:
                wrong.append(f"{metric} of {label}: recorded {recorded}, recomputed {value}")
    for name_of_task, content in (metrics.get("tasks") or {}).items():
        task = Task(name_of_task, content["kind"], tuple(content["values"]))
        compared += 1
        if confusion(table, task).tolist() != content["confusion"]:
            wrong.append(f"the confusion of {name_of_task} is not that of the table")
    if wrong:
        return Check(name, False, "; ".join(wrong))
    return Check(name, True, f"all {compared} pooled values of metrics.json were recomputed from the table and agree")


def recomputed(images: JudgedImages) -> dict[str, float | None]:
    """The pooled values of `summary.METRICS`, and that of `summary.WITHIN_FOLDS`, without intervals."""
    line = calibration_line(images.truth, images.probabilities)
    found: dict[str, float | None] = {
        "calibration_slope": line[0] if line else None,
        "calibration_intercept": line[1] if line else None,
    }
    for name in METRICS:
        if name not in found:
            found[name] = statistic(name, images.truth, images.scores(name))
    return {**found, WITHIN_FOLDS: auroc_within_folds(images)}


def _once(table: pd.DataFrame) -> Check:
    name = "Every image was scored once"
    identifiers = [str(value) for value in table.get("SOPInstanceUID", pd.Series(dtype=str)) if str(value)]
    paths = [str(value) for value in table["path"]]
    twice = len(paths) - len(set(paths)) + len(identifiers) - len(set(identifiers))
    if twice:
        return Check(name, False, f"{twice} rows of oof.csv repeat a path or a SOPInstanceUID")
    return Check(name, True, f"{len(paths)} rows, no path and no SOPInstanceUID twice")


def _splits(folder: Path, run: Mapping[str, Any], table: pd.DataFrame) -> list[Check]:
    names = ("The split file is as it was written", KEPT_APART)
    if run.get("kind") == "external validation":
        overlap = run.get("overlap") or {}
        if not overlap:
            return [Check(names[1], None, "external validation: the training cohort is not here")]
        known = overlap["patients"] is not None or overlap["found"]
        detail = f"this cohort holds {overlap['detail']}" if overlap["found"] else overlap["detail"]
        return [Check(names[1], not overlap["found"] if known else None, detail)]
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
    recorded = (run.get("splits") or {}).get("sha256")
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


def _suspicions(run: Mapping[str, Any]) -> tuple[int, str]:
    """How often one person may stand under several PatientIDs, and what was looked for."""
    leaks = run.get("leaks")
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


def _flow(run: Mapping[str, Any], table: pd.DataFrame) -> Check:
    name = "Every row of the manifest is accounted for"
    flow = run.get("flow") or {}
    if "rows" not in flow or "used" not in flow:
        return Check(name, None, "the flow of images is not recorded")
    refused = sum((flow.get("refused") or {}).values())
    detail = f"{flow['rows']} rows = {flow['used']} used + {refused} not used; oof.csv has {len(table)} rows"
    return Check(name, flow["rows"] == flow["used"] + refused and flow["used"] == len(table), detail)


def _models(folder: Path, run: Mapping[str, Any]) -> Check:
    name = "The models are those of this run"
    entries = [entry for entry in run.get("folds") or [] if entry.get("model_id")]
    cards = {entry["fold"]: folder / "models" / f"fold-{entry['fold']}" / "medres.json" for entry in entries}
    there = {fold: read_json(path) for fold, path in cards.items() if path.is_file()}
    if not there:
        return Check(name, None, "no model of a fold is in the run")
    wrong = []
    for entry in entries:
        card = there.get(entry["fold"])
        if card is None:
            continue
        thresholds = {label: point["threshold"] for label, point in card["operating_points"].items()}
        same = (card["model_id"], card["temperatures"], thresholds) == tuple(
            entry.get(key) for key in ("model_id", "temperature", "threshold")
        )
        if not same:
            wrong.append(f"that of fold {entry['fold']} is another, or has another temperature or threshold")
    if wrong:
        return Check(name, False, "; ".join(wrong))
    return Check(name, True, f"identifier, temperatures and thresholds of {len(there)} cards are those of run.json")


def limits(run: Mapping[str, Any], *, folds: int, random_start: bool) -> list[str]:
    """How the figures must not be read.

    Args:
        run: content of `run.json`.
        folds: of the table.
        random_start: the network started without pretraining.
    """
    members = int(run.get("members") or 1)
    found = [
        "Intervals show how the figures vary with the choice of patients, not with training anew.",
        "PPV and NPV hold at the prevalence of this cohort, and change with it.",
        "Uncertain and unknown labels were left out; figures say nothing of such images.",
    ]
    if members > 1:
        found.append(f"Figures are those of {members} networks together, not of one of them.")
    if run.get("kind") != "external validation" and folds > 1:
        found.append(
            "Pooled figures mix the scores of several networks, one per fold; they estimate the recipe, "
            "not one network, and not the final model trained on all patients."
        )
    if random_start:
        found.append(
            "The network started from random weights: no ImageNet pretraining. "
            "Pretrained weights usually give better results on small cohorts."
        )
    return found
