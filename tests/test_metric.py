"""Metrics agree with scikit-learn where it has them, and say None where there is nothing to say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn import metrics as sklearn_metrics
from sklearn.linear_model import LogisticRegression

from medres.evaluation.operating import npv_at, ppv_at
from medres.statistics.calibration import calibration_curve, calibration_line
from medres.statistics.curves import precision_recall_curve, roc_curve
from medres.statistics.metric import metric

auroc, average_precision, partial_auroc = (
    metric(name).value for name in ("auroc", "average_precision", "partial_auroc")
)
brier, expected_calibration_error = (metric(name).value for name in ("brier", "expected_calibration_error"))
sensitivity, specificity, ppv, npv, f1 = (
    metric(name).value for name in ("sensitivity", "specificity", "ppv", "npv", "f1")
)

Cohort = tuple[NDArray[np.int64], NDArray[np.float64]]


@st.composite
def cohorts(draw: st.DrawFn) -> Cohort:
    """Both classes, and scores with many ties."""
    n = draw(st.integers(2, 60))
    labels = draw(arrays(np.int64, n, elements=st.integers(0, 1)))
    labels[:2] = [0, 1]
    scores = draw(arrays(np.float64, n, elements=st.integers(0, 12).map(lambda value: value / 12)))
    return labels, scores


@given(cohorts())
def test_ranking_metrics_equal_scikit_learn_with_ties(cohort: Cohort) -> None:
    labels, scores = cohort
    assert auroc(labels, scores) == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=1e-12)
    expected = sklearn_metrics.average_precision_score(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected, abs=1e-12)
    assert brier(labels, scores) == pytest.approx(sklearn_metrics.brier_score_loss(labels, scores), abs=1e-12)
    expected = sklearn_metrics.roc_auc_score(labels, scores, max_fpr=0.1)
    assert partial_auroc(labels, scores) == pytest.approx(expected, abs=1e-12)


@given(cohorts())
def test_only_the_order_of_scores_matters_to_auroc(cohort: Cohort) -> None:
    labels, scores = cohort
    assert auroc(labels, np.exp(3 * scores) - 7) == auroc(labels, scores)
    assert auroc(1 - labels, -scores) == auroc(labels, scores)
    assert auroc(1 - labels, scores) == pytest.approx(1 - (auroc(labels, scores) or 0), abs=1e-15)
    backwards = slice(None, None, -1)
    assert auroc(labels[backwards], scores[backwards]) == auroc(labels, scores)


@given(cohorts(), st.integers(0, 12))
def test_decisions_are_judged_as_the_confusion_matrix_says(cohort: Cohort, cut: int) -> None:
    labels, scores = cohort
    positive = (scores >= cut / 12).astype(int)
    (tn, fp), (fn, tp) = sklearn_metrics.confusion_matrix(labels, positive, labels=[0, 1])
    assert sensitivity(labels, positive) == pytest.approx(tp / (tp + fn))
    assert specificity(labels, positive) == pytest.approx(tn / (tn + fp))
    assert ppv(labels, positive) == (pytest.approx(tp / (tp + fp)) if tp + fp else None)
    assert npv(labels, positive) == (pytest.approx(tn / (tn + fn)) if tn + fn else None)
    assert f1(labels, positive) == pytest.approx(sklearn_metrics.f1_score(labels, positive))


@given(cohorts(), st.integers(0, 12))
def test_predictive_values_at_the_cohort_s_own_prevalence_are_the_cohort_s(cohort: Cohort, cut: int) -> None:
    labels, scores = cohort
    positive = scores >= cut / 12
    found = {"sensitivity": sensitivity(labels, positive) or 0.0, "specificity": specificity(labels, positive) or 0.0}
    for at, own in ((ppv_at, ppv), (npv_at, npv)):
        value, expected = at(labels.mean(), **found), own(labels, positive)
        assert value == (None if expected is None else pytest.approx(expected))


def test_a_rare_disease_makes_a_positive_call_mean_little() -> None:
    assert ppv_at(0.001, sensitivity=0.95, specificity=0.95) == pytest.approx(0.0187, abs=1e-4)
    assert npv_at(0.001, sensitivity=0.95, specificity=0.95) == pytest.approx(0.99995, abs=1e-5)
    assert (ppv_at(0.0, sensitivity=0.9, specificity=1.0), npv_at(1.0, sensitivity=1.0, specificity=0.9)) == (
        None,
        None,
    )
    with pytest.raises(ValueError, match="shares from 0 to 1"):
        ppv_at(5, sensitivity=0.9, specificity=0.9)


@pytest.mark.parametrize("only", [0, 1])
def test_with_one_class_a_metric_is_undefined_not_a_half(only: int) -> None:
    labels, scores = np.full(7, only), np.linspace(0, 1, 7)
    assert auroc(labels, scores) is None
    assert average_precision(labels, scores) is None
    assert partial_auroc(labels, scores) is None
    assert f1(labels, scores > 0.5) == (None if only == 0 else pytest.approx(0.6))
    assert calibration_line(labels, scores) is None
    assert roc_curve(labels, scores) is None
    assert precision_recall_curve(labels, scores) is None
    assert (sensitivity if only == 0 else specificity)(labels, scores > 0.5) is None


def test_without_images_every_metric_is_undefined() -> None:
    for value in (auroc, average_precision, brier, sensitivity, specificity, ppv, npv, f1, expected_calibration_error):
        assert value([], []) is None
    assert calibration_curve([], []) is None
    assert calibration_line([], []) is None


@pytest.mark.parametrize(
    ("labels", "scores", "complaint"),
    [([0, 1], [0.5], "one score per image"), ([0, -1], [0.1, 0.2], "0 or 1"), ([0, 1], [0.1, np.nan], "finite")],
)
def test_what_cannot_be_judged_is_refused(labels: list[int], scores: list[float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        auroc(labels, scores)


@given(cohorts())
def test_curves_end_in_their_corners_and_enclose_their_areas(cohort: Cohort) -> None:
    labels, scores = cohort
    roc = roc_curve(labels, scores)
    assert roc is not None
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(auroc(labels, scores), abs=1e-12)
    precision_recall = precision_recall_curve(labels, scores)
    assert precision_recall is not None
    assert len(precision_recall.thresholds) == len(precision_recall.x) == len(precision_recall.y)
    area = -np.sum(np.diff(precision_recall.x) * precision_recall.y[:-1])
    assert area == pytest.approx(average_precision(labels, scores), abs=1e-12)


@given(cohorts())
def test_the_calibration_curve_counts_every_image_once_and_its_gaps_are_the_error(cohort: Cohort) -> None:
    labels, scores = cohort
    curve = calibration_curve(labels, scores)
    assert curve is not None
    assert curve.n.sum() == len(labels)
    assert curve.positives.sum() == labels.sum()
    assert (curve.n > 0).all()
    assert len(curve.n) <= 10
    assert (np.diff(curve.predicted) > 0).all()
    gap = np.sum(curve.n * np.abs(curve.predicted - curve.observed)) / len(labels)
    assert expected_calibration_error(labels, scores) == pytest.approx(gap, abs=1e-12)


def test_bins_have_equal_mass_where_scores_differ() -> None:
    curve = calibration_curve(np.tile([0, 1], 500), np.random.default_rng(0).random(1000))
    assert curve is not None
    assert curve.n.tolist() == [100] * 10


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, 0.5), (2.0, -1.0)])
def test_the_calibration_line_finds_how_probabilities_were_distorted(slope: float, intercept: float) -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(-0.5, 1.5, 40_000)
    labels = (generator.random(40_000) < expit(intercept + slope * logits)).astype(int)
    found = calibration_line(labels, expit(logits))
    assert found == pytest.approx((slope, intercept), abs=0.06)
    plain = LogisticRegression(C=np.inf, tol=1e-10).fit(logits[:, None], labels)
    assert found == pytest.approx((plain.coef_[0, 0], plain.intercept_[0]), abs=1e-5)


@given(cohorts())
def test_the_calibration_line_is_a_maximum_of_the_likelihood_or_absent(cohort: Cohort) -> None:
    labels, scores = cohort
    found = calibration_line(labels, scores)
    if found is None:
        positives, negatives = scores[labels == 1], scores[labels == 0]
        assert positives.min() >= negatives.max() or positives.max() <= negatives.min()
        return
    logits = logit(np.clip(scores, 1e-15, 1 - 1e-15))
    residuals = labels - expit(found[1] + found[0] * logits)
    assert abs(residuals.sum()) < 1e-6
    assert abs((residuals * logits).sum()) < 1e-4


def test_separated_classes_have_no_calibration_line() -> None:
    assert calibration_line([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]) is None
    assert calibration_line([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5]) is None
