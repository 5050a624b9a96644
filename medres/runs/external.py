"""External validation: a saved model on another cohort, with everything it was trained with frozen."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medres.cohort.indexing import REFUSED_COLUMNS
from medres.cohort.manifest import read_manifest
from medres.cohort.overlap import Overlap, find_overlap, refuse_overlap, training_identity
from medres.config import Config, Limits
from medres.config.versions import SavedAs
from medres.documents import write_document
from medres.errors import ConfigError, ManifestError
from medres.evaluation.performance import summarise
from medres.evaluation.recalibration import recalibration_record
from medres.evaluation.results import Metrics, RecalibrationRecord, ShiftRecord
from medres.evaluation.shift import merged_profile, outlier_shift, shift_record
from medres.evaluation.table import as_read, judged_images
from medres.model.classifier import Classifier, Scores
from medres.runs.cohort import TrainingCohort, load_cohort
from medres.runs.folds import held_out_rows
from medres.runs.options import DEFAULT, RunOptions
from medres.runs.recording import cohort_record, input_size
from medres.runs.records import (
    EXTERNAL,
    FlowRecord,
    FrozenRecord,
    NetworkRecord,
    OverlapRecord,
    RunRecord,
    write_run_record,
)
from medres.tables import inert_path, output_folder, refuse_inside, write_csv

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExternalResult:
    """What an external validation found."""

    metrics: Metrics
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
    limits: Limits | None = None,
    options: RunOptions = DEFAULT,
) -> ExternalResult:
    """Judge a saved model on another labelled cohort; thresholds, temperatures and the outlier cut stay as they are.

    Writes `oof.csv` (every image with the frozen model's answer; `distance` 1 is the outlier cut), `metrics.json`,
    `refused.csv` (every other row of the manifest), `shift.csv`, `recalibrated.csv` and `run.json`.

    Args:
        model: a model folder, or a cross-validation run whose folds answer as an ensemble.
        manifest: the other cohort, with the model's labels.
        out: the new folder.
        root: what the manifest's paths are relative to; its own folder by default.
        allow_overlap: go on although patients or images of the training cohort are in it.
        limits: budgets for one file: those that are set in it replace those that the model was trained with.
        options: whether `out` is replaced, where the network computes, and who is told (done, total) while images are
            decoded.

    Raises:
        UsageError, ManifestError, ModelError: see `medres.errors`.
    """
    started = time.monotonic()
    refuse_inside(out, [model, manifest])
    classifier = Classifier.load(model, device=options.device)
    checked = read_manifest(manifest, classifier.tasks, root=root)
    known = training_identity(
        model, manifests=[member.card.provenance.manifest_sha256 for member in classifier.members]
    )
    overlap = find_overlap(known, manifest_sha256=checked.sha256, rows=checked.rows)
    if not allow_overlap:
        refuse_overlap(overlap, manifest)
    config = own_config(classifier)
    config = config.model_copy(update={"limits": config.limits.changed_by(limits or Limits())})
    with output_folder(out, force=options.force) as folder:
        cohort = load_cohort(checked, config, elsewhere=True, progress=options.progress)
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
        written = pd.DataFrame([{**row, **far} for row, far in zip(rows, distances, strict=True)])
        write_csv(folder / "oof.csv", written)
        refused = _not_judged(cohort, set(places))
        write_csv(folder / "refused.csv", refused)
        table = as_read(written)
        evaluation = config.evaluation.model_copy(update={"subgroups": cohort.asked})
        metrics = summarise(table, labels=classifier.tasks, evaluation=evaluation, seed=config.seed)
        write_document(folder / "metrics.json", metrics)
        shift = _shift(classifier, cohort, places, scores, config)
        write_csv(folder / "shift.csv", pd.DataFrame([asdict(line) for line in shift.lines]))
        recalibration = _recalibration(folder, table, classifier.labels, config)
        record = _record(classifier, cohort, config, seconds=time.monotonic() - started)
        own = {
            "flow": _flow(refused, judged=len(places)),
            "overlap": OverlapRecord(**asdict(overlap), found=overlap.found, detail=str(overlap)),
            "shift": shift,
            "recalibration": recalibration,
        }
        write_run_record(folder, record.model_copy(update=own))
    return ExternalResult(metrics, len(refused), shift.sentence, overlap)


def own_config(classifier: Classifier) -> Config:
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


def _not_judged(cohort: TrainingCohort, judged_places: set[int]) -> pd.DataFrame:
    """Every row of the manifest file that is not in `oof.csv`, with why (columns of `refused.csv`)."""
    written = cohort.refused_table()
    unlabelled = ("refused", "UNLABELLED", f"unknown or uncertain: {', '.join(cohort.manifest.labels)}")
    others = [
        (cohort.oof_columns(place)["path"], *unlabelled)
        for place in range(len(cohort.rows))
        if place not in judged_places
    ]
    others += [
        (inert_path(path), "refused", "EXCLUDED", f"status {status} in the manifest")
        for path, status in cohort.manifest.excluded
    ]
    return pd.concat([written, pd.DataFrame(others, columns=list(REFUSED_COLUMNS))], ignore_index=True)


def _flow(refused: pd.DataFrame, *, judged: int) -> FlowRecord:
    counts = refused["reason"].value_counts(sort=False)
    return FlowRecord(
        rows=judged + len(refused), used=judged, refused={str(code): int(count) for code, count in counts.items()}
    )


def _shift(
    classifier: Classifier, cohort: TrainingCohort, places: Sequence[int], scores: Scores, config: Config
) -> ShiftRecord:
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


def _recalibration(
    folder: Path, table: pd.DataFrame, labels: Sequence[str], config: Config
) -> dict[str, RecalibrationRecord]:
    """What refitting slope, intercept and threshold here would give; the probabilities go into `recalibrated.csv`."""
    content: dict[str, RecalibrationRecord] = {}
    columns = table[["path", "PatientID", "SOPInstanceUID"]].copy()
    for label in labels:
        recorded, found = recalibration_record(
            judged_images(table, label), evaluation=config.evaluation, seed=config.seed
        )
        content[label] = recorded
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


def _record(classifier: Classifier, cohort: TrainingCohort, config: Config, *, seconds: float) -> RunRecord:
    """What `run.json` says of the model, the cohort and the machine."""
    card = classifier.card
    network = NetworkRecord(
        architecture=card.architecture,
        weights=card.weights,
        weights_sha256=card.provenance.backbone.sha256,
        input=input_size(config),
        parameters=card.parameters,
    )
    frozen = FrozenRecord(
        thresholds={label: card.operating_points[label].threshold for label in card.labels},
        rules={label: card.operating_points[label].rule for label in card.labels},
        thresholds_by_rule={
            label: {rule: point.threshold for rule, point in points.items()}
            for label, points in card.points_by_rule.items()
        },
        temperatures=tuple(member.card.temperatures for member in classifier.members),
        outlier_cuts=tuple(member.card.outliers.cut for member in classifier.members),
    )
    record = cohort_record(cohort, config, network, device=str(classifier.device), seconds=seconds)
    return record.model_copy(
        update={"kind": EXTERNAL, "model_id": classifier.model_id, "members": card.members, "frozen": frozen}
    )
