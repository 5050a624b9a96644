"""The whole path on synthetic radiographs: what `medres demo` runs, with the same functions as every other verb."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medres.config import load_config
from medres.documents import Document, write_document
from medres.tables import MARKER, named_path, output_folder, read_csv, write_csv
from medres.terminal import Told

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

LABEL = "nodule"
PATIENTS = 90
FOLDS = 3
SEED = 7
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

    boxes = folder / "boxes.csv"
    write_csv(boxes, lesion_boxes(cohort / "lesions.csv", read_csv(manifest)))
    log.info("3/5 cross-validating the recipe quick (ResNet-18 from a random start), %d folds", FOLDS)
    config = load_config("quick", [f"crossval.folds={FOLDS}", f"seed={SEED}"])
    with progress("decoding") as bar:
        asked = read_manifest(manifest, [LABEL])
        options = RunOptions(boxes=boxes, progress=bar)
        metrics = cross_validate(asked, config=config, out=folder / "run", options=options)
    write_report(folder / "run")
    pooled = metrics[LABEL].pooled
    yield f"cross-validation, patients kept apart: AUROC {with_counts(pooled['auroc'])}"
    for name in ("sensitivity", "specificity"):
        yield f"  {name} at the operating point, frozen on inner validation patients: {with_counts(pooled[name])}"
    yield measured(folder / "run")

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


def measured(run: Path) -> str:
    """What a cross-validation measured of its heatmaps, in one line."""
    from medres.documents import read_document
    from medres.evaluation.heatmaps.results import FILE, HeatmapResults
    from medres.formatting import DASH, estimate

    found = read_document(run / FILE, HeatmapResults).labels[LABEL]
    pointing = found.measures.get("pointing")
    said = f"; peak on or near a lesion in {estimate(pointing.value, between=DASH, digits=2)}" if pointing else ""
    return f"heatmaps of held-out images: {found.state} ({found.reasons[0]}{said})"


def lesion_boxes(lesions: Path, images: pd.DataFrame) -> pd.DataFrame:
    """The lesions of phantoms as boxes: see `medres.cohort.boxes`.

    Args:
        lesions: `lesions.csv` of `synthesise_cohort`, whose rows and columns count from the first pixel's centre.
        images: a table with the path and SOPInstanceUID of each image; where it has Rows and Columns, boxes end there.
    """
    import pandas as pd

    from medres.cohort.boxes import COLUMNS

    known = images.set_index("SOPInstanceUID")
    rows = []
    for lesion in read_csv(lesions).to_dict("records"):
        if (uid := lesion["SOPInstanceUID"]) not in known.index:
            continue
        image, radius = known.loc[uid], float(lesion["radius"])
        edges = []
        for axis, size in (("column", "Columns"), ("row", "Rows")):
            centre = float(lesion[axis]) + 0.5
            low, high = (
                min(max(place, 0.0), float(image.get(size) or "inf")) for place in (centre - radius, centre + radius)
            )
            edges.append((low, high - low))
        (x, width), (y, height) = edges
        if width > 0 and height > 0:  # else it lies outside of the field
            rows.append((image["path"], lesion["label"], x, y, width, height))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def hits(folder: Path, model: Path) -> str:
    """How often the heatmap of a correctly called lesion peaks on it, or within so many of the network's pixels.

    Args:
        folder: of the demonstration.
        model: what scored its `incoming/`.
    """
    import numpy as np

    from medres.config.evaluation import HeatmapEvidence
    from medres.formatting import DASH, bounds
    from medres.imaging.isolation import read_isolated
    from medres.model.classifier import Classifier
    from medres.statistics.means import clustered_mean
    from medres.statistics.pointing import Rectangle, covered, is_hit, peak

    near = HeatmapEvidence().near
    classifier = Classifier.load(model)
    table = read_csv(folder / "scored" / "predictions.csv")
    called = table[table[f"positive_{LABEL}"] == "1"]
    boxes: dict[str, list[Rectangle]] = {}
    for path, _, x, y, width, height in lesion_boxes(folder / "incoming-lesions.csv", called).itertuples(index=False):
        boxes.setdefault(path, []).append(Rectangle(y - 0.5, x - 0.5, y + height - 0.5, x + width - 0.5))
    if not boxes:
        return "heatmaps: no lesion was called, so there is nothing to point at"
    found, chance, patients = [], [], []
    for record in called[called["path"].isin(boxes)].to_dict("records"):
        radiograph = read_isolated(folder / "incoming" / named_path(record["path"]))
        reach = max(radiograph.pixels.shape) * near / classifier.preprocessing.size
        own = boxes[record["path"]]
        found.append(float(is_hit(peak(classifier.explain(radiograph, label=LABEL).heatmap), own, near=reach)))
        chance.append(float(covered(own, radiograph.pixels.shape, near=reach).mean()))
        patients.append(record["PatientKey"])
    rate = clustered_mean(found, patients, shares=True)
    between = bounds(rate, between=DASH, digits=0, scale=100, unit="%") or rate.method
    return (
        f"heatmaps: the peak lies on a lesion or within {near} network pixels of it in {rate.value:.0%} "
        f"({between}) of {rate.n} called lesion images; by chance {np.mean(chance):.0%}"
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

    serve(model=out / "run", scores=[out / "scored"], store=None, port=port, headless=False, say=say)
