from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve

from medres.cohort.tasks import Task
from medres.config import Evaluation
from medres.model.calibration import RULES, choose_operating_point, choose_operating_points, fit_temperature
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
@given(st.integers(20, 200), st.integers(0, 10_000), st.sampled_from(["youden", "sensitivity", "specificity"]))
def test_an_operating_point_reaches_what_its_rule_says(n: int, seed: int, rule: str) -> None:
    labels, logits = sample(n, seed)
    if len(np.unique(labels)) < 2:
        return
    probabilities = calibrated(logits[:, None], [Task("finding")], {"finding": 1.0})[:, 0]
    point = choose_operating_point(labels, probabilities, Evaluation(operating_point=rule, operating_target=0.9))
    positive = probabilities >= point.threshold
    sensitivity, specificity = positive[labels == 1].mean(), (~positive[labels == 0]).mean()
    assert point.sensitivity == pytest.approx(sensitivity)
    assert point.specificity == pytest.approx(specificity)
    if rule == "sensitivity":
        assert sensitivity >= 0.9
    elif rule == "specificity":
        assert specificity >= 0.9 or point.threshold >= np.sort(probabilities)[-2]
    else:
        false_positive, true_positive, _ = roc_curve(labels, probabilities)
        assert sensitivity + specificity - 1 == pytest.approx((true_positive - false_positive).max(), abs=0.05)


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
