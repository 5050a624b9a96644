"""The whole path on synthetic radiographs: what `medres demo` runs, with the same functions as every other verb."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from medres.config import load_config
from medres.documents import Document, write_document
from medres.tables import MARKER, named_path, output_folder, read_csv
from medres.terminal import Told

log = logging.getLogger(__name__)

LABEL = "nodule"
PATIENTS = 90
FOLDS = 3
SEED = 7
NEAR = 16
"""Network pixels from a lesion within which a heatmap's peak counts as on it, for maps of every grid alike."""

Bar = Callable[[str], AbstractContextManager[Told]]


class DemoRecord(Document):
    """The content of `run.json` in the folder of a demonstration."""

    kind: Literal["demo"]
    seconds: float
    summary: tuple[str, ...]  # the lines that were shown


def run_demo(out: Path, *, patients: int = PATIENTS, force: bool = False, progress: Bar) -> Iterator[str]:
    """Synthesise a cohort, index, cross-validate, train, score and draw; yields the lines of an honest summary.

    Args:
        out: the new folder: `cohort/`, `incoming/`, `manifest.csv`, `run/`, `model/`, `scored/`.
        patients: whose images are learnt from; a fifth as many others are scored.
        force: replace it.
        progress: makes a progress bar of a title.

    Raises:
        OutputExists: `out` is already there.
    """
    started = time.monotonic()
    with output_folder(out, force=force) as folder:
        lines = list(_steps(folder, out, patients, progress))
        seconds = round(time.monotonic() - started, 1)
        write_document(folder / MARKER, DemoRecord(kind="demo", seconds=seconds, summary=tuple(lines)))
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    yield from lines
    yield f"done in {minutes} min {seconds} s; everything lies in {out}"


def _steps(folder: Path, final: Path, patients: int, progress: Bar) -> Iterator[str]:
    from medres.cohort.indexing import write_index
    from medres.cohort.manifest import read_manifest
    from medres.formatting import with_counts
    from medres.imaging.synthesis import synthesise_cohort, synthesise_foreign_files
    from medres.report.run_page import write_report
    from medres.runs.crossval import cross_validate
    from medres.runs.options import RunOptions
    from medres.runs.train import train_model
    from medres.scoring.folder import score_folder
    from medres.scoring.heatmaps import HeatmapPolicy

    log.info("1/5 synthesising a cohort of phantom radiographs")
    cohort, incoming = folder / "cohort", folder / "incoming"
    with progress("synthesising") as bar:
        synthesise_cohort(cohort, patients=patients, seed=SEED, progress=bar)
        synthesise_cohort(incoming, patients=patients // 5, seed=SEED + 1, progress=bar)
    shutil.move(incoming / "labels.csv", folder / "incoming-labels.csv")
    shutil.move(incoming / "lesions.csv", folder / "incoming-lesions.csv")
    foreign = synthesise_foreign_files(incoming / "foreign", seed=SEED)

    log.info("2/5 indexing it")
    manifest = folder / "manifest.csv"
    with progress("reading files") as bar:
        indexed = write_index(cohort / "images", manifest, labels=cohort / "labels.csv", progress=bar)
    yield f"cohort: {indexed.usable} phantom radiographs of {indexed.patients} patients (synthetic, no person's image)"

    log.info("3/5 cross-validating the recipe quick (ResNet-18 from a random start), %d folds", FOLDS)
    config = load_config("quick", [f"crossval.folds={FOLDS}", f"seed={SEED}"])
    with progress("decoding") as bar:
        asked = read_manifest(manifest, [LABEL])
        metrics = cross_validate(asked, config=config, out=folder / "run", options=RunOptions(progress=bar))
    write_report(folder / "run")
    pooled = metrics[LABEL].pooled
    yield f"cross-validation, patients kept apart: AUROC {with_counts(pooled['auroc'])}"
    for name in ("sensitivity", "specificity"):
        yield f"  {name} at the operating point, frozen on inner validation patients: {with_counts(pooled[name])}"

    log.info("4/5 training the final model on the whole cohort")
    with progress("decoding") as bar:
        card = train_model(asked, config=config, out=folder / "model", options=RunOptions(progress=bar))
    yield f"model: {card.model_id} (start: {card.weights})"

    log.info("5/5 scoring other phantoms with the folds as an ensemble, %d broken and foreign files in it", foreign)
    with progress("scoring") as bar:
        summary = score_folder(
            folder / "run",
            incoming,
            out=folder / "scored",
            heatmaps=HeatmapPolicy(enabled=True),
            progress=bar,
        )
    yield from summary.lines()
    yield hits(folder, folder / "run")
    _relocate(folder, final)
    for name, text in (
        ("run/report.html", "report"),
        ("scored/predictions.csv", "table"),
        ("scored/heatmaps", "heatmaps"),
    ):
        yield f"{text}: {final / name}"


def hits(folder: Path, model: Path) -> str:
    """How often the heatmap of a correctly called lesion peaks on it, or within so many of the network's pixels.

    Args:
        folder: of the demonstration.
        model: what scored its `incoming/`.
    """
    from medres.formatting import DASH, bounds
    from medres.imaging.isolation import read_isolated
    from medres.model.classifier import Classifier
    from medres.statistics.pointing import hit_rate, peak

    classifier = Classifier.load(model)
    lesions: dict[str, list[tuple[float, float, float]]] = {}
    for lesion in read_csv(folder / "incoming-lesions.csv").to_dict("records"):
        place = (float(lesion["row"]), float(lesion["column"]), float(lesion["radius"]))
        lesions.setdefault(lesion["SOPInstanceUID"], []).append(place)
    table = read_csv(folder / "scored" / "predictions.csv")
    called = table[(table[f"positive_{LABEL}"] == "1") & table["SOPInstanceUID"].isin(lesions)]
    if called.empty:
        return "heatmaps: no lesion was called, so there is nothing to point at"
    peaks, places, shapes, near = [], [], [], []
    for record in called.to_dict("records"):
        radiograph = read_isolated(folder / "incoming" / named_path(record["path"]))
        rows, columns = radiograph.pixels.shape
        peaks.append(peak(classifier.explain(radiograph, label=LABEL).heatmap))
        places.append(lesions[record["SOPInstanceUID"]])
        shapes.append((rows, columns))
        near.append(max(rows, columns) * NEAR / classifier.preprocessing.size)
    found = hit_rate(peaks, places, shapes=shapes, tolerance=near)
    rate = found.interval
    return (
        f"heatmaps: the peak lies on a lesion or within {NEAR} network pixels of it in {rate.value:.0%} "
        f"({bounds(rate, between=DASH, digits=0, scale=100, unit='%')}) of {rate.n} called lesion images; "
        f"by chance {found.chance:.0%}"
    )


def _relocate(folder: Path, final: Path) -> None:
    """The folder is about to get its final name: tell the records that name it."""
    from medres.scoring.record import read_scores_record, write_scores_record

    record = read_scores_record(folder / "scored")
    places = {"input": str((final / "incoming").resolve()), "model": str((final / "run").resolve())}
    write_scores_record(folder / "scored", record.model_copy(update=places))


def serve_demo(out: Path, *, port: int | None, say: Callable[[str], object]) -> None:
    """Open the review app on the demo's scored folder; returns when it is closed."""
    from medres.review.server import serve

    serve(model=out / "run", scores=out / "scored", store=None, port=port, headless=False, say=say)
