"""Patients are judged once, by the rule that was chosen beforehand, and figures say how precisely they are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.config import Evaluation
from medres.evaluation.patients import of_patients
from medres.evaluation.performance import summarise
from medres.evaluation.table import JudgedImages
from medres.statistics.calibration import calibration_intervals
from medres.statistics.delong import delong
from medres.statistics.sample_size import (
    AUROC_WIDTH,
    SLOPE_WIDTH,
    patients_for_auroc,
    patients_for_ratio,
    patients_for_slope,
)
from tests.test_summary import QUICK, out_of_fold


def images(seed: int) -> JudgedImages:
    generator = np.random.default_rng(seed)
    owner = np.sort(generator.integers(0, 12, 30))
    likely = np.round(generator.random(30), 2)
    truth = generator.integers(0, 2, 30)
    names, rows = np.char.mod("p%02d", owner), np.arange(30)
    return JudgedImages(truth, likely, (likely >= 0.6).astype(np.int64), names, owner % 3, rows, 2, 1)


@given(st.integers(0, 300))
def test_every_patient_is_judged_once_by_all_images_and_no_other_s(seed: int) -> None:
    every = images(seed)
    found = {rule: of_patients(every, rule) for rule in ("any", "mean", "worst")}  # type: ignore[arg-type]
    for rule, one in found.items():
        assert one.patients.tolist() == sorted(set(every.patients))
        for place, name in enumerate(one.patients):
            own = every.patients == name
            assert one.truth[place] == every.truth[own].max()
            assert one.folds[place] == every.folds[own][0]
            likely, called = every.probabilities[own], every.positive[own]
            expected = {"any": (likely.max(), called.max()), "mean": (likely.mean(), called.mean() >= 0.5)}
            probability, positive = expected.get(rule, (likely.max(), called[likely.argmax()]))
            assert one.probabilities[place] == pytest.approx(probability)
            assert one.positive[place] == positive
    assert found["any"].positive.tolist() == found["worst"].positive.tolist()  # there is one threshold


def test_the_figures_of_patients_stand_beside_those_of_images_only_where_these_differ() -> None:
    table = out_of_fold(patients=200)
    found = summarise(table, labels=["effusion"], evaluation=QUICK, seed=0)["effusion"]
    assert found.patients is not None
    assert (found.patients.n_patients, found.patients.n_images) == (found.n_patients, found.n)
    assert {one.n_patients for one in found.patients.figures.values()} <= set(range(1, found.n_patients + 1))
    assert found.patients.figures["auroc"].n == found.n_patients
    once = table.drop_duplicates("PatientID", ignore_index=True)
    assert summarise(once, labels=["effusion"], evaluation=QUICK, seed=0)["effusion"].patients is None
    mean = summarise(table, labels=["effusion"], evaluation=QUICK.model_copy(update={"patient_rule": "mean"}), seed=0)
    assert mean["effusion"].patients is not None
    assert mean["effusion"].patients.rule == "mean"
    assert Evaluation().patient_rule == "any"


def test_so_many_patients_as_are_asked_for_give_intervals_of_that_width() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(-1, 1.5, 20_000)
    likely = 1 / (1 + np.exp(-logits))
    labels = (generator.random(20_000) < likely).astype(np.int64)
    auroc = delong(labels, likely).value or 0
    for count, figures, width in (
        (patients_for_auroc(auroc, float(labels.mean())), lambda n: delong(labels[:n], likely[:n]), AUROC_WIDTH),
        (
            patients_for_slope(labels, likely) or 0,
            lambda n: calibration_intervals(labels[:n], likely[:n], np.arange(n))["calibration_slope"],
            SLOPE_WIDTH,
        ),
    ):
        found = figures(count)
        assert found.low is not None and found.high is not None
        assert found.high - found.low == pytest.approx(width, rel=0.12)
    count = patients_for_ratio(0.2)
    error = np.sqrt((1 - 0.2) / (0.2 * count))
    assert np.exp(1.96 * error) - np.exp(-1.96 * error) == pytest.approx(0.2, abs=1e-3)
    assert patients_for_slope([0, 1], [0.5, 0.5]) is None
