"""Curves are those of their definitions at every place, and their bands those of a slow bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from medres.statistics.bootstrap import bootstrap
from medres.statistics.curves import precision_recall_band, roc_band
from medres.statistics.decisions import decision_curve
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


def test_bands_are_those_of_a_loop_that_repeats_images() -> None:
    labels, scores, groups = cohort(n=90, patients=30)
    roc = roc_band(labels, scores, groups, rates=(0.1, 0.29), replicates=150, seed=3)
    precision = precision_recall_band(labels, scores, groups, recalls=(0.3, 0.8), replicates=150, seed=3)
    decision = decision_curve(labels, scores, groups, thresholds=(0.2, 0.6), replicates=150, seed=3)
    assert roc is not None
    assert precision is not None
    assert decision is not None
    bands = (
        (roc, sensitivity_at),
        (precision, precision_at),
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
