"""What is drawn is what the tables say, and the tables say what the metrics do."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medres.config import Evaluation
from medres.evaluation.performance import summarise
from medres.evaluation.table import JudgedImages, judged_images
from medres.report import figure_tables
from medres.report.forest import fold_rows, forest, forest_table
from medres.statistics.bootstrap import bootstrap
from medres.statistics.metric import metric
from tests.test_summary import out_of_fold

QUICK = Evaluation(replicates=200)


@pytest.fixture(scope="module")
def images() -> JudgedImages:
    return judged_images(prepared(out_of_fold()), "effusion")


def prepared(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(label_effusion=table["label_effusion"].astype(float))


def within(table: pd.DataFrame, column: str) -> bool:
    known = table[table["low"].notna()]
    return bool(((known["low"] <= known["high"]) & known["low"].ge(-99)).all()) and len(known) > 10 and column in table


def test_the_area_under_the_drawn_roc_curve_is_the_auroc(images: JudgedImages) -> None:
    table = figure_tables.roc_table(images, QUICK, 0)
    assert table is not None
    area = np.trapezoid(table["sensitivity"], table["false_positive_rate"])
    assert area == pytest.approx(metric("auroc").value(images.truth, images.probabilities), abs=1e-5)
    assert within(table, "sensitivity")


def test_bands_hold_the_curve_nearly_everywhere(images: JudgedImages) -> None:
    for make, column in (
        (figure_tables.roc_table, "sensitivity"),
        (figure_tables.precision_recall_table, "precision"),
        (figure_tables.decision_table, "net_benefit"),
    ):
        table = make(images, QUICK, 0)
        assert table is not None
        assert within(table, column)
        known = table[table["low"].notna()]
        assert known[column].between(known["low"] - 1e-6, known["high"] + 1e-6).mean() > 0.95


def test_copies_of_an_image_do_not_narrow_the_bands(images: JudgedImages) -> None:
    every = figure_tables.decision_table(images, QUICK, 0)
    names = ("truth", "probabilities", "positive", "patients", "folds", "rows")
    copied = JudgedImages(*(np.tile(getattr(images, name), 5) for name in names), uncertain=0, unknown=0)
    tiled = figure_tables.decision_table(copied, QUICK, 0)
    assert every is not None
    assert tiled is not None
    pd.testing.assert_frame_equal(every, tiled)


def test_net_benefit_is_hits_less_weighted_alarms(images: JudgedImages) -> None:
    table = figure_tables.decision_table(images, QUICK, 0)
    assert table is not None
    row = table.iloc[29]
    called = images.probabilities >= 0.3
    hits, alarms = (called & (images.truth == 1)).sum(), (called & (images.truth == 0)).sum()
    assert row["threshold"] == 0.3
    assert row["net_benefit"] == pytest.approx((hits - alarms * 0.3 / 0.7) / len(called), abs=1e-6)
    share = images.truth.mean()
    assert row["treat_all"] == pytest.approx(share - (1 - share) * 0.3 / 0.7, abs=1e-6)


def test_the_band_at_one_threshold_is_the_bootstrap_interval_there(images: JudgedImages) -> None:
    table = figure_tables.decision_table(images, QUICK, 3)
    assert table is not None

    def benefit(labels: np.ndarray, scores: np.ndarray) -> float:
        called = scores >= 0.5
        return float((np.sum(called & (labels == 1)) - np.sum(called & (labels == 0))) / len(labels))

    found = bootstrap(images.truth, images.probabilities, images.patients, statistic=benefit, replicates=200, seed=3)
    row = table.iloc[49]
    assert (row["low"], row["high"]) == (pytest.approx(found.low, abs=1e-5), pytest.approx(found.high, abs=1e-5))
    roc = figure_tables.roc_table(images, QUICK, 3)
    assert roc is not None
    assert tuple(roc.iloc[-1][["low", "high"]]) == (1.0, 1.0)


def test_large_cohorts_are_drawn_with_few_points() -> None:
    images = judged_images(prepared(out_of_fold(patients=1500)), "effusion")
    for make in (figure_tables.roc_table, figure_tables.precision_recall_table):
        table = make(images, Evaluation(replicates=100), 0)
        assert table is not None
        assert 100 < len(table) <= 300
        assert table.iloc[:, 0].is_monotonic_increasing


def test_a_missing_class_has_no_curve(images: JudgedImages) -> None:
    part = images.part(images.truth == 1)
    assert figure_tables.roc_table(part, QUICK, 0) is None
    assert figure_tables.precision_recall_table(part, QUICK, 0) is None
    assert figure_tables.decision_table(images.part(images.truth == 2), QUICK, 0) is None


def test_histogram_and_calibration_count_every_image_once(images: JudgedImages) -> None:
    scores = figure_tables.score_table(images)
    assert scores[["negative", "positive"]].to_numpy().sum() == len(images.truth)
    calibration = figure_tables.calibration_table(images, QUICK, 0)
    assert calibration is not None
    assert calibration["images"].sum() == len(images.truth)
    assert calibration["positives"].sum() == images.truth.sum()
    assert calibration["observed"].between(calibration["low"], calibration["high"]).all()


def test_copies_of_an_image_do_not_narrow_the_bars_of_calibration(images: JudgedImages) -> None:
    once = figure_tables.calibration_table(images, QUICK, 0)
    names = ("truth", "probabilities", "positive", "patients", "folds", "rows")
    copied = JudgedImages(*(np.repeat(getattr(images, name), 4) for name in names), uncertain=0, unknown=0)
    fourfold = figure_tables.calibration_table(copied, QUICK, 0)
    assert once is not None and fourfold is not None
    widths = [(table["high"] - table["low"]).mean() for table in (once, fourfold)]  # bins may cut between copies
    assert widths[1] == pytest.approx(widths[0], rel=0.1)


def test_a_forest_plot_holds_all_its_bounds_and_its_table_says_them() -> None:
    table = prepared(out_of_fold())
    table.loc[table["fold"] == 1, "label_effusion"] = 0.0  # one class: undefined there
    rows = fold_rows(summarise(table, labels=["effusion"], evaluation=QUICK, seed=0)["effusion"], {})
    plot = forest(rows)
    assert plot is not None
    bounds = [bound for row in rows if row.auroc for bound in (row.auroc.low, row.auroc.value, row.auroc.high)]
    assert all(0 <= plot.at(bound) <= 100 for bound in bounds if bound is not None)
    assert all(0 <= plot.at(tick) <= 100 for tick in plot.ticks)
    written = forest_table(rows)
    assert list(written["group"]) == ["fold 0", "fold 1", "fold 2", "all"]
    assert written["auroc"].isna().tolist() == [False, True, False, False]
    assert written["images"].iloc[:-1].sum() == written["images"].iloc[-1]
