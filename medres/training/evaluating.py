"""External validation: a saved model on another cohort, with everything it was trained with frozen."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from medres.cohort.indexing import Progress
from medres.cohort.manifest import read_manifest
from medres.config import Config, load_config
from medres.errors import ManifestError
from medres.evaluation.report import write_report
from medres.evaluation.summary import read_table, summarise
from medres.model.classifier import Classifier
from medres.tables import output_folder, write_csv, write_json
from medres.training.cohorts import load_cohort
from medres.training.crossval import held_out_rows
from medres.training.provenance import environment, git_commit, now


def evaluate_model(
    model: Path,
    manifest: Path,
    *,
    out: Path,
    root: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score a labelled cohort with a saved model; thresholds and temperatures stay as they are.

    Writes `oof.csv` (here: every row scored by a model that never saw it), `metrics.json`, `run.json`,
    `refused.csv` and `report.html`.

    Raises:
        UsageError, ManifestError, ModelError: see `medres.errors`.
    """
    started = time.monotonic()
    classifier = Classifier.load(model)
    checked = read_manifest(manifest, classifier.tasks, root=root)
    config: Config = load_config("quick").model_copy(
        update={
            "name": "external validation",
            "preprocessing": classifier.preprocessing,
            "gate": classifier.gate,
        }
    )
    with output_folder(out, force=force) as folder:
        cohort = load_cohort(checked, config, progress=progress)
        places = cohort.places(sorted({row.patient_id for row in cohort.rows}))
        if not places:
            raise ManifestError(f"{manifest}: no image has a known label")
        write_csv(folder / "oof.csv", pd.DataFrame(held_out_rows(classifier, cohort, places, fold=None)))
        write_csv(folder / "refused.csv", cohort.refused_table())
        metrics = summarise(
            read_table(folder / "oof.csv"),
            labels=classifier.tasks,
            evaluation=config.evaluation,
            seed=config.seed,
        )
        write_json(folder / "metrics.json", metrics)
        record = {
            "kind": "external validation",
            "medres": environment().get("medres", ""),
            "created": now(),
            "command": f"medres evaluate {model} {manifest} --out {out}",
            "labels": list(classifier.labels),
            "tasks": [asdict(task) for task in classifier.tasks],
            "recipe": classifier.card.provenance.recipe,
            "model_id": classifier.model_id,
            "manifest": {
                "name": manifest.name,
                "sha256": checked.sha256,
                "rows": len(checked.rows),
                "patients": checked.patients,
            },
            "flow": cohort.flow(),
            "network": {
                "architecture": classifier.card.architecture,
                "weights": classifier.card.weights,
                "weights_sha256": classifier.card.provenance.backbone.sha256,
                "parameters": classifier.card.parameters,
                "input": f"{config.preprocessing.size} × {config.preprocessing.size}",
            },
            "config": config.model_dump(mode="json"),
            "seed": config.seed,
            "device": str(classifier.device),
            "seconds": round(time.monotonic() - started, 1),
            "environment": environment(),
            "git_commit": git_commit(),
        }
        write_json(folder / "run.json", record)
        write_report(folder)
    return metrics
