"""Metrics in natural frequencies: whole numbers that add up, never more certain than the metric."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.records import Interval
from medres.report.plain import calls, caveats, exclusions
from medres.report.run_page import write_report
from tests.support.runs import FOLDS, write_run
from tests.test_summary import out_of_fold

SHARES = st.floats(0, 1)


def share(value: float | None, low: float | None = None, high: float | None = None, n_patients: int = 200) -> Interval:
    return Interval(value, low, high, "a method", 250, n_patients)


@given(sensitivity=SHARES, specificity=SHARES, prevalence=SHARES)
def test_a_thousand_radiographs_add_up_and_none_is_negative(
    sensitivity: float, specificity: float, prevalence: float
) -> None:
    found = calls(share(sensitivity), share(specificity), share(0.5), prevalence).thousand
    assert found is not None
    parts = [part.value for part in (found.found, found.missed, found.alarms, found.cleared)]
    assert sum(parts) == 1000
    assert min(parts) >= 0
    assert parts[0] + parts[1] == round(1000 * prevalence)


@given(value=SHARES, other=SHARES)
def test_false_alarms_are_what_specificity_leaves(value: float, other: float) -> None:
    low, high = sorted((value, other))
    alarms = calls(share(1.0), share(low, low, high), share(0.5), 0.5).alarms
    assert alarms is not None
    assert alarms.value == pytest.approx(1 - low)
    assert (alarms.low, alarms.high) == (pytest.approx(1 - high), pytest.approx(1 - low))


@given(value=SHARES)
def test_a_share_is_certain_only_where_it_is_exactly_that(value: float) -> None:
    words = str(calls(share(value), share(value), share(value), 0.5).found)
    assert (words == "100") == (value == 1)
    assert (words == "0") == (value == 0)


def test_what_is_undefined_is_not_said() -> None:
    said = calls(share(None), share(0.9), share(None), 0.0)
    assert said.found is said.right is said.thousand is None
    assert str(said.alarms) == "10"


def metrics(**changes: Interval) -> dict[str, Interval]:
    good = {
        "sensitivity": share(0.9), "specificity": share(0.9), "calibration_slope": share(1.0, 0.8, 1.2),
        "calibration_intercept": share(0.0, -0.2, 0.2),
    }  # fmt: skip
    return good | changes


def test_few_patients_and_poor_calibration_are_caveats_with_their_figures() -> None:
    assert caveats([], {"mass": metrics()}, random_start=False, folds_undefined={"mass": (0, 5)}) == []
    few = metrics(sensitivity=share(0.9, n_patients=47), calibration_slope=share(0.5, 0.4, 0.6))
    said = caveats([], {"mass": few}, random_start=True, folds_undefined={"mass": (2, 5)})
    assert len(said) == 4
    assert said[2] == "In 2 of 5 folds a class of “mass” is missing: no AUROC of it."
    assert "Only 47 patients have an image that is positive for “mass”" in said[0]
    assert "slope 0.500 (0.400 to 0.600; right is 1)" in said[1]
    assert "n = 250" in said[1]


def test_a_calibration_line_without_bounds_refutes_nothing_and_proves_nothing() -> None:
    why = "no interval: fewer than 5 patients with the finding"
    slope, intercept = (Interval(value, None, None, why, 250, 200) for value in (0.5, -3.0))
    few = metrics(calibration_slope=slope, calibration_intercept=intercept)
    said = caveats([], {"mass": few}, random_start=False, folds_undefined={})
    assert len(said) == 1
    assert "is no percentage here" not in said[0]
    assert "cannot be told here: calibration slope 0.500 (no interval: fewer than 5 patients" in said[0]
    undefined = metrics(calibration_slope=share(None), calibration_intercept=share(None))
    assert caveats([], {"mass": undefined}, random_start=False, folds_undefined={}) == []


def test_the_report_says_of_how_many_folds_a_label_has_no_auroc(tmp_path: Path) -> None:
    table = out_of_fold(folds=FOLDS)
    table.loc[table["fold"] == 1, "label_effusion"] = ""
    page = write_report(write_run(tmp_path / "run", table=table)).read_text(encoding="utf-8")
    assert "In 1 of 3 folds the AUROC is undefined" in page
    assert "In 1 of 3 folds a class of “effusion” is missing" in page


def test_groups_that_were_hardly_seen_are_excluded_by_name() -> None:
    ages = ["045Y"] * 47 + ["006Y"] * 3
    table = pd.DataFrame({"PatientID": [str(place) for place in range(50)], "PatientAge": ages, "ViewPosition": "PA"})
    words = " ".join(exclusions(table))
    assert "To diagnose, triage or treat a patient" in words
    assert "under 18 (3), 18–39 (0), 60–79 (0), 80 and over (0)" in words
    assert not re.search(r"40–59", words)
    assert "On other views than PA." in words
    ageless = exclusions(table.drop(columns="PatientAge"))
    assert "On children: the ages of these patients are not recorded." in ageless
    assert [line for line in ageless if "hospital of which no images are among these" in line]
