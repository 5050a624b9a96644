"""What a cohort is like, in numbers small enough to travel with a model and too coarse to show a patient."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from medres.cohort.layout import Layout, describe_layout
from medres.config.versions import Since, Versioned

CATEGORIES = (
    "Modality", "BodyPartExamined", "ViewPosition", "PatientSex", "Manufacturer", "ManufacturerModelName",
    "PhotometricInterpretation", "BitsStored",
)  # fmt: skip
"""Tags whose values are counted."""

DEFINED_TERMS = {
    "ViewPosition": frozenset({
        "AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO", "RAO", "LAO", "RPO", "LPO", "LATERAL", "LAT", "OBLIQUE",
        "CC", "MLO", "ML", "LM", "LMO", "XCCL", "XCCM", "XCC", "FB", "SIO", "ISO", "CV",
    }),
    "ImageLaterality": frozenset({"L", "R", "B"}),
}  # fmt: skip
"""Tags of which a profile also says what occurs at all, and the terms that tell nothing of who a patient is."""

BROADER_TERMS = {
    "LATERAL": frozenset({"LAT", "LL", "RL", "ML", "LM"}),
    "LAT": frozenset({"LATERAL", "LL", "RL", "ML", "LM"}),
    "OBLIQUE": frozenset({"RLO", "LLO", "RAO", "LAO", "RPO", "LPO", "MLO", "LMO", "SIO", "ISO"}),
}
"""Terms of ViewPosition that say less than others: an image called by one may be called by these as well.

LL and RL are left and right lateral; RLD and LLD are decubitus, which says how the patient lies (PS3.3 C.8.1.2).
"""

TAGS = (*CATEGORIES, "ImageLaterality", "PatientAge", "Rows", "Columns", "PixelSpacing", "ImagerPixelSpacing")
"""All header attributes that a profile is made of."""

NUMBERS = {
    "age": "PatientAge, years",
    "rows": "Rows",
    "columns": "Columns",
    "spacing": "PixelSpacing or ImagerPixelSpacing, mm",
}
"""Numbers of the header, and what they are."""

INTENSITIES = {
    "mean": "mean",
    "deviation": "standard deviation",
    "percentile_1": "1st percentile",
    "median": "median",
    "percentile_99": "99th percentile",
}
"""Numbers of each preprocessed image, [0, 1], padding included: what the network sees."""

SMALLEST = 20
"""Patients below which a value is not told apart from other rare ones."""

RARE = "of fewer than 20 patients each"
UNKNOWN = "not recorded"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_MOST_IMAGES = 1000  # whose intensities are measured
_AGE = re.compile(r"(\d{1,3})([DWMY]?)$")
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0, "": 1.0}


class Count(Versioned):
    """How often a value occurs."""

    images: int
    patients: int


class Distribution(Versioned):
    """A number over the images for which it is known."""

    images: int
    patients: int
    mean: float
    deviation: float
    quantiles: tuple[float, ...]  # at QUANTILES


class Occurring(Versioned):
    """Which values of a tag occur, however seldom."""

    values: tuple[str, ...]  # defined terms, and what at least SMALLEST patients have
    others: bool  # whether there are more, which are not told
    recorded: float  # the share of the images that have a value


class CohortProfile(Versioned):
    """Tags and intensities of a cohort's images."""

    images: int
    patients: int
    categories: dict[str, dict[str, Count]]  # by tag and value; values of few patients together as RARE
    numbers: dict[str, Distribution]  # of NUMBERS; none of fewer than SMALLEST patients
    intensities: dict[str, Distribution]  # of INTENSITIES, of at most 1,000 images
    occurring: Annotated[dict[str, Occurring], Since(6, then={})] = Field(default_factory=dict)  # of DEFINED_TERMS
    layout: Annotated[Layout | None, Since(6, then=None)] = None  # of the images whose intensities are measured


def describe(
    records: Sequence[Mapping[str, str]],
    patients: Sequence[str],
    pixels: NDArray[np.uint16],
    places: Sequence[int],
) -> CohortProfile:
    """The profile of some images.

    Args:
        records: per image its TAGS, "" where absent.
        patients: per image its patient.
        pixels: preprocessed images (n, size, size) of a cache.
        places: where in the cache each image lies.
    """
    owners = np.asarray(patients, dtype=object)
    numbers = {name: np.array([_number(name, record) for record in records]) for name in NUMBERS}
    some = np.unique(np.linspace(0, len(places) - 1, min(len(places), _MOST_IMAGES)).round().astype(int))
    shown = [np.asarray(pixels[places[at]]) for at in some]
    measured = np.array([_intensities(one) for one in shown]).reshape(-1, len(INTENSITIES))
    return CohortProfile(
        images=len(records),
        patients=len(set(patients)),
        categories={name: _counts([record.get(name, "") for record in records], patients) for name in CATEGORIES},
        numbers=_distributions(numbers, owners),
        intensities=_distributions(dict(zip(INTENSITIES, measured.T, strict=True)), owners[some]),
        occurring={
            name: _occurring([record.get(name, "") for record in records], patients, terms)
            for name, terms in DEFINED_TERMS.items()
        },
        layout=describe_layout(shown, [patients[at] for at in some]),
    )


def _occurring(values: Sequence[str], patients: Sequence[str], terms: frozenset[str]) -> Occurring:
    found = [value.strip().upper() for value in values]
    told = {value for value in _counts(found, patients) if value not in {RARE, UNKNOWN}} | (terms & set(found))
    return Occurring(
        values=tuple(sorted(told)),
        others=bool(set(found) - told - {""}),
        recorded=sum(map(bool, found)) / len(found) if found else 0.0,
    )


def _counts(values: Sequence[str], patients: Sequence[str]) -> dict[str, Count]:
    images: dict[str, int] = defaultdict(int)
    owners: dict[str, set[str]] = defaultdict(set)
    for value, patient in zip(values, patients, strict=True):
        name = value.strip() or UNKNOWN
        images[name] += 1
        owners[name].add(patient)
    kept = {name: Count(images=images[name], patients=len(owners[name])) for name in sorted(images)}
    rare = [name for name, count in kept.items() if count.patients < SMALLEST]
    found = {name: count for name, count in kept.items() if name not in rare}
    if rare:
        together = len(set().union(*(owners[name] for name in rare)))
        found[RARE] = Count(images=sum(images[name] for name in rare), patients=together)
    return found


def _distributions(values: Mapping[str, NDArray[np.float64]], owners: NDArray[np.object_]) -> dict[str, Distribution]:
    found = {}
    for name, column in values.items():
        known = np.isfinite(column)
        patients = len(set(owners[known]))
        if patients >= SMALLEST:
            part = column[known]
            found[name] = Distribution(
                images=len(part),
                patients=patients,
                mean=float(part.mean()),
                deviation=float(part.std()),
                quantiles=tuple(np.quantile(part, QUANTILES).tolist()),
            )
    return found


def _intensities(pixels: NDArray[np.uint16]) -> list[float]:
    """In the order of INTENSITIES, [0, 1]."""
    low, middle, high = np.percentile(pixels, (1, 50, 99))
    return [float(value) / 65535 for value in (pixels.mean(), pixels.std(), low, middle, high)]


def _number(name: str, record: Mapping[str, str]) -> float:
    if name == "age":
        return years(record.get("PatientAge", ""))
    if name == "spacing":
        text = record.get("PixelSpacing") or record.get("ImagerPixelSpacing") or ""
    else:
        text = record.get(name.capitalize(), "")
    try:
        return float(text.split("\\")[0].strip("[] ").split(",")[0])
    except ValueError:
        return np.nan


def years(age: str) -> float:
    """A DICOM age string (or whole years) in years; NaN where it is none.

    Source: PS3.5 6.2, value representation AS.

    >>> years("045Y"), years("006M"), years("?")
    (45.0, 0.5, nan)
    """
    found = _AGE.match(age.strip().upper())
    return int(found[1]) / _PER_YEAR[found[2]] if found else np.nan
