"""Metrics agree with scikit-learn where it has them, and say None where there is nothing to say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn import metrics as sklearn_metrics
from sklearn.linear_model import LogisticRegression

from medres import compare
from medres.documents import read_document
from medres.evaluation.comparison_results import Comparison
from medres.evaluation.operating import npv_at, ppv_at
from medres.evaluation.results import Metrics
from medres.evaluation.table import read_table
from medres.report.comparison_page import write_comparison
from medres.report.run_page import write_report
from medres.statistics.calibration import calibration_curve, calibration_line
from medres.statistics.curves import precision_recall_curve, roc_curve
from medres.statistics.kernels import auroc_influence, ratio
from medres.statistics.metric import METRICS, Metric, metric
from medres.tables import read_json, write_json
from tests.support.metric_table import README, markdown, table_in
from tests.support.runs import write_run
from tests.test_comparison import run_of, tables
from tests.test_summary import out_of_fold

auroc, average_precision, partial_auroc = (
    metric(name).value for name in ("auroc", "average_precision", "partial_auroc")
)
brier, expected_calibration_error = (metric(name).value for name in ("brier", "expected_calibration_error"))
sensitivity, specificity, ppv, npv, f1 = (
    metric(name).value for name in ("sensitivity", "specificity", "ppv", "npv", "f1")
)

PACKAGE = README.parent / "medres"
Cohort = tuple[NDArray[np.int64], NDArray[np.float64]]


@st.composite
def cohorts(draw: st.DrawFn) -> Cohort:
    """Both classes, and scores with many ties."""
    n = draw(st.integers(2, 60))
    labels = draw(arrays(np.int64, n, elements=st.integers(0, 1)))
    labels[:2] = [0, 1]
    scores = draw(arrays(np.float64, n, elements=st.integers(0, 12).map(lambda value: value / 12)))
    return labels, scores


@given(cohorts())
def test_ranking_metrics_equal_scikit_learn_with_ties(cohort: Cohort) -> None:
    labels, scores = cohort
    assert auroc(labels, scores) == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=1e-12)
    expected = sklearn_metrics.average_precision_score(labels, scores)
    assert average_precision(labels, scores) == pytest.approx(expected, abs=1e-12)
    assert brier(labels, scores) == pytest.approx(sklearn_metrics.brier_score_loss(labels, scores), abs=1e-12)
    expected = sklearn_metrics.roc_auc_score(labels, scores, max_fpr=0.1)
    assert partial_auroc(labels, scores) == pytest.approx(expected, abs=1e-12)


@given(cohorts())
def test_only_the_order_of_scores_matters_to_auroc(cohort: Cohort) -> None:
    labels, scores = cohort
    assert auroc(labels, np.exp(3 * scores) - 7) == auroc(labels, scores)
    assert auroc(1 - labels, -scores) == auroc(labels, scores)
    assert auroc(1 - labels, scores) == pytest.approx(1 - (auroc(labels, scores) or 0), abs=1e-15)
    backwards = slice(None, None, -1)
    assert auroc(labels[backwards], scores[backwards]) == auroc(labels, scores)


@given(cohorts(), st.integers(0, 12))
def test_decisions_are_judged_as_the_confusion_matrix_says(cohort: Cohort, cut: int) -> None:
    labels, scores = cohort
    positive = (scores >= cut / 12).astype(int)
    (tn, fp), (fn, tp) = sklearn_metrics.confusion_matrix(labels, positive, labels=[0, 1])
    assert sensitivity(labels, positive) == pytest.approx(tp / (tp + fn))
    assert specificity(labels, positive) == pytest.approx(tn / (tn + fp))
    assert ppv(labels, positive) == (pytest.approx(tp / (tp + fp)) if tp + fp else None)
    assert npv(labels, positive) == (pytest.approx(tn / (tn + fn)) if tn + fn else None)
    assert f1(labels, positive) == pytest.approx(sklearn_metrics.f1_score(labels, positive))


@given(cohorts(), st.integers(0, 12))
def test_predictive_values_at_the_cohort_s_own_prevalence_are_the_cohort_s(cohort: Cohort, cut: int) -> None:
    labels, scores = cohort
    positive = scores >= cut / 12
    found = {"sensitivity": sensitivity(labels, positive) or 0.0, "specificity": specificity(labels, positive) or 0.0}
    for at, own in ((ppv_at, ppv), (npv_at, npv)):
        value, expected = at(labels.mean(), **found), own(labels, positive)
        assert value == (None if expected is None else pytest.approx(expected))


def test_a_rare_disease_makes_a_positive_call_mean_little() -> None:
    assert ppv_at(0.001, sensitivity=0.95, specificity=0.95) == pytest.approx(0.0187, abs=1e-4)
    assert npv_at(0.001, sensitivity=0.95, specificity=0.95) == pytest.approx(0.99995, abs=1e-5)
    assert (ppv_at(0.0, sensitivity=0.9, specificity=1.0), npv_at(1.0, sensitivity=1.0, specificity=0.9)) == (
        None,
        None,
    )
    with pytest.raises(ValueError, match="shares from 0 to 1"):
        ppv_at(5, sensitivity=0.9, specificity=0.9)


@pytest.mark.parametrize("only", [0, 1])
def test_with_one_class_a_metric_is_undefined_not_a_half(only: int) -> None:
    labels, scores = np.full(7, only), np.linspace(0, 1, 7)
    assert auroc(labels, scores) is None
    assert average_precision(labels, scores) is None
    assert partial_auroc(labels, scores) is None
    assert f1(labels, scores > 0.5) == (None if only == 0 else pytest.approx(0.6))
    assert calibration_line(labels, scores) is None
    assert roc_curve(labels, scores) is None
    assert precision_recall_curve(labels, scores) is None
    assert (sensitivity if only == 0 else specificity)(labels, scores > 0.5) is None


def test_without_images_every_metric_is_undefined() -> None:
    for value in (auroc, average_precision, brier, sensitivity, specificity, ppv, npv, f1, expected_calibration_error):
        assert value([], []) is None
    assert calibration_curve([], []) is None
    assert calibration_line([], []) is None


@pytest.mark.parametrize(
    ("labels", "scores", "complaint"),
    [([0, 1], [0.5], "one score per image"), ([0, -1], [0.1, 0.2], "0 or 1"), ([0, 1], [0.1, np.nan], "finite")],
)
def test_what_cannot_be_judged_is_refused(labels: list[int], scores: list[float], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        auroc(labels, scores)


@given(cohorts())
def test_curves_end_in_their_corners_and_enclose_their_areas(cohort: Cohort) -> None:
    labels, scores = cohort
    roc = roc_curve(labels, scores)
    assert roc is not None
    assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(roc.y, roc.x) == pytest.approx(auroc(labels, scores), abs=1e-12)
    precision_recall = precision_recall_curve(labels, scores)
    assert precision_recall is not None
    assert len(precision_recall.thresholds) == len(precision_recall.x) == len(precision_recall.y)
    area = -np.sum(np.diff(precision_recall.x) * precision_recall.y[:-1])
    assert area == pytest.approx(average_precision(labels, scores), abs=1e-12)


@given(cohorts())
def test_the_calibration_curve_counts_every_image_once_and_its_gaps_are_the_error(cohort: Cohort) -> None:
    labels, scores = cohort
    curve = calibration_curve(labels, scores)
    assert curve is not None
    assert curve.n.sum() == len(labels)
    assert curve.positives.sum() == labels.sum()
    assert (curve.n > 0).all()
    assert len(curve.n) <= 10
    assert (np.diff(curve.predicted) > 0).all()
    gap = np.sum(curve.n * np.abs(curve.predicted - curve.observed)) / len(labels)
    assert expected_calibration_error(labels, scores) == pytest.approx(gap, abs=1e-12)


def test_bins_have_equal_mass_where_scores_differ() -> None:
    curve = calibration_curve(np.tile([0, 1], 500), np.random.default_rng(0).random(1000))
    assert curve is not None
    assert curve.n.tolist() == [100] * 10


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, 0.5), (2.0, -1.0)])
def test_the_calibration_line_finds_how_probabilities_were_distorted(slope: float, intercept: float) -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(-0.5, 1.5, 40_000)
    labels = (generator.random(40_000) < expit(intercept + slope * logits)).astype(int)
    found = calibration_line(labels, expit(logits))
    assert found == pytest.approx((slope, intercept), abs=0.06)
    plain = LogisticRegression(C=np.inf, tol=1e-10).fit(logits[:, None], labels)
    assert found == pytest.approx((plain.coef_[0, 0], plain.intercept_[0]), abs=1e-5)


@given(cohorts())
def test_the_calibration_line_is_a_maximum_of_the_likelihood_or_absent(cohort: Cohort) -> None:
    labels, scores = cohort
    found = calibration_line(labels, scores)
    if found is None:
        positives, negatives = scores[labels == 1], scores[labels == 0]
        assert positives.min() >= negatives.max() or positives.max() <= negatives.min()
        return
    logits = logit(np.clip(scores, 1e-15, 1 - 1e-15))
    residuals = labels - expit(found[1] + found[0] * logits)
    assert abs(residuals.sum()) < 1e-6
    assert abs((residuals * logits).sum()) < 1e-4


def test_separated_classes_have_no_calibration_line() -> None:
    assert calibration_line([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]) is None
    assert calibration_line([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5]) is None


# The list that all others ask.


def gap_of_means(
    labels: NDArray[np.int64], scores: NDArray[np.float64], patient: NDArray[np.intp]
) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
    """The mean probability of positives less that of negatives: a metric that medres does not have."""
    means = [ratio(scores * (labels == one), labels == one, patient) for one in (1, 0)]
    return lambda counts: means[0](counts) - means[1](counts)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Metric:
    """A metric that is added to the list and nowhere else."""
    found = Metric(
        name="gap_of_means",
        title="Gap of means",
        meaning="mean probability of positives less that of negatives",
        judges="probabilities",
        range=(-1.0, 1.0),
        chance=0.0,
        shown=frozenset({"pooled", "folds", "subgroups", "comparison"}),
        prepare=gap_of_means,
    )
    monkeypatch.setitem(METRICS, found.name, found)
    return found


def test_a_metric_of_the_list_stands_in_the_results_and_on_the_page(toy: Metric, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", table=out_of_fold(patients=150))
    results = read_document(folder / "metrics.json", Metrics)["effusion"]
    table = read_table(folder / "oof.csv")
    assert results.pooled[toy.name].value == toy.value(table["label_effusion"], table["prob_effusion"])
    assert results.pooled[toy.name].low is not None
    assert all(toy.name in fold.figures for fold in results.folds)
    groups = [group for column in results.subgroups for group in column.groups if group.auroc]
    assert all(group.figures[toy.name] for group in groups)
    page = write_report(folder).read_text(encoding="utf-8")
    assert page.count(toy.title) >= 2  # all images, and groups
    assert toy.meaning in page
    assert "pooled values of metrics.json were recomputed from the table and agree" in page


def test_a_metric_that_the_list_does_not_know_is_shown_by_its_name(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    content = read_json(folder / "metrics.json")
    content["labels"]["effusion"]["pooled"]["novel_metric"] = content["labels"]["effusion"]["pooled"]["brier"]
    write_json(folder / "metrics.json", content)
    assert "novel_metric" in write_report(folder).read_text(encoding="utf-8")


def test_a_metric_of_the_list_is_compared(toy: Metric, tmp_path: Path) -> None:
    good, bad = tables(1)
    runs = [run_of(tmp_path / "good", good), run_of(tmp_path / "bad", bad, architecture="resnet50")]
    compare(runs, out=tmp_path / "out", timing=False)
    content = read_document(tmp_path / "out" / "comparison.json", Comparison)
    (item,) = [one for one in content.undecided() if one.metric == toy.name]
    values = [toy.value(table["label_effusion"].astype(int), table["prob_effusion"]) or 0.0 for table in (good, bad)]
    assert item.difference.value == pytest.approx(values[1] - values[0])
    assert toy.title in write_comparison(tmp_path / "out").read_text(encoding="utf-8")


def test_the_readme_has_the_table_of_the_list() -> None:
    assert table_in(README.read_text(encoding="utf-8")) == markdown()


def test_a_metric_of_the_list_stands_in_the_readme_s_table(toy: Metric) -> None:
    assert f"| {toy.title} | `{toy.name}` | {toy.meaning} |" in markdown()


@pytest.mark.parametrize("one", METRICS.values(), ids=lambda one: one.name)
def test_every_metric_has_one_kernel_and_keeps_to_its_range(one: Metric) -> None:
    assert sum(kernel is not None for kernel in (one.prepare, one.prepare_within, one.of_confusions)) == 1
    assert one.shown
    low, high = one.range
    assert low <= one.perfect <= high
    assert one.chance is None or low <= one.chance <= high
    if one.prepare:
        generator = np.random.default_rng(0)
        for _ in range(20):
            labels = generator.integers(0, 2, 40)
            scores = np.round(generator.random(40), 1)
            value = one.value(labels, (scores > 0.5) * 1 if one.judges == "decisions" else scores)
            assert value is None or low <= value <= high


@given(cohorts())
def test_the_influences_of_images_on_an_auroc_add_up_to_nothing_and_are_what_leaving_one_out_changes(
    cohort: Cohort,
) -> None:
    labels, scores = cohort
    value = auroc(labels, scores)
    assert value is not None
    assert value == pytest.approx(sklearn_metrics.roc_auc_score(labels, scores), abs=1e-12)
    moves = auroc_influence(labels, scores, value)
    assert moves.sum() == pytest.approx(0, abs=1e-12)
    sizes = [int((labels == one).sum()) for one in (0, 1)]
    for place in range(len(labels)):
        size = sizes[labels[place]]
        left = np.delete(np.arange(len(labels)), place)
        if size > 1:
            assert auroc(labels[left], scores[left]) == pytest.approx(
                value - moves[place] * size / (size - 1), abs=1e-12
            )


def test_the_room_of_statistics_loads_neither_scipy_nor_scikit_learn_nor_tables() -> None:
    names = ", ".join(f"medres.statistics.{path.stem}" for path in (PACKAGE / "statistics").glob("[!_]*.py"))
    script = f"import sys\nimport {names}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert not set(done.stdout.split()) & {"scipy", "sklearn", "pandas", "torch", "monai", "matplotlib"}


def test_statistics_know_no_table_and_no_column() -> None:
    for path in (PACKAGE / "statistics").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not [
            word for word in ("pandas", "DataFrame", "PatientID", "label_", "oof.csv", "<td") if word in text
        ], path
