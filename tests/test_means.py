"""Means of one value per image: patients are resampled, and few patients make no bold interval."""

from __future__ import annotations

import numpy as np
import pytest

from medres.statistics.means import clustered_mean
from medres.statistics.resampling import Resampling

FEW = Resampling(400, 0.95, 0)


def test_a_mean_holds_its_value_and_images_of_one_patient_are_not_independent() -> None:
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(30), 4)
    alike = rng.normal(size=30)[patient]
    clustered, independent = (clustered_mean(alike, groups, resampling=FEW) for groups in (patient, np.arange(120)))
    assert clustered.value == independent.value == pytest.approx(alike.mean())
    assert clustered.low < clustered.value < clustered.high
    assert (clustered.n, clustered.n_patients, independent.n_patients) == (120, 30, 120)
    assert clustered.high - clustered.low > 1.6 * (independent.high - independent.low)


@pytest.mark.parametrize("patients", [8, 20, 60])
def test_an_interval_holds_the_true_mean_about_as_often_as_it_says(patients: int) -> None:
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        owner = np.repeat(np.arange(patients), 2)
        values = rng.normal(size=patients)[owner] + rng.normal(size=2 * patients)
        found = clustered_mean(values, owner, resampling=Resampling(300, 0.95, seed))
        held += found.low <= 0 <= found.high
    assert held >= 0.88 * 200


def test_what_is_undefined_is_left_out_and_what_never_varies_is_said() -> None:
    groups = np.arange(10)
    values = np.where(groups < 3, np.nan, 1.0)
    found = clustered_mean(values, groups, shares=True, resampling=FEW)
    assert (found.value, found.n, found.n_patients) == (1.0, 7, 7)
    assert found.low == pytest.approx(0.025 ** (1 / 7), abs=1e-6)  # exact binomial
    assert clustered_mean(values, groups, resampling=FEW).low == 1.0
    assert clustered_mean(values[:6], groups[:6]).low is None
    assert clustered_mean([np.nan], ["a"]).value is None
    with pytest.raises(ValueError, match="one patient per image"):
        clustered_mean([1.0, 2.0], ["a"])
