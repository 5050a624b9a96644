"""Who gives a model its heatmap licence: its cross-validation, a check on labelled images, or a run of its recipe."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medres.cohort.boxes import Boxes, read_boxes
from medres.cohort.manifest import read_manifest
from medres.cohort.overlap import find_overlap, refuse_overlap, training_identity
from medres.cohort.splits import read_splits
from medres.config import Config, Limits
from medres.documents import read_document, write_document
from medres.errors import ManifestError, UsageError
from medres.evaluation.heatmaps.results import FILE, HeatmapResults, LabelHeatmaps
from medres.evaluation.performance import summarise
from medres.evaluation.results import Metrics
from medres.evaluation.table import as_read
from medres.model.classifier import Classifier
from medres.model.heatmaps.licence import HeatmapLicence, LabelLicence, attach_licence
from medres.provenance import now
from medres.records import Interval
from medres.runs.cohort import TrainingCohort, load_cohort
from medres.runs.comparable import read_comparable, recipe_differences
from medres.runs.external import own_config
from medres.runs.folds import held_out_rows
from medres.runs.heatmaps.measuring import Judge, Measuring, measure_heatmaps, refuse_boxes_outside
from medres.runs.options import DEFAULT, RunOptions
from medres.runs.records import FoldRecord

log = logging.getLogger(__name__)

HELD_OUT = (
    "held-out images of a cross-validation, each by the network of its own fold, which had not seen the patient; other "
    "folds' networks, with which its maps are compared, had"
)
ELSEWHERE = "labelled images that the model had not learned from"
_BACKWARDS = 3.0  # a step of training, in passes forwards


def training_passes(config: Config, folds: Sequence[FoldRecord]) -> float:
    """About how many passes of an image of full size through a network a training took."""
    size, passes = config.preprocessing.size, 0.0
    for fold in folds:
        images, validation = fold.training_images or 0, fold.validation_images or 0
        if config.training.method == "linear-probe":
            passes += images + validation
            continue
        left = fold.epochs or 0
        for stage in config.training.stages:
            epochs, left = min(left, stage.epochs), max(0, left - stage.epochs)
            passes += epochs * (_BACKWARDS * images * ((stage.size or size) / size) ** 2 + validation)
    return passes


def measure_run(
    folder: Path,
    cohort: TrainingCohort,
    table: pd.DataFrame,
    metrics: Metrics,
    places: Mapping[int, Sequence[int]],
    folds: Sequence[FoldRecord],
    *,
    config: Config,
    boxes: Boxes | None,
) -> HeatmapResults:
    """Measure the maps of a cross-validation; writes `heatmaps.json`, and attaches the licence to the run.

    Args:
        folder: of the run, with the models of its folds.
        cohort: its images.
        table: `oof.csv`, as `read_table` gives it, one fold after the other.
        metrics: what follows from it.
        places: by fold, its held-out images in the cohort, as they stand in the table.
        folds: how long they trained.
        config: the recipe, and what may be spent.
        boxes: where readers saw findings.
    """
    models = {
        number: Classifier.load(folder / "models" / f"fold-{number}", device=config.training.device)
        for number in places
    }
    trained = training_passes(config, folds)
    work = Measuring(
        cohort,
        table,
        [
            Judge(models[number], tuple(one for other, one in models.items() if other != number), tuple(own))
            for number, own in places.items()
        ],
        config,
        boxes,
        passes=trained * config.evaluation.heatmaps.cost,
        measured_on=HELD_OUT,
        share_of=trained,
    )
    found = measure_heatmaps(work, metrics)
    write_document(folder / FILE, found)
    attach_licence(folder, licence(found))
    log.info(
        "heatmaps measured in %.1f s, about %.0f %% of the training's passes: %d images%s",
        found.seconds, 100 * (found.share or 0), found.images, " (a sample)" if found.sampled else "",
    )  # fmt: skip
    for label, one in found.labels.items():
        if one.state == "failed":
            log.warning("the heatmaps of %s failed: %s", label, "; ".join(one.reasons))
    return found


def licence(found: HeatmapResults) -> HeatmapLicence:
    """What is attached to a model of what was measured."""
    return HeatmapLicence(
        method=found.method,
        stride=found.stride,
        measured_on=found.measured_on,
        images=found.images,
        labels={
            label: LabelLicence(state=one.state, reasons=one.reasons, figures=_figures(one))
            for label, one in found.labels.items()
        },
        created=found.created,
    )


def _figures(one: LabelHeatmaps) -> dict[str, float]:
    """Every figure by its name; bounds and images behind it."""
    found: dict[str, Interval] = {"auroc": one.auroc}
    for name, measure in one.measures.items():
        found[name] = measure.value
        found |= {f"{name} gain over {other}": gain for other, gain in measure.gains.items()}
    figures: dict[str, float] = {}
    for name, interval in found.items():
        known = {"": interval.value, " low": interval.low, " high": interval.high, " n": interval.n}
        figures |= {f"{name}{what}": float(value) for what, value in known.items() if value is not None}
    return figures


@dataclass(frozen=True, slots=True)
class CheckedHeatmaps:
    """What a check found, and where it was attached."""

    found: HeatmapLicence
    path: Path

    def lines(self) -> list[str]:
        """The licence of every label, with its reasons, and where it lies."""
        whole = self.found
        said = [f"{whole.method} at a stride of {whole.stride}, {whole.images} images: {whole.measured_on}"]
        for label, one in self.found.labels.items():
            said += [f"{label}: {one.state}", *(f"  {reason}" for reason in one.reasons)]
        return [*said, f"{self.path}: attached"]


def check_heatmaps(
    model: Path,
    manifest: Path,
    *,
    root: Path | None = None,
    limits: Limits | None = None,
    options: RunOptions = DEFAULT,
) -> CheckedHeatmaps:
    """Measure a saved model's maps on labelled images, and attach the licence to it.

    A cross-validation run, perhaps of an earlier version, is measured anew on its own manifest: each image by the
    network that had held it out. All other models, and runs as an ensemble, on images that they did not learn from.

    Args:
        model: a model folder, or a cross-validation run.
        manifest: images with the model's labels.
        root: what the manifest's paths are relative to; its own folder by default.
        limits: budgets for one file.
        options: where readers saw findings, where the model computes, and who is told (done, total) while images are
            decoded.

    Raises:
        UsageError, ManifestError, ModelError: see `medres.errors`; images of the training cohort are refused.
    """
    whole = Classifier.load(model, device=options.device)
    checked = read_manifest(manifest, whole.tasks, root=root)
    known = training_identity(model, manifests=[member.card.provenance.manifest_sha256 for member in whole.members])
    own_folds = (model / "oof.csv").is_file() and checked.sha256 in known.manifests
    if not own_folds:
        refuse_overlap(find_overlap(known, manifest_sha256=checked.sha256, rows=checked.rows), manifest)
    marked = read_boxes(options.boxes, checked) if options.boxes else None
    config = own_config(whole)
    config = config.model_copy(update={"limits": config.limits.changed_by(limits or Limits())})
    cohort = load_cohort(checked, config, elsewhere=True, progress=options.progress)
    if not own_folds:
        pixels, uids = zip(*((one.pixels_sha256, one.sop_instance_uid) for one in cohort.cache.images), strict=True)
        seen = find_overlap(known, manifest_sha256=checked.sha256, rows=cohort.rows, pixels=pixels, uids=uids)
        refuse_overlap(seen, manifest)
    if marked:
        refuse_boxes_outside(marked, cohort)
    judges = _of_folds(model, cohort, options) if own_folds else [_of_whole(whole, cohort)]
    rows = [
        row
        for number, judge in enumerate(judges)
        for row in held_out_rows(judge.model, cohort, judge.places, fold=number)
    ]  # fmt: skip
    table = as_read(pd.DataFrame(rows))
    metrics = summarise(table, labels=checked.tasks, evaluation=config.evaluation, seed=config.seed)
    work = Measuring(cohort, table, judges, config, marked, measured_on=HELD_OUT if own_folds else ELSEWHERE)
    found = measure_heatmaps(work, metrics)
    if own_folds:
        write_document(model / FILE, found)
    return CheckedHeatmaps(licence(found), attach_licence(model, licence(found)))


def _of_whole(model: Classifier, cohort: TrainingCohort) -> Judge:
    places = tuple(place for place in range(len(cohort.rows)) if np.isfinite(cohort.targets[place]).any())
    if not places:
        raise ManifestError(f"{cohort.manifest.path}: no image has a known label")
    members = [Classifier((member,), device=model.device) for member in model.members]
    return Judge(model, tuple(members) if len(members) > 1 else (), places)


def _of_folds(run: Path, cohort: TrainingCohort, options: RunOptions) -> list[Judge]:
    folds, _ = read_splits(run / "splits.json")
    models = {
        fold.index: Classifier.load(run / "models" / f"fold-{fold.index}", device=options.device) for fold in folds
    }
    return [
        Judge(
            models[fold.index],
            tuple(one for number, one in models.items() if number != fold.index),
            tuple(cohort.places(fold.held_out)),
        )
        for fold in folds
    ]


def take_over(model: Path, run: Path) -> CheckedHeatmaps:
    """Give a model of `train` the licence that a cross-validation of its recipe has measured.

    Args:
        model: its folder.
        run: a cross-validation of the same recipe and labels, on the same manifest.

    Raises:
        UsageError: the run has measured no heatmaps, or what it cross-validated is not what the model was trained with.
        ModelError: the model is not what it was.
    """
    saved = Classifier.load(model, device="cpu")
    if saved.card.members > 1:
        raise UsageError(f"{model} is a cross-validation itself; medres heatmap-check {model} MANIFEST measures it")
    if not (run / FILE).is_file():
        raise UsageError(f"{run} has measured no heatmaps: medres heatmap-check {run} MANIFEST measures them")
    found = read_document(run / FILE, HeatmapResults)
    if differing := recipe_differences(read_comparable(run), saved.card):
        raise UsageError(f"{run} says nothing of {model}: they differ in {'; '.join(differing)}")
    whole = Classifier.load(run, device="cpu")
    given = licence(found).model_copy(
        update={
            "measured_on": f"{found.measured_on}; of this model's recipe, in the cross-validation {whole.model_id}",
            "created": now(),
        }
    )
    return CheckedHeatmaps(given, attach_licence(model, given))
