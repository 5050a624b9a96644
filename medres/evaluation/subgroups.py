"""For whom a model works: the same figures in parts of the cohort, and none where a part is too small to tell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medres.config import Evaluation
from medres.errors import ManifestError
from medres.evaluation.results import Intersection, IntersectionResults, SubgroupColumn, SubgroupResults
from medres.records import Interval
from medres.statistics.bootstrap import bootstrap
from medres.statistics.differences import difference
from medres.statistics.metric import shown_in

if TYPE_CHECKING:
    from medres.evaluation.table import JudgedImages

DIVIDING_COLUMNS = {
    "PatientSex": "Sex",
    "PatientAge": "Age",
    "ViewPosition": "View",
    "Manufacturer": "Manufacturer",
    "InstitutionName": "Institution",
}
"""Columns of `oof.csv` that divide every cohort, and what they are called in a report."""

SMALLEST = 20
"""Patients below which a group is shown without a figure."""

UNKNOWN = "not recorded"
_MOST_GROUPS = 12  # of one column; the smallest are shown together
_AGE = re.compile(r"(\d{1,3})([DWMY]?)$")
_BANDS = ((18, "under 18"), (40, "18–39"), (60, "40–59"), (80, "60–79"))
_OLDEST = "80 and over"
_BY_AGE = (*(name for _, name in _BANDS), _OLDEST, UNKNOWN)
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0, "": 1.0}

Groups = NDArray[np.object_]
"""The group of each image, as text."""


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


def dividing_columns(table: pd.DataFrame, asked: Sequence[str] = ()) -> dict[str, str]:
    """The columns of a table that divide it, with their titles: the usual ones that are not blank, and those asked for.

    Raises:
        ManifestError: a column that was asked for is not there.
    """
    absent = [name for name in asked if name not in table.columns]
    if absent:
        raise ManifestError(f"evaluation.subgroups: the out-of-fold table has no column {' or '.join(absent)}")
    known = {
        name: title
        for name, title in DIVIDING_COLUMNS.items()
        if name in table.columns and _recorded(table[name]).any()
    }
    return known | {name: name for name in asked if name not in known}


def grouped(table: pd.DataFrame, column: str) -> Groups:
    """The group of each row: the cell's text, an age's band, `not recorded` where it is blank.

    >>> grouped(pd.DataFrame({"label_tube": [1.0, np.nan]}), "label_tube").tolist()
    ['1', 'not recorded']
    """
    cells = (f"{cell:g}" if isinstance(cell, float) and cell == cell else cell for cell in table[column])
    texts = ["" if cell is None or cell != cell else str(cell).strip() for cell in cells]
    return np.array([age_band(text) if column == "PatientAge" else text or UNKNOWN for text in texts], dtype=object)


def with_others(groups: Groups) -> Groups:
    """The groups with the smallest of very many as one."""
    common = Counter(groups).most_common()
    if len(common) <= _MOST_GROUPS:
        return groups
    kept = {name for name, _ in common[: _MOST_GROUPS - 1]}
    others = f"{len(common) - len(kept)} others"
    return np.array([name if name in kept else others for name in groups], dtype=object)


@dataclass(frozen=True, slots=True)
class Divided:
    """A label's figures in parts of the cohort."""

    subgroups: tuple[SubgroupColumn, ...]
    intersections: tuple[Intersection, ...]


def divided(table: pd.DataFrame, images: JudgedImages, *, evaluation: Evaluation, seed: int) -> Divided:
    """A label's figures in parts of the cohort.

    Groups stand by size, age bands by age. Two columns of which one tells the other have no intersections. A difference
    is that from all other images; its intervals hold for all groups and metrics of the label at once, so that chance
    alone rarely lets one of them exclude 0. What divides the images in the same two parts is one comparison, not
    several: both groups of a column that has two, and the groups of two columns that mirror each other.

    Args:
        table: as `table.read_table` gives it.
        images: its images whose label is known.
        evaluation: columns asked for, replicates and confidence of the intervals.
        seed: of the resamples.

    Raises:
        ManifestError: see `dividing_columns`.
    """
    titles = dividing_columns(table, evaluation.subgroups)
    columns = {name: with_others(grouped(table, name)[images.rows]) for name in titles}
    compared = _distinct_comparisons(images, columns) * sum(one.influence is not None for one in shown_in("subgroups"))
    alike = _alike(columns)
    shown = tuple(
        SubgroupColumn(
            column=name,
            title=titles[name],
            **({"alike": titles[alike[name]]} if name in alike else {}),
            groups=tuple(
                _subgroup(images, value, mask, evaluation, seed, compared)
                for value, mask in _parts(groups, by_age=name == "PatientAge")
            ),
        )
        for name, groups in columns.items()
    )
    dividing = [
        name
        for name, groups in columns.items()
        if name not in alike and sum(_large(images, mask) for _, mask in _parts(groups)) > 1
    ]
    crossed = tuple(
        _crossed(images, (one, other), (titles[one], titles[other]), columns, evaluation, seed)
        for one, other in combinations(dividing, 2)
        if len(set(zip(columns[one], columns[other], strict=True)))
        > max(len(set(columns[one])), len(set(columns[other])))
    )
    return Divided(shown, crossed)


def _distinct_comparisons(images: JudgedImages, columns: Mapping[str, Groups]) -> int:
    """How many divisions of the images in a group and all others are compared, each counted once."""
    masks = [mask for groups in columns.values() for _, mask in _parts(groups) if _comparable(images, mask)]
    return len({(mask if mask[0] else ~mask).tobytes() for mask in masks})


def _alike(columns: Mapping[str, Groups]) -> dict[str, str]:
    """Columns that divide the images just as an earlier one does, each with that one."""
    first: dict[bytes, str] = {}
    found = {}
    for name, groups in columns.items():
        _, start, place = np.unique(groups.astype(str), return_index=True, return_inverse=True)
        earlier = first.setdefault(start[place].tobytes(), name)
        if earlier != name and len(start) > 1:
            found[name] = earlier
    return found


def _recorded(cells: pd.Series[Any]) -> pd.Series[Any]:
    return cells.fillna("").astype(str).str.strip() != ""


def _parts(groups: Groups, *, by_age: bool = False) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Names and images of groups, largest first; of age bands, youngest first."""
    by_size = [name for name, _ in Counter(sorted(groups)).most_common()]
    for name in [name for name in _BY_AGE if name in by_size] if by_age else by_size:
        yield name, groups == name


def _large(images: JudgedImages, mask: NDArray[np.bool_]) -> bool:
    return len(np.unique(images.patients[mask])) >= SMALLEST


def _comparable(images: JudgedImages, mask: NDArray[np.bool_]) -> bool:
    return _large(images, mask) and _large(images, ~mask)


def _figures(part: JudgedImages, evaluation: Evaluation, seed: int) -> dict[str, Interval]:
    """What is said of a group of enough patients."""
    return {
        one.name: bootstrap(
            part.truth,
            part.scores(one.name),
            part.patients,
            statistic=one.name,
            replicates=evaluation.replicates,
            confidence=evaluation.confidence,
            seed=seed,
        )
        for one in shown_in("subgroups")
    }


def _subgroup(
    images: JudgedImages, value: str, mask: NDArray[np.bool_], evaluation: Evaluation, seed: int, compared: int
) -> SubgroupResults:
    """One group; with `compared` above 0, the number of all differences, also how it differs from the rest."""
    part = images.part(mask)
    n_patients = len(np.unique(part.patients))
    shown = shown_in("subgroups")
    figures: Mapping[str, Interval | None] = dict.fromkeys(one.name for one in shown)
    if n_patients >= SMALLEST:
        figures = _figures(part, evaluation, seed)
    differences: dict[str, Interval] = {}
    if compared and _comparable(images, mask):
        differences = {
            one.name: difference(
                one.name,
                images.truth,
                images.scores(one.name),
                images.patients,
                mask,
                confidence=evaluation.confidence,
                comparisons=compared,
            )
            for one in shown
            if one.influence
        }
    return SubgroupResults(
        value=value,
        n=len(part.truth),
        n_patients=n_patients,
        n_positive=int(part.truth.sum()),
        figures=figures,
        difference=differences,
    )


def _crossed(
    images: JudgedImages,
    names: tuple[str, str],
    titles: tuple[str, str],
    columns: Mapping[str, Groups],
    evaluation: Evaluation,
    seed: int,
) -> Intersection:
    """The groups that two columns form together, those of enough patients, largest first."""
    one, other = (columns[name] for name in names)
    pairs = np.empty(len(one), dtype=object)
    pairs[:] = list(zip(one, other, strict=True))
    shown: list[IntersectionResults] = []
    small_groups = small_images = 0
    for values in [pair for pair, _ in Counter(sorted(pairs)).most_common()]:
        mask = (one == values[0]) & (other == values[1])
        if not _large(images, mask):
            small_groups, small_images = small_groups + 1, small_images + int(mask.sum())
            continue
        part = images.part(mask)
        shown.append(
            IntersectionResults(
                values=values,
                n=len(part.truth),
                n_patients=len(np.unique(part.patients)),
                n_positive=int(part.truth.sum()),
                figures=_figures(part, evaluation, seed),
            )
        )
    return Intersection(
        columns=names,
        titles=titles,
        groups=tuple(shown),
        suppressed_groups=small_groups,
        suppressed_images=small_images,
    )
