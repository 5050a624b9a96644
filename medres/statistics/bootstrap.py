"""Intervals that resample patients: one set of resampled cohorts for whatever is to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.records import Interval
from medres.statistics.arrays import checked, patient_numbers
from medres.statistics.intervals import (
    NO_IMAGES,
    ONE_CLASS,
    ONE_PATIENT,
    SAME_VALUE,
    deviation_interval,
    exact_interval,
    no_bounds,
    percentile_interval,
    too_few,
)
from medres.statistics.kernels import Statistic, of_repeated_images
from medres.statistics.metric import METRICS, Metric
from medres.statistics.resampling import Kernel, resamples
from medres.statistics.student import difference_interval, scaled_interval


@dataclass(frozen=True, slots=True)
class Sample:
    """One statistic of one set of images."""

    labels: ArrayLike  # 0 or 1 per image
    scores: ArrayLike  # probability per image; for sensitivity, specificity, ppv, npv, f1 the decision 0 or 1
    groups: ArrayLike  # the patient of each image
    statistic: str | Statistic = "auroc"  # a name of `metric.METRICS`, or a function of labels and scores (slow)


def bootstrap(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    *,
    statistic: str | Statistic = "auroc",
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """An estimate with its patient-clustered bootstrap interval.

    See `student.scaled_interval`; AUROC, partial AUROC and average precision have none where a class has fewer than
    `intervals.LEAST_PATIENTS` patients. Functions: percentiles of the replicates. Replicates in which the statistic is
    undefined are left out and counted in `method`. Where every replicate agrees (a perfect score) resampling shows no
    uncertainty: shares then get the exact binomial interval of their patients, AUROC that of disjoint pairs of
    patients, others none. The expected calibration error: see `intervals.deviation_interval`. `n` counts the images
    that the statistic rests on: for a sensitivity, the positives.

    Args:
        labels, scores, groups, statistic: see `Sample`.
        replicates: number of resamples.
        confidence: for example 0.95.
        seed: of the resamples.

    Raises:
        ValueError: see `arrays.checked`; or an unknown statistic.
    """
    sample = Sample(labels, scores, groups, statistic)
    return bootstraps([sample], replicates=replicates, confidence=confidence, seed=seed)[0]


def bootstraps(
    samples: Sequence[Sample], *, replicates: int = 2000, confidence: float = 0.95, seed: int = 0
) -> list[Interval]:
    """The interval of each sample, all from the same resampled patients: see `bootstrap`."""
    parts = _parts(samples, deviations=True)
    unsettled = [place for place, part in enumerate(parts) if part.settled is None]
    drawn = dict(zip(unsettled, _draw([parts[place] for place in unsettled], replicates, seed), strict=True))
    return [part.settled or _interval(part, drawn[place], confidence, seed) for place, part in enumerate(parts)]


def replicate(
    samples: Sequence[Sample], *, replicates: int = 2000, seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What several statistics, models or labels give in the same resampled cohorts, so that differences are paired.

    A resample draws as many patients as all samples together have; a patient without an image in a sample adds
    nothing to it.

    Returns:
        Values (samples,) of the whole cohorts, and (samples, replicates) of the resampled; NaN where undefined.

    Raises:
        ValueError: see `bootstrap`.
    """
    parts = _parts(samples)
    values = np.array([np.nan if part.value is None else part.value for part in parts], dtype=np.float64)
    return values, _draw(parts, replicates, seed)


def bootstrap_difference(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: ArrayLike,
    *,
    statistic: str = "auroc",
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The second model's statistic minus the first's on the same images, both from the same resampled patients.

    Arguments as for `bootstrap`; an interval that holds 0 is a tie.

    Raises:
        ValueError: see `bootstrap`.
    """
    samples = [Sample(labels, scores, groups, statistic) for scores in (first, second)]
    values, drawn = replicate(samples, replicates=replicates, seed=seed)
    patient = patient_numbers(groups)
    n, n_patients = len(patient), len(np.unique(patient))
    value, changes = float(values[1] - values[0]), drawn[1] - drawn[0]
    if np.isnan(value):
        return Interval(None, None, None, METRICS[statistic].undefined if n else NO_IMAGES, n, n_patients)
    truth = checked(labels, first)[0]
    ranks = METRICS[statistic].interval == "logit"
    if few := too_few(truth, patient) if ranks else "":
        return Interval(value, None, None, few, n, n_patients)
    fewest = METRICS[statistic].fewest(truth, checked(labels, first)[1], patient)
    return difference_interval(
        value, changes, fewest=fewest, n=n, n_patients=n_patients, confidence=confidence, seed=seed
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """A sample made ready to be resampled."""

    metric: Metric | None  # None for a function
    truth: NDArray[np.int64]
    patient: NDArray[np.intp]  # of those of this sample
    base: NDArray[np.bool_]  # the images that the statistic rests on
    value: float | None
    settled: Interval | None  # what needs no resamples
    fewest: int  # patients whom it rests on
    kernel: Kernel | None  # None for no images
    columns: NDArray[np.intp]  # this sample's patients among those of all samples
    of: int  # patients of all samples


def _parts(samples: Sequence[Sample], *, deviations: bool = False) -> list[_Part]:
    """Samples made ready; with `deviations`, a calibration error's kernel gives how far its gaps move."""
    if not samples:
        return []
    groups = {id(sample.groups): sample.groups for sample in samples}  # most often the same object: sorted once
    known = {
        key: np.unique(np.asarray(names, dtype=object).astype(str), return_inverse=True)
        for key, names in groups.items()
    }
    everyone = np.unique(np.concatenate([names for names, _ in known.values()]))
    columns = {key: np.searchsorted(everyone, names) for key, (names, _) in known.items()}
    return [
        _part(sample, known[id(sample.groups)][1], columns[id(sample.groups)], len(everyone), deviations)
        for sample in samples
    ]


def _part(sample: Sample, patient: NDArray[np.intp], columns: NDArray[np.intp], of: int, deviations: bool) -> _Part:
    metric = _metric(sample.statistic)
    truth, values = checked(sample.labels, sample.scores)
    if patient.shape != truth.shape:
        raise ValueError(f"one patient per image, got {patient.shape} for {truth.shape}")
    base = metric.share_of(truth, values) if metric and metric.share_of else np.ones(len(truth), dtype=bool)
    n, n_patients = int(base.sum()), len(np.unique(patient[base]))
    if not len(truth):
        nothing = Interval(None, None, None, NO_IMAGES, 0, 0)
        return _Part(metric, truth, patient, base, None, nothing, 0, None, columns, of)
    if isinstance(sample.statistic, str):
        assert metric
        assert metric.prepare
        value = metric.value(truth, values)
        prepare = metric.resampled if deviations and metric.resampled else metric.prepare
    else:
        value, prepare = sample.statistic(truth, values), of_repeated_images(sample.statistic)
    settled = None
    if value is None:
        settled = Interval(None, None, None, metric.undefined if metric else ONE_CLASS, n, n_patients)
    elif n_patients < 2:
        settled = Interval(value, None, None, ONE_PATIENT, n, n_patients)
    elif metric and metric.interval == "logit" and (few := too_few(truth, patient)):
        settled = Interval(value, None, None, few, n, n_patients)
    fewest = metric.fewest(truth, values, patient) if metric else n_patients
    return _Part(metric, truth, patient, base, value, settled, fewest, prepare(truth, values, patient), columns, of)


def _metric(statistic: str | Statistic) -> Metric | None:
    """The metric of a name that has a kernel; None for a function."""
    if not isinstance(statistic, str):
        return None
    found = METRICS.get(statistic)
    if found is None or found.prepare is None:
        known = ", ".join(name for name, one in METRICS.items() if one.prepare)
        raise ValueError(f"no statistic {statistic!r}; known: {known}")
    return found


def _draw(parts: Sequence[_Part], replicates: int, seed: int) -> NDArray[np.float64]:
    """What each part gives in each resample of all patients, (parts, replicates)."""
    found = np.full((len(parts), replicates), np.nan)
    ready = [(row, part) for row, part in enumerate(parts) if part.kernel]
    if not ready:
        return found
    start = 0
    images = max(len(part.truth) for _, part in ready)
    for counts in resamples(ready[0][1].of, images, replicates=replicates, seed=seed):
        for row, part in ready:
            own = counts if len(part.columns) == part.of else counts[:, part.columns]
            assert part.kernel
            found[row, start : start + len(counts)] = part.kernel(own)
        start += len(counts)
    return found


def _interval(part: _Part, drawn: NDArray[np.float64], confidence: float, seed: int) -> Interval:
    """A share or an AUROC that is 0 or 1 in every resample has an exact interval; all else one from the resamples."""
    assert part.value is not None
    n, n_patients = int(part.base.sum()), len(np.unique(part.patient[part.base]))
    exact = part.metric.exact if part.metric else ""
    if exact and part.value in (0.0, 1.0) and no_bounds(drawn, n_patients) == SAME_VALUE:
        trials, of = n_patients, "patients (every resample gives the same value)"
        if exact == "pairs":
            trials, of = min(part.fewest, n_patients // 2), "disjoint pairs of patients (the classes are separated)"
        return exact_interval(part.value, trials, of, n=n, n_patients=n_patients, confidence=confidence)
    if part.metric and part.metric.interval == "gaps":
        return deviation_interval(part.value, drawn, n=n, n_patients=n_patients, confidence=confidence, seed=seed)
    if part.metric is None:  # a function, of which neither range nor scale is known
        return percentile_interval(part.value, drawn, n=n, n_patients=n_patients, confidence=confidence, seed=seed)
    return scaled_interval(
        part.value,
        drawn,
        part.metric.scale,
        fewest=part.fewest,
        n=n,
        n_patients=n_patients,
        confidence=confidence,
        seed=seed,
    )
