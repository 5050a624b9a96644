"""Phantom radiographs with known findings, for the demo, tests and benchmarks: no patient is behind them.

`phantoms` makes one picture, `phantom_dicom` one file; here stands the cohort, as a hospital would hand it over.
What real archives mix is mixed in it: two sites, three views, both polarities, eight transfer syntaxes. None of that
depends on the label: only the picture tells it.
"""

from __future__ import annotations

import csv
import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medres.errors import OutputExists, UsageError
from medres.imaging.anatomy import SEXES, Anatomy, Sex, draw_nodules
from medres.imaging.foreign_files import FOREIGN_FILES, synthesise_foreign_files
from medres.imaging.phantom_dicom import (
    TRANSFER_SYNTAXES,
    Identity,
    Person,
    Site,
    deterministic_uid,
    radiograph_dataset,
    write_dataset,
)
from medres.imaging.phantoms import Detector, Lesion, Phantom, expose, phantom
from medres.imaging.projection import View

__all__ = [
    "FOREIGN_FILES",
    "Detector",
    "Lesion",
    "Phantom",
    "expose",
    "phantom",
    "synthesise_cohort",
    "synthesise_foreign_files",
]

_POSITIVE_PATIENTS = 0.52  # some of their studies are clean: about 40 % of the images are positive


@dataclass(frozen=True, slots=True)
class Installation:
    """A site's X-ray unit and what it delivers."""

    site: Site
    rows: int
    columns: int
    negatives: float  # share of images that are MONOCHROME1
    detector: Detector


INSTALLATIONS: tuple[Installation, ...] = (
    Installation(Site("Site A", "Phantom Imaging", "Analytic 1"), 448, 384, 0.2, Detector()),
    Installation(
        Site("Site B", "Synthetic X-Ray", "Projector 7"),
        416,
        352,
        0.4,
        Detector(offset=260.0, gain=515.0, quanta=48_000.0, scatter=0.55, unsharpness=0.7, window=(2.0, 98.0)),
    ),
)

MANUFACTURERS = frozenset(unit.site.manufacturer for unit in INSTALLATIONS)
"""Makers of no real machine: who finds them in a table knows that its patients are synthetic."""


@dataclass(frozen=True, slots=True)
class _Image:
    """One image of the cohort, before it is written."""

    identity: Identity
    phantom: Phantom
    positive: bool
    transfer_syntax: str
    negative: bool


def synthesise_cohort(
    folder: Path, *, patients: int = 72, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write phantom patients: `images/**.dcm`, `labels.csv`, `lesions.csv`.

    Each patient has 2 to 4 images in one or more studies; about 40 % of the images show one or two nodules. The
    same seed writes the same bytes.

    Args:
        folder: where to write; created when missing.
        patients: how many.
        seed: of everything random.
        progress: called with (images written, images in all) after every image.

    Raises:
        OutputExists: the folder already holds a cohort.
        UsageError: fewer than two patients.
    """
    if patients < 2:
        raise UsageError(f"a cohort needs at least 2 patients, not {patients}")
    images = folder / "images"
    if images.exists():
        raise OutputExists(f"{images} already exists; choose another folder")
    images.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    counts = [int(count) for count in rng.integers(2, 5, patients)]
    with (
        (folder / "labels.csv").open("w", encoding="utf-8", newline="") as labels_file,
        (folder / "lesions.csv").open("w", encoding="utf-8", newline="") as lesions_file,
    ):
        labels = csv.writer(labels_file, lineterminator="\n")
        lesions = csv.writer(lesions_file, lineterminator="\n")
        labels.writerow(["SOPInstanceUID", "label_nodule"])
        lesions.writerow(["SOPInstanceUID", "label", "row", "column", "radius"])
        for number, image in enumerate(_cohort(rng, counts, seed), start=1):
            uid = image.identity.sop_instance_uid
            path = images / f"{(number - 1) // 50:02d}" / f"{number:05d}.dcm"
            path.parent.mkdir(exist_ok=True)
            write_dataset(
                radiograph_dataset(
                    image.phantom,
                    image.identity,
                    transfer_syntax=image.transfer_syntax,
                    negative=image.negative,
                ),
                path,
            )
            labels.writerow([uid, int(image.positive)])
            for lesion in image.phantom.lesions:
                places = (lesion.row, lesion.column, lesion.radius)
                lesions.writerow([uid, "nodule", *(f"{value:.2f}" for value in places)])
            if progress is not None:
                progress(number, sum(counts))


def _cohort(rng: np.random.Generator, counts: list[int], seed: int) -> Iterator[_Image]:
    """All images, patient by patient; label and age are balanced within each site and sex."""
    patients = len(counts)
    builds: list[tuple[Installation, Sex]] = [(unit, sex) for unit in INSTALLATIONS for sex in SEXES]
    order = rng.permutation(patients)  # each patient's place when they are sorted by site and sex
    syntaxes = _in_turn(rng, TRANSFER_SYNTAXES)
    for index, (place, count, source) in enumerate(zip(order.tolist(), counts, rng.spawn(patients), strict=True)):
        unit, sex = builds[place * len(builds) // patients]
        age = 22 + int(67 * (place * 0.618034 % 1))
        person = Person(f"PHANTOM-{index + 1:04d}", sex, age, unit.site)
        positive = _due(place + 1) > _due(place)
        yield from _films(source, person, unit, count, positive=positive, syntaxes=syntaxes, seed=seed)


def _due(patients: int) -> int:
    """How many of the first patients must be positive for the shares to come out even."""
    return int(_POSITIVE_PATIENTS * patients + 0.5)


def _in_turn(rng: np.random.Generator, values: Sequence[str]) -> Iterator[str]:
    """Endlessly: all values in random order, then all of them in another random order."""
    while True:
        yield from (values[index] for index in rng.permutation(len(values)))


def _films(
    rng: np.random.Generator,
    person: Person,
    unit: Installation,
    count: int,
    *,
    positive: bool,
    syntaxes: Iterator[str],
    seed: int,
) -> Iterator[_Image]:
    """One patient's films: a positive patient's nodules are there in at least one study, mostly in all."""
    anatomy = Anatomy.draw(rng, sex=person.sex)
    nodules = draw_nodules(rng, anatomy)[: 2 if rng.uniform() < 0.25 else 1]
    starts = [film == 0 or bool(rng.uniform() < 0.5) for film in range(count)]
    present = [bool(rng.uniform() < 0.65) for _ in range(sum(starts))]  # in each study
    present[int(rng.integers(0, len(present)))] = True
    date = datetime.date(2021, 1, 1) + datetime.timedelta(days=int(rng.integers(0, 1200)))
    study = -1
    for film, start in enumerate(starts):
        view: View
        if start:
            study += 1
            date += datetime.timedelta(days=int(rng.integers(30, 200)))
            view = "PA" if rng.uniform() < 0.65 else "AP"
        else:
            view = "LL" if rng.uniform() < 0.5 else "PA"
        shown = nodules if positive and present[study] else ()
        identity = Identity(
            person=person,
            view=view,
            study_date=date.strftime("%Y%m%d"),
            study_instance_uid=deterministic_uid(seed, person.patient_id, study),
            series_instance_uid=deterministic_uid(seed, person.patient_id, study, film),
            sop_instance_uid=deterministic_uid(seed, person.patient_id, study, film, "image"),
        )
        exposed = expose(
            rng,
            anatomy,
            nodules=shown,
            rows=unit.rows,
            columns=unit.columns,
            view=view,
            detector=unit.detector,
        )
        negative = bool(rng.uniform() < unit.negatives)
        yield _Image(identity, exposed, len(shown) > 0, next(syntaxes), negative)
