"""Intervals resample patients, agree with slow and with other people's code, and are honest at the edges."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import beta, binomtest, norm, t
from sklearn import metrics as sklearn_metrics

from medres.statistics import resampling
from medres.statistics.arrays import patient_numbers
from medres.statistics.bootstrap import Sample, bootstrap, bootstrap_difference, bootstraps, replicate
from medres.statistics.calibration import calibration_intervals, calibration_line, equal_mass_bins, intercept_at_slope_1
from medres.statistics.delong import delong
from medres.statistics.intervals import LEAST_PATIENTS, exact_bounds, percentiles, wilson
from medres.statistics.metric import METRICS, metric
from medres.statistics.resampling import resamples

OF_RANKS = [one.name for one in METRICS.values() if one.prepare and one.interval == "logit"]
OF_DECISIONS = ("sensitivity", "specificity", "ppv", "npv", "f1")


def cohort(
    n: int = 300, patients: int = 120, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Labels, probabilities with ties, and patients who differ in how many images they have and how ill they are."""
    generator = np.random.default_rng(seed)
    groups = generator.integers(0, patients, n)
    trait = generator.normal(size=patients)[groups]
    labels = (generator.random(n) < expit(trait)).astype(np.int64)
    return labels, np.round(expit(trait + labels + generator.normal(size=n) - 0.5), 2), groups


def scores_for(statistic: str, probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    return (probabilities >= 0.5).astype(float) if statistic in OF_DECISIONS else probabilities


@pytest.mark.parametrize("statistic", ["auroc", "average_precision", "partial_auroc", "brier", "f1"])
def test_every_replicate_equals_scikit_learn_with_weights(statistic: str) -> None:
    labels, probabilities, groups = cohort()
    scores = scores_for(statistic, probabilities)
    patient = patient_numbers(groups)
    prepare = metric(statistic).prepare
    assert prepare
    kernel = prepare(labels, scores, patient)
    counts = next(resamples(patient.max() + 1, len(labels), replicates=25, seed=1))
    peer = {
        "auroc": sklearn_metrics.roc_auc_score,
        "average_precision": sklearn_metrics.average_precision_score,
        "partial_auroc": partial(sklearn_metrics.roc_auc_score, max_fpr=0.1),
        "brier": sklearn_metrics.brier_score_loss,
        "f1": sklearn_metrics.f1_score,
    }[statistic]
    expected = [peer(labels, scores, sample_weight=row[patient]) for row in counts]
    assert kernel(counts) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "statistic", [one.name for one in METRICS.values() if one.prepare and one.interval in ("logit", "student")]
)
def test_the_fast_bootstrap_equals_a_loop_that_repeats_images(statistic: str) -> None:
    labels, probabilities, groups = cohort(n=90, patients=30)
    scores = scores_for(statistic, probabilities)
    samples = [Sample(labels, scores, groups, one) for one in (statistic, metric(statistic).value)]
    values, drawn = replicate(samples, replicates=200, seed=4)
    assert values[0] == pytest.approx(values[1], abs=1e-12)
    np.testing.assert_allclose(drawn[0], drawn[1], rtol=0, atol=1e-12)


def test_a_method_names_how_the_bounds_were_found() -> None:
    labels, scores, groups = cohort(n=90, patients=30)
    brier, auroc = (
        bootstrap(labels, scores, groups, statistic=one, replicates=200, seed=4) for one in ("brier", "auroc")
    )
    fewest = min(len(np.unique(groups[labels == one])) for one in (0, 1))
    for found, patients in ((brier, len(np.unique(groups))), (auroc, fewest)):
        assert found.method == (
            f"patient-clustered bootstrap, logit scale, Student's t with {patients - 1} degrees of freedom, "
            "200 replicates, seed 4"
        )
    function = bootstrap(labels, scores, groups, statistic=lambda truth, values: values.mean(), replicates=200, seed=4)
    assert function.method == "patient-clustered bootstrap, percentile, 200 replicates, seed 4"


def test_an_interval_is_its_value_and_students_t_times_the_error_of_the_replicates_on_its_scale() -> None:
    labels, scores, groups = cohort(n=90, patients=30)
    brier = bootstrap(labels, scores, groups, statistic="brier", replicates=200, seed=4)
    drawn = replicate([Sample(labels, scores, groups, "brier")], replicates=200, seed=4)[1][0]
    patients, value = len(np.unique(groups)), brier.value
    assert value is not None
    error = drawn.std() * np.sqrt(patients / (patients - 1)) / (value * (1 - value))
    reach = t.isf(0.025, patients - 1) * error
    assert (brier.low, brier.high) == pytest.approx(tuple(expit(logit(value) + side * reach) for side in (-1, 1)))


@given(st.integers(0, 300), st.sampled_from(OF_RANKS), st.floats(0.0, 4.0))
@settings(deadline=None, max_examples=60)
def test_an_interval_lies_within_0_and_1_and_holds_its_value(seed: int, statistic: str, effect: float) -> None:
    generator = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [int(generator.integers(2, 9)), 30])
    scores = np.round(effect * labels + generator.normal(size=len(labels)), 1)
    found = bootstrap(labels, scores, np.arange(len(labels)), statistic=statistic, replicates=60)
    assert found.value is not None and found.value <= 1
    if found.low is None or found.high is None:
        assert found.method.startswith("no interval")
    else:
        assert labels.sum() >= LEAST_PATIENTS
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.low < found.high


def test_a_replicate_is_a_draw_of_as_many_patients_with_replacement() -> None:
    chunks = list(resamples(7, 3_000_000, replicates=5, seed=0))
    assert [chunk.shape for chunk in chunks] == [(1, 7)] * 5
    assert all(chunk.sum() == 7 for chunk in chunks)
    many = np.concatenate(list(resamples(7, 10, replicates=20_000, seed=0)))
    assert many.mean(axis=0) == pytest.approx(np.ones(7), abs=0.03)
    assert many.var(axis=0) == pytest.approx(np.full(7, 6 / 7), abs=0.04)


def test_the_size_of_a_chunk_changes_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resamples(41, 60, replicates=500, seed=3)))
    monkeypatch.setattr(resampling, "_CELLS", 60 * 7)
    chunks = list(resamples(41, 60, replicates=500, seed=3))
    assert len(chunks) == 72
    np.testing.assert_array_equal(np.concatenate(chunks), whole)


def test_samples_share_their_resampled_patients() -> None:
    labels, scores, groups = cohort()
    other = scores + np.random.default_rng(0).normal(0, 0.2, len(scores))
    samples = [
        Sample(labels, scores, groups),
        Sample(labels, other, groups),
        Sample(labels, scores >= 0.5, groups, "sensitivity"),
        Sample(labels, other, groups, lambda truth, values: float(values[truth == 1].mean())),
    ]
    values, drawn = replicate(samples, replicates=150, seed=2)
    for sample, value, row in zip(samples, values, drawn, strict=True):
        alone = replicate([sample], replicates=150, seed=2)
        assert alone[0] == value
        np.testing.assert_array_equal(alone[1][0], row)
    assert bootstraps(samples, replicates=150, seed=2)[1] == bootstrap(labels, other, groups, replicates=150, seed=2)
    difference = bootstrap_difference(labels, scores, other, groups, replicates=150, seed=2)
    fewest = min(len(np.unique(groups[labels == one])) for one in (0, 1))
    reach = t.isf(0.025, fewest - 1) * (drawn[1] - drawn[0]).std() * np.sqrt(fewest / (fewest - 1))
    assert difference.value is not None
    assert (difference.low, difference.high) == pytest.approx((difference.value - reach, difference.value + reach))


def test_labels_that_are_known_of_other_patients_share_the_draw_of_all_patients() -> None:
    labels, scores, groups = cohort()
    some, others = groups < 70, groups >= 50
    samples = [Sample(labels[part], scores[part], groups[part]) for part in (some, others)]
    _, drawn = replicate([*samples, Sample([], [], []), Sample(labels, scores, groups)], replicates=50, seed=1)
    counts = next(resamples(len(np.unique(groups)), len(groups), replicates=50, seed=1))
    images = counts[:, patient_numbers(groups)]
    for part, row in zip((some, others), drawn, strict=False):
        for number in range(50):
            places = np.repeat(np.flatnonzero(part), images[number][part])
            assert row[number] == pytest.approx(metric("auroc").value(labels[places], scores[places]), abs=1e-12)
    assert np.isnan(drawn[2]).all()
    np.testing.assert_array_equal(drawn[3], replicate([Sample(labels, scores, groups)], replicates=50, seed=1)[1][0])


@given(st.integers(0, 50))
@settings(deadline=None, max_examples=20)
def test_a_monotone_transform_of_scores_changes_no_interval_of_auroc(seed: int) -> None:
    labels, scores, groups = cohort(n=80, patients=40, seed=seed)
    plain = bootstrap(labels, scores, groups, replicates=100)
    assert bootstrap(labels, 5 * scores**3 - 2, groups, replicates=100) == plain


@given(st.integers(0, 50))
@settings(deadline=None, max_examples=20)
def test_swapped_classes_mirror_the_interval_of_auroc(seed: int) -> None:
    labels, scores, groups = cohort(n=80, patients=40, seed=seed)
    plain = bootstrap(labels, scores, groups, replicates=100)
    mirrored = bootstrap(1 - labels, scores, groups, replicates=100)
    expected = [1 - bound for bound in (plain.value, plain.high, plain.low) if bound is not None]
    assert [mirrored.value, mirrored.low, mirrored.high] == pytest.approx(expected, abs=1e-12)


def test_the_order_of_rows_and_the_names_of_patients_in_order_change_nothing() -> None:
    labels, scores, groups = cohort()
    order = np.random.default_rng(9).permutation(len(labels))
    names = np.array([f"P{group:04d}" for group in groups])
    assert bootstrap(labels, scores, names) == bootstrap(labels[order], scores[order], names[order])


def test_duplicated_images_of_a_patient_do_not_narrow_the_interval() -> None:
    labels, scores, groups = cohort()
    once = bootstrap(labels, scores, groups)
    tenfold = bootstrap(np.repeat(labels, 10), np.repeat(scores, 10), np.repeat(groups, 10))
    assert (tenfold.value, tenfold.low, tenfold.high) == (once.value, once.low, once.high)
    assert (tenfold.n, tenfold.n_patients) == (10 * once.n, once.n_patients)
    blind = bootstrap(np.repeat(labels, 10), np.repeat(scores, 10), np.arange(10 * len(labels)))
    assert _width(blind) < 0.5 * _width(once)


def _width(interval: object) -> float:
    return float(interval.high - interval.low)  # type: ignore[attr-defined]


def test_n_counts_the_images_that_a_share_is_a_share_of() -> None:
    labels, scores, groups = [1, 1, 1, 0, 0], [1, 0, 1, 1, 0], list("aabcd")
    found = {name: bootstrap(labels, scores, groups, statistic=name, replicates=100) for name in OF_DECISIONS}
    assert {name: (one.n, one.n_patients) for name, one in found.items()} == {
        "sensitivity": (3, 2),
        "specificity": (2, 2),
        "ppv": (3, 3),
        "npv": (2, 2),
        "f1": (5, 4),
    }


def test_undefined_replicates_are_left_out_and_counted() -> None:
    found = bootstrap([1, 1, 0, 0], [1, 0, 0, 0], list("abcd"), statistic="sensitivity", replicates=500)
    assert found.low is not None
    left_out = int(found.method.split("; ")[1].split()[0])
    assert left_out == pytest.approx(500 * 0.5**4, abs=25)


@pytest.mark.parametrize("statistic", OF_RANKS)
def test_a_handful_of_patients_has_no_interval_however_many_images_they_have(statistic: str) -> None:
    labels, groups = np.repeat([1, 0], [40, 60]), np.concatenate([np.arange(40) % 4, 100 + np.arange(60)])
    scores = labels + np.random.default_rng(0).normal(size=100)
    few = bootstrap(labels, scores, groups, statistic=statistic, replicates=50)
    assert (few.low, few.high, few.method) == (None, None, "no interval: fewer than 5 patients with the finding")
    assert few.value == metric(statistic).value(labels, scores)
    other = bootstrap(1 - labels, scores, groups, statistic=statistic, replicates=50)
    assert other.method == "no interval: fewer than 5 patients without the finding"
    groups[0] = 4
    assert bootstrap(labels, scores, groups, statistic=statistic, replicates=50).low is not None


def test_undefined_is_none_with_its_reason() -> None:
    one_class = bootstrap([0, 0, 0], [0.1, 0.2, 0.3], list("abc"))
    assert (one_class.value, one_class.low, one_class.high) == (None, None, None)
    assert (one_class.method, one_class.n, one_class.n_patients) == ("undefined: only one class", 3, 3)
    assert bootstrap([], [], []).method == "undefined: no images"
    assert bootstrap([0, 1], [0, 0], [1, 2], statistic="ppv").method == "undefined: nothing was called positive"


def test_one_patient_has_no_interval() -> None:
    found = bootstrap([0, 1, 0], [0.2, 0.7, 0.1], ["a", "a", "a"])
    assert (found.value, found.low, found.high, found.method) == (1.0, None, None, "no interval: only one patient")


def test_a_perfect_result_in_a_small_cohort_is_not_called_certain() -> None:
    labels, scores, groups = [1] * 8 + [0] * 20, [0.9] * 8 + [0.1] * 20, [*range(28)]
    perfect = bootstrap(labels, scores, groups)
    assert (perfect.value, perfect.low, perfect.high) == (1.0, pytest.approx(0.025 ** (1 / 8)), 1.0)
    assert perfect.method == "exact binomial on 8 disjoint pairs of patients (the classes are separated)"
    sensitivity = bootstrap(labels, np.round(scores), groups, statistic="sensitivity")
    assert (sensitivity.low, sensitivity.high) == exact_bounds(8, 8)
    for name in ("average_precision", "partial_auroc"):
        found = bootstrap(labels, scores, groups, statistic=name)
        assert (found.value, found.low, found.high) == (1.0, None, None)
        assert found.method == "no interval: every resample gives the same value"
    tiny = bootstrap([1] * 5 + [0] * 5, [0.9] * 5 + [0.3] * 5, range(10), replicates=5000)  # some lack a class
    assert (tiny.low, tiny.high) == exact_bounds(5, 5)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="no statistic 'auc'"):
        bootstrap([0, 1], [0, 1], [0, 1], statistic="auc")
    with pytest.raises(ValueError, match="one patient per image"):
        bootstrap([0, 1], [0, 1], [0])


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    odds = np.linspace(-9, 9, 1801)
    density = np.exp(-(odds**2) / 4)  # of logits: a patient's part and an image's part, each of variance 1
    ill, well = density * expit(odds), density * expit(-odds)
    truth = float((ill * (np.cumsum(well) - well / 2)).sum() / (ill.sum() * well.sum()))
    covered: dict[str, list[bool]] = {"auroc": [], "slope": []}
    for seed in range(200):
        generator = np.random.default_rng(seed)
        groups = np.repeat(np.arange(120), 2)
        logits = np.repeat(generator.normal(size=120), 2) + generator.normal(size=240)
        labels = (generator.random(240) < expit(logits)).astype(np.int64)
        auroc = bootstrap(labels, logits, groups, replicates=300)
        slope = calibration_intervals(labels, expit(logits), groups)["calibration_slope"]
        for name, found, expected in (("auroc", auroc, truth), ("slope", slope, 1.0)):
            assert found.low is not None
            assert found.high is not None
            covered[name].append(found.low <= expected <= found.high)
    shares = {name: float(np.mean(hits)) for name, hits in covered.items()}
    assert all(0.91 < share < 0.99 for share in shares.values()), shares


def test_the_interval_of_a_calibration_error_holds_the_truth_whether_it_is_0_or_not() -> None:
    hits: dict[float, list[bool]] = {0.0: [], 0.7: []}
    percentile = 0
    for seed in range(120):
        generator = np.random.default_rng(seed)
        groups = np.repeat(np.arange(120), 2)
        odds = 1.5 * (generator.normal(size=120)[groups] + 0.5 * generator.normal(size=240))
        likely = expit(odds)
        labels = (norm.cdf(0.9 * generator.normal(size=120)[groups] + 0.44 * generator.normal(size=240)) < likely) * 1
        for shift, found in hits.items():
            scores = expit(odds + shift)
            place = equal_mass_bins(scores)
            truth = np.abs(np.bincount(place, scores - likely)).sum() / 240
            name = "expected_calibration_error"
            interval = bootstrap(labels, scores, groups, statistic=name, replicates=200, seed=seed)
            assert interval.value == metric("expected_calibration_error").value(labels, scores)
            assert interval.low is not None and interval.high is not None
            assert 0 <= interval.low <= interval.value <= interval.high <= 1
            found.append(interval.low <= truth <= interval.high)
            if not shift:
                drawn = replicate([Sample(labels, scores, groups, name)], replicates=200, seed=seed)[1][0]
                percentile += percentiles(drawn, 0.95)[0] <= truth
    assert np.mean(hits[0.0]) >= 0.9
    assert np.mean(hits[0.7]) >= 0.95
    assert percentile == 0  # why the replicates' own percentiles are not used


def test_delong_agrees_with_the_bootstrap_where_every_patient_has_one_image() -> None:
    labels, scores, _ = cohort(n=1500, patients=1500)
    smooth = scores + np.random.default_rng(1).normal(0, 0.05, 1500)
    fast, slow = delong(labels, smooth), bootstrap(labels, smooth, np.arange(1500))
    assert fast.value == pytest.approx(slow.value, abs=1e-12)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=0.003)


def test_calibration_intervals_agree_with_the_bootstrap() -> None:
    labels, scores, groups = cohort(n=1200, patients=400)
    scores = np.clip(scores, 0.02, 0.98)
    found = calibration_intervals(labels, scores, groups)
    for place, name in enumerate(("calibration_slope", "calibration_intercept")):

        def part(truth: NDArray[np.int64], values: NDArray[np.float64], place: int = place) -> float | None:
            line = calibration_line(truth, values)
            return None if line is None else line[place]

        slow = bootstrap(labels, scores, groups, statistic=part, replicates=300)
        assert found[name].value == slow.value
        assert (found[name].low, found[name].high) == pytest.approx((slow.low, slow.high), abs=0.35 * _width(slow))
        assert _width(found[name]) == pytest.approx(_width(slow), rel=0.2)


def test_the_intercept_at_slope_1_makes_the_mean_probability_the_share_of_positives_and_o_to_e_is_their_ratio() -> None:
    labels, scores, groups = cohort(n=300, patients=120)
    scores = np.clip(scores, 0.02, 0.98)
    found = calibration_intervals(labels, scores, groups)["calibration_in_the_large"]
    assert found.value is not None and found.low is not None and found.high is not None
    assert expit(logit(scores) + found.value).mean() == pytest.approx(labels.mean(), abs=1e-10)
    assert metric("observed_expected").value(labels, scores) == pytest.approx(labels.sum() / scores.sum())
    slow = bootstrap(labels, scores, groups, statistic=intercept_at_slope_1, replicates=400)
    assert (found.low, found.high) == pytest.approx((slow.low, slow.high), abs=0.25 * _width(slow))
    right = expit(logit(scores) + found.value)
    assert calibration_intervals(labels, right, groups)["calibration_in_the_large"].value == pytest.approx(0, abs=1e-9)
    assert intercept_at_slope_1([1, 1], [0.2, 0.3]) is None


@pytest.mark.parametrize("positives", [2, 4, 5])
def test_a_calibration_line_of_few_patients_of_a_class_has_no_bounds(positives: int) -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([1, 0], [positives, 200 - positives])
    scores = expit(generator.normal(size=200) + labels - 3)
    for truth, word in ((labels, "with"), (1 - labels, "without")):
        for found in calibration_intervals(truth, scores, np.arange(200)).values():
            assert found.value is not None
            assert (found.low is None) == (found.high is None) == (positives < 5)
            if positives < 5:
                assert found.method == f"no interval: fewer than 5 patients {word} the finding"


def test_nearly_separated_classes_have_a_calibration_line_whose_bounds_are_finite_or_absent() -> None:
    absent = 0
    for seed in range(150):
        generator = np.random.default_rng(seed)
        labels = np.repeat([0, 1], generator.integers(6, 20, 2))
        logits = generator.uniform(5, 40) * (2 * labels - 1) + generator.normal(0, 0.1, len(labels))
        probabilities = expit(logits)
        probabilities[0] = probabilities[-1]  # but for one image they are separated
        for found in calibration_intervals(labels, probabilities, np.arange(len(labels))).values():
            if found.value is None or found.low is None or found.high is None:
                assert found.method.startswith(("no interval", "undefined"))
                absent += found.value is not None
            else:
                assert np.isfinite([found.low, found.value, found.high]).all()
                assert found.low < found.value < found.high
    assert absent


def test_a_difference_is_paired_so_that_equal_models_differ_by_nothing() -> None:
    labels, scores, groups = cohort()
    same = bootstrap_difference(labels, scores, 2 * scores, groups, replicates=200)
    assert (same.value, same.low, same.high) == (0.0, None, None)
    assert same.method == "no interval: every resample gives the same value"
    assert bootstrap_difference([], [], [], []).method == "undefined: no images"
    assert bootstrap_difference([1, 1], [0.1, 0.2], [0.1, 0.3], ["a", "b"]).method == "undefined: only one class"
    assert bootstrap_difference([0, 1], [0.1, 0.2], [0.3, 0.2], ["a", "a"]).method == "no interval: only one patient"
    worse = np.round(scores + np.random.default_rng(0).normal(0, 0.1, len(scores)), 2)
    found = bootstrap_difference(labels, worse, scores, groups, replicates=500)
    alone = [bootstrap(labels, values, groups, replicates=500) for values in (scores, worse)]
    assert found.value == pytest.approx((alone[0].value or 0) - (alone[1].value or 0))
    assert _width(found) < 0.7 * min(map(_width, alone))


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_and_exact_bounds_hold_the_share_and_mirror(case: tuple[int, int]) -> None:
    hits, n = case
    found, mirrored = wilson(hits, n), wilson(n - hits, n)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= hits / n <= found.high <= 1
    assert found.low == pytest.approx(1 - (mirrored.high or 0), abs=1e-12)
    low, high = exact_bounds(hits, n)
    assert low <= hits / n <= high
    peer = binomtest(hits, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high), abs=1e-12)
    tails = beta.ppf(
        [0.025, 0.975], [hits, hits + 1], [n - hits + 1, n - hits]
    )  # Clopper and Pearson, by their formula
    assert (low, high) == pytest.approx((tails[0] if hits else 0.0, tails[1] if hits < n else 1.0), abs=1e-12)
