"""metrics.json is a function of oof.csv: the same table gives the same figures, to the last bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from medres.cohort.tasks import Task
from medres.config import Evaluation
from medres.documents import read_document, write_document
from medres.errors import ManifestError
from medres.evaluation.operating import npv_at, points_of_rules, ppv_at
from medres.evaluation.performance import summarise
from medres.evaluation.results import Metrics, SubgroupResults
from medres.evaluation.shortcuts.summary import read_probed, summarise_shortcuts
from medres.evaluation.subgroups import DIVIDING_COLUMNS
from medres.evaluation.table import read_table
from medres.statistics.bootstrap import bootstrap
from medres.statistics.calibration import calibration_line
from medres.statistics.metric import metric, shown_in
from medres.tables import read_json, write_csv
from tests.support.documents import written

QUICK = Evaluation(replicates=200)


def out_of_fold(*, patients: int = 90, folds: int = 3, label: str = "effusion", seed: int = 0) -> pd.DataFrame:
    """A table as a cross-validation writes it: one to three images a patient, identifiers with leading zeros."""
    generator = np.random.default_rng(seed)
    owners = np.repeat(np.arange(patients), generator.integers(1, 4, patients))
    n = len(owners)
    truth = (generator.random(n) < 0.4).astype(int)
    logits = generator.normal(2.0 * truth - 1.2, 1.3)
    probabilities = expit(logits / 1.25)
    ages = generator.integers(5, 95, patients)
    return pd.DataFrame(
        {
            "path": [f"images/{number:05d}.dcm" for number in range(n)],
            "PatientID": [f"{owner:06d}" for owner in owners],
            "SOPInstanceUID": [f"1.2.826.0.1.{number}" for number in range(n)],
            "fold": owners % folds,
            f"label_{label}": [str(value) for value in truth],
            f"logit_{label}": logits,
            f"prob_{label}": probabilities,
            f"positive_{label}": (probabilities >= 0.42).astype(int),
            "PatientSex": np.array(["F", "M"])[generator.integers(0, 2, patients)][owners],
            "PatientAge": [f"{age:03d}Y" for age in ages[owners]],
            "ViewPosition": "PA",
            "Manufacturer": np.array(["Acme", "Röntgenwerk", ""])[np.minimum(generator.integers(0, 12, n) // 6, 2)],
        }
    )


CUTS = {"sensitivity": 0.15, "specificity": 0.8, "youden": 0.42}


def with_rules(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the decisions of every rule."""
    columns = {f"positive_effusion_at_{rule}": (table["prob_effusion"] >= cut) * 1 for rule, cut in CUTS.items()}
    return table.assign(**columns)


WITHIN_FOLDS = "auroc_within_folds"


def summary(table: pd.DataFrame, label: str = "effusion", seed: int = 0) -> dict[str, Any]:
    return written(summarise(table, labels=[label], evaluation=QUICK, seed=seed)[label])


def test_recomputation_from_the_written_table_equals_the_written_figures_exactly(tmp_path: Path) -> None:
    write_csv(tmp_path / "oof.csv", out_of_fold())
    first = summarise(read_table(tmp_path / "oof.csv"), labels=["effusion"], evaluation=QUICK, seed=3)
    write_document(tmp_path / "metrics.json", first)
    again = summarise(read_table(tmp_path / "oof.csv"), labels=["effusion"], evaluation=QUICK, seed=3)
    assert read_document(tmp_path / "metrics.json", Metrics) == again == first
    in_memory = summarise(out_of_fold(), labels=["effusion"], evaluation=QUICK, seed=3)
    assert in_memory == first


def test_a_table_read_back_keeps_leading_zeros_and_every_bit(tmp_path: Path) -> None:
    table = out_of_fold()
    table.loc[0, "PatientID"] = "=007"
    write_csv(tmp_path / "oof.csv", table)
    again = read_table(tmp_path / "oof.csv")
    assert again["PatientID"].tolist() == table["PatientID"].tolist()
    for name in ("logit_effusion", "prob_effusion"):
        assert again[name].tolist() == table[name].tolist()
    assert again["fold"].tolist() == table["fold"].tolist()
    assert again["PatientAge"].tolist() == table["PatientAge"].tolist()


def test_pooled_figures_are_the_metrics_of_the_table() -> None:
    table = out_of_fold()
    truth, probabilities = table["label_effusion"].astype(int).to_numpy(), table["prob_effusion"].to_numpy()
    positive = table["positive_effusion"].to_numpy()
    pooled = summary(table)["pooled"]
    assert tuple(pooled) == (*(one.name for one in shown_in("pooled") if one.prepare), WITHIN_FOLDS)
    for name in ("auroc", "average_precision", "partial_auroc", "brier", "expected_calibration_error"):
        assert pooled[name]["value"] == metric(name).value(truth, probabilities)
    for name in ("sensitivity", "specificity", "ppv", "npv", "f1"):
        assert pooled[name]["value"] == metric(name).value(truth, positive)
    line = calibration_line(truth, probabilities)
    assert (pooled["calibration_slope"]["value"], pooled["calibration_intercept"]["value"]) == line
    expected = bootstrap(truth, probabilities, table["PatientID"], replicates=200)
    assert (pooled["auroc"]["low"], pooled["auroc"]["high"]) == (expected.low, expected.high)
    assert pooled["auroc"]["method"] == expected.method
    assert set(pooled["auroc"]) == {"value", "low", "high", "method", "n", "n_patients"}


def test_every_frozen_point_is_judged_by_its_own_decisions(tmp_path: Path) -> None:
    write_csv(tmp_path / "oof.csv", with_rules(out_of_fold()))
    table = read_table(tmp_path / "oof.csv")
    found = summary(table)
    assert tuple(found["operating_points"]) == ("sensitivity", "specificity", "youden")
    truth = table["label_effusion"].to_numpy()
    for rule, point in found["operating_points"].items():
        called = table[f"positive_effusion_at_{rule}"].to_numpy()
        assert point["n_called"] == called.sum()
        for name in ("sensitivity", "specificity", "ppv", "npv", "f1"):
            expected = bootstrap(truth, called, table["PatientID"], statistic=name, replicates=200)
            assert point[name] == asdict(expected)
            assert point[name]["low"] < point[name]["value"] < point[name]["high"]
        shares = {name: point[name]["value"] for name in ("sensitivity", "specificity")}
        for prevalence, stated in point["at_prevalence"].items():
            for name, at in (("ppv", ppv_at), ("npv", npv_at)):
                assert stated[name]["value"] == pytest.approx(at(float(prevalence), **shares))
                assert stated[name]["low"] < stated[name]["value"] < stated[name]["high"]
                assert stated[name]["n"] == len(table)
    youden = found["operating_points"]["youden"]
    assert {name: youden[name] for name in ("sensitivity", "ppv", "f1")} == {
        name: found["pooled"][name] for name in ("sensitivity", "ppv", "f1")
    }


def test_a_table_of_before_there_were_rules_lacks_their_part_and_nothing_else() -> None:
    plain, ruled = summary(out_of_fold()), summary(with_rules(out_of_fold()))
    assert "operating_points" not in plain
    assert {name: part for name, part in ruled.items() if name != "operating_points"} == plain


def test_predictive_values_without_a_class_or_a_call_are_undefined() -> None:
    table = with_rules(out_of_fold())
    table["positive_effusion_at_sensitivity"] = 0
    never = summary(table)["operating_points"]["sensitivity"]
    assert never["ppv"]["method"] == "undefined: nothing was called positive"
    assert never["at_prevalence"]["0.05"]["ppv"]["value"] is None
    assert never["at_prevalence"]["0.05"]["npv"]["value"] == pytest.approx(0.95)
    assert never["at_prevalence"]["0.05"]["npv"]["low"] < 0.95 < never["at_prevalence"]["0.05"]["npv"]["high"]
    table["label_effusion"] = "0"
    stated = summary(table)["operating_points"]["youden"]["at_prevalence"]["0.2"]["ppv"]
    assert (stated["value"], stated["method"]) == (None, "undefined: a class is missing, or nothing was called so")


def test_a_perfect_specificity_is_no_promise_at_another_prevalence() -> None:
    labels, patients = np.repeat([1, 0], 40), np.arange(80).astype(str)
    called = np.where(np.arange(80) < 34, 1, 0)
    found = points_of_rules(labels, {"youden": called}, patients, evaluation=Evaluation(replicates=200), seed=0)
    rare, point = found["youden"].at_prevalence["0.01"].ppv, found["youden"]
    assert point.sensitivity.low is not None and point.specificity.low is not None and rare.low is not None
    low = {"sensitivity": point.sensitivity.low, "specificity": point.specificity.low}
    assert rare.value == 1
    assert rare.low == pytest.approx(ppv_at(0.01, **low))
    assert rare.low < 0.2
    assert "bounds of sensitivity and specificity" in rare.method


def test_a_known_image_without_a_decision_of_a_rule_is_refused() -> None:
    table = with_rules(out_of_fold()).astype({"positive_effusion_at_youden": float})
    table.loc[4, "positive_effusion_at_youden"] = np.nan
    with pytest.raises(ManifestError, match="positive_effusion_at_youden: an image with a known label has no decision"):
        summary(table)
    table.loc[4, "label_effusion"] = ""
    assert summary(table)["unknown"] == 1


def test_folds_are_judged_by_their_own_images() -> None:
    table = out_of_fold()
    for fold in summary(table)["folds"]:
        part = table[table["fold"] == fold["fold"]]
        truth = part["label_effusion"].astype(int)
        assert fold["n"] == len(part)
        assert fold["n_patients"] == part["PatientID"].nunique()
        assert fold["n_positive"] == truth.sum()
        assert fold["auroc"] == metric("auroc").value(truth, part["prob_effusion"])
        assert fold["auroc_low"] <= fold["auroc"] <= fold["auroc_high"]
        assert fold["sensitivity"] == metric("sensitivity").value(truth, part["positive_effusion"])


def test_unknown_and_uncertain_labels_are_left_out_and_counted() -> None:
    table = out_of_fold()
    table.loc[:4, "label_effusion"] = ""
    table.loc[5:7, "label_effusion"] = "-1"
    found = summary(table)
    assert (found["unknown"], found["uncertain"]) == (5, 3)
    assert found["n"] == len(table) - 8
    assert found["pooled"]["auroc"]["n"] == len(table) - 8
    assert found["pooled"] == summary(table.iloc[8:])["pooled"]


def test_folds_whose_networks_score_on_other_scales_lower_the_pooled_auroc_and_not_that_within_folds() -> None:
    table = out_of_fold(patients=150)
    plain = summary(table)["pooled"]
    table["prob_effusion"] = table["prob_effusion"] / 10 ** table["fold"].astype(float)
    shifted = summary(table)["pooled"]
    assert shifted["auroc"]["value"] < plain["auroc"]["value"] - 0.05
    assert shifted[WITHIN_FOLDS] == plain[WITHIN_FOLDS]
    aurocs = [fold["auroc"] for fold in summary(table)["folds"]]
    assert min(aurocs) < shifted[WITHIN_FOLDS]["value"] < max(aurocs)
    assert shifted[WITHIN_FOLDS]["low"] < shifted[WITHIN_FOLDS]["value"] < shifted[WITHIN_FOLDS]["high"]
    assert shifted[WITHIN_FOLDS]["method"].endswith("; pairs within a fold")
    assert WITHIN_FOLDS not in summary(table.assign(fold=0))["pooled"]


def test_blank_labels_may_also_be_nan(tmp_path: Path) -> None:
    table = out_of_fold()
    table.loc[:4, "label_effusion"] = ""
    numbers = table.assign(label_effusion=pd.to_numeric(table["label_effusion"]))
    assert summary(numbers) == summary(table)


def test_a_fold_with_one_class_is_undefined_and_counted_never_a_half() -> None:
    table = out_of_fold()
    table.loc[table["fold"] == 1, "label_effusion"] = "0"
    found = summary(table)
    assert found["undefined_folds"] == 1
    fold = found["folds"][1]
    assert (fold["auroc"], fold["average_precision"], fold["sensitivity"]) == (None, None, None)
    assert fold["auroc_method"] == "undefined: only one class"
    assert fold["specificity"] is not None
    table["label_effusion"] = "0"
    pooled = summary(table)["pooled"]
    assert pooled["auroc"]["value"] is None
    assert pooled["auroc"]["method"] == "undefined: only one class"
    assert pooled["calibration_slope"]["value"] is None
    assert pooled["brier"]["value"] is not None


def test_a_fold_without_any_known_label_is_undefined_and_counted_too() -> None:
    table = out_of_fold()
    table.loc[table["fold"] == 1, "label_effusion"] = ""
    found = summary(table)
    assert found["undefined_folds"] == 1
    assert [fold["fold"] for fold in found["folds"]] == [0, 1, 2]
    empty = found["folds"][1]
    assert (empty["n"], empty["n_patients"], empty["n_positive"]) == (0, 0, 0)
    figures = {name: value for name, value in empty.items() if not name.startswith(("n", "fold", "auroc_method"))}
    assert {one["value"] for one in figures.pop("intervals").values()} == set(figures.values()) == {None}
    assert empty["auroc_method"] == "undefined: no images"


def test_a_label_without_any_known_image_is_undefined_throughout() -> None:
    table = out_of_fold()
    table["label_effusion"] = ""
    found = summary(table)
    assert (found["n"], found["prevalence"], found["undefined_folds"]) == (0, None, 3)
    assert [(fold["n"], fold["auroc"], fold["brier"]) for fold in found["folds"]] == [(0, None, None)] * 3
    assert {item["method"] for item in found["pooled"].values()} == {"undefined: no images"}


def test_the_order_of_rows_changes_no_figure() -> None:
    table = out_of_fold()
    shuffled = summary(table.sample(frac=1, random_state=4).reset_index(drop=True))
    for name, item in summary(table)["pooled"].items():
        for key in ("value", "low", "high"):
            assert shuffled["pooled"][name][key] == pytest.approx(item[key], abs=1e-12), (name, key)


@pytest.mark.parametrize(
    ("column", "cell", "complaint"),
    [("label_effusion", "2", "holds 2"), ("prob_effusion", np.nan, "no probability"), ("fold", None, "lacks")],
)
def test_a_table_that_cannot_be_judged_is_refused(column: str, cell: object, complaint: str) -> None:
    table = out_of_fold()
    if cell is None:
        table = table.drop(columns=column)
    else:
        table.loc[3, column] = cell
    with pytest.raises(ManifestError, match=complaint):
        summary(table)


def test_a_cell_that_is_not_a_number_is_named(tmp_path: Path) -> None:
    table = out_of_fold().astype({"prob_effusion": object})
    table.loc[0, "prob_effusion"] = "high"
    write_csv(tmp_path / "oof.csv", table)
    with pytest.raises(ManifestError, match=r"prob_effusion.*'high'"):
        read_table(tmp_path / "oof.csv")


def by_column(table: pd.DataFrame, column: str) -> Sequence[SubgroupResults]:
    columns = summarise(table, labels=["effusion"], evaluation=QUICK, seed=0)["effusion"].subgroups
    return {one.title: one.groups for one in columns}[DIVIDING_COLUMNS[column]]


def test_subgroups_divide_the_known_images_and_small_ones_have_no_figure() -> None:
    table = out_of_fold(patients=150)
    table.loc[:4, "label_effusion"] = ""
    for column in ("PatientSex", "PatientAge", "Manufacturer"):
        groups = by_column(table, column)
        assert sum(group.n for group in groups) == len(table) - 5
        if column != "PatientAge":
            assert [group.n for group in groups] == sorted((group.n for group in groups), reverse=True)
        for group in groups:
            for figure in (group.auroc, group.sensitivity, group.specificity):
                assert (figure is None) == (group.n_patients < 20)
    assert [group.value for group in by_column(table, "PatientAge")] == [
        "under 18",
        "18–39",
        "40–59",
        "60–79",
        "80 and over",
    ]
    women = by_column(table, "PatientSex")[0]
    known = table[(table["PatientSex"] == women.value) & (table["label_effusion"] != "")]
    truth = known["label_effusion"].astype(int)
    assert women.auroc is not None and women.sensitivity is not None and women.specificity is not None
    assert women.auroc.value == metric("auroc").value(truth, known["prob_effusion"])
    assert women.sensitivity.value == metric("sensitivity").value(truth, known["positive_effusion"])
    assert women.specificity.value == metric("specificity").value(truth, known["positive_effusion"])
    assert {group.value for group in by_column(table, "Manufacturer")} >= {"Acme", "Röntgenwerk"}


def test_many_small_groups_are_shown_together() -> None:
    table = out_of_fold(patients=200)
    table["InstitutionName"] = [f"Hospital {int(owner) % 40}" for owner in table["PatientID"]]
    groups = by_column(table, "InstitutionName")
    assert len(groups) == 12
    assert "29 others" in {group.value for group in groups}


def test_every_fold_has_its_own_figures_with_intervals_and_its_own_calibration() -> None:
    table = out_of_fold(patients=300)
    bold = table["fold"] == 1
    logits = np.log(table["prob_effusion"] / (1 - table["prob_effusion"]))
    table["prob_effusion"] = np.where(bold, 1 / (1 + np.exp(-4 * logits)), table["prob_effusion"])
    folds = summarise(table, labels=["effusion"], evaluation=QUICK, seed=0)["effusion"].folds
    for fold in folds:
        assert {name: one.value for name, one in fold.intervals.items()} == fold.figures
        assert {one.n_patients for one in fold.intervals.values()} >= {fold.n_patients}
    slopes = [fold.figures["calibration_slope"] or 0 for fold in folds]
    assert slopes[1] == pytest.approx(min(slopes))
    assert slopes[1] < 0.5 * slopes[0]


FIXTURE = Path(__file__).parent / "fixtures" / "format3" / "run"
"""A run made before there were typed results."""


def same(found: object, recorded: object) -> bool:
    """Equal but for how intervals are made, what is new, and what another processor changes in a number."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        if set(recorded) == {"value", "low", "high", "method", "n", "n_patients"}:
            alike = ("value", "n", "n_patients")
            between = found["value"] is None or found["low"] is None or found["low"] <= found["value"] <= found["high"]
            return between and all(same(found[key], recorded[key]) for key in alike)
        return set(found) >= set(recorded) and all(same(found[key], recorded[key]) for key in recorded)
    if isinstance(recorded, list) and isinstance(found, list):
        return len(found) == len(recorded) and all(map(same, found, recorded))
    if isinstance(recorded, float) and isinstance(found, float):
        return found == pytest.approx(recorded, rel=1e-9, abs=1e-9)
    return found == recorded


def test_the_figures_of_an_earlier_version_are_recomputed_from_its_tables() -> None:
    record = read_json(FIXTURE / "run.json")
    evaluation, seed = Evaluation.model_validate(record["config"]["evaluation"]), record["seed"]
    table, labels = read_table(FIXTURE / "oof.csv"), record["labels"]
    tasks = [Task(one["name"], one["kind"], tuple(one["values"])) for one in record["tasks"]]
    found = summarise(table, labels=tasks, evaluation=evaluation, seed=seed)
    assert same(written(found), read_json(FIXTURE / "metrics.json"))
    probed = read_probed(FIXTURE / "shortcuts.csv")
    probes = summarise_shortcuts(table, probed, labels=labels, evaluation=evaluation, seed=seed)
    assert same(written(probes), read_json(FIXTURE / "shortcuts.json"))
