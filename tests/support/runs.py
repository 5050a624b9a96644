"""A whole run folder as `medres crossval` leaves it, without the networks: what tests of the report start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medres.cohort.splits import splits_document, write_splits
from medres.config import load_config
from medres.documents import write_document
from medres.evaluation.mistakes import most_of_a_kind, worst_mistakes
from medres.evaluation.performance import summarise
from medres.evaluation.table import judged_images, read_table
from medres.imaging.pictures import write_png
from medres.records import Fold
from medres.runs.gallery import COLUMNS
from medres.tables import write_csv, write_json
from tests.test_summary import out_of_fold

FOLDS = 3


def write_run(folder: Path, *, label: str = "effusion", table: pd.DataFrame | None = None) -> Path:
    """A whole run folder as `medres crossval` leaves it, without the networks."""
    folder.mkdir(parents=True, exist_ok=True)
    table = out_of_fold(label=label, folds=FOLDS) if table is None else table
    write_csv(folder / "oof.csv", table)
    config = load_config("quick", ["evaluation.replicates=100"])
    read = read_table(folder / "oof.csv")
    write_document(folder / "metrics.json", summarise(read, labels=[label], evaluation=config.evaluation, seed=0))
    patients = {number: sorted(set(table.loc[table["fold"] == number, "PatientID"])) for number in range(FOLDS)}
    folds = []
    for number in range(FOLDS):
        others = [name for other, names in patients.items() if other != number for name in names]
        folds.append(Fold(number, tuple(others[5:]), tuple(others[:5]), tuple(patients[number])))
    document = splits_document(folds, labels=[label], seed=0, manifest_sha256="ab" * 32)
    write_splits(folder / "splits.json", document)
    refused = {"path": ["bad/<b>.dcm", "x.txt"], "status": "refused", "reason": ["TRUNCATED", "NOT_DICOM"]}
    write_csv(folder / "refused.csv", pd.DataFrame({**refused, "detail": ["ends early", "not DICOM"]}))
    write_json(folder / "run.json", _record(table, label, config.model_dump(mode="json"), document))
    for number in range(FOLDS):
        home = folder / "models" / f"fold-{number}"
        home.mkdir(parents=True)
        epochs = np.arange(1, 10)
        history = [
            {"epoch": int(epoch), "size": 64, "loss": float(0.7 / epoch**0.4), "validation_loss": 0.7 / epoch**0.25,
             "validation_auroc": None if epoch == 1 else 0.9 - 0.3 / epoch + 0.01 * number, "learning_rate": 1e-3,
             "images_per_second": 33.0, "seconds": 12.3}
            for epoch in epochs.tolist()
        ]  # fmt: skip
        (home / "history.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in history))
    return folder


def _record(table: pd.DataFrame, label: str, config: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    return {
        "medres": "0.1.0",
        "created": "2026-11-21T10:00:00+00:00",
        "command": f"medres crossval manifest.csv --label {label} --out run",
        "labels": [label],
        "recipe": "quick",
        "config": config,
        "seed": 0,
        "manifest": {"name": "manifest.csv", "sha256": "ab" * 32, "rows": len(table) + 2, "patients": 91},
        "splits": {"sha256": document.sha256, "method": document.method, "folds": FOLDS},
        "flow": {"rows": len(table) + 2, "used": len(table), "refused": {"TRUNCATED": 1, "NOT_DICOM": 1}},
        "network": {
            "architecture": "resnet18",
            "weights": "none: a random start, no pretraining",
            "weights_sha256": None,
            "parameters": 11170753,
            "input": "128 × 128",
        },
        "device": "cpu (2 threads), fp32",
        "seconds": 412.0,
        "environment": {"python": "3.11.7", "torch": "2.10.0"},
        "git_commit": "abc123def456",
        "folds": [
            {"fold": number, "training_patients": 55, "validation_patients": 5, "held_out_patients": 30,
             "training_images": 110, "epochs": 9, "best_epoch": 6, "temperature": {label: 1.25},
             "threshold": {label: 0.42}, "seconds": 80}
            for number in range(FOLDS)
        ],
    }  # fmt: skip


def write_gallery_files(folder: Path, label: str) -> None:
    """A gallery as `medres crossval` leaves it: noise for pictures, the last of them withheld."""
    generator = np.random.default_rng(0)
    (folder / "gallery").mkdir()
    rows = []
    for mistake in worst_mistakes(judged_images(read_table(folder / "oof.csv"), label), most=most_of_a_kind(1)):
        names = [f"l0-line-{mistake.line}.png", f"l0-line-{mistake.line}-heatmap.png"]
        for name, shape in zip(names, ((256, 200), (256, 200, 3)), strict=True):
            write_png(folder / "gallery" / name, generator.integers(0, 255, shape).astype(np.uint8))
        row = (label, mistake.line, mistake.kind, "0123456789ab", mistake.fold, mistake.probability, *names, "")
        rows.append(row)
    rows[-1] = (*rows[-1][:6], "", "", "BurnedInAnnotation is absent: the pixels may hold a name")
    write_csv(folder / "gallery.csv", pd.DataFrame(rows, columns=list(COLUMNS)))
