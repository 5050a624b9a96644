"""Labels that can be read from a column, without a look at the pixels: what a network could learn instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medres.cohort.checking import Check, Checked
from medres.cohort.stratification import stratified_parts
from medres.cohort.tasks import LABEL_PREFIX
from medres.formatting import DASH, estimate, sample
from medres.records import Interval
from medres.statistics.bootstrap import bootstrap

WORTH_KNOWING = 0.6
"""Lower bound of the AUROC from which a column is reported.

Well above 0.5, because many columns are tried for many labels, and age or view always tell a little."""

WRITTEN_IN_HEADER = 0.9
"""Lower bound from which a header's column all but gives the label away: a network would need no finding."""

_FOLDS = 5
_FEWEST = 10  # patients of either class; fewer tell nothing
_RARE = 5  # values that fewer patients have are one value
_BINS = 5  # of a column of numbers with many values
_OURS = {"path", "sha256", "status", "warnings", "fold", "PatientID", "PatientName", "PatientBirthDate"}


@dataclass(frozen=True, slots=True)
class ReadableLabel:
    """A label that a column gives away."""

    label: str
    column: str
    auroc: Interval
    problem: bool

    def __str__(self) -> str:
        """One line for a human."""
        return (
            f"label readable from metadata: {self.label} from {self.column} alone: "
            f"AUROC {estimate(self.auroc, between=DASH, digits=2)}, {sample(self.auroc)}, without a look at the pixels"
        )


def readable_labels(table: pd.DataFrame, *, header: Sequence[str], seed: int = 0) -> tuple[ReadableLabel, ...]:
    """Every pair of a label and a column whose patient-grouped, cross-validated AUROC is worth knowing.

    The score of a value is the share of positives among other folds' patients with that value, drawn towards the
    overall share by as much as one patient weighs: what logistic regression on the one-hot column comes to. The
    interval is clustered by patient. A column of the header that gives a label away is a problem; one that only the
    manifest has (a grade from which the label was made, a given split) is worth knowing.

    Args:
        table: one row per image, all text: `PatientID`, `label_…`, and any other columns.
        header: names of columns that are DICOM attributes of the images.
        seed: of folds and resamples.
    """
    names = [str(name) for name in table.columns]
    labels = [name for name in names if name.startswith(LABEL_PREFIX)]
    columns = [name for name in names if name not in {*_OURS, *labels} and not name.endswith("UID")]
    found = []
    for name in labels:
        if _fewest(table, name) < _FEWEST:
            continue
        known = _known(table, name)
        truth = np.array([int(float(cell)) for cell in known[name]], dtype=np.int64)
        patients = known["PatientID"].str.strip().to_numpy(dtype=str)
        fold = _folds(truth, patients, seed)
        for column in columns:
            values = _values(known[column], patients)
            if len(set(values)) < 2:
                continue
            scores = _held_out_shares(truth, values, patients, fold)
            auroc = bootstrap(truth, scores, patients, replicates=500, seed=seed)
            if auroc.low is not None and auroc.low > WORTH_KNOWING:
                problem = column in header and auroc.low > WRITTEN_IN_HEADER
                found.append(ReadableLabel(name.removeprefix(LABEL_PREFIX), column, auroc, problem))
    return tuple(sorted(found, key=lambda one: (not one.problem, one.label, -(one.auroc.low or 0))))


def check_metadata(checked: Checked, *, seed: int = 0) -> Checked:
    """What `check_manifest` found, and whether metadata give a label away; what too few patients have is not judged.

    Args:
        checked: the manifest with its usable images.
        seed: of folds and resamples.
    """
    table = checked.table()
    labels = [str(name) for name in table.columns if str(name).startswith(LABEL_PREFIX)]
    not_run = ""
    if table.empty:
        images = next((check.not_run for check in checked.checks if check.name == "same image"), "")
        not_run = images or "no usable file has a PatientID in the manifest"
    elif not labels:
        not_run = "it has no label_ column"
    few = [] if not_run else [name.removeprefix(LABEL_PREFIX) for name in labels if _fewest(table, name) < _FEWEST]
    remark = f"not judged, for fewer than {_FEWEST} patients of a class: {', '.join(few)}" if few else ""
    meaning = "a label that one column gives away, without a look at the pixels"
    check = Check("labels readable from metadata", meaning, remark=remark, not_run=not_run)
    found = () if not_run else readable_labels(table, header=checked.header_columns(), seed=seed)
    return checked.joined(
        check, [str(one) for one in found if one.problem], [str(one) for one in found if not one.problem]
    )


def _known(table: pd.DataFrame, label: str) -> pd.DataFrame:
    return table[table[label].str.strip().isin(("0", "1", "0.0", "1.0"))]


def _fewest(table: pd.DataFrame, label: str) -> int:
    """Patients of the rarer class of a label."""
    known = _known(table, label)
    positive = known[label].str.strip().isin(("1", "1.0"))
    patients = known["PatientID"].str.strip()
    return min(patients[positive].nunique(), patients[~positive].nunique())


def _folds(truth: NDArray[np.int64], patients: NDArray[np.str_], seed: int) -> NDArray[np.intp]:
    """The fold of each image: patients together, classes balanced."""
    owner = np.unique(patients, return_inverse=True)[1]
    counts = np.stack([np.bincount(owner, truth == one, minlength=int(owner.max()) + 1) for one in (0, 1)], axis=1)
    return stratified_parts(counts.astype(np.float64), _FOLDS, seed)[owner]


def _values(cells: pd.Series[str], patients: NDArray[np.str_]) -> NDArray[np.str_]:
    """The column as few values: numbers in bins of equal mass, rare values as one."""
    text = cells.str.strip()
    numbers = pd.to_numeric(text.str.replace(r"^(\d{3})Y$", r"\1", regex=True), errors="coerce").to_numpy(np.float64)
    if np.isfinite(numbers).mean() > 0.5 and len(set(numbers[np.isfinite(numbers)])) > 4 * _BINS:
        edges = np.nanquantile(numbers, np.linspace(0, 1, _BINS + 1)[1:-1])
        bins = np.searchsorted(edges, np.nan_to_num(numbers, nan=np.inf)).astype(str)
        return np.where(np.isfinite(numbers), bins, "")
    values = text.to_numpy(dtype=str)
    owners = pd.Series(patients).groupby(values).nunique()
    rare = set(owners[owners < _RARE].index)
    return np.array(["(rare)" if value in rare else value for value in values])


def _held_out_shares(
    truth: NDArray[np.int64], values: NDArray[np.str_], patients: NDArray[np.str_], fold: NDArray[np.intp]
) -> NDArray[np.float64]:
    """For each image the share of positives of its value among the patients of the other folds."""
    place = np.unique(values, return_inverse=True)[1]
    weight = 1 / np.unique(patients, return_counts=True)[1][np.unique(patients, return_inverse=True)[1]]
    scores = np.empty(len(truth))
    for one in np.unique(fold):
        inside, outside = fold == one, fold != one
        share = np.average(truth[outside], weights=weight[outside])
        size = int(place.max()) + 1
        total = np.bincount(place[outside], weight[outside], minlength=size)
        positive = np.bincount(place[outside], weight[outside] * truth[outside], minlength=size)
        scores[inside] = ((positive + share) / (total + 1))[place[inside]]
    return scores
