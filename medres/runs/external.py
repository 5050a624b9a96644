"""External validation: a saved model on another cohort, with everything it was trained with frozen."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medres import __version__
from medres.cohort.indexing import REFUSED_COLUMNS, Progress
from medres.cohort.manifest import Manifest, read_manifest
from medres.cohort.overlap import Overlap, find_overlap, refuse_overlap, training_identity
from medres.config import Config
from medres.config.versions import SavedAs
from medres.errors import ConfigError, ManifestError
from medres.evaluation.performance import summarise
from medres.evaluation.recalibration import recalibration_record
from medres.evaluation.shift import merged_profile, outlier_shift, shift_record
from medres.evaluation.table import judged_images, read_table
from medres.model.classifier import Classifier, Scores
from medres.provenance import environment, git_commit, now
from medres.runs.cohort import TrainingCohort, load_cohort
from medres.runs.folds import held_out_rows
from medres.tables import inert_path, output_folder, read_csv, refuse_inside, write_csv, write_json

log = logging.getLogger(__name__)

KIND = "external validation"


@dataclass(frozen=True, slots=True)
class External:
    """What an external validation found."""

    metrics: dict[str, Any]  # content of metrics.json
    refused: int  # rows of the manifest that were not judged
    shift: str  # one sentence
    overlap: Overlap

    def lines(self) -> list[str]:
        """A short account, one line each."""
        found = [self.shift]
        if self.overlap.found:
            found.append(f"NOT EXTERNAL: the cohort holds {self.overlap}")
        if self.refused:
            found.append(f"{self.refused} rows of the manifest were not judged: see refused.csv")
        return found


def evaluate_model(
    model: Path,
    manifest: Path,
    *,
    out: Path,
    root: Path | None = None,
    allow_overlap: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> External:
    """Judge a saved model on another labelled cohort; thresholds, temperatures and the outlier cut stay as they are.

    Writes `oof.csv` (every image with the frozen model's answer; `distance` 1 is the outlier cut), `metrics.json`,
    `refused.csv` (every other row of the manifest), `shift.csv`, `recalibrated.csv`, `run.json` and `report.html`.

    Args:
        model: a model folder, or a cross-validation run whose folds answer as an ensemble.
        manifest: the other cohort, with the model's labels.
        out: the new folder.
        root: what the manifest's paths are relative to; its own folder by default.
        allow_overlap: go on although patients or images of the training cohort are in it.
        force: replace `out`.
        progress: told (done, total) while images are decoded.

    Raises:
        UsageError, ManifestError, ModelError: see `medres.errors`.
    """
    started = time.monotonic()
    refuse_inside(out, [model, manifest])
    classifier = Classifier.load(model)
    checked = read_manifest(manifest, classifier.tasks, root=root)
    known = training_identity(
        model, manifests=[member.card.provenance.manifest_sha256 for member in classifier.members]
    )
    overlap = find_overlap(known, manifest_sha256=checked.sha256, rows=checked.rows)
    if not allow_overlap:
        refuse_overlap(overlap, manifest)
    config = _own_config(classifier)
    with output_folder(out, force=force) as folder:
        cohort = load_cohort(checked, config, elsewhere=True, progress=progress)
        hashes = [image.pixels_sha256 for image in cohort.cache.images]
        uids = [image.sop_instance_uid for image in cohort.cache.images]
        seen = find_overlap(known, manifest_sha256=checked.sha256, rows=cohort.rows, pixels=hashes, uids=uids)
        counts = [count for count in (overlap.images, seen.images) if count is not None]
        overlap = Overlap(
            seen.same_manifest,
            overlap.patients,
            max(counts, default=None),
            seen.pixels,
            overlap.example or seen.example,
        )
        if not allow_overlap:
            refuse_overlap(overlap, manifest)
        places = [place for place in range(len(cohort.rows)) if np.isfinite(cohort.targets[place]).any()]
        if not places:
            raise ManifestError(f"{manifest}: no image has a known label")
        scores = classifier.score(np.asarray(cohort.cache.pixels[places]))
        rows = held_out_rows(classifier, cohort, places, fold=None, scores=scores)
        distances = [{"distance": float(value), "outlier": int(value > 1)} for value in scores.distances]
        write_csv(folder / "oof.csv", pd.DataFrame([row | far for row, far in zip(rows, distances, strict=True)]))
        refused = _not_judged(manifest, cohort, set(places))
        write_csv(folder / "refused.csv", refused)
        table = read_table(folder / "oof.csv")
        evaluation = config.evaluation.model_copy(update={"subgroups": cohort.asked})
        metrics = summarise(table, labels=classifier.tasks, evaluation=evaluation, seed=config.seed)
        write_json(folder / "metrics.json", metrics)
        shift = _shift(classifier, cohort, places, scores, config)
        write_csv(folder / "shift.csv", pd.DataFrame(shift["lines"]))
        record = {
            **_record(classifier, checked, config),
            "flow": _flow(refused, judged=len(places)),
            "leaks": dict(cohort.leaks),
            "overlap": {**asdict(overlap), "found": overlap.found, "detail": str(overlap)},
            "shift": shift,
            "recalibration": _recalibration(folder, table, classifier.labels, config),
            "seconds": round(time.monotonic() - started, 1),
        }
        write_json(folder / "run.json", record)
    return External(metrics, len(refused), shift["sentence"], overlap)


def _own_config(classifier: Classifier) -> Config:
    """The configuration that the model was trained with: it says how images are read and how results are judged.

    Raises:
        ConfigError: another version of medres wrote it.
    """
    try:
        return Config.model_validate(classifier.card.provenance.config, context=SavedAs(classifier.card.format))
    except ValueError:
        raise ConfigError(
            f"the card of {classifier.model_id} holds a configuration of another version; "
            "evaluate it with the version of medres that trained it"
        ) from None


def _not_judged(manifest: Path, cohort: TrainingCohort, judged_places: set[int]) -> pd.DataFrame:
    """Every row of the manifest file that is not in `oof.csv`, with why (columns of `refused.csv`)."""
    written = cohort.refused_table()
    unlabelled = ("refused", "UNLABELLED", f"unknown or uncertain: {', '.join(cohort.manifest.labels)}")
    others = [
        (cohort.oof_columns(place)["path"], *unlabelled)
        for place in range(len(cohort.rows))
        if place not in judged_places
    ]
    used = {inert_path(path) for path in cohort.manifest.table["path"]}
    raw = read_csv(manifest)
    others += [
        (inert_path(row["path"]), "refused", "EXCLUDED", f"status {row['status']} in the manifest")
        for row in raw.to_dict("records")
        if inert_path(row["path"]) not in used
    ]
    return pd.concat([written, pd.DataFrame(others, columns=list(REFUSED_COLUMNS))], ignore_index=True)


def _flow(refused: pd.DataFrame, *, judged: int) -> dict[str, Any]:
    return {
        "rows": judged + len(refused),
        "used": judged,
        "refused": {str(code): int(count) for code, count in refused["reason"].value_counts(sort=False).items()},
    }


def _shift(
    classifier: Classifier, cohort: TrainingCohort, places: Sequence[int], scores: Scores, config: Config
) -> dict[str, Any]:
    profile, cards = cohort.profile(places), [member.card for member in classifier.members]
    outliers = outlier_shift(
        expected=1 - cards[0].outliers.quantile,
        expected_counts=(
            sum(card.provenance.validation_images for card in cards),
            sum(card.provenance.validation_patients for card in cards),
        ),
        beyond=float((scores.distances > 1).mean()),
        counts=(profile.images, profile.patients),
        confidence=config.evaluation.confidence,
    )
    training = merged_profile([card.cohort_profile for card in cards])
    return shift_record(training, profile, outliers, confidence=config.evaluation.confidence)


def _recalibration(folder: Path, table: pd.DataFrame, labels: Sequence[str], config: Config) -> dict[str, Any]:
    """What refitting slope, intercept and threshold here would give; the probabilities go into `recalibrated.csv`."""
    content: dict[str, Any] = {}
    columns = table[["path", "PatientID", "SOPInstanceUID"]].copy()
    for label in labels:
        content[label], found = recalibration_record(
            judged_images(table, label), evaluation=config.evaluation, seed=config.seed
        )
        if found.images is not None:
            places = found.images.rows
            for name, values in (
                ("part", found.images.folds),
                ("label", found.images.truth),
                ("prob", found.images.probabilities),
                ("positive", found.images.positive),
            ):
                column = np.full(len(table), None, dtype=object)
                column[places] = values
                columns[f"{name}_{label}"] = column
    write_csv(folder / "recalibrated.csv", columns)
    return content


def _record(classifier: Classifier, checked: Manifest, config: Config) -> dict[str, Any]:
    """What `run.json` says of the model, the cohort and the machine."""
    card = classifier.card
    side = config.preprocessing.size
    return {
        "kind": KIND,
        "medres": __version__,
        "created": now(),
        "command": " ".join(["medres", *sys.argv[1:]]),
        "labels": list(classifier.labels),
        "tasks": [asdict(task) for task in classifier.tasks],
        "recipe": card.provenance.recipe,
        "model_id": classifier.model_id,
        "members": card.members,
        "frozen": {
            "thresholds": {label: card.operating_points[label].threshold for label in card.labels},
            "rules": {label: card.operating_points[label].rule for label in card.labels},
            "thresholds_by_rule": {
                label: {rule: point.threshold for rule, point in points.items()}
                for label, points in card.points_by_rule.items()
            },
            "temperatures": [member.card.temperatures for member in classifier.members],
            "outlier_cuts": [member.card.outliers.cut for member in classifier.members],
        },
        "manifest": {
            "name": checked.path.name,
            "sha256": checked.sha256,
            "rows": len(checked.rows),
            "patients": checked.patients,
        },
        "network": {
            "architecture": card.architecture,
            "weights": card.weights,
            "weights_sha256": card.provenance.backbone.sha256,
            "parameters": card.parameters,
            "input": f"{side} × {side}",
        },
        "config": config.model_dump(mode="json"),
        "seed": config.seed,
        "device": str(classifier.device),
        "environment": environment(),
        "git_commit": git_commit(),
    }
