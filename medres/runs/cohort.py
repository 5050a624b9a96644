"""A manifest becomes arrays to train on: pixels from the cache, targets, and who is whose patient."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from medres.cohort.alignment import SIDE
from medres.cohort.cache import PixelCache, cached_pixels
from medres.cohort.indexing import REFUSED, REFUSED_COLUMNS, Progress
from medres.cohort.leakage import find_leaks
from medres.cohort.manifest import SUBGROUP_COLUMNS, Manifest
from medres.cohort.profile import TAGS, CohortProfile, describe
from medres.cohort.tasks import task_columns
from medres.config import Config
from medres.errors import MAY_PASS, ManifestError
from medres.records import ManifestRow, Refusal
from medres.runs.flow import NEVER_HELD_OUT, UNCERTAIN_LEARNT
from medres.runs.records import FlowRecord
from medres.tables import inert_path, read_csv, write_csv
from medres.training.batches import TrainingData
from medres.training.distributed import Processes
from medres.training.losses import training_targets
from medres.unfinished import hold_to

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

MOST_COMPARED = 2000
"""Images among which near-duplicates are looked for before a run: a few seconds."""

_OF_RESULTS = ("path", "PatientID", "SOPInstanceUID", "fold")


@dataclass(frozen=True, slots=True)
class TrainingCohort:
    """The usable part of a manifest, in manifest order."""

    manifest: Manifest
    cache: PixelCache
    rows: tuple[ManifestRow, ...]  # one per cached image
    targets: NDArray[np.float32]  # (images, labels): 1, 0, NaN unknown or uncertain: what results are judged by
    learned: NDArray[np.float32]  # the same with uncertain targets as `training.uncertain` says: what training sees
    asked: tuple[str, ...]  # columns of the manifest that `evaluation.subgroups` asks for
    leaks: Mapping[str, int | None]  # how often one person may have several PatientIDs: see `_leaks`

    def places(self, patients: Sequence[str], *, learning: bool = False) -> list[int]:
        """The images of some patients that have at least one known target (to learn from, or to be judged by)."""
        wanted = set(patients)
        known = [bool(np.isfinite(row).any()) for row in (self.learned if learning else self.targets)]
        return [place for place, row in enumerate(self.rows) if row.patient_id in wanted and known[place]]

    def patients(self, places: Sequence[int]) -> int:
        """How many patients some images are of."""
        return len({self.rows[place].patient_id for place in places})

    @property
    def sha256(self) -> str:
        """Of the usable images and their places in the manifest: what folds and orders are made of."""
        lines = (f"{image.row} {image.pixels_sha256}\n" for image in self.cache.images)
        return sha256("".join(lines).encode()).hexdigest()

    @property
    def classes(self) -> tuple[slice, ...]:
        """Columns of `targets` of which exactly one is true, one slice per question."""
        return tuple(columns for task, columns in task_columns(self.manifest.tasks) if task.kind == "multiclass")

    @property
    def data(self) -> TrainingData:
        """What networks are fitted on."""
        return TrainingData(self.cache.pixels, self.targets, self.learned, self.classes)

    def flow(self, *, judged: int | None = None) -> FlowRecord:
        """How many manifest rows became images that are used, and why others did not.

        Args:
            judged: how many images were held out, where given folds leave some that are only learnt from. Images with
                uncertain labels alone are not among them, even where `training.uncertain` learns from them.
        """
        refused = Counter(refusal.code for _, refusal in self.cache.refusals)
        unlabelled = np.flatnonzero(np.isnan(self.targets).all(axis=1))
        unsure = {True: UNCERTAIN_LEARNT, False: "only uncertain labels"}
        learnt = set(np.flatnonzero(np.isfinite(self.learned).any(axis=1)))
        refused.update(unsure[at in learnt] if self.rows[at].uncertain else "no known label" for at in unlabelled)
        used = len(self.rows) - len(unlabelled)
        if judged is not None and judged < used:
            refused[NEVER_HELD_OUT], used = used - judged, judged
        return FlowRecord(rows=len(self.manifest.rows), used=used, refused=dict(refused))

    def refused_table(self) -> pd.DataFrame:
        """The rows that could not be used, with reasons (columns of `refused.csv`)."""
        import pandas as pd

        rows = [
            (inert_path(self.manifest.table["path"][row]), "refused", refusal.code, refusal.detail)
            for row, refusal in self.cache.refusals
        ]
        return pd.DataFrame(rows, columns=list(REFUSED_COLUMNS))

    def oof_columns(self, place: int) -> dict[str, str]:
        """Identifiers and subgroup columns of one image, from the manifest, else from its header."""
        image = self.cache.images[place]
        record = self.manifest.table.iloc[image.row]
        row = self.rows[place]
        columns = {
            "path": inert_path(str(record["path"])),
            "PatientID": row.patient_id,
            "SOPInstanceUID": row.sop_instance_uid or image.sop_instance_uid,
        }
        for name in dict.fromkeys((*SUBGROUP_COLUMNS, *self.asked)):
            value = str(record.get(name, "")) or image.attributes.get(name, "")
            columns[name] = value
        return columns | {"pixels_sha256": image.pixels_sha256}

    def profile(self, places: Sequence[int]) -> CohortProfile:
        """What some of its images are like: tags and intensities, no group of few patients."""
        records = []
        for place in places:
            image = self.cache.images[place]
            said = self.manifest.table.iloc[image.row]
            records.append({name: str(said.get(name, "")) or image.attributes.get(name, "") for name in TAGS})
        return describe(records, [self.rows[place].patient_id for place in places], self.cache.pixels, places)


def _leaks(manifest: Manifest, cache: PixelCache) -> dict[str, int | None]:
    """How often one person may stand under several PatientIDs, by kind of suspicion; None: not looked for.

    Near-duplicates are looked for among MOST_COMPARED images at most: `medres check` compares any number. What may be
    two people is a warning, one image under several patients stops a run.

    Raises:
        ManifestError: identical pixels under different PatientIDs.
    """
    compared = len(cache.images) <= MOST_COMPARED and cache.pixels.shape[1] >= SIDE
    leaks = [
        leak for leak in find_leaks(manifest.rows, cache.images, _small(cache) if compared else None) if leak.problem
    ]
    same = [leak.detail for leak in leaks if leak.kind == "same image"]
    if same:
        raise ManifestError(
            f"{manifest.path}: {len(same)} images lie under several PatientIDs; one person would be learnt from and "
            f"judged: {'; '.join(same[:3])}{'; …' if len(same) > 3 else ''} (`medres check` shows them all)"
        )
    found: dict[str, int | None] = {"similar PatientID": 0, "same SOPInstanceUID": 0, "near-duplicate": 0}
    for leak in leaks:
        log.warning("possible leak (%s): %s", leak.kind, leak.detail)
        if len({manifest.rows[row].patient_id for row in leak.rows}) > 1:
            found[leak.kind] = (found[leak.kind] or 0) + 1
    return found if compared else found | {"near-duplicate": None}


def _small(cache: PixelCache) -> NDArray[np.uint16]:
    """All images as near-duplicates are looked for in, (images, SIDE, SIDE)."""
    return np.stack(
        [cv2.resize(np.asarray(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in cache.pixels]
    )


def load_cohort(
    manifest: Manifest,
    config: Config,
    *,
    left_out: Mapping[int, Refusal] | None = None,
    elsewhere: bool = False,
    progress: Progress | None = None,
) -> TrainingCohort:
    """Decode (or find in the cache) every radiograph of a manifest.

    Args:
        manifest: the cohort.
        config: how images are read, and which columns divide results.
        left_out: rows that are not read, by their place in the manifest, and why.
        elsewhere: the configuration is of another cohort: columns of it that this one lacks are said and left out.
        progress: told (done, total) while images are decoded.

    Raises:
        ManifestError: no radiograph is usable, identical images lie under different patients, or a column of
            `evaluation.subgroups` is not there.
    """
    cache = cached_pixels(
        manifest.rows,
        config.preprocessing,
        gate=config.gate,
        limits=config.limits,
        left_out=left_out,
        progress=progress,
    )
    for row, refusal in cache.refusals:
        log.warning("%s refused: %s (%s)", manifest.table["path"][row], refusal.code, refusal.detail)
    if not cache.images:
        codes = Counter(refusal.code for _, refusal in cache.refusals)
        raise ManifestError(f"{manifest.path}: none of its {len(manifest.rows)} files is usable: {dict(codes)}")
    rows = tuple(manifest.rows[image.row] for image in cache.images)
    asked, columns = config.evaluation.subgroups, {*manifest.table.columns, *cache.images[0].attributes}
    if elsewhere and (absent := [name for name in asked if name not in columns]):
        log.warning("%s has no column %s: no figures by it", manifest.path, " or ".join(absent))
        asked = tuple(name for name in asked if name in columns)
    _refuse_strange_columns(asked, columns)
    leaks = _leaks(manifest, cache)
    targets = np.array(
        [[np.nan if row.targets[label] is None else row.targets[label] for label in manifest.labels] for row in rows],
        dtype=np.float32,
    )
    uncertain = np.array([[label in row.uncertain for label in manifest.labels] for row in rows])
    return TrainingCohort(
        manifest, cache, rows, targets, training_targets(targets, uncertain, config.training.uncertain), asked, leaks
    )


def begin_or_resume(
    folder: Path, manifest: Manifest, config: Config, *, processes: Processes, progress: Progress | None = None
) -> TrainingCohort:
    """The cohort of a run, the same for all its processes and however often it is gone on with.

    A file more or less would deal out other folds. Files that the run was refused for the moment (`MAY_PASS`) are
    therefore not tried again when it goes on. `refused.csv` is written.

    Args:
        folder: of the unfinished run; in processes that are not the first, any.
        manifest: its images.
        config: its configuration.
        processes: what computes it.
        progress: told (done, total) while images are decoded.

    Raises:
        ManifestError: as `load_cohort`.
        UsageError: other images are usable than as the run began.
    """
    cohort = None
    if processes.first:
        cohort = load_cohort(manifest, config, left_out=_left_out(folder, manifest), progress=progress)
        what = f"usable images (now {len(cohort.rows)}; `refused.csv` there says which it had not)"
        hold_to(folder, {"usable_images": cohort.sha256}, what=what)
        write_csv(folder / REFUSED, cohort.refused_table())
    left_out = processes.decide(dict(_passing(cohort.cache.refusals)) if cohort else {})
    return cohort or load_cohort(manifest, config, left_out=left_out, progress=progress)


def _left_out(folder: Path, manifest: Manifest) -> dict[int, Refusal]:
    """What `refused.csv` of an unfinished run says of rows that were refused for the moment."""
    if not (folder / REFUSED).is_file():
        return {}
    rows = {inert_path(path): number for number, path in enumerate(manifest.table["path"])}
    table = read_csv(folder / REFUSED)
    found = [Refusal(*said) for said in zip(table["path"], table["reason"], table["detail"], strict=True)]
    return dict(_passing([(rows[refusal.path], refusal) for refusal in found]))


def _passing(refusals: Sequence[tuple[int, Refusal]]) -> list[tuple[int, Refusal]]:
    return [(row, refusal) for row, refusal in refusals if refusal.code in MAY_PASS]


def _refuse_strange_columns(asked: Sequence[str], known: Collection[str]) -> None:
    """Say no to subgroups by a column that is not there, or that is no property of an image."""
    absent = [name for name in asked if name not in known]
    if absent:
        raise ManifestError(f"evaluation.subgroups: the manifest has no column {' or '.join(absent)}")
    own = [name for name in asked if name in _OF_RESULTS or name.startswith(("logit_", "prob_", "positive_"))]
    if own:
        raise ManifestError(f"evaluation.subgroups: {' and '.join(own)} cannot divide a cohort")
