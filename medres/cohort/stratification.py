"""Patients divided into parts that resemble each other in every label at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medres.records import ManifestRow

STRATIFIED = "patient-grouped, stratified by the label counts of patients"
"""What `splits.json` says of folds made here."""


def patient_counts(
    rows: Sequence[ManifestRow], labels: Sequence[str]
) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.bool_]]:
    """What each patient brings into a fold.

    A grade comes as its labels "at least this grade", a class as one label per class, so that one rule serves all.

    Returns:
        Patients, sorted; counts (patients, 2 + 2 × labels): one for the patient, then images, then positive and
        negative images of each label; and whether a patient has any (patients, labels, 2), negative before positive.
    """
    names = tuple(sorted({row.patient_id for row in rows}))
    place = {name: number for number, name in enumerate(names)}
    images = np.zeros(len(names))
    known = np.zeros((len(names), len(labels), 2))
    for row in rows:
        patient = place[row.patient_id]
        images[patient] += 1
        for column, label in enumerate(labels):
            target = row.targets[label]
            if target is not None:
                known[patient, column, target] += 1
    counts = np.concatenate([np.ones((len(names), 1)), images[:, None], known.reshape(len(names), -1)], axis=1)
    return names, counts, known > 0


def stratified_parts(counts: NDArray[np.float64], parts: int, seed: int) -> NDArray[np.intp]:
    """The part of each patient, so that every part has about the same share of every count.

    Patients are dealt out one by one, those with much of something rare first, each to the part in which it least
    raises the sum of squared shares. Patients of similar weight come in random order, so that seeds give other parts.
    Source: Sechidis et al. 2011 (iterative stratification, rarest labels first), with whole patients as units.

    Args:
        counts: (patients, kinds), as `patient_counts` gives them.
        parts: how many.
        seed: of the order.

    Returns:
        (patients,): 0 to parts − 1.
    """
    generator = np.random.default_rng(seed)
    totals = counts.sum(axis=0)
    shares = counts[:, totals > 0] / totals[totals > 0]
    weight = np.floor(np.log2(np.linalg.norm(shares, axis=1)))  # similar: within a factor of two
    order = np.lexsort((generator.random(len(shares)), -weight))
    filled = np.zeros((parts, shares.shape[1]))
    found = np.zeros(len(shares), dtype=np.intp)
    for patient in order:
        raised = filled @ shares[patient]
        cheapest = np.flatnonzero(raised <= raised.min() + 1e-12)
        part = int(cheapest[0] if len(cheapest) == 1 else generator.choice(cheapest))
        filled[part] += shares[patient]
        found[patient] = part
    return found


def inner_part(known: NDArray[np.bool_], part: NDArray[np.intp]) -> int:
    """The part to validate on: the first that has both classes of most labels while the others keep them, too.

    Args:
        known: (patients, labels, 2), as `patient_counts` gives it.
        part: (patients,), as `stratified_parts` gives it.
    """
    scores: list[Any] = []
    for number in range(int(part.max()) + 1):
        inside, outside = (known[part == number].any(axis=0), known[part != number].any(axis=0))
        scores.append(int((inside & outside).sum()))
    return int(np.argmax(scores))
