"""One model from one manifest, and what every run writes down about itself."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medres import __version__
from medres.cohort.indexing import Progress
from medres.cohort.manifest import Manifest, read_manifest
from medres.cohort.splits import SplitFile, make_inner_split, splits_document, write_splits
from medres.cohort.tasks import Task
from medres.config import Config
from medres.model.card import ModelCard
from medres.model.weights import BackboneWeights, load_backbone
from medres.provenance import environment, git_commit, now
from medres.runs.cohort import TrainingCohort, begin_or_resume
from medres.runs.fitting import Fitter
from medres.runs.validation_choices import complete, origin
from medres.tables import write_json
from medres.training.device import choose_compute
from medres.training.distributed import joined
from medres.unfinished import resumable_folder

log = logging.getLogger(__name__)


def train_model(
    manifest: Path,
    *,
    labels: Sequence[str | Task],
    config: Config,
    out: Path,
    root: Path | None = None,
    resume: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> ModelCard:
    """Train one model on a whole cohort; an inner, patient-grouped split chooses temperature and thresholds.

    It also chooses the epoch, unless the last is kept.

    Args:
        manifest: the cohort.
        labels: names of `label_` columns, or tasks: see `read_manifest`.
        config: the recipe.
        out: the new model folder.
        root: what the manifest's paths are relative to; its own folder by default.
        resume: go on with an interrupted run, from its newest checkpoint.
        force: replace `out`.
        progress: told (done, total) while images are decoded.

    Raises:
        UsageError, ManifestError, WeightsError, TrainingError: see `medres.errors`.
    """
    started = time.monotonic()
    checked = read_manifest(manifest, labels, root=root)
    weights = announced_weights(config)
    identity = run_identity("train", checked, config, weights)
    output = resumable_folder(out, identity=identity, resume=resume, force=force)
    with joined(config.training.device) as processes, processes.folder(output) as folder:
        cohort = begin_or_resume(folder, checked, config, processes=processes, progress=progress)
        split = make_inner_split(
            cohort.rows,
            checked.labels,
            validation_fraction=config.training.validation_fraction,
            seed=config.seed,
        )
        document = splits_document([split], labels=checked.labels, seed=config.seed, manifest_sha256=checked.sha256)
        training = cohort.places(split.training, learning=True)
        validation = cohort.places(split.validation)
        fitter = Fitter(cohort, config, weights, processes)
        fitted = fitter.fit(folder, training, validation, seed=config.seed, title="model")
        card: ModelCard | None = None
        if processes.first:
            card = complete(
                folder,
                fitted,
                cohort,
                training=training,
                validation=validation,
                config=config,
                weights=weights,
                splits_sha256=document.sha256,
                fold=None,
                seed=config.seed,
            )
            write_splits(folder / "splits.json", document)
            record = run_record(
                cohort, config, weights, splits=document, device=fitted.device, seconds=time.monotonic() - started
            )
            write_json(folder / "run.json", {**record, "model_id": card.model_id})
            fitter.forget(folder)
        card = processes.decide(card)
    assert card is not None
    return card


def announced_weights(config: Config) -> BackboneWeights | None:
    """The starting weights, and a log line that says which, and on what the training will run.

    Raises:
        WeightsError: they are missing or damaged.
        TrainingError: the device that was asked for is not there.
    """
    weights = load_backbone(config.network)
    if weights is None:
        log.warning(
            "weights: none: %s starts from random weights (recipe %s)",
            config.network.architecture,
            config.name,
        )
    else:
        log.info("weights: %s, SHA-256 %s", weights.name, weights.sha256)
        if weights.doubt:
            log.warning("weights: %s", weights.doubt)
    compute = choose_compute(config.training)
    log.info("training on %s%s", compute, "" if compute.device.type == "cuda" else " (no GPU in use)")
    return weights


def run_identity(kind: str, manifest: Manifest, config: Config, weights: BackboneWeights | None) -> dict[str, Any]:
    """What an interrupted run must share with the one that goes on with it."""
    return {
        "verb": kind,
        "version": __version__,
        "configuration": config.model_dump(mode="json"),
        "manifest": manifest.sha256,
        "tasks": [asdict(task) for task in manifest.tasks],
        "weights": weights.sha256 if weights else None,
    }


def run_record(
    cohort: TrainingCohort,
    config: Config,
    weights: BackboneWeights | None,
    *,
    splits: SplitFile,
    device: str,
    seconds: float,
) -> dict[str, Any]:
    """What `run.json` says of a training or cross-validation run."""
    manifest: Manifest = cohort.manifest
    side = config.preprocessing.size
    start = origin(weights)
    return {
        "medres": __version__,
        "created": now(),
        "command": " ".join(["medres", *sys.argv[1:]]),
        "labels": list(manifest.labels),
        "tasks": [asdict(task) for task in manifest.tasks],
        "recipe": config.name,
        "config": config.model_dump(mode="json"),
        "seed": config.seed,
        "manifest": {
            "name": manifest.path.name,
            "sha256": manifest.sha256,
            "rows": len(manifest.rows),
            "patients": manifest.patients,
        },
        "splits": {
            "sha256": splits.sha256,
            "method": splits.method,
            **({"parent": splits.parent.model_dump()} if splits.parent else {}),
            "folds": len(splits.folds),
        },
        "flow": cohort.flow(),
        "leaks": dict(cohort.leaks),
        "network": {
            "architecture": config.network.architecture,
            "weights": start.name,
            "weights_sha256": start.sha256,
            "input": f"{side} × {side}",
        },
        "device": device,
        "seconds": round(seconds, 1),
        "environment": environment(),
        "git_commit": git_commit(),
    }
