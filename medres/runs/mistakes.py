"""The gallery of a cross-validation: pictures of what it was most wrong about, kept while the images are at hand."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medres.cohort.pseudonyms import pseudonym, pseudonym_key
from medres.config import Limits
from medres.errors import Refused
from medres.evaluation.mistakes import Mistake, most_of_a_kind, worst_mistakes
from medres.evaluation.table import judged_images
from medres.imaging.isolation import read_isolated
from medres.imaging.pictures import as_bytes, may_be_exported, overlay, write_png
from medres.imaging.preprocessing import preprocess
from medres.model.classifier import Classifier
from medres.records import Radiograph
from medres.runs.cohort import TrainingCohort
from medres.runs.gallery import COLUMNS, GALLERY
from medres.tables import write_csv

log = logging.getLogger(__name__)

SIDE = 256
"""Pixels of the longer side of a picture."""


def write_gallery(
    run: Path,
    table: pd.DataFrame,
    cohort: TrainingCohort,
    *,
    limits: Limits,
    allow_burned_in: bool,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Write `gallery.csv`, and `gallery/` with two pictures of every mistake that the report shows.

    The left picture is the radiograph, the right one the same with the heatmap of the network that had held its patient
    out. Where BurnedInAnnotation is not NO there is none, unless `allow_burned_in`.

    Args:
        run: holds `models/fold-K`.
        table: `oof.csv`, as `read_table` gives it.
        cohort: what the table was made of.
        limits: of reading an image a second time.
        allow_burned_in: somebody has looked: pixels hold no name.
        device: what computes the heatmaps.
    """
    labels, key = cohort.manifest.labels, pseudonym_key()
    most = most_of_a_kind(len(labels))
    wanted = [
        (number, label, mistake)
        for number, label in enumerate(labels)
        for mistake in worst_mistakes(judged_images(table, label), most=most)
    ]
    places = {cohort.oof_columns(place)["path"]: place for place in range(len(cohort.rows))}
    shutil.rmtree(run / GALLERY, ignore_errors=True)  # of an interrupted run
    pictures: dict[tuple[str, int], dict[str, str]] = {}
    for fold in sorted({mistake.fold for _, _, mistake in wanted}):
        model = Classifier.load(run / "models" / f"fold-{fold}", device=device)
        for number, label, mistake in wanted:
            if mistake.fold == fold:
                place = places[str(table["path"].iloc[mistake.row])]
                withheld = "" if allow_burned_in else _withheld(cohort.cache.images[place].attributes)
                name = run / GALLERY / f"l{number}-line-{mistake.line}.png"
                pictures[label, mistake.line] = (
                    _nothing(withheld) if withheld else _draw(name, model, cohort, place, label, limits)
                )
    rows = [_row(label, mistake, str(table["PatientID"].iloc[mistake.row]), key) for _, label, mistake in wanted]
    content = [row | pictures[row["label"], row["line"]] for row in rows]
    write_csv(run / f"{GALLERY}.csv", pd.DataFrame(content, columns=list(COLUMNS)))


def _row(label: str, mistake: Mistake, patient_id: str, key: bytes) -> dict[str, Any]:
    return {
        "label": label,
        "line": mistake.line,
        "kind": mistake.kind,
        "PatientKey": pseudonym(patient_id, key),
        "fold": mistake.fold,
        "probability": mistake.probability,
    }


def _withheld(attributes: Mapping[str, str]) -> str:
    """Why there may be no picture of an image; "" where there may."""
    if may_be_exported(attributes):
        return ""
    return f"BurnedInAnnotation is {attributes.get('BurnedInAnnotation') or 'absent'}: the pixels may hold a name"


def _nothing(why: str) -> dict[str, str]:
    return {"picture": "", "heatmap": "", "withheld": why}


def _draw(
    path: Path, model: Classifier, cohort: TrainingCohort, place: int, label: str, limits: Limits
) -> dict[str, str]:
    """Write both pictures of one image; what `gallery.csv` says of them."""
    spec = model.preprocessing
    try:
        radiograph = read_isolated(
            cohort.rows[place].path, gate=model.gate, voi=spec.voi, percentiles=spec.percentiles, limits=limits
        )
    except Refused as refusal:  # the file changed since it was cached
        log.warning("no picture of a mistake: %s", refusal)
        return _nothing(f"{refusal.code} when it was read again")
    maps = model.score(np.asarray(cohort.cache.pixels[[place]]), maps=True).maps
    assert maps is not None
    placement = preprocess(radiograph, spec).placement
    heatmap = model.native_heatmap(placement, maps[0, model.labels.index(label)])
    pixels, heat = (_small(values, radiograph) for values in (radiograph.pixels, heatmap))
    over = path.with_name(f"{path.stem}-heatmap.png")
    path.parent.mkdir(exist_ok=True)
    write_png(path, as_bytes(pixels))
    write_png(over, overlay(pixels, heat, scale=model.heatmap_scale(label)))
    return {"picture": path.name, "heatmap": over.name, "withheld": ""}


def _small(values: NDArray[np.float32], radiograph: Radiograph) -> NDArray[np.float32]:
    """An image in native pixels, made at most SIDE pixels long, its pixels square."""
    rows, columns = values.shape
    scale = SIDE / max(rows * radiograph.pixel_aspect_ratio, columns)
    height, width = max(1, round(rows * radiograph.pixel_aspect_ratio * scale)), max(1, round(columns * scale))
    return np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA), dtype=np.float32)
