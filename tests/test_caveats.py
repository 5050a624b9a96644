"""What speaks against a run's figures is said with its figures, and what cannot be told is not said."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from medres.evaluation.results import FoldResults, LabelResults
from medres.model.calibration import at_bound, fit_temperature
from medres.records import Interval
from medres.report.caveats import caveats, exclusions
from medres.report.run_page import write_report
from tests.support.runs import FOLDS, write_run
from tests.test_natural_frequencies import share
from tests.test_summary import out_of_fold


def results(*, folds: int = 5, undefined: int = 0, **changes: Interval) -> LabelResults:
    """A label whose figures nothing speaks against, but for the changes."""
    good = {
        "auroc": share(0.9, 0.85, 0.95),
        "sensitivity": share(0.9),
        "specificity": share(0.9),
        "calibration_slope": share(1.0, 0.8, 1.2),
        "calibration_intercept": share(0.0, -0.2, 0.2),
    }
    fold = FoldResults(fold=0, n=50, n_patients=40, n_positive=20, figures={}, auroc_low=None, auroc_high=None)
    return LabelResults(
        pooled=good | changes, folds=(fold,) * folds, undefined_folds=undefined, n=250, n_patients=200, n_positive=100,
        prevalence=0.4,
    )  # fmt: skip


def test_few_patients_and_poor_calibration_are_caveats_with_their_figures() -> None:
    assert caveats([], {"mass": results()}, random_start=False) == []
    few = results(undefined=2, sensitivity=share(0.9, n_patients=47), calibration_slope=share(0.5, 0.4, 0.6))
    said = caveats([], {"mass": few}, random_start=True)
    assert len(said) == 4
    assert said[2] == "In 2 of 5 folds a class of “mass” is missing: no AUROC of it."
    assert "Only 47 patients have an image that is positive for “mass”" in said[0]
    assert "slope 0.500 (0.400 to 0.600; right is 1)" in said[1]
    assert "n = 250" in said[1]


def test_a_calibration_line_without_bounds_refutes_nothing_and_proves_nothing() -> None:
    why = "no interval: fewer than 5 patients with the finding"
    slope, intercept = (Interval(value, None, None, why, 250, 200) for value in (0.5, -3.0))
    few = results(calibration_slope=slope, calibration_intercept=intercept)
    said = caveats([], {"mass": few}, random_start=False)
    assert len(said) == 1
    assert "is no percentage here" not in said[0]
    assert "cannot be told here: calibration slope 0.500 (no interval: fewer than 5 patients" in said[0]
    undefined = results(calibration_slope=share(None), calibration_intercept=share(None))
    assert caveats([], {"mass": undefined}, random_start=False) == []


def test_a_label_at_chance_is_said_to_be_and_one_without_an_interval_cannot_be_told() -> None:
    chance = Interval(0.53, 0.45, 0.61, "a method", 250, 200)
    (said,) = caveats([], {"mass": results(auroc=chance)}, random_start=False)
    assert said.startswith("“mass” is not surely told better than chance: its AUROC is 0.530 (0.450 to 0.610)")
    assert "250 images of 200 patients" in said
    few = Interval(0.9, None, None, "no interval: fewer than 5 patients with the finding", 250, 200)
    (said,) = caveats([], {"mass": results(auroc=few)}, random_start=False)
    assert said.startswith("Whether “mass” is told better than chance cannot be said: no interval")


def test_a_temperature_at_the_end_of_its_search_is_a_caveat() -> None:
    (said,) = caveats([], {"mass": results()}, random_start=False, bounded={"mass": ["fold 2"], "nodule": []})
    assert said.startswith("The temperature of “mass” is an end of its search in fold 2")
    assert at_bound(fit_temperature(np.array([0, 1, 0, 1]), np.array([-1.0, -1.0, 1.0, 1.0])))  # the score says nothing
    assert not at_bound(1.0)


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
