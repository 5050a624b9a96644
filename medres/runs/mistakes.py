"""The gallery of a cross-validation: pictures of what it was most wrong about, kept while the images are at hand.

Which mistakes are the worst of a run is known when its last fold was scored. Until then every fold keeps the maps of
the worst of its own, a few kilobytes, and not its network; the radiographs that are shown in the end, and no others,
are read a second time, because the cache does not hold their own pixels.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medres.cohort.pseudonyms import pseudonym, pseudonym_key
from medres.config import Config
from medres.errors import Refused
from medres.evaluation.mistakes import FALSE_ALARM, Mistake, most_of_a_kind, worst_mistakes
from medres.evaluation.table import judged_images
from medres.files import make_folder
from medres.imaging.isolation import read_isolated
from medres.imaging.pictures import CONTOUR, as_bytes, name_may_show, overlay, write_png
from medres.imaging.preprocessing import preprocess
from medres.model.classifier import Classifier
from medres.model.forward import Scores
from medres.model.heatmaps.fine_maps import Finer
from medres.model.heatmaps.grid import native_heatmap
from medres.records import Radiograph
from medres.runs.cohort import TrainingCohort
from medres.runs.gallery import COLUMNS, GALLERY
from medres.tables import write_csv

log = logging.getLogger(__name__)

SIDE = 256
"""Pixels of the longer side of a picture."""


@dataclass(frozen=True, slots=True)
class MistakeMap:
    """Where the network that had held a patient out saw a label in an image that it was wrong about."""

    place: int  # of the image in the cohort
    label: str
    cells: NDArray[np.float32]  # class-activation map (k, k), logit units
    scale: float  # what is drawn as full colour, logit units


def maps_of_mistakes(
    model: Classifier, cohort: TrainingCohort, table: pd.DataFrame, places: Sequence[int]
) -> tuple[MistakeMap, ...]:
    """The maps of a fold's worst mistakes, of which the worst of the whole run are some.

    Args:
        model: the fold's own.
        cohort: its images.
        table: the fold's part of `oof.csv`, as `read_table` gives it.
        places: of its held-out images in the cohort, one per row of the table.
    """
    found, maps = [], dict[int, Scores]()
    every = Finer(labels=tuple(range(len(model.labels))))
    for number, label in enumerate(model.labels):
        for mistake in worst_mistakes(judged_images(table, label), most=most_of_a_kind(len(model.labels))):
            place = places[mistake.row]
            if place not in maps:
                maps[place] = model.score(np.asarray(cohort.cache.pixels[[place]]), finer=every)
            found.append(MistakeMap(place, label, maps[place].shown(0, number), model.heatmap_scale(label)))
    return tuple(found)


def write_gallery(
    run: Path,
    table: pd.DataFrame,
    cohort: TrainingCohort,
    maps: Iterable[MistakeMap],
    *,
    config: Config,
    allow_burned_in: bool,
) -> None:
    """Write `gallery.csv`, and `gallery/` with pictures of every mistake that the report shows.

    One picture is the radiograph; of a false alarm the other is the same with the heatmap of the network that had held
    its patient out. A miss is below the operating point, where no heatmap is shown. Where BurnedInAnnotation is not NO
    there is no picture, unless `allow_burned_in`.

    Args:
        run: where they go.
        table: `oof.csv`, as `read_table` gives it.
        cohort: what the table was made of.
        maps: of the worst mistakes of every fold.
        config: of the run: how images are read.
        allow_burned_in: somebody has looked: pixels hold no name.
    """
    labels, key = cohort.manifest.labels, pseudonym_key()
    most = most_of_a_kind(len(labels))
    places = {cohort.oof_columns(place)["path"]: place for place in range(len(cohort.rows))}
    kept = {(one.label, one.place): one for one in maps}
    shutil.rmtree(run / GALLERY, ignore_errors=True)  # of an interrupted run
    content = []
    for number, label in enumerate(labels):
        for mistake in worst_mistakes(judged_images(table, label), most=most):
            place = places[str(table["path"].iloc[mistake.row])]
            withheld = "" if allow_burned_in else name_may_show(cohort.cache.images[place].attributes)
            name = run / GALLERY / f"l{number}-line-{mistake.line}.png"
            called = mistake.kind == FALSE_ALARM
            pictures = _nothing(withheld) if withheld else _draw(name, kept[label, place], called, cohort, config)
            patient = str(table["PatientID"].iloc[mistake.row])
            content.append({**_row(label, mistake, pseudonym(patient, key)), **pictures})
    write_csv(run / f"{GALLERY}.csv", pd.DataFrame(content, columns=list(COLUMNS)))


def _row(label: str, mistake: Mistake, patient_key: str) -> dict[str, str | int | float]:
    return {
        "label": label,
        "line": mistake.line,
        "kind": mistake.kind,
        "PatientKey": patient_key,
        "fold": mistake.fold,
        "probability": mistake.probability,
    }


def _nothing(why: str) -> dict[str, str]:
    return {"picture": "", "heatmap": "", "withheld": why}


def _draw(path: Path, found: MistakeMap, called: bool, cohort: TrainingCohort, config: Config) -> dict[str, str]:
    """Write the pictures of one image, with its heatmap where its label was called; what `gallery.csv` says of them."""
    spec = config.preprocessing
    try:
        radiograph = read_isolated(
            cohort.rows[found.place].path,
            gate=config.gate,
            voi=spec.voi,
            percentiles=spec.percentiles,
            limits=config.limits,
        )
    except Refused as refusal:  # the file changed since it was cached
        log.warning("no picture of a mistake: %s", refusal)
        return _nothing(f"{refusal.code} when it was read again")
    pixels = _small(radiograph.pixels, radiograph)
    make_folder(path.parent)
    write_png(path, as_bytes(pixels))
    if not called:
        return {"picture": path.name, "heatmap": "", "withheld": ""}
    placement = preprocess(radiograph, spec).placement
    heat = _small(native_heatmap(config.network.architecture, placement, found.cells), radiograph)
    over = path.with_name(f"{path.stem}-heatmap.png")
    write_png(over, overlay(pixels, heat, scale=found.scale, contour=CONTOUR))
    return {"picture": path.name, "heatmap": over.name, "withheld": ""}


def _small(values: NDArray[np.float32], radiograph: Radiograph) -> NDArray[np.float32]:
    """An image in native pixels, made at most SIDE pixels long, its pixels square."""
    rows, columns = values.shape
    scale = SIDE / max(rows * radiograph.pixel_aspect_ratio, columns)
    height, width = max(1, round(rows * radiograph.pixel_aspect_ratio * scale)), max(1, round(columns * scale))
    return np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA), dtype=np.float32)
