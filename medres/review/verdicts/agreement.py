"""How far readers agree with each other and with the model: counts, and Cohen's kappa with clustered intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from medres.records import Interval
from medres.review.schema import reader_of
from medres.review.verdicts.record import Opinion, Verdict, answer
from medres.statistics.agreement import confusion_kernel, quadratic_weighted_kappa
from medres.statistics.arrays import patient_numbers
from medres.statistics.intervals import NO_IMAGES, too_few
from medres.statistics.resampling import Resampling, resamples
from medres.statistics.student import scaled_interval

MODEL = "AI: the model"
"""What the model is called beside readers; no reader's name holds a colon."""

_ONE_ANSWER = "undefined: both give one answer to every image"


@dataclass(frozen=True, slots=True)
class Counts:
    """What one reader said of one label, counting their latest verdict on each image."""

    label: str
    reader: str
    said: Mapping[Opinion, int]
    images: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Two who judged the same images, of which both said present or absent."""

    label: str
    first: str
    second: str  # a reader, or MODEL
    table: tuple[tuple[int, int], tuple[int, int]]  # images by first's (rows: absent, present) and second's answer
    kappa: Interval

    @property
    def images(self) -> int:
        """How many both judged."""
        return sum(map(sum, self.table))

    @property
    def alike(self) -> int:
        """Of how many they said the same."""
        return self.table[0][0] + self.table[1][1]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Every reader and every pair, by label."""

    counts: tuple[Counts, ...]
    pairs: tuple[Pair, ...]


def latest(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """The latest verdict of each reader on each label of each image of each model, in the order of the first ones."""
    found: dict[tuple[str, ...], Verdict] = {}
    for verdict in verdicts:
        key = (verdict.sop_instance_uid, verdict.model_id, verdict.label, reader_of(verdict.reviewer))
        if key not in found or found[key].revision < verdict.revision:
            found[key] = verdict
    return tuple(found.values())


def agreement(
    verdicts: Iterable[Verdict],
    calls: Mapping[tuple[str, str], int],
    patients: Mapping[str, str],
    resampling: Resampling | None = None,
) -> Agreement:
    """How far readers agree, of the images of one model.

    Unsure, skipped, and a grade that is neither 0 nor 1 count among what was said, and in no kappa.

    Args:
        verdicts: of one model; of several of one reader on one label of one image the latest counts.
        calls: what the model says, by (image, label), for verdicts that do not say it and for the model's own kappa.
        patients: by image; images of one patient are resampled together. An image without one is its own.
        resampling: of patients.
    """
    by_label: dict[str, dict[str, list[Verdict]]] = {}
    for verdict in latest(verdicts):
        by_label.setdefault(verdict.label, {}).setdefault(reader_of(verdict.reviewer), []).append(verdict)
    counts, pairs = [], []
    for label, by_reader in sorted(by_label.items()):
        answers: dict[str, dict[str, int]] = {}
        for _, said in sorted(by_reader.items()):
            name = said[-1].reviewer
            counts.append(Counts(label, name, Counter(one.verdict for one in said), len(said)))
            answers[name] = _definite(said, calls)
        answers[MODEL] = {image: call for (image, of), call in calls.items() if of == label}
        for one, other in combinations(answers, 2):
            pairs.append(_pair(label, (one, other), answers, patients, resampling or Resampling()))
    return Agreement(tuple(counts), tuple(pairs))


def _definite(verdicts: Iterable[Verdict], calls: Mapping[tuple[str, str], int]) -> dict[str, int]:
    """What is present (1) and absent (0), by image."""
    said = {one.sop_instance_uid: answer(one, calls.get((one.sop_instance_uid, one.label))) for one in verdicts}
    return {image: found for image, found in said.items() if found in (0, 1)}


def _pair(
    label: str,
    names: tuple[str, str],
    answers: Mapping[str, Mapping[str, int]],
    patients: Mapping[str, str],
    resampling: Resampling,
) -> Pair:
    first, second = (answers[name] for name in names)
    images = sorted(set(first) & set(second))
    one = np.array([first[image] for image in images], dtype=np.intp)
    other = np.array([second[image] for image in images], dtype=np.intp)
    counted = np.bincount(2 * one + other, minlength=4).tolist()
    table = ((counted[0], counted[1]), (counted[2], counted[3]))
    if not images:
        return Pair(label, *names, table, Interval(None, None, None, NO_IMAGES, 0, 0))
    patient = patient_numbers([patients.get(image, f"image {image}") for image in images])
    n_patients = int(patient.max()) + 1
    value = float(quadratic_weighted_kappa(np.array([table], dtype=np.float64))[0])
    if np.isnan(value):
        return Pair(label, *names, table, Interval(None, None, None, _ONE_ANSWER, len(images), n_patients))
    if few := too_few(one.astype(np.int64), patient) or too_few(other.astype(np.int64), patient):
        return Pair(label, *names, table, Interval(value, None, None, few, len(images), n_patients))
    kernel = confusion_kernel(one, other, patient, 2, quadratic_weighted_kappa)
    drawn = np.concatenate(
        [
            kernel(counts)
            for counts in resamples(n_patients, len(images), replicates=resampling.replicates, seed=resampling.seed)
        ]
    )
    kappa = scaled_interval(
        value, drawn, "fisher", fewest=n_patients, n=len(images), n_patients=n_patients,
        confidence=resampling.confidence, seed=resampling.seed,
    )  # fmt: skip
    return Pair(label, *names, table, kappa)
