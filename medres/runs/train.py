"""One model from one manifest."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from medres import __version__
from medres.cohort.manifest import Manifest
from medres.cohort.splits import make_inner_split, refuse_few_patients, splits_document, write_splits
from medres.config import Config
from medres.model.card import ModelCard
from medres.model.weights import BackboneWeights, load_backbone
from medres.runs.cohort import begin_or_resume
from medres.runs.fitting import NetworkFitter, RunSetup
from medres.runs.options import DEFAULT, RunOptions
from medres.runs.recording import cohort_record, network_record
from medres.runs.records import SplitsRecord, write_run_record
from medres.runs.validation_choices import finish_model
from medres.training.device import choose_compute
from medres.training.distributed import joined
from medres.training.state import FitPlan
from medres.unfinished import resumable_folder

log = logging.getLogger(__name__)


def train_model(manifest: Manifest, *, config: Config, out: Path, options: RunOptions = DEFAULT) -> ModelCard:
    """Train one model on a whole cohort; an inner, patient-grouped split chooses temperature and thresholds.

    It also chooses the epoch, unless the last is kept.

    Args:
        manifest: the cohort, with what is asked of it.
        config: the recipe.
        out: the new model folder.
        options: what becomes of an output that is there already.

    Raises:
        UsageError, ManifestError, WeightsError, TrainingError: see `medres.errors`.
    """
    started = time.monotonic()
    refuse_few_patients(manifest.rows, manifest.labels, 2)
    weights = announced_weights(config)
    identity = run_identity("train", manifest, config, weights)
    output = resumable_folder(out, identity=identity, resume=options.resume, force=options.force)
    with joined(config.training.device) as processes, processes.folder(output) as folder:
        cohort = begin_or_resume(folder, manifest, config, processes=processes, progress=options.progress)
        split = make_inner_split(
            cohort.rows,
            manifest.labels,
            validation_fraction=config.training.validation_fraction,
            seed=config.seed,
        )
        document = splits_document([split], labels=manifest.labels, seed=config.seed, manifest_sha256=manifest.sha256)
        plan = FitPlan(
            cohort.places(split.training, learning=True), cohort.places(split.validation), config.seed, "model"
        )
        setup = RunSetup(cohort, config, weights, processes)
        fitter = NetworkFitter(setup)
        fitted = fitter.fit(folder, plan)
        card: ModelCard | None = None
        if processes.first:
            card = finish_model(folder, fitted, plan, setup, splits_sha256=document.sha256)
            write_splits(folder / "splits.json", document)
            record = cohort_record(
                cohort,
                config,
                network_record(config, weights),
                device=fitted.device,
                seconds=time.monotonic() - started,
            )
            own = {"model_id": card.model_id, "splits": SplitsRecord.of(document)}
            write_run_record(folder, record.model_copy(update=own))
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


def run_identity(
    kind: str, manifest: Manifest, config: Config, weights: BackboneWeights | None
) -> Mapping[str, object]:
    """What an interrupted run must share with the one that goes on with it."""
    return {
        "verb": kind,
        "version": __version__,
        "configuration": config.model_dump(mode="json"),
        "manifest": manifest.sha256,
        "tasks": [asdict(task) for task in manifest.tasks],
        "weights": weights.sha256 if weights else None,
    }
