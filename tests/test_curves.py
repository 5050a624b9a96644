"""Curves are those of their definitions at every place, and their bands those of a slow bootstrap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import beta, norm
from scipy.stats import t as student
from sklearn import metrics as sklearn_metrics

from medres.statistics.arrays import patients_of
from medres.statistics.bootstrap import bootstrap
from medres.statistics.curves import precision_recall_band, roc_band
from medres.statistics.decisions import decision_curve
from medres.statistics.resampling import resamples
from tests.test_intervals import cohort
from tests.test_metric import Cohort, cohorts


def sensitivity_at(labels: NDArray[np.int64], scores: NDArray[np.float64], rate: float) -> float | None:
    """Between the points of the ROC curve on straight lines; at a vertical line its upper end."""
    if len(np.unique(labels)) < 2:
        return None
    alarms, hits, _ = sklearn_metrics.roc_curve(labels, scores, drop_intermediate=False)
    left = int(np.flatnonzero(alarms <= rate + 1e-12)[-1])
    if alarms[left] >= rate - 1e-12:
        return float(hits[left])
    share = (rate - alarms[left]) / (alarms[left + 1] - alarms[left])
    return float(hits[left] + share * (hits[left + 1] - hits[left]))


def precision_at(labels: NDArray[np.int64], scores: NDArray[np.float64], recall: float) -> float | None:
    if len(np.unique(labels)) < 2:
        return None
    for threshold in np.unique(scores)[::-1]:
        called = scores >= threshold
        if labels[called].sum() >= recall * labels.sum() - 1e-9:
            return float(labels[called].mean())
    raise AssertionError("every recall is reached")


RATES = (0.0, 0.05, 0.1, 0.29, 0.5, 0.77, 1.0)
RECALLS = (0.01, 0.1, 0.29, 0.5, 0.77, 1.0)


@given(cohorts())
def test_a_curve_has_its_definition_s_value_everywhere(cohort: Cohort) -> None:
    labels, scores = cohort
    groups = np.arange(len(labels)) // 2
    roc = roc_band(labels, scores, groups, rates=RATES, replicates=100)
    assert roc is not None
    assert roc.y == pytest.approx([sensitivity_at(labels, scores, rate) for rate in RATES], abs=1e-9)
    precision = precision_recall_band(labels, scores, groups, recalls=RECALLS, replicates=100)
    assert precision is not None
    assert precision.y == pytest.approx([precision_at(labels, scores, recall) for recall in RECALLS], abs=1e-12)
    for band in (roc, precision):
        assert (band.n, band.n_patients) == (len(labels), len(np.unique(groups)))
        if band.n_patients > 1:
            assert (band.low <= band.high).all()


def drawn_by_loop(
    labels: NDArray[np.int64], scores: NDArray[np.float64], groups: NDArray[np.intp], value: Callable[..., float | None]
) -> NDArray[np.float64]:
    """A figure of 150 cohorts of drawn patients, each as a cohort in which their images are repeated."""
    groups = patients_of(groups, labels)
    counts = np.concatenate(list(resamples(int(groups.max()) + 1, len(labels), replicates=150, seed=3)))
    places = [np.repeat(np.arange(len(labels)), one[groups]) for one in counts]
    found = [value(labels[place], scores[place]) for place in places]
    return np.array([one for one in found if one is not None])


def test_bands_of_shares_are_those_of_a_loop_that_repeats_images() -> None:
    labels, scores, groups = cohort(n=90, patients=30)
    roc = roc_band(labels, scores, groups, rates=(0.1, 0.29), replicates=150, seed=3)
    precision = precision_recall_band(labels, scores, groups, recalls=(0.3, 0.8), replicates=150, seed=3)
    assert roc is not None
    assert precision is not None
    positive = len(np.unique(groups[labels == 1]))
    for band, definition in ((roc, sensitivity_at), (precision, precision_at)):
        for point, place in enumerate(band.x):
            drawn = drawn_by_loop(labels, scores, groups, lambda a, b: definition(a, b, place))  # noqa: B023
            of = positive if band is roc else max(positive * place / band.y[point], 1)
            within = (np.append(drawn, band.y[point]) * of + 0.5) / (of + 1)
            reach = student.ppf(0.975, positive - 1) * logit(within[:-1]).std(ddof=1)
            hits = band.y[point] * of
            low = min(expit(logit(within[-1]) - reach), beta.ppf(0.025, hits, of - hits + 1))
            exact = beta.ppf(0.975, hits + 1, of - hits) if hits < of else 1.0
            high = max(expit(logit(within[-1]) + reach), exact)
            assert [band.low[point], band.high[point]] == pytest.approx([low, high], abs=1e-9)
        assert "logit scale, Student's t with" in band.method
        assert "at least the exact binomial's bounds" in band.method


def test_bands_of_net_benefit_are_those_of_a_loop_that_repeats_images() -> None:
    labels, scores, groups = cohort(n=90, patients=30)
    decision = decision_curve(labels, scores, groups, thresholds=(0.2, 0.6), replicates=150, seed=3)
    assert decision is not None
    bands = (
        (decision.model, net_benefit),
        (decision.treat_all, lambda truth, values, place: net_benefit(truth, np.ones(len(truth)), place)),
    )
    for band, definition in bands:
        for point, place in enumerate(band.x):
            slow = bootstrap(
                labels,
                scores,
                groups,
                statistic=lambda truth, values, place=place, definition=definition: definition(truth, values, place),  # type: ignore[misc]
                replicates=150,
                seed=3,
            )
            assert (band.low[point], band.high[point]) == pytest.approx((slow.low, slow.high), abs=1e-9)
        assert band.method == "pointwise patient-clustered bootstrap, percentile, 150 replicates, seed 3"


def test_separated_classes_are_no_certainty_and_calling_all_is() -> None:
    labels, scores = np.repeat([0, 1], 10), np.repeat([0.1, 0.9], 10)
    roc = roc_band(labels, scores, np.arange(20), rates=(0.0, 0.5, 1.0), replicates=100)
    precision = precision_recall_band(labels, scores, np.arange(20), recalls=(0.5, 1.0), replicates=100)
    assert roc is not None
    assert precision is not None
    assert roc.high.tolist() == [1, 1, 1]
    assert roc.low == pytest.approx([0.6915, 0.6915, 1], abs=1e-4)  # Clopper and Pearson: 10 of 10
    assert precision.low == pytest.approx([0.4782, 0.6915], abs=1e-4)  # 5 of 5


@pytest.mark.sweep
@pytest.mark.parametrize("patients", [30, 100, 400])
def test_bands_hold_what_would_be_found_of_everybody(patients: int) -> None:
    """Two normal distributions, half or a fifth of the patients positive: AUROC 0.76 and 0.92."""
    rates, recalls, random = (
        np.array([0.05, 0.1, 0.2, 0.5]),
        np.array([0.5, 0.8, 0.95]),
        np.random.default_rng(patients),
    )
    held: dict[str, list[NDArray[np.bool_]]] = {}
    for share, apart in ((0.5, 1.0), (0.5, 2.0), (0.2, 1.0), (0.2, 2.0)):
        for seed in range(400):
            labels = (np.arange(patients) < share * patients).astype(int)
            scores = random.normal(size=patients) + apart * labels
            roc = roc_band(labels, scores, np.arange(patients), rates=rates, replicates=400, seed=seed)
            curve = precision_recall_band(
                labels, scores, np.arange(patients), recalls=recalls, replicates=400, seed=seed
            )
            called = share * recalls + (1 - share) * norm.sf(norm.isf(recalls) + apart)
            for name, band, truth in (
                ("sensitivity", roc, norm.sf(norm.isf(rates) - apart)),
                ("precision", curve, share * recalls / called),
            ):
                assert band is not None
                held.setdefault(f"{name}, share {share}, {apart} apart", []).append(
                    (band.low <= truth) & (truth <= band.high)
                )
    for name, values in held.items():
        print(patients, name, np.mean(values, axis=0).round(3))
        assert np.mean(values, axis=0).min() > 0.91, name


def net_benefit(labels: NDArray[np.int64], scores: NDArray[np.float64], threshold: float) -> float:
    called = scores >= threshold
    odds = threshold / (1 - threshold)
    return float(((called & (labels == 1)).sum() - odds * (called & (labels == 0)).sum()) / len(labels))


@given(cohorts(), st.integers(1, 19))
def test_net_benefit_is_its_formula_and_never_above_that_of_a_perfect_model(cohort: Cohort, cut: int) -> None:
    labels, scores = cohort
    threshold = cut / 20
    found = decision_curve(labels, scores, np.arange(len(labels)), thresholds=[threshold], replicates=100)
    assert found is not None
    assert found.model.y[0] == pytest.approx(net_benefit(labels, scores, threshold), abs=1e-12)
    prevalence = labels.mean()
    assert found.treat_all.y[0] == pytest.approx(prevalence - (1 - prevalence) * threshold / (1 - threshold), abs=1e-12)
    assert found.treat_none.tolist() == [0.0]
    assert found.model.y[0] <= prevalence + 1e-12
    perfect = decision_curve(labels, labels, np.arange(len(labels)), thresholds=[threshold], replicates=100)
    assert perfect is not None
    assert perfect.model.y[0] == pytest.approx(prevalence, abs=1e-12)


def test_repeated_images_of_a_patient_do_not_narrow_a_band() -> None:
    labels, scores, groups = cohort()
    for curve in (roc_band, precision_recall_band):
        once = curve(labels, scores, groups, replicates=200)
        tenfold = curve(*(np.repeat(part, 10) for part in (labels, scores, groups)), replicates=200)
        assert once is not None
        assert tenfold is not None
        np.testing.assert_allclose([tenfold.low, tenfold.high], [once.low, once.high], atol=1e-12)


def test_a_curve_that_does_not_exist_is_none_and_a_band_that_does_not_is_nan() -> None:
    assert roc_band([1, 1], [0.1, 0.2], ["a", "b"]) is None
    assert precision_recall_band([0, 0], [0.1, 0.2], ["a", "b"]) is None
    assert decision_curve([], [], []) is None
    alone = roc_band([0, 1], [0.1, 0.2], ["a", "a"])
    assert alone is not None
    assert np.isnan(alone.low).all()
    assert alone.method == "no interval: only one patient"
    healthy = decision_curve([0, 0], [0.1, 0.9], ["a", "b"], thresholds=[0.5], replicates=100)
    assert healthy is not None
    assert healthy.model.y[0] == -0.5


def test_places_where_a_curve_has_no_value_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        decision_curve([0, 1], [0.1, 0.9], [1, 2], thresholds=[0.0])
    with pytest.raises(ValueError, match="above 0"):
        precision_recall_band([0, 1], [0.1, 0.9], [1, 2], recalls=[0.0])
    with pytest.raises(ValueError, match="between 0 and 1"):
        roc_band([0, 1], [0.1, 0.9], [1, 2], rates=[1.5])
    with pytest.raises(ValueError, match="one patient per image"):
        roc_band([0, 1], [0.1, 0.9], [1])
