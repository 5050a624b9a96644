"""A comparison finds what was planted, calls chance a tie, and refuses runs that are not about the same images."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from medres import compare
from medres.documents import read_document, write_document
from medres.errors import UsageError
from medres.evaluation.comparison import (
    Candidate,
    ResampledDifference,
    decide,
    mean_of_runs,
    resample_difference,
)
from medres.evaluation.comparison_results import Comparison
from medres.evaluation.seeds import SeedSpread, run_noise, seed_spread
from medres.report.comparison_page import write_comparison
from medres.report.comparison_sections.cost import GainPoint, front
from medres.report.comparison_sentences import sentences
from medres.runs.comparable import read_runs
from medres.runs.compare import compare_runs
from medres.statistics.bootstrap import bootstrap_difference
from medres.statistics.resampling import Resampling
from medres.tables import read_json, sha256_json, write_csv, write_json
from tests.conftest import TINY, Medres
from tests.test_cli import refusal
from tests.test_report import _Page, bare_figures, visible, write_run
from tests.test_summary import out_of_fold

NO_SPREAD = {"": SeedSpread(0.0)}


def cohort(patients: int = 250, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Labels, patients, and evidence that every model sees."""
    generator = np.random.default_rng(seed)
    owners = np.repeat(np.arange(patients), generator.integers(1, 4, patients))
    truth = (generator.random(len(owners)) < 0.4).astype(np.int64)
    return truth, owners, truth + generator.normal(0, 0.8, len(owners))


def model(evidence: NDArray[np.float64], noise: float, seed: int) -> NDArray[np.float64]:
    """What a network of some quality makes of the evidence."""
    return np.asarray(expit(evidence + np.random.default_rng(seed).normal(0, noise, len(evidence))))


def drawn(value: float, spread: float, *, name: str = "b", label: str = "") -> ResampledDifference:
    """A difference whose resamples lie symmetrically around it."""
    replicates = value + spread * np.linspace(-1, 1, 2001)
    return ResampledDifference(
        label, "auroc", "a", name, (0.8,), (0.8 + value,), value, replicates, 10**6, 10**6, 10**6
    )


def test_a_planted_difference_is_found_in_its_direction_and_the_same_model_with_other_noise_is_a_tie() -> None:
    truth, owners, evidence = cohort()
    good, bad = Candidate("good", [model(evidence, 0.2, 1)]), Candidate("bad", [model(evidence, 2.0, 2)])
    alike = Candidate("alike", [model(evidence, 0.2, 3)])
    found = decide(
        [
            resample_difference(truth, good, other, owners, resampling=Resampling(replicates=600, seed=0))
            for other in (bad, alike)
        ],
        {"": SeedSpread(0.017)},
    )
    assert [item.verdict for item in found] == ["worse", "tie"]
    (swapped,) = decide(
        [resample_difference(truth, bad, good, owners, resampling=Resampling(replicates=600, seed=0))],
        {"": SeedSpread(0.017)},
    )
    assert swapped.verdict == "better"
    assert swapped.interval.low is not None
    assert swapped.interval.low > 0


def test_one_run_each_gives_the_interval_of_bootstrap_difference() -> None:
    truth, owners, evidence = cohort(80)
    one, two = model(evidence, 0.5, 1), model(evidence, 1.0, 2)
    found = resample_difference(
        truth, Candidate("a", [one]), Candidate("b", [two]), owners, resampling=Resampling(replicates=400, seed=3)
    ).interval(0.95)
    expected = bootstrap_difference(truth, one, two, owners, replicates=400, seed=3)
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert found.value == pytest.approx(roc_auc_score(truth, two) - roc_auc_score(truth, one))


def test_several_runs_of_a_recipe_count_by_their_mean() -> None:
    truth, owners, evidence = cohort(80)
    runs = [model(evidence, 1.0, seed) for seed in range(3)]
    reference = model(evidence, 0.3, 9)
    found = resample_difference(
        truth, Candidate("a", [reference]), Candidate("b", runs), owners, resampling=Resampling(replicates=100, seed=0)
    )
    mean = np.mean([roc_auc_score(truth, run) for run in runs])
    assert found.value == pytest.approx(mean - roc_auc_score(truth, reference))
    assert found.candidate_values == pytest.approx([roc_auc_score(truth, run) for run in runs])


def test_recipes_whose_seeds_differ_as_much_as_they_do_are_a_tie() -> None:
    item = drawn(0.012, 0.004)
    assert item.interval(0.95).low is not None
    assert (item.interval(0.95).low or 0) > 0  # over other patients alone
    (found,) = decide([item], {"": seed_spread([[0.80, 0.82, 0.81], [0.81, 0.83, 0.82]])})
    assert not found.excludes_zero
    assert found.bar is not None
    assert found.bar > 0.012
    assert found.verdict == "tie"
    (sure,) = decide([item], {"": seed_spread([[0.8000, 0.8001, 0.8002], [0.81, 0.8101, 0.8102]])})
    assert sure.verdict == "better"


@pytest.mark.parametrize(("first", "second"), [(3, 3), (1, 4)])
@pytest.mark.parametrize("deviation", [0.002, 0.02])
def test_a_measured_bar_is_passed_by_equal_recipes_as_rarely_as_promised(
    first: int, second: int, deviation: float
) -> None:
    generator = np.random.default_rng(first * 10 + second)
    passed, repeats = 0, 3000
    for _ in range(repeats):
        one, two, third = (generator.normal(0.8, deviation, runs) for runs in (first, second, 2))
        spread = seed_spread([one.tolist(), two.tolist(), third.tolist()])  # a third recipe tells the spread, too
        passed += abs(one.mean() - two.mean()) > spread.bar(first, second, confidence=0.95)
    assert passed / repeats == pytest.approx(0.05, abs=0.013)


def test_a_pair_of_seeds_tells_more_than_none_and_decides_nothing() -> None:
    usual, agree, differ = (seed_spread([pair]) for pair in ([0.8], [0.8, 0.8001], [0.80, 0.85]))
    spreads = [np.sqrt(spread.variance) for spread in (agree, usual, differ)]
    assert spreads == sorted(spreads)
    assert spreads[0] > 0.004
    assert spreads[2] < 0.03


def test_an_unmeasured_spread_is_the_usual_one_and_a_ceiling_measures_nothing() -> None:
    assert seed_spread([[0.9], [0.8]]).bar(1, 1, confidence=0.95) == pytest.approx(0.017)
    assert seed_spread([[0.9], [0.8]], usual=0.01).bar(1, 1, confidence=0.95) == pytest.approx(0.01)
    assert seed_spread([[1.0, 1.0], [0.8]]) == seed_spread([[None, 0.8], [0.9]]) == SeedSpread(0.017)


@given(st.lists(st.floats(0.7, 0.9), min_size=2, max_size=6), st.integers(1, 5))
def test_more_runs_lower_the_bar_and_more_spread_raises_it(runs: list[float], more: int) -> None:
    spread = seed_spread([runs])
    assert spread.bar(1 + more, 1, confidence=0.95) < spread.bar(1, 1, confidence=0.95)
    wider = seed_spread([[2 * value for value in runs]])
    assert wider.bar(1, 1, confidence=0.95) >= spread.bar(1, 1, confidence=0.95)


def test_the_variances_of_patients_and_of_seeds_are_added() -> None:
    item = drawn(0.02, 0.02)
    patients, seeds = item.error().patients, SeedSpread(0.017).of_difference(1, 1)
    both = item.error(SeedSpread(0.017))
    assert both.deviation == pytest.approx(np.sqrt(patients + seeds))
    assert np.sqrt(seeds) * 1.959964 == pytest.approx(0.017)  # 95 of 100 pairs of runs differ by less
    (found,) = decide([item], {"": SeedSpread(0.017)})
    assert found.interval.high is not None
    assert found.interval.high - 0.02 == pytest.approx(1.959964 * both.deviation, rel=1e-4)
    assert found.error == both


def test_what_resampled_patients_show_of_a_run_is_not_counted_as_seeds_again() -> None:
    """Runs of two recipes that are the same at large differ by what each run makes of these patients, and no more."""
    truth, owners, evidence = cohort(150)
    runs = [[model(evidence, 1.0, 10 * recipe + seed) for seed in range(3)] for recipe in range(2)]
    how = Resampling(replicates=500, seed=0)
    noises = [run_noise(truth, scores, owners, resampling=how) for scores in runs]
    values = [[float(roc_auc_score(truth, one)) for one in scores] for scores in runs]
    item = resample_difference(truth, Candidate("a", runs[0]), Candidate("b", runs[1]), owners, resampling=how)
    spread = seed_spread(values, noises=noises)
    assert spread.noise > 0
    assert item.error(spread).patients < 0.35 * item.error().patients
    assert item.error(spread).seeds == pytest.approx(2 / 3 * (spread.deviation or 0) ** 2)
    assert run_noise(truth, runs[0][:1], owners, resampling=how) is None
    nothing = run_noise(truth, [runs[0][0]] * 2, owners, resampling=how)
    assert nothing == pytest.approx(0, abs=1e-12)


def test_holm_judges_the_surest_most_strictly_and_stops_at_the_first_tie() -> None:
    # uniform replicates: their standard deviation is spread ÷ √3, and of so many patients Student is normal
    unit = 0.1 / np.sqrt(3)
    sure, close, third = (
        drawn(0.10, 0.05, name="b"),
        drawn(2.2 * unit, 0.1, name="c"),
        drawn(1.99 * unit, 0.1, name="d"),
    )
    found = decide([third, sure, close], NO_SPREAD)
    assert [item.verdict for item in found] == ["tie", "better", "tie"]
    assert found[1].level == pytest.approx(1 - 0.05 / 3)
    assert found[2].level == found[0].level == pytest.approx(1 - 0.05 / 2)
    (alone,) = decide([close], NO_SPREAD)
    assert alone.verdict == "better"
    assert alone.level == pytest.approx(0.95)


@given(
    st.lists(st.tuples(st.floats(-0.2, 0.2), st.floats(0.001, 0.3)), min_size=1, max_size=6),
    st.floats(0, 0.05),
)
def test_no_verdict_without_an_interval_beyond_zero_nor_for_a_difference_that_seeds_may_give(
    differences: list[tuple[float, float]], bar: float
) -> None:
    items = [drawn(value, spread, name=str(place)) for place, (value, spread) in enumerate(differences)]
    assume(not any(math.isclose(abs(item.value or 0), bar, rel_tol=1e-6) for item in items))  # equal but for rounding
    found = decide(items, {"": SeedSpread(bar)})
    for item in found:
        low, high = item.interval.low, item.interval.high
        assert low is not None
        assert high is not None
        beyond = low > 0 or high < 0
        assert item.excludes_zero == beyond  # the interval that is shown is the one that decided
        assert (item.verdict == "tie") == (not beyond)
        assert abs(item.interval.value or 0) > bar or item.verdict == "tie"
        alone = decide([item.difference], {"": SeedSpread(bar)})[0]
        assert alone.verdict == item.verdict or item.verdict == "tie"  # correction never makes a verdict


def test_the_chance_of_any_false_verdict_among_three_is_as_promised() -> None:
    false, repeats = 0, 120
    for repeat in range(repeats):
        truth, owners, evidence = cohort(60, seed=repeat)
        scores = [model(evidence, 1.0, 1000 * repeat + place) for place in range(4)]
        items = [
            resample_difference(
                truth,
                Candidate("a", scores[:1]),
                Candidate(str(place), [scores[place]]),
                owners,
                resampling=Resampling(replicates=300, seed=1),
            )
            for place in (1, 2, 3)
        ]
        false += any(item.verdict != "tie" for item in decide(items, NO_SPREAD))
    assert false / repeats <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / repeats)


def test_one_class_and_one_patient_are_undefined_not_a_tie() -> None:
    scores = np.array([0.1, 0.4, 0.8])
    one, two = Candidate("a", [scores]), Candidate("b", [scores[::-1]])
    items = [
        resample_difference([0, 0, 0], one, two, ["x", "y", "z"], resampling=Resampling(replicates=100, seed=0)),
        resample_difference([0, 1, 0], one, two, ["x", "x", "x"], resampling=Resampling(replicates=100, seed=0)),
        resample_difference(
            [],
            Candidate("a", [np.empty(0)]),
            Candidate("b", [np.empty(0)]),
            [],
            resampling=Resampling(replicates=100, seed=0),
        ),
    ]
    found = decide(items, NO_SPREAD)
    assert [item.verdict for item in found] == ["undefined"] * 3
    assert [item.interval.low for item in found] == [None] * 3
    assert [item.interval.method for item in found] == [
        "undefined: only one class",
        "no interval: only one patient",
        "undefined: no images",
    ]


def test_a_difference_that_no_resample_changes_has_no_bounds_and_is_a_tie_only_where_it_is_zero() -> None:
    truth = np.repeat([1, 0], 20)
    perfect, also, constant = (
        Candidate(name, [np.asarray(scores, dtype=float)])
        for name, scores in (("a", truth), ("b", 0.3 + truth / 2), ("c", np.full(40, 0.5)))
    )
    items = [
        resample_difference(truth, perfect, other, range(40), resampling=Resampling(replicates=200, seed=0))
        for other in (also, constant)
    ]
    found = decide([drawn(0.1, 0.05), *items], NO_SPREAD)
    assert [item.verdict for item in found] == ["better", "tie", "undefined"]
    assert [(item.difference.value, item.interval.low, item.p) for item in found[1:]] == [
        (0, None, None),
        (-0.5, None, None),
    ]
    assert {item.interval.method for item in found[1:]} == {"no interval: every resample gives the same value"}
    assert found[0].level == 0.95  # what is not tested does not widen the others


@pytest.mark.parametrize("positives", [1, 4])
def test_nothing_is_said_of_a_difference_that_rests_on_a_handful_of_patients(positives: int) -> None:
    truth = np.repeat([1, 0], [positives, 60])
    generator = np.random.default_rng(0)
    good, bad = (
        Candidate(name, [place * truth + generator.random(len(truth))]) for name, place in (("a", 1), ("b", 0))
    )
    (found,) = decide(
        [resample_difference(truth, bad, good, range(len(truth)), resampling=Resampling(replicates=300, seed=0))],
        NO_SPREAD,
    )
    assert (found.verdict, found.p, found.interval.low) == ("undefined", None, None)
    assert found.interval.method == "no interval: fewer than 5 patients with the finding"
    difference = bootstrap_difference(truth, bad.scores[0], good.scores[0], range(len(truth)), replicates=100)
    assert (difference.low, difference.method) == (None, found.interval.method)
    rare = resample_difference(1 - truth, bad, good, range(len(truth)), resampling=Resampling(replicates=100, seed=0))
    assert rare.unjudged == "no interval: fewer than 5 patients without the finding"


@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(-0.1, 0.1)), min_size=1, max_size=8))
def test_nothing_off_the_front_is_better_than_all_of_it(values: list[tuple[float, float]]) -> None:
    points = [GainPoint(str(place), cost, gain, None, None) for place, (cost, gain) in enumerate(values)]
    best = front(points)
    assert best
    for point in points:
        assert any(other.cost <= point.cost and other.gain >= point.gain for other in best)
    assert [point.gain for point in best] == sorted(point.gain for point in best)


# Runs on disk, through the command line.


def tables(seeds: int = 1, noise: float = 1.6) -> list[pd.DataFrame]:
    """A first table, and others of the same images by networks whose scores have noise of their own."""
    first = out_of_fold(patients=160)
    found = [first]
    for seed in range(seeds):
        other = first.copy()
        logits = first["logit_effusion"] + np.random.default_rng(seed).normal(0, noise, len(first))
        other["logit_effusion"], other["prob_effusion"] = logits, expit(logits)
        other["positive_effusion"] = (expit(logits) >= 0.42).astype(int)
        found.append(other)
    return found


def run_of(folder: Path, table: pd.DataFrame, *, architecture: str = "resnet18", seed: int = 0) -> Path:
    """A run as `medres crossval` leaves it, without its networks."""
    write_run(folder, table=table)
    record = read_json(folder / "run.json")
    record["config"]["network"]["architecture"] = record["network"]["architecture"] = architecture
    record["config"]["preprocessing"]["size"] = 32
    record["config"]["seed"] = record["seed"] = seed
    write_json(folder / "run.json", record)
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good run, two seeds of a bad recipe."""
    folder = tmp_path_factory.mktemp("runs")
    good, bad, again = tables(2)
    run_of(folder / "good", good)
    run_of(folder / "bad", bad, architecture="resnet50")
    run_of(folder / "again", again, architecture="resnet50", seed=1)
    return folder


def test_compare_writes_verdict_cost_and_page(medres: Medres, runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = medres("compare", runs / "good", runs / "bad", runs / "again", "--out", out)
    assert done.returncode == 0, done.stderr
    content = read_json(out / "comparison.json")
    assert [item["name"] for item in content["candidates"]] == ["ResNet-18", "ResNet-50"]
    assert [run["seed"] for run in content["candidates"][1]["runs"]] == [0, 1]
    assert content["seed_spread"]["effusion"]["degrees"] == 1
    (decided,) = [item for item in content["comparisons"] if item["metric"] == "auroc"]
    table = pd.read_csv(out / "comparison.csv")
    assert table["metric"].tolist() == ["auroc", "average_precision", "brier"]
    assert table["difference"][0] == decided["difference"]["value"] < 0
    assert table["verdict"].fillna("").tolist() == [decided["verdict"], "", ""]
    cost = content["candidates"][1]["cost"]
    assert cost["parameters"] > content["candidates"][0]["cost"]["parameters"]
    assert cost["relative_time"] > 1
    assert cost["gflop"] > 0
    page = write_comparison(out).read_text(encoding="utf-8")
    _Page(page)
    words = visible(page)
    assert done.stdout.splitlines()[0] in words[: words.index("Differences of AUROC")]
    assert "resnet50" in words
    assert "<script" not in page
    assert page.count("<svg") == 1
    assert 'role="img"' in page


def test_every_figure_of_the_page_has_interval_or_n_and_every_picture_its_table(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    content = compare([runs / "good", runs / "bad", runs / "again"], out=out, timing=False)
    page = write_comparison(out).read_text(encoding="utf-8")
    bare, seen = bare_figures(page)
    assert bare == []
    assert seen == 3 * 3 + 3  # of three metrics two values and their difference; three runs; p is below 0.001
    for name, values in content.values["effusion"]["auroc"].items():
        own = content.intervals["effusion"]["auroc"][name]
        assert [one.value for one in own] == pytest.approx(values)
        assert all(one.low < one.value < one.high and one.n == content.images for one in own)
    costs = pd.read_csv(out / "costs.csv")
    assert '<a href="costs.csv">' in page
    assert costs["candidate"].tolist() == ["ResNet-18", "ResNet-50"]
    for row, item in zip(costs.to_dict("records"), content.candidates, strict=True):
        for key in ("parameters", "gflop", "relative_gflop", "training_seconds"):
            assert row[key] == pytest.approx(getattr(item.cost, key))
    (decided,) = content.deciding()
    assert costs["auroc_gain"].tolist() == [0, pytest.approx(decided.difference.value)]
    assert costs["low"][1] == pytest.approx(decided.difference.low)


def test_a_planted_difference_is_said_in_one_sentence_and_a_second_look_says_the_same(
    medres: Medres, runs: Path, tmp_path: Path
) -> None:
    arguments = ("compare", runs / "good", runs / "bad", "--no-timing", "--out", tmp_path / "out")
    done = medres(*arguments)
    assert done.returncode == 0, done.stderr
    assert "ResNet-50 is worse than ResNet-18 here: AUROC −0." in done.stdout
    assert "the arithmetic per image" in done.stdout
    first = (tmp_path / "out" / "comparison.json").read_bytes()
    assert "already exists" in refusal(medres(*arguments), 2)
    assert medres(*arguments, "--force").returncode == 0
    assert (tmp_path / "out" / "comparison.json").read_bytes() == first


def test_runs_of_crossval_on_the_same_splits_compare_as_they_are(
    medres: Medres, small_run: Path, small_cohort: Path, tmp_path: Path
) -> None:
    short = tmp_path / "short"
    done = medres(
        "crossval", small_cohort, "--label", "disc", "--out", short, "--splits", small_run / "splits.json", *TINY,
        "--set=training.batch_size=16", made="marker",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    content = compare_runs(read_runs([small_run, short]), out=tmp_path / "out", device="cpu")
    assert [item.name for item in content.candidates] == [small_run.name, "short"]
    assert list(content.candidates[1].peculiar) == ["training.batch_size"]
    recorded = read_json(small_run / "metrics.json")["labels"]["disc"]["pooled"]
    for metric in ("auroc", "average_precision", "brier"):
        assert content.values["disc"][metric][small_run.name] == (pytest.approx(recorded[metric]["value"]),)
    cost = content.candidates[0].cost
    assert cost.parameters == read_json(small_run / "run.json")["network"]["parameters"]
    assert cost.training_seconds == read_json(small_run / "run.json")["seconds"]
    assert cost.relative_time == 1


def test_what_is_assumed_of_seeds_stands_beside_the_verdict_with_the_command_that_measures_it(
    medres: Medres, runs: Path, tmp_path: Path
) -> None:
    done = medres("compare", runs / "good", runs / "bad", "--no-timing", "--out", tmp_path / "out")
    verdict, advice = done.stdout.splitlines()[:2]
    assert "0.017 between two runs is assumed, the upper end of the published 0.004 to 0.017" in verdict
    assert f"--splits {runs / 'good'}/splits.json --set seed=1" in advice
    words = visible(write_comparison(tmp_path / "out").read_text(encoding="utf-8"))
    head = words[: words.index("Differences of AUROC")]
    assert verdict in head
    assert advice in head.replace("&#39;", "'")
    found = read_document(tmp_path / "out" / "comparison.json", Comparison).deciding()[0]
    assert found.patients_error
    assert found.seeds_error == pytest.approx(0.017 / 1.959964, rel=1e-4)
    done = medres("compare", runs / "good", runs / "bad", "--no-timing", "--seed-spread=0.03", "--out", tmp_path / "x")
    assert "0.03 between two runs is assumed, as --seed-spread says" in done.stdout


def test_a_comparison_of_an_earlier_version_is_said_to_be_one(runs: Path, tmp_path: Path) -> None:
    content = compare([runs / "good", runs / "bad"], out=tmp_path / "out", timing=False).model_dump(exclude_unset=True)
    del content["rule"]
    for item in content["comparisons"]:
        item.pop("patients_error", None), item.pop("seeds_error", None)
    for spread in content["seed_spread"].values():
        del spread["noise"]
    write_document(tmp_path / "out" / "comparison.json", Comparison.model_validate(content))
    words = visible(write_comparison(tmp_path / "out").read_text(encoding="utf-8"))
    assert "Verdicts of an earlier rule" in words


def test_two_seeds_of_one_recipe_are_one_candidate_and_a_tie(medres: Medres, runs: Path, tmp_path: Path) -> None:
    done = medres("compare", runs / "bad", runs / "again", "--no-timing", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "2 runs are one recipe" in done.stdout
    assert "a tie" in done.stdout
    content = read_json(tmp_path / "out" / "comparison.json")
    assert content["comparisons"] == []
    assert len(content["candidates"]) == 1
    _Page(write_comparison(tmp_path / "out").read_text(encoding="utf-8"))


def repeat_of(folder: Path, table: pd.DataFrame, repeat: int, *, parent: str = "cd" * 32, **recipe: Any) -> Path:
    """A run of one repeat of a repeated split file, whose folds are others in every repeat."""
    run_of(folder, table, **recipe)
    document = read_json(folder / "splits.json")
    content = {key: value for key, value in document.items() if key != "sha256"}
    content["folds"] = [content["folds"][(place + repeat) % 3] for place in range(3)]
    content["parent"] = {"sha256": parent, "repeat": repeat}
    write_json(folder / "splits.json", {**content, "sha256": sha256_json(content)})
    return folder


def test_repeats_of_one_split_file_are_pooled_by_their_mean_and_add_no_patients(medres: Medres, tmp_path: Path) -> None:
    first, second, third = tables(2)
    given = [repeat_of(tmp_path / str(place), table, place) for place, table in enumerate((first, second, third))]
    done = medres("compare", *given, "--no-timing", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "3 runs are one recipe, ResNet-18, with other repeats of the folds" in done.stdout
    content = read_json(tmp_path / "out" / "comparison.json")
    (mean,) = content["means"]["effusion"]["auroc"].values()
    alone = [item["value"] for item in content["intervals"]["effusion"]["auroc"]["ResNet-18"]]
    assert mean["value"] == pytest.approx(np.mean(alone))
    assert mean["low"] < mean["value"] < mean["high"]
    assert mean["n"] == len(first)
    assert content["repeats"] == [0, 1, 2]
    assert f"{mean['value']:.3f} ({mean['low']:.3f} to {mean['high']:.3f})" in done.stdout
    page = visible(write_comparison(tmp_path / "out").read_text(encoding="utf-8"))
    assert "3 repeats of 3 folds" in page


def test_the_same_run_many_times_is_no_surer_than_once() -> None:
    truth, owners, evidence = cohort(80)
    scores = model(evidence, 1.0, 1)
    how = Resampling(300, 0.95, 3)
    once, often = (mean_of_runs(truth, Candidate("a", [scores] * count), owners, resampling=how) for count in (1, 5))
    assert (once.low, once.high) == pytest.approx((often.low, often.high))


def test_recipes_are_compared_on_the_same_repeats_or_not_at_all(tmp_path: Path) -> None:
    first, second, third = tables(2)
    one, two = (repeat_of(tmp_path / str(place), table, place) for place, table in enumerate((first, second)))
    other = repeat_of(tmp_path / "other", third, 0, architecture="resnet50")
    with pytest.raises(UsageError, match="as many runs of each repeat"):
        compare([one, two, other], out=tmp_path / "out", timing=False)
    foreign = repeat_of(tmp_path / "foreign", third, 1, parent="ef" * 32)
    with pytest.raises(UsageError, match="splits"):
        compare([one, foreign], out=tmp_path / "out", timing=False)


def changed(folder: Path, edit: Any) -> Path:
    return run_of(folder, edit(tables(1)[1]), architecture="resnet34")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda table: table.drop(index=0), "images (1 are in one of them"),
        (lambda table: table.assign(label_effusion=1 - table["label_effusion"].astype(int)), "label_effusion"),
        (lambda table: table.assign(fold=(table["fold"] + 1) % 3), "splits"),
        (lambda table: table.assign(PatientID="x" + table["PatientID"]), "patients"),
    ],
    ids=["images", "labels", "splits", "patients"],
)
def test_runs_about_other_images_are_refused_and_it_is_said_what_differs(
    runs: Path, tmp_path: Path, edit: Any, said: str
) -> None:
    other = changed(tmp_path / "other", edit)
    with pytest.raises(UsageError, match="not comparable") as refused:
        read_runs([runs / "good", other])
    assert said in str(refused.value)


def test_what_is_no_run_is_refused_in_one_line(medres: Medres, runs: Path, tmp_path: Path) -> None:
    out = ("--no-timing", "--out", tmp_path / "out")
    assert "is not a run" in refusal(medres("compare", runs / "good", tmp_path, *out), 2)
    assert "given twice" in refusal(medres("compare", runs / "good", runs / "good", *out), 2)
    assert not (tmp_path / "out").exists()


def test_runs_of_another_kind_or_altered_are_refused(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two runs"):
        read_runs([runs / "good"])
    other = run_of(tmp_path / "other", out_of_fold(patients=160))
    pair, record = [runs / "bad", other], read_json(other / "run.json")
    for edit, said in (
        ({"labels": ["mass"]}, r"labels \(mass and effusion\)"),
        ({"kind": "external validation"}, "is an external validation"),
        ({"config": {}}, "does not record the configuration"),
    ):
        write_json(other / "run.json", {**record, **edit})
        with pytest.raises(UsageError, match=said):
            read_runs(pair)
    write_json(other / "run.json", record)
    (other / "splits.json").write_text(json.dumps({**read_json(other / "splits.json"), "seed": 9}))
    with pytest.raises(UsageError, match="was altered"):
        read_runs(pair)


def test_more_than_two_recipes_are_corrected_and_named_by_their_folders(runs: Path, tmp_path: Path) -> None:
    third = run_of(tmp_path / "slow", tables(1, noise=0.3)[1])
    record = read_json(third / "run.json")
    record["config"]["training"]["learning_rate"] = 7e-5
    write_json(third / "run.json", record)
    content = compare([runs / "good", runs / "bad", third], out=tmp_path / "out", timing=False)
    assert [item.name for item in content.candidates] == ["good", "bad", "slow"]
    assert content.correction == "Holm 1979"
    assert content.candidates[2].peculiar["training.learning_rate"] == "7e-05"
    words = visible(write_comparison(tmp_path / "out").read_text(encoding="utf-8"))
    assert "widened by Holm's procedure because 2 differences are tested" in words.replace("&#39;", "'")
    assert all(sentence in words.replace("&#39;", "'") for sentence in sentences(content))


def test_texts_from_runs_are_inert_in_the_page(runs: Path, tmp_path: Path) -> None:
    other = run_of(tmp_path / "<img src=x>", tables(1)[1])
    record = read_json(other / "run.json")
    record["config"]["training"]["batch_size"] = "<script>alert(1)</script>"
    write_json(other / "run.json", record)
    compare([runs / "good", other], out=tmp_path / "out", timing=False)
    page = write_comparison(tmp_path / "out").read_text(encoding="utf-8")
    assert not {tag for tag, _ in _Page(page).tags} & {"script", "img"}
    assert "&lt;script&gt;" in page


def test_a_table_that_is_sorted_otherwise_compares_alike(runs: Path, tmp_path: Path) -> None:
    plain = run_of(tmp_path / "plain", tables(1)[1], architecture="resnet34")
    expected = compare([runs / "good", plain], out=tmp_path / "one", timing=False).comparisons
    write_csv(plain / "oof.csv", tables(1)[1].sample(frac=1, random_state=1))
    found = compare([runs / "good", plain], out=tmp_path / "two", timing=False).comparisons
    assert found == expected
