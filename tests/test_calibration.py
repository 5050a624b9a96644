from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve

from medres.cohort.tasks import Task
from medres.config import Evaluation
from medres.model.calibration import (
    RULES,
    choose_operating_point,
    choose_operating_points,
    fit_shifts,
    fit_temperature,
    fit_temperatures,
)
from medres.model.calibration import probabilities as calibrated


def sample(n: int, seed: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, n)
    labels = (rng.random(n) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    return labels, logits * scale


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_known_overconfidence(scale: float) -> None:
    labels, logits = sample(20_000, 0, scale)
    assert fit_temperature(labels, logits) == pytest.approx(scale, rel=0.06)


def test_the_temperature_is_the_one_of_a_logistic_regression_without_intercept() -> None:
    labels, logits = sample(3000, 1, 2.0)
    model = LogisticRegression(C=np.inf, fit_intercept=False).fit(logits[:, None], labels)
    assert fit_temperature(labels, logits) == pytest.approx(1 / model.coef_[0, 0], rel=1e-3)


def test_one_class_leaves_scores_as_they_are() -> None:
    assert fit_temperature(np.ones(5, dtype=np.int64), np.arange(5.0)) == 1.0
    point = choose_operating_point(np.ones(5, dtype=np.int64), np.linspace(0, 1, 5), Evaluation())
    assert (point.threshold, point.sensitivity) == (0.5, None)
    assert "class is missing" in point.rule


@settings(max_examples=50, deadline=None)
@given(
    st.integers(20, 200),
    st.integers(0, 10_000),
    st.sampled_from(["youden", "sensitivity", "specificity"]),
    st.sampled_from([20.0, 1.0, -1.0]),
)
def test_an_operating_point_reaches_what_its_rule_says(n: int, seed: int, rule: str, top: float) -> None:
    labels, logits = sample(n, seed)
    if len(np.unique(labels)) < 2:
        return
    logits = np.minimum(logits, top)  # the lower, the more images tie for the highest score
    probabilities = calibrated(logits[:, None], [Task("finding")], {"finding": 1.0})[:, 0]
    point = choose_operating_point(labels, probabilities, Evaluation(operating_point=rule, operating_target=0.9))
    positive = probabilities >= point.threshold
    sensitivity, specificity = positive[labels == 1].mean(), (~positive[labels == 0]).mean()
    assert point.sensitivity == pytest.approx(sensitivity)
    assert point.specificity == pytest.approx(specificity)
    if rule == "sensitivity":
        assert sensitivity >= 0.9
    elif rule == "specificity":
        assert specificity >= 0.9
    else:
        false_positive, true_positive, _ = roc_curve(labels, probabilities)
        assert sensitivity + specificity - 1 == pytest.approx((true_positive - false_positive).max())


def test_a_target_that_ties_put_out_of_reach_is_reached_by_calling_nobody_or_everybody_and_says_so() -> None:
    labels, saturated = np.array([1, 1, 1, 0, 0, 0]), np.array([1.0, 1.0, 0.5, 1.0, 0.3, 0.2])
    found = choose_operating_points(labels, saturated, Evaluation())
    assert (found["specificity"].specificity, found["specificity"].sensitivity) == (1.0, 0.0)
    assert found["specificity"].threshold > 1.0
    assert found["specificity"].rule.endswith("reached only by calling nobody positive")
    assert found["sensitivity"].rule == "sensitivity ≥ 0.95 on validation patients"
    found = choose_operating_points(1 - labels, -saturated, Evaluation())
    assert (found["sensitivity"].specificity, found["sensitivity"].sensitivity) == (0.0, 1.0)
    assert found["sensitivity"].rule.endswith("reached only by calling everybody positive")
    worse = choose_operating_points(1 - labels, saturated, Evaluation())
    assert worse["youden"].threshold == 0.2  # calling nobody is no better, and no choice of this rule


def test_every_rule_has_its_point_and_the_configured_one_decides() -> None:
    labels, logits = sample(300, 5)
    probabilities = 1 / (1 + np.exp(-logits))
    found = choose_operating_points(labels, probabilities, Evaluation())
    assert tuple(found) == RULES
    for rule in RULES:
        assert choose_operating_point(labels, probabilities, Evaluation(operating_point=rule)) == found[rule]
    assert (found["sensitivity"].sensitivity or 0) >= 0.95
    assert (found["specificity"].specificity or 0) >= 0.95
    assert found["sensitivity"].threshold < found["youden"].threshold < found["specificity"].threshold
    index = {rule: (point.sensitivity or 0) + (point.specificity or 0) for rule, point in found.items()}
    assert index["youden"] == max(index.values())
    missing = choose_operating_points(np.ones(5, dtype=np.int64), np.linspace(0, 1, 5), Evaluation())
    assert {point.rule for point in missing.values()} == {"0.5: a class is missing in validation"}


def drawn_classes(logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One class per row, as likely as softmax(logits) says."""
    return (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.02, 0.98), st.floats(0.4, 3.0), st.integers(0, 10_000))
def test_balanced_logits_get_their_base_rate_back(prevalence: float, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = (rng.random(4000) < prevalence).astype(np.int64)
    balanced = 2 * (2 * truth - 1 + rng.normal(0, 1, len(truth)))  # log odds where both classes are as frequent
    targets, logits, tasks = truth[:, None].astype(np.float32), scale * balanced[:, None], [Task("finding")]
    shifted = logits + fit_shifts(tasks, targets, logits)
    likely = calibrated(shifted, tasks, fit_temperatures(tasks, targets, shifted))
    assert likely.mean() == pytest.approx(truth.mean(), abs=1e-3)
    right = 1 / (1 + np.exp(-balanced - np.log(prevalence / (1 - prevalence))))
    assert np.abs(likely[:, 0] - right).mean() < 0.03
    if prevalence < 0.1:  # a temperature alone cannot do it
        assert calibrated(logits, tasks, fit_temperatures(tasks, targets, logits)).mean() > 0.2


def test_classes_and_grades_get_their_base_rates_back_in_a_valid_order() -> None:
    rng = np.random.default_rng(0)
    view = Task("view", "multiclass", ("AP", "PA", "LL"))
    right = rng.normal(0, 1.5, (6000, 3)) + np.log([0.8, 0.15, 0.05])
    truth = drawn_classes(right, rng)
    targets, logits = np.eye(3, dtype=np.float32)[truth], 2 * (right - np.log([0.8, 0.15, 0.05]))
    shifted = logits + fit_shifts([view], targets, logits)
    likely = calibrated(shifted, [view], fit_temperatures([view], targets, shifted))
    np.testing.assert_allclose(likely.mean(axis=0), targets.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(likely.sum(axis=1), 1)

    grade = Task("grade", "ordinal", ("0", "1", "2"))
    severity = rng.normal(0, 2, 6000)
    right = severity[:, None] - (1.0, 4.0)
    targets = (right + rng.logistic(size=(6000, 1)) > 0).astype(np.float32)
    logits = right - np.log(targets.mean(axis=0) / (1 - targets.mean(axis=0)))  # each label balanced for itself
    shifted = logits + fit_shifts([grade], targets, logits)
    likely = calibrated(shifted, [grade], fit_temperatures([grade], targets, shifted))
    np.testing.assert_allclose(likely.mean(axis=0), targets.mean(axis=0), atol=3e-3)
    assert (np.diff(likely, axis=1) <= 0).all()


def test_too_few_images_of_a_class_fit_no_shift() -> None:
    targets = np.zeros((200, 2), dtype=np.float32)
    targets[:9, 0], targets[:10, 1] = 1, 1
    found = fit_shifts([Task("a"), Task("b")], targets, np.random.default_rng(0).normal(size=(200, 2)))
    assert np.isnan(found).tolist() == [True, False]
