"""Does a score need the anatomy? How much of it survives without, what the metadata alone give, what features know.

`shortcuts.json` is a function of two tables: `oof.csv`, and `shortcuts.csv` with what the same networks say of the same
held-out images with parts hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medres.cohort.tasks import LABEL_PREFIX
from medres.config import Evaluation
from medres.errors import UsageError
from medres.evaluation.shortcuts.alterations import ALTERATIONS, CENTRE, CORNER, WITHOUT_CENTRE, Alteration
from medres.evaluation.shortcuts.probes import metadata_scores
from medres.evaluation.shortcuts.results import (
    AlterationRecord,
    AlterationResults,
    ColumnResults,
    FeatureResults,
    LabelShortcuts,
    MetadataResults,
    Shortcuts,
    TogetherResults,
)
from medres.evaluation.shortcuts.verdicts import THRESHOLDS, verdict
from medres.evaluation.subgroups import (
    DIVIDING_COLUMNS,
    SMALLEST,
    UNKNOWN,
    Groups,
    dividing_columns,
    grouped,
    with_others,
)
from medres.evaluation.table import JudgedImages, judged_images
from medres.statistics.arrays import patient_numbers
from medres.statistics.kernels import auroc_within
from medres.statistics.paired import PairedFigures, disjoint_pairs
from medres.tables import read_csv

FORMAT: Literal[1] = 1
_SIZES = ("Rows", "Columns")


def probability_column(label: str, alteration: Alteration) -> str:
    """The column of `shortcuts.csv` with a label's probability of altered images."""
    return f"prob_{label}_{alteration.name}"


def score_column(column: str, value: str) -> str:
    """The column of `shortcuts.csv` that says how much an image's features look like a value of a column."""
    return f"score_{column}={value}"


def part_column(column: str) -> str:
    """The column of `shortcuts.csv` that says which scores of features come from one regression, within a fold."""
    return f"part_{column}"


def read_probed(path: Path) -> pd.DataFrame:
    """Read `shortcuts.csv`: scores as numbers (blank is NaN), all other cells as text.

    Raises:
        ManifestError: it is missing, or no table.
    """
    table = read_csv(path)
    for name in map(str, table.columns):
        if name.startswith(("prob_", "score_")):
            table[name] = [float(cell) if cell else np.nan for cell in table[name]]
    return table


def readable_columns(table: pd.DataFrame, asked: Sequence[str]) -> dict[str, tuple[Groups, tuple[str, ...]]]:
    """Columns that features may tell: each row's value, and the values of at least SMALLEST patients (two or more)."""
    found = {}
    patients = table["PatientID"].astype(str)
    for column in dividing_columns(table, asked):
        groups = with_others(grouped(table, column))
        owners = patients.groupby(groups).nunique()
        common = tuple(str(value) for value, count in owners.items() if count >= SMALLEST and value != UNKNOWN)
        if len(common) > 1:
            found[column] = (groups, common)
    return found


def summarise_shortcuts(
    table: pd.DataFrame, probed: pd.DataFrame, *, labels: Sequence[str], evaluation: Evaluation, seed: int
) -> Shortcuts:
    """Every figure of the shortcut probes, as the content of `shortcuts.json`.

    Args:
        table: `oof.csv` as `table.read_table` gives it.
        probed: `shortcuts.csv`, the same images in the same order, scores as numbers.
        labels: which labels.
        evaluation: columns asked for, replicates and confidence of the intervals.
        seed: of the resamples.

    Raises:
        UsageError: the tables are not of the same images.
        ManifestError: see `table.judged_images`.
    """
    if list(table["path"]) != list(probed["path"]):
        raise UsageError("shortcuts.csv is not of the images of oof.csv")
    return Shortcuts(
        format=FORMAT,
        labels={label: _label(table, probed, label, evaluation, seed) for label in labels},
        features=_features(table, probed, evaluation, seed),
        alterations={one.name: AlterationRecord(title=one.title, meaning=one.meaning) for one in ALTERATIONS},
        centre=CENTRE,
        corner=CORNER,
        thresholds=THRESHOLDS,
    )


def _label(table: pd.DataFrame, probed: pd.DataFrame, label: str, evaluation: Evaluation, seed: int) -> LabelShortcuts:
    images = judged_images(table, label)
    patient = patient_numbers(images.patients)
    hidden = {
        one: probed[probability_column(label, one)].to_numpy(dtype=np.float64)[images.rows] for one in ALTERATIONS
    }
    columns = _metadata_columns(table, images, evaluation, label)
    one_stratum = np.zeros(len(images.truth))
    asked: dict[str, tuple[NDArray[np.float64], NDArray[Any]]] = {"": (images.probabilities, one_stratum)}
    asked |= {one.name: (scores, one_stratum) for one, scores in hidden.items()}
    for name, (groups, _) in columns.items():
        asked[f"alone {name}"] = (metadata_scores([groups], images.truth, images.folds), images.folds)
        asked[f"within {name}"] = (images.probabilities, groups)
        asked[f"hidden {name}"] = (hidden[WITHOUT_CENTRE], groups)
    if columns:
        together = [groups for groups, _ in columns.values()]
        asked["metadata"] = (metadata_scores(together, images.truth, images.folds), images.folds)
    figures = _compared({name: (images.truth, *item) for name, item in asked.items()}, patient, evaluation, seed)
    whole = figures.plain(images.truth, images.probabilities, images.patients)
    altered = {}
    for one, scores in hidden.items():
        auroc = figures.plain(images.truth, scores, images.patients)
        altered[one.name] = AlterationResults(auroc=auroc, kept=figures.kept(one.name, whole, auroc))
    known = {
        name: ColumnResults(
            alike=tuple(alike),
            alone=figures.one(f"alone {name}", "; pairs within a fold"),
            within=figures.one(f"within {name}", "; pairs of the same value"),
            difference=figures.difference("", f"within {name}"),
            hidden_within=figures.one(f"hidden {name}", "; pairs of the same value"),
            hidden_difference=figures.difference(WITHOUT_CENTRE.name, f"hidden {name}"),
        )
        for name, (_, alike) in columns.items()
    }
    every = figures.one("metadata", "; pairs within a fold") if columns else None
    return LabelShortcuts(
        auroc=whole,
        alterations=altered,
        metadata=MetadataResults(
            together=TogetherResults(columns=tuple(columns), auroc=every) if every else None, columns=known
        ),
        verdict=verdict(whole, altered, known),
    )


def _metadata_columns(
    table: pd.DataFrame, images: JudgedImages, evaluation: Evaluation, label: str
) -> dict[str, tuple[Groups, list[str]]]:
    """The columns that may know the label, with those that divide the images just as they do: one of each kind."""
    sizes = [name for name in _SIZES if name in table.columns and name not in evaluation.subgroups]
    names = sorted(dividing_columns(table, (*evaluation.subgroups, *sizes)), key=lambda name: name != "InstitutionName")
    found: dict[bytes, tuple[str, Groups, list[str]]] = {}
    for name in names:
        groups = with_others(grouped(table, name)[images.rows])
        _, first, place = np.unique(groups.astype(str), return_index=True, return_inverse=True)
        if len(first) > 1 and not is_target(name, label):
            found.setdefault(first[place].tobytes(), (name, groups, []))[2].append(name)
    return {name: (groups, alike[1:]) for name, groups, alike in found.values()}


def is_target(column: str, label: str) -> bool:
    """Whether a column is what the label asks for: a target is never its own probe.

    >>> is_target("ViewPosition", "ViewPosition"), is_target("ViewPosition", "view_is_LL")
    (True, True)
    >>> is_target("label_tube", "tube"), is_target("PatientSex", "effusion")
    (True, False)
    """
    asked = label.casefold()
    names = {column.removeprefix(LABEL_PREFIX).casefold(), DIVIDING_COLUMNS.get(column, column).casefold()}
    return asked in names or asked.startswith(tuple(f"{name}_{word}_" for name in names for word in ("is", "ge")))


def _compared(
    asked: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64], NDArray[Any]]],
    patient: NDArray[np.intp],
    evaluation: Evaluation,
    seed: int,
) -> PairedFigures:
    """AUROCs of labels and scores over pairs of the same stratum; images without a score are left out."""
    kernels, pairs = {}, {}
    for name, (positive, scores, strata) in asked.items():
        known = ~np.isnan(scores)
        kernels[name] = auroc_within(positive[known], scores[known], patient[known], strata[known])
        pairs[name] = disjoint_pairs(positive[known], patient[known], strata[known])
    n_patients = len(np.unique(patient))
    return PairedFigures(kernels, n=len(patient), n_patients=n_patients, pairs=pairs, evaluation=evaluation, seed=seed)


def _features(
    table: pd.DataFrame, probed: pd.DataFrame, evaluation: Evaluation, seed: int
) -> dict[str, FeatureResults]:
    """How well each column can be read from the features: mean over its values of the AUROC against all others."""
    found = {}
    for column, (groups, values) in readable_columns(table, evaluation.subgroups).items():
        if part_column(column) not in probed.columns:
            continue
        strata = probed["fold"].astype(str) + " " + probed[part_column(column)].astype(str)
        asked = np.isin(groups, values) & (probed[part_column(column)] != "").to_numpy()
        patient = patient_numbers(table["PatientID"][asked])
        figures = _compared(
            {
                value: (
                    (groups[asked] == value).astype(np.int64),
                    probed.loc[asked, score_column(column, value)].to_numpy(dtype=np.float64),
                    strata[asked].to_numpy(dtype=object).astype(str),
                )
                for value in values
            },
            patient,
            evaluation,
            seed,
        )
        macro = figures.mean("; mean over values, each against all others; pairs read by the same regression")
        found[column] = FeatureResults(values=tuple(values), auroc=macro)
    return found
