"""Decision curves: is acting on a model worth more than acting on everybody, or on nobody, and how sure is that?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medres.statistics.curves import Band, band_of, images_of
from medres.statistics.intervals import ONE_PATIENT
from medres.statistics.resampling import Counts, CurveKernel, resamples

_THRESHOLDS = np.linspace(0.01, 0.99, 99)


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Net benefit per image over the probability from which one would act, beside acting on all and on none.

    Net benefit is the share of true positives less the share of false positives weighted by the odds of the threshold.
    Both gains are bounded at all thresholds at once, so that a stretch may be read off where they are above 0; the
    model and acting on all are bounded place by place.
    """

    model: Band  # x: threshold probability
    treat_all: Band
    treat_none: NDArray[np.float64]  # 0 throughout
    over_none: Band  # the model's, with simultaneous bounds
    over_all: Band  # the model's less that of acting on all, with simultaneous bounds

    @property
    def helps(self) -> NDArray[np.bool_]:
        """Thresholds at which the model is surely worth more than both; nowhere where there are no bounds."""
        return (self.over_none.low > 0) & (self.over_all.low > 0)

    @property
    def harms(self) -> NDArray[np.bool_]:
        """Thresholds at which one of both is surely worth more than the model."""
        return (self.over_none.high < 0) | (self.over_all.high < 0)


def decision_curve(
    labels: ArrayLike,
    probabilities: ArrayLike,
    groups: ArrayLike,
    *,
    thresholds: ArrayLike = _THRESHOLDS,
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> DecisionCurve | None:
    """Net benefit of acting where probability ≥ threshold; at this cohort's prevalence. None for no images.

    Arguments as for `curves.roc_band`; thresholds lie within (0, 1). All share their resamples.

    Source: Vickers and Elkin 2006.

    Raises:
        ValueError: see `curves.roc_band`; or a threshold of 0 or 1.
    """
    truth, values, patient = images_of(labels, probabilities, groups)
    places = np.asarray(thresholds, dtype=np.float64)
    if not ((places > 0) & (places < 1)).all():
        raise ValueError("thresholds lie between 0 and 1, both excluded")
    if not len(truth):
        return None
    odds = places / (1 - places)
    patients = int(patient.max()) + 1
    images = np.bincount(patient).astype(np.float64)

    def net_benefit(acted: Callable[[float], NDArray[np.bool_]]) -> CurveKernel:
        gains = [
            np.bincount(patient, weights=np.where(truth == 1, 1.0, -cost) * acted(place), minlength=patients)
            for place, cost in zip(places, odds, strict=True)
        ]
        per_patient = np.stack(gains, axis=1)

        def curves(counts: Counts) -> NDArray[np.float64]:
            weights = counts.astype(np.float64)
            return (weights @ per_patient) / (weights @ images)[:, None]  # every patient has an image

        return curves

    by_model, on_all = (
        net_benefit(lambda place: values >= place),
        net_benefit(lambda _: np.ones(len(truth), dtype=bool)),
    )

    def gain(counts: Counts) -> NDArray[np.float64]:
        return by_model(counts) - on_all(counts)

    over_none, over_all = _simultaneous(places, (by_model, gain), truth, patient, replicates, confidence, seed)
    return DecisionCurve(
        model=band_of(places, by_model, truth, patient, replicates, confidence, seed),
        treat_all=band_of(places, on_all, truth, patient, replicates, confidence, seed),
        treat_none=np.zeros(len(places)),
        over_none=over_none,
        over_all=over_all,
    )


def _simultaneous(
    x: NDArray[np.float64],
    curves: tuple[CurveKernel, CurveKernel],
    truth: NDArray[np.int64],
    patient: NDArray[np.intp],
    replicates: int,
    confidence: float,
    seed: int,
) -> tuple[Band, Band]:
    """Both curves with bounds that hold at all places and for both at once.

    As many standard errors on either side as the farthest place of a resample keeps to the cohort in so many resamples.
    Where a threshold lets no false alarm through, resamples have none either; so the variance of one patient more, of a
    hit and of a false alarm, is added to that of the resamples.
    Source: Montiel Olea and Plagborg-Møller 2019 (sup-t bands).
    """
    patients, n = int(patient.max()) + 1, len(truth)
    once = np.ones((1, patients), dtype=np.int64)
    values = [curve(once)[0] for curve in curves]
    nothing = np.full(len(x), np.nan)
    if patients < 2:
        first, second = (Band(x, y, nothing, nothing, ONE_PATIENT, n, patients) for y in values)
        return first, second
    chunks = [
        [curve(counts) for curve in curves] for counts in resamples(patients, n, replicates=replicates, seed=seed)
    ]
    drawn = [np.concatenate([chunk[place] for chunk in chunks]) for place in (0, 1)]
    unseen = (1 + (x / (1 - x)) ** 2) / patients**2
    errors = [np.sqrt(one.var(axis=0) * patients / (patients - 1) + unseen) for one in drawn]
    away = [np.abs(one - y) / error for one, y, error in zip(drawn, values, errors, strict=True)]
    farthest = np.maximum(*(one.max(axis=1) for one in away))
    reach = float(np.quantile(farthest, confidence))
    method = f"simultaneous patient-clustered bootstrap (sup-t), {replicates} replicates, seed {seed}"
    first, second = (
        Band(x, y, y - reach * error, y + reach * error, method, n, patients)
        for y, error in zip(values, errors, strict=True)
    )
    return first, second
