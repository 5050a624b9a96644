"""What can be known without the anatomy: from the metadata alone, and what the network's features know of metadata.

Every score here is out of fold: it comes from a regression that had not seen the patient. Scores of one regression are
compared with each other and never with those of another, whose zero may lie elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medres.evaluation.subgroups import Groups

_PARTS = 4  # of a fold's held-out patients, each read by a regression on the others
_STRENGTHS = tuple(float(value) for value in np.logspace(0, 5, 6))  # of the ridge penalty


def metadata_scores(
    columns: Sequence[Groups], labels: NDArray[np.int64], folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """How likely each image is positive by its metadata alone: logistic regression on the other folds' patients.

    Args:
        columns: values of one or more columns, one per image; each value is a regressor of 0 and 1.
        labels: 0 or 1 per image.
        folds: the fold that held the image out.

    Returns:
        Log odds per image, NaN where the other folds hold one class only. Classes weigh alike, so that a fold's own
        share of positives does not move its scores.
    """
    from sklearn.linear_model import LogisticRegression

    regressors = np.concatenate([column[:, None] == np.unique(column)[None, :] for column in columns], axis=1)
    found = np.full(len(labels), np.nan)
    for fold in np.unique(folds):
        asked = folds == fold
        if len(np.unique(labels[~asked])) == 2:
            model = LogisticRegression(class_weight="balanced", max_iter=1000)
            model.fit(regressors[~asked].astype(np.float64), labels[~asked])
            found[asked] = model.decision_function(regressors[asked].astype(np.float64))
    return found


def read_from_features(
    features: NDArray[np.float32], values: Groups, patients: NDArray[np.str_], *, seed: int
) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.int64]]:
    """How well a column's values can be read from one network's features: ridge regression on the other patients.

    Args:
        features: pooled features, (images, channels).
        values: the column's value of each image.
        patients: the patient of each image.
        seed: of the division of patients.

    Returns:
        The values; scores (images, values), NaN where a value does not occur among the other patients; and the part
        of each image: scores of different parts come from different regressions.

    Source: linear probes, Alain and Bengio 2016.
    """
    from sklearn.linear_model import RidgeCV

    names = tuple(str(name) for name in np.unique(values))
    targets = (values[:, None] == np.array(names, dtype=object)[None, :]).astype(np.float64)
    part = _parts(values, patients, seed)
    scores = np.full(targets.shape, np.nan)
    for number in np.unique(part):
        asked = part == number
        if len(set(values[~asked])) < 2:
            continue
        centre, spread = features[~asked].mean(axis=0), features[~asked].std(axis=0) + 1e-9
        model = RidgeCV(alphas=_STRENGTHS).fit((features[~asked] - centre) / spread, targets[~asked])
        scores[asked] = model.predict((features[asked] - centre) / spread)
        scores[np.ix_(asked, targets[~asked].sum(axis=0) == 0)] = np.nan
    return names, scores, part


def _parts(values: Groups, patients: NDArray[np.str_], seed: int) -> NDArray[np.int64]:
    """The part of each image: patients of each value are dealt out in turn."""
    owners, first = np.unique(patients, return_index=True)
    shuffled = np.random.default_rng(seed).permutation(len(owners))
    dealt = shuffled[np.argsort([str(value) for value in values[first][shuffled]], kind="stable")]
    part = np.empty(len(owners), dtype=np.int64)
    part[dealt] = np.arange(len(owners)) % _PARTS
    return part[np.searchsorted(owners, patients)]
