"""Parts of a cohort are compared so that nobody reads noise: intervals always, small groups never."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from medres.config import Evaluation
from medres.errors import ManifestError
from medres.evaluation.performance import summarise
from medres.evaluation.results import LabelResults
from medres.evaluation.subgroups import age_band, divided, dividing_columns
from medres.evaluation.table import judged_images
from medres.records import Interval
from medres.report.group_table import group_table
from medres.statistics.arrays import patient_numbers
from medres.statistics.differences import difference
from medres.statistics.metric import metric
from medres.statistics.resampling import resamples
from tests.support.documents import written
from tests.test_summary import out_of_fold

QUICK = Evaluation(replicates=100)
COLUMNS_OF_EFFUSION = ("label_effusion", "prob_effusion", "positive_effusion")


def part(table: pd.DataFrame, evaluation: Evaluation = QUICK) -> dict[str, list[dict[str, object]]]:
    content = written(summarise(table, labels=["effusion"], evaluation=evaluation, seed=0)["effusion"])
    return {name: content[name] for name in ("subgroups", "intersections")}


def bare(n: int, **parts: Any) -> LabelResults:
    """The results of a label of which nothing but its subgroups is known."""
    known = {"pooled": {}, "folds": (), "n": n, "n_patients": n, "n_positive": 0, "prevalence": None}
    return LabelResults.model_validate(known | parts)


@pytest.mark.parametrize(
    ("age", "band"),
    [("045Y", "40–59"), ("006M", "under 18"), ("010D", "under 18"), ("003W", "under 18"), ("216M", "18–39"),
     ("080Y", "80 and over"), ("17", "under 18"), ("", "not recorded"), ("Y45", "not recorded")],
)  # fmt: skip
def test_every_form_of_a_dicom_age_has_a_band(age: str, band: str) -> None:
    assert age_band(age) == band


@pytest.mark.parametrize("name", ["auroc", "sensitivity", "specificity"])
def test_the_closed_form_of_a_difference_agrees_with_a_bootstrap_of_patients(name: str) -> None:
    table = out_of_fold(patients=400, seed=5)
    truth = table["label_effusion"].astype(int).to_numpy()
    scores = table["prob_effusion" if name == "auroc" else "positive_effusion"].to_numpy(dtype=float)
    inside = (table["PatientSex"] == "F").to_numpy() ^ (np.arange(len(table)) % 7 == 0)  # patients on both sides
    found = difference(name, truth, scores, table["PatientID"], inside)
    function = metric(name).value
    assert found.value == function(truth[inside], scores[inside]) - function(truth[~inside], scores[~inside])
    patient = patient_numbers(table["PatientID"])
    drawn = []
    for counts in resamples(int(patient.max()) + 1, len(truth), replicates=500, seed=1):
        for row in counts:
            places = np.repeat(np.arange(len(truth)), row[patient])
            one, other = places[inside[places]], places[~inside[places]]
            drawn.append(function(truth[one], scores[one]) - function(truth[other], scores[other]))
    assert found.low is not None and found.high is not None
    assert (found.high - found.low) / 2 / 1.97 == pytest.approx(np.std(drawn), rel=0.12)


def test_chance_alone_rarely_makes_a_group_differ() -> None:
    called = 0
    for seed in range(100):
        table = out_of_fold(patients=120, seed=seed)[["PatientID", "fold", *COLUMNS_OF_EFFUSION]]
        table["ward"] = np.random.default_rng(seed).integers(0, 4, len(table)).astype(str)  # nothing that matters
        images, evaluation = judged_images(table, "effusion"), Evaluation(replicates=100, subgroups=("ward",))
        found = group_table(bare(len(table), subgroups=divided(table, images, evaluation=evaluation, seed=0).subgroups))
        assert found is not None
        assert [len(row.differences) for row in found.rows] == [3] * 4
        called += any(row.differing for row in found.rows)
    assert called <= 10  # 5 expected at most; 11 or more have a chance of 1 %


def test_a_group_that_is_really_worse_differs_and_the_others_are_not_blamed() -> None:
    table = out_of_fold(patients=600)
    men = (table["PatientSex"] == "M").to_numpy()
    noise = np.random.default_rng(1).random(len(table))
    table["prob_effusion"] = np.where(men, noise, table["prob_effusion"])
    by_column = {one["column"]: one["groups"] for one in part(table)["subgroups"]}
    worse = {group["value"]: group["difference"]["auroc"] for group in by_column["PatientSex"]}
    assert worse["M"]["high"] < 0 < worse["F"]["low"]
    groups = [group for groups in by_column.values() for group in groups if group["difference"]]
    compared = len({abs(group["difference"]["auroc"]["value"]) for group in groups})  # two groups mirror each other
    assert worse["M"]["method"].endswith(f"simultaneous for {3 * compared} differences (Bonferroni)")
    found = group_table(summarise(table, labels=["effusion"], evaluation=QUICK, seed=0)["effusion"])
    assert found is not None
    rows = {row.name: row for row in found.divisions()["Sex"]}
    assert rows["M"].differing["auroc"] == Interval(**worse["M"])
    for group in by_column["Manufacturer"]:
        if group["difference"]:
            assert group["difference"]["auroc"]["low"] < 0 < group["difference"]["auroc"]["high"]


def test_a_side_without_spread_gives_no_interval_instead_of_a_bold_one() -> None:
    truth, scores = np.tile([0, 1], 40), np.tile([0.2, 0.8], 40)
    scores[::9] = 0.5
    inside = np.arange(80) < 40
    scores[inside] = truth[inside]
    found = difference("auroc", truth, scores, np.arange(80), inside)
    assert found.value is not None and found.value > 0
    assert (found.low, found.high) == (None, None)
    assert found.method.startswith("no interval")
    assert difference("auroc", np.zeros(80, int), scores, np.arange(80), inside).value is None


def test_intersections_hold_only_groups_that_are_large_enough_and_count_the_rest() -> None:
    table = out_of_fold(patients=150).assign(ManufacturerModelName=lambda rows: rows["Manufacturer"] + " 1")
    found = part(table, Evaluation(replicates=100, subgroups=("ManufacturerModelName",)))["intersections"]
    assert not any("ManufacturerModelName" in one["columns"] and "Manufacturer" in one["columns"] for one in found)
    crossed = {tuple(one["columns"]): one for one in part(table)["intersections"]}
    assert ("PatientSex", "Manufacturer") in crossed
    assert not any("ViewPosition" in columns for columns in crossed)  # all PA: nothing is divided
    for columns, one in crossed.items():
        assert sum(group["n"] for group in one["groups"]) + one["suppressed_images"] == len(table)
        for group in one["groups"]:
            assert group["n_patients"] >= 20
            assert group["auroc"]["low"] < group["auroc"]["value"] <= group["auroc"]["high"]
        if columns == ("PatientSex", "Manufacturer"):
            sex, maker = one["groups"][0]["values"]
            chosen = table[(table["PatientSex"] == sex) & (table["Manufacturer"] == maker)]
            truth = chosen["label_effusion"].astype(int)
            assert one["groups"][0]["auroc"]["value"] == metric("auroc").value(truth, chosen["prob_effusion"])


def test_any_column_divides_the_cohort_on_request() -> None:
    table = out_of_fold()
    table["label_tube"] = np.where(table.index % 3 == 0, 1.0, np.nan)  # as `read_table` gives another label's column
    found = part(table, Evaluation(replicates=100, subgroups=("label_tube",)))["subgroups"]
    assert [group["value"] for one in found if one["column"] == "label_tube" for group in one["groups"]] == [
        "not recorded",
        "1",
    ]
    with pytest.raises(ManifestError, match="no column ward"):
        dividing_columns(table, ("ward",))


def test_the_table_of_groups_holds_every_group_of_enough_patients_with_its_figures_at_the_frozen_thresholds() -> None:
    table = out_of_fold(patients=150)
    results = summarise(table, labels=["effusion"], evaluation=QUICK, seed=0)["effusion"]
    content, found = written(results), group_table(results)
    assert found is not None
    assert found.suppressed_groups == sum(one["suppressed_groups"] for one in content["intersections"])
    frame = found.frame().set_index(["division", "name"])
    assert frame["n_patients"].min() >= 20
    women = table[table["PatientSex"] == "F"]
    sick = women[women["label_effusion"].astype(float) == 1]
    row = frame.loc[("Sex", "F")]
    assert (row["n"], row["n_positive"]) == (len(women), len(sick))
    assert row["sensitivity"] == pytest.approx(sick["positive_effusion"].astype(float).mean())
    assert row["sensitivity_low"] <= row["sensitivity"] <= row["sensitivity_high"]
    assert np.isfinite(row[["auroc_difference", "auroc_difference_low", "auroc_difference_high"]].astype(float)).all()
    crossed = frame.loc[[division == "Sex and Manufacturer" for division, _ in frame.index]]
    assert crossed["n"].sum() <= len(table)
    assert crossed["auroc_difference"].isna().all()
    assert group_table(bare(10)) is None


def test_what_divides_the_images_in_the_same_two_parts_is_one_comparison() -> None:
    table = out_of_fold(patients=300).drop(columns=["PatientAge", "ViewPosition"])
    table["InstitutionName"] = "Hospital of " + table["Manufacturer"].astype(str)
    found = {one["column"]: one for one in part(table)["subgroups"]}
    assert found["InstitutionName"]["alike"] == "Manufacturer"
    assert not found["Manufacturer"].get("alike")
    mirrored = [found[name]["groups"] for name in ("Manufacturer", "InstitutionName")]
    differences = [[group["difference"] for group in groups] for groups in mirrored]
    assert differences[0] == differences[1]
    alone = part(table.drop(columns="InstitutionName"))["subgroups"]
    assert [group["difference"] for one in alone if one["column"] == "Manufacturer" for group in one["groups"]] == (
        differences[0]
    )
    assert "InstitutionName" not in {name for one in part(table)["intersections"] for name in one["columns"]}
