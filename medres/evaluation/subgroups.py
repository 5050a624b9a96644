"""For whom a model works: the same figure in parts of the cohort, and none where a part is too small to tell."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from medres.config import Evaluation
from medres.evaluation.summary import interval, judged
from medres.records import Interval

COLUMNS = {
    "PatientSex": "Sex",
    "PatientAge": "Age",
    "ViewPosition": "View",
    "Manufacturer": "Manufacturer",
    "InstitutionName": "Institution",
}
"""Columns of `oof.csv` that divide a cohort, and what they are called in a report."""

SMALLEST = 20
"""Patients below which a group is shown without a figure."""

UNKNOWN = "not recorded"
_MOST_GROUPS = 12  # of one column; the smallest are shown together
_AGE = re.compile(r"(\d{1,3})([DWMY]?)$")
_BANDS = ((18, "under 18"), (40, "18–39"), (60, "40–59"), (80, "60–79"))
_OLDEST = "80 and over"
_BY_AGE = (*(name for _, name in _BANDS), _OLDEST, UNKNOWN)
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0, "": 1.0}


@dataclass(frozen=True, slots=True)
class Subgroup:
    """One part of a cohort."""

    value: str
    n: int  # images
    n_patients: int
    n_positive: int
    auroc: Interval | None  # None: fewer than SMALLEST patients


def age_band(age: str) -> str:
    """The band of a DICOM age string (or of whole years).

    Source: PS3.5 6.2, value representation AS.

    >>> age_band("045Y"), age_band("006M"), age_band("80"), age_band("?")
    ('40–59', 'under 18', '80 and over', 'not recorded')
    """
    found = _AGE.match(age.strip().upper())
    if not found:
        return UNKNOWN
    years = int(found[1]) / _PER_YEAR[found[2]]
    return next((name for limit, name in _BANDS if years < limit), _OLDEST)


def by_column(table: pd.DataFrame, column: str, *, label: str, evaluation: Evaluation, seed: int) -> list[Subgroup]:
    """AUROC of the groups that a column forms, largest first; of age bands, youngest first.

    Args:
        table: as `summary.read_table` gives it.
        column: a text column; blank cells are `not recorded`.
        label: which label.
        evaluation: replicates and confidence of the intervals.
        seed: of the resamples.

    Raises:
        ManifestError: see `summary.judged`.
    """
    images = judged(table, label)
    cells = [str(cell).strip() for cell in table[column].fillna("")]
    values = np.array([age_band(cell) if column == "PatientAge" else cell or UNKNOWN for cell in cells], dtype=object)
    values = values[images.rows]
    common = Counter(values).most_common()
    if len(common) > _MOST_GROUPS:
        kept = {name for name, _ in common[: _MOST_GROUPS - 1]}
        values = np.array([value if value in kept else f"{len(common) - len(kept)} others" for value in values])
    by_size = [name for name, _ in Counter(sorted(values)).most_common()]
    shown = [name for name in _BY_AGE if name in by_size] if column == "PatientAge" else by_size
    groups = []
    for value in shown:
        part = images.part(values == value)
        n_patients = len(np.unique(part.patients))
        found = interval(part, "auroc", evaluation, seed) if n_patients >= SMALLEST else None
        groups.append(Subgroup(value, len(part.truth), n_patients, int(part.truth.sum()), found))
    return groups
