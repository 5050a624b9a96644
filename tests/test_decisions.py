"""A decision curve says that a model helps only where that is sure, and over all thresholds at once."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from medres.report.sections.curves import helped
from medres.statistics.decisions import DecisionCurve, decision_curve
from tests.test_intervals import cohort

PATIENTS = 200


def curve(effect: float, *, seed: int = 0, replicates: int = 200) -> DecisionCurve:
    """Of a score that positives exceed by so much, well calibrated, one image per patient."""
    generator = np.random.default_rng(seed)
    labels = (np.arange(PATIENTS) < 60).astype(np.int64)
    seen = effect * labels + generator.normal(size=PATIENTS)
    likely = expit(effect * seen - effect**2 / 2 + np.log(60 / 140))
    found = decision_curve(labels, likely, np.arange(PATIENTS), replicates=replicates, seed=seed)
    assert found is not None
    return found


def test_a_good_model_helps_amid_and_a_model_of_nothing_is_hardly_ever_said_to() -> None:
    good = curve(2.5)
    amid = (good.model.x >= 0.2) & (good.model.x <= 0.5)
    assert good.helps[amid].all()
    assert not good.harms.any()
    nothing = [curve(0.0, seed=seed) for seed in range(60)]
    assert sum(one.helps.any() for one in nothing) <= 6  # 3 are expected at most


def test_both_gains_are_differences_of_the_curves_and_their_bounds_hold_more_than_those_of_a_place() -> None:
    found = curve(1.5)
    assert found.over_none.y == pytest.approx(found.model.y)
    assert found.over_all.y == pytest.approx(found.model.y - found.treat_all.y)
    assert (found.over_none.low <= found.model.low + 1e-12).mean() > 0.95
    assert found.over_none.method.startswith("simultaneous")


def test_where_no_false_alarm_was_seen_none_is_not_taken_for_impossible() -> None:
    labels = (np.arange(30) < 10).astype(np.int64)
    likely = np.where(np.arange(30) < 2, 0.95, 0.3)  # two sure calls, both right
    found = decision_curve(labels, likely, np.arange(30), thresholds=[0.9], replicates=300)
    assert found is not None
    assert found.model.y[0] == pytest.approx(2 / 30)
    assert not found.helps[0]


def test_the_words_name_the_stretches_or_say_that_none_was_found_or_cannot_be_told() -> None:
    import pandas as pd

    def table(low: list[float], high: list[float]) -> pd.DataFrame:
        columns = {f"over_{name}_{end}": values for name in ("none", "all") for end, values in
                   (("low", low), ("high", high))}  # fmt: skip
        return pd.DataFrame({"threshold": [0.1, 0.2, 0.3, 0.4], **columns})

    assert helped(table([1, 1, -1, 1], [2, 2, 2, 2])).endswith("for t of 0.10 to 0.20, and 0.40.")
    assert "for no t" in helped(table([-1] * 4, [1] * 4))
    assert "surely worth more than the model for t of 0.30" in helped(table([-3] * 4, [1, 1, -1, 1]))
    assert "cannot be told" in helped(table([np.nan] * 4, [np.nan] * 4))


def test_one_patient_gives_no_bounds_and_is_not_said_to_help() -> None:
    labels, scores, _ = cohort(n=30, patients=10)
    found = decision_curve(labels, scores, np.zeros(30), replicates=50)
    assert found is not None
    assert np.isnan(found.over_all.low).all()
    assert not found.helps.any()
