"""Comparing runs: verdicts paired by patient, and what each recipe costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError

from medres.config import Architecture, Evaluation
from medres.errors import MedresError, UsageError
from medres.evaluation.comparison import (
    DEFAULT_SPREAD,
    METRICS,
    PRIMARY,
    USUAL_SPREAD,
    Candidate,
    Drawn,
    Judged,
    SeedSpread,
    draw,
    judge,
    mean_of_runs,
    seed_spread,
)
from medres.evaluation.performance import interval
from medres.evaluation.table import judged_images
from medres.model.classifier import read_card
from medres.model.cost import Design, Speed, compare_speed, cost, device_name
from medres.runs.comparable import ComparableRun, by_recipe, settings
from medres.runs.recording import comparison_record
from medres.runs.records import write_run_record
from medres.tables import output_folder, refuse_inside, write_csv, write_json

COSTS = "costs.csv"


def compare_runs(
    runs: Sequence[ComparableRun],
    *,
    out: Path,
    spread: float | None = None,
    timing: bool = True,
    device: Literal["auto", "cpu"] = "auto",
    force: bool = False,
) -> dict[str, Any]:
    """Compare cross-validation runs on the same splits, paired by patient; the first run's recipe is the reference.

    Writes `comparison.json`, `comparison.csv`, `costs.csv` and `run.json` into `out`.

    Args:
        runs: what `comparable.read_runs` gave; those that differ in the seed or the repeat alone count as one recipe.
        out: the new folder.
        spread: the AUROC by which runs that differ in the seed alone are taken to differ where that was not measured;
            `comparison.DEFAULT_SPREAD` without.
        timing: measure the speed of scoring on this machine.
        device: where.
        force: replace `out`.

    Returns:
        The content of `comparison.json`.

    Raises:
        UsageError: recipes have runs of other repeats; or `out` lies in a run, or is there already.
    """
    refuse_inside(out, [run.folder for run in runs])
    groups = by_recipe(runs)
    with output_folder(out, force=force) as folder:
        content = _compared(groups, spread=DEFAULT_SPREAD if spread is None else spread)
        content["candidates"] = _described(groups, content, timing=timing, device=device)
        write_json(folder / "comparison.json", content)
        write_csv(folder / "comparison.csv", pd.DataFrame(_rows(content)))
        write_csv(folder / COSTS, pd.DataFrame(_costs(content)))
        write_run_record(folder, comparison_record())
    return content


def _compared(groups: Mapping[str, Sequence[ComparableRun]], *, spread: float) -> dict[str, Any]:
    """Everything of `comparison.json` but the cost."""
    reference = next(iter(groups))
    first = groups[reference][0]
    evaluation = _evaluation(first)
    family = max(1, (len(groups) - 1) * len(first.labels))
    drawn: list[Drawn] = []
    alone: dict[str, dict[str, Any]] = {}  # per metric and label: figures of every run
    own: dict[str, dict[str, Any]] = {}  # the same with their intervals
    means: dict[str, dict[str, Any]] = {}  # per metric and label: of every recipe, over its runs
    spreads: dict[str, SeedSpread] = {}
    for label in first.labels:
        images = judged_images(first.table, label)
        found_of = {name: [judged_images(run.table, label) for run in runs] for name, runs in groups.items()}
        candidates = [Candidate(name, [one.probabilities for one in found]) for name, found in found_of.items()]
        for metric in METRICS:
            pairs = [
                draw(
                    images.truth, candidates[0], candidate, images.patients, label=label, metric=metric,
                    replicates=evaluation.replicates * family, seed=first.seed,
                )
                for candidate in candidates[1:] or candidates
            ]  # fmt: skip
            values = {reference: pairs[0].reference_values, **{item.candidate: item.candidate_values for item in pairs}}
            alone.setdefault(label, {})[metric] = {name: list(found) for name, found in values.items()}
            own.setdefault(label, {})[metric] = {
                name: [asdict(interval(one, metric, evaluation, first.seed)) for one in found]
                for name, found in found_of.items()
            }
            how: dict[str, Any] = {
                "replicates": evaluation.replicates,
                "confidence": evaluation.confidence,
                "seed": first.seed,
            }
            means.setdefault(label, {})[metric] = {
                one.name: asdict(mean_of_runs(images.truth, one, images.patients, metric=metric, **how))
                for one in candidates
            }
            if metric == PRIMARY:
                spreads[label] = seed_spread(list(values.values()), usual=spread)
            drawn += pairs if len(groups) > 1 else []
    deciding = [item for item in drawn if item.metric == PRIMARY]
    found = judge(deciding, spreads, confidence=evaluation.confidence)
    tested = sum(item.p is not None for item in found)
    others = [_undecided(item, evaluation) for item in drawn if item.metric != PRIMARY]
    return {
        "reference": reference,
        "labels": first.labels,
        "splits_sha256": first.record.splits and first.record.splits.sha256,
        "images": len(first.table),
        "patients": int(first.table["PatientID"].nunique()),
        "folds": int(first.table["fold"].nunique()),
        "repeats": sorted({run.repeat for run in groups[reference] if run.repeat is not None}),
        "confidence": evaluation.confidence,
        "tested": tested,
        "correction": "Holm 1979" if tested > 1 else None,
        "usual_spread": list(USUAL_SPREAD),
        "seed_spread": {label: asdict(found) for label, found in spreads.items()},
        "values": alone,
        "intervals": own,
        "means": means,
        "comparisons": [_entry(item) for item in found] + others,
        "candidates": [],
    }


def _evaluation(run: ComparableRun) -> Evaluation:
    try:
        return Evaluation.model_validate(run.config.get("evaluation") or {})
    except ValidationError as error:
        raise UsageError(f"{run.folder / 'run.json'}: config.evaluation: {error.errors()[0]['msg']}") from None


def _entry(item: Judged) -> dict[str, Any]:
    return {
        "label": item.drawn.label,
        "metric": item.drawn.metric,
        "reference": item.drawn.reference,
        "candidate": item.drawn.candidate,
        "difference": asdict(item.interval),
        "level": round(item.level, 6),
        "p": item.p,
        "p_holm": item.p_adjusted,
        "seed_bar": item.bar,
        "excludes_zero": item.excludes_zero,
        "verdict": item.verdict,
    }


def _undecided(item: Drawn, evaluation: Evaluation) -> dict[str, Any]:
    """A difference that is shown, and on which nothing is decided."""
    interval = item.interval(evaluation.confidence)
    shown = Judged(item, interval, evaluation.confidence, item.p, None, None, False, "undefined")
    return {**_entry(shown), "excludes_zero": None, "verdict": None}


def _described(
    groups: Mapping[str, Sequence[ComparableRun]],
    content: Mapping[str, Any],
    *,
    timing: bool,
    device: Literal["auto", "cpu"],
) -> list[dict[str, Any]]:
    """Every candidate with its runs, what is peculiar to it, and its cost."""
    flat = {name: settings(runs[0]) for name, runs in groups.items()}
    keys = sorted({key for one in flat.values() for key in one})
    differing = [key for key in keys if len({one.get(key) for one in flat.values()}) > 1]
    designs = {name: _design(runs[0]) for name, runs in groups.items()}
    where = torch.device("cuda" if device == "auto" and torch.cuda.is_available() else "cpu")
    speeds: Mapping[str, Speed] = compare_speed(designs, device=where) if timing else {}
    found = []
    for name, runs in groups.items():
        counted, speed = cost(designs[name]), speeds.get(name)
        seconds = [run.record.seconds for run in runs if run.record.seconds is not None]
        found.append(
            {
                "name": name,
                "architecture": designs[name].architecture,
                "weights": runs[0].record.network and runs[0].record.network.weights,
                "side": designs[name].side,
                "recipe": runs[0].config.get("name"),
                "peculiar": {key: flat[name].get(key, "absent") for key in differing},
                "runs": [
                    {
                        "folder": str(run.folder),
                        "seed": run.seed,
                        "repeat": run.repeat,
                        "oof_sha256": run.oof_sha256,
                    }
                    for run in runs
                ],
                "cost": {
                    "parameters": counted.parameters,
                    "gflop": counted.gflop,
                    "relative_gflop": counted.gflop / cost(designs[content["reference"]]).gflop,
                    "images_per_second": speed and speed.images_per_second,
                    "relative_time": speed and speed.relative_time,
                    "machine": device_name(where) if speed else None,
                    "training_seconds": float(np.mean(seconds)) if seconds else None,
                    "training_device": sorted({str(run.record.device or None) for run in runs}),
                },
            }
        )
    return found


def _design(run: ComparableRun) -> Design:
    """The shape of a run's networks: from a fold's card, else from what the run records."""
    architecture = run.config["network"]["architecture"]
    if architecture not in get_args(Architecture):
        raise UsageError(f"{run.folder / 'run.json'} names an unknown architecture {architecture!r}")
    side = int(run.config["preprocessing"]["size"])
    folded = run.config["network"].get("weights") != "none"
    for path in sorted(run.folder.glob("models/fold-*")):
        try:
            folded = read_card(path).folded
        except MedresError:
            continue
        break
    return Design(architecture, side, len(run.labels), folded)


def _costs(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lines of `costs.csv`: each candidate, and for each label the gain that the picture shows against its cost."""
    deciding = {
        (item["label"], item["candidate"]): item for item in content["comparisons"] if item["metric"] == PRIMARY
    }
    rows = []
    for candidate in content["candidates"]:
        cost = {key: value for key, value in candidate["cost"].items() if key != "training_device"}
        for label in content["labels"]:
            item = deciding.get((label, candidate["name"]))
            gain = item["difference"] if item else {}
            rows.append(
                {
                    "candidate": candidate["name"],
                    "architecture": candidate["architecture"],
                    "side": candidate["side"],
                    **cost,
                    "training_device": "; ".join(candidate["cost"]["training_device"]),
                    "label": label,
                    "auroc_gain": 0.0 if candidate["name"] == content["reference"] else gain.get("value"),
                    "low": gain.get("low"),
                    "high": gain.get("high"),
                    "seed_bar": item["seed_bar"] if item else None,
                }
            )
    return rows


def _rows(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lines of `comparison.csv`."""
    rows = []
    for item in content["comparisons"]:
        values = content["values"][item["label"]][item["metric"]]
        means = {
            name: None if None in found else float(np.mean(found))
            for name, found in values.items()
        }  # fmt: skip
        difference = item["difference"]
        rows.append(
            {
                "label": item["label"],
                "metric": item["metric"],
                "reference": item["reference"],
                "candidate": item["candidate"],
                "reference_value": means[item["reference"]],
                "candidate_value": means[item["candidate"]],
                "difference": difference["value"],
                "low": difference["low"],
                "high": difference["high"],
                "level": item["level"],
                "p": item["p"],
                "p_holm": item["p_holm"],
                "seed_bar": item["seed_bar"],
                "verdict": item["verdict"] or "",
                "n": difference["n"],
                "n_patients": difference["n_patients"],
                "method": difference["method"],
            }
        )
    return rows
