"""What a recipe reaches holds other patients who train its networks, and is not said of one or two runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medres import compare
from medres.evaluation.comparison import Candidate, mean_of_runs
from medres.evaluation.seeds import recipe_interval
from medres.report.comparison_page import write_comparison
from medres.report.comparison_sentences import sentences
from medres.statistics.resampling import Resampling
from tests.test_comparison import cohort, model, repeat_of, tables
from tests.test_report import visible

HOW = Resampling(replicates=300, seed=1)


def test_an_interval_over_other_training_patients_is_wider_by_the_factor_of_the_folds_and_the_runs() -> None:
    truth, owners, evidence = cohort(120)
    runs = [model(evidence, 1.0, seed) for seed in range(3)]
    judged = mean_of_runs(truth, Candidate("a", runs), owners, resampling=HOW)
    trained = recipe_interval(truth, runs, owners, folds=5, resampling=HOW)
    assert trained.value == pytest.approx(judged.value)
    assert None not in (judged.low, judged.high, trained.low, trained.high)
    assert trained.low < judged.low  # type: ignore[operator]
    assert trained.high > judged.high  # type: ignore[operator]
    alike = recipe_interval(truth, [runs[0]] * 3, owners, folds=5, resampling=HOW)
    alone = mean_of_runs(truth, Candidate("a", [runs[0]] * 3), owners, resampling=HOW)

    def width(low: float | None, high: float | None) -> float:
        assert low is not None and high is not None
        return float(np.diff([np.log(bound / (1 - bound)) for bound in (low, high)])[0])

    assert width(alike.low, alike.high) / width(alone.low, alone.high) == pytest.approx(np.sqrt(5 / 4))


def test_of_fewer_than_three_runs_or_of_one_fold_it_is_not_said() -> None:
    truth, owners, evidence = cohort(80)
    runs = [model(evidence, 1.0, seed) for seed in range(3)]
    for given, folds in ((runs[:2], 5), (runs, 1)):
        found = recipe_interval(truth, given, owners, folds=folds, resampling=HOW)
        assert found.value is not None
        assert (found.low, found.high) == (None, None)
        assert found.method.startswith("no interval: fewer than 3 runs")


def test_repeats_of_one_recipe_say_both_intervals(tmp_path: Path) -> None:
    runs = [repeat_of(tmp_path / str(place), table, place) for place, table in enumerate(tables(2))]
    content = compare(runs, out=tmp_path / "out", timing=False)
    (recipe,) = content.recipes["effusion"].values()
    assert recipe.low is not None
    assert f"the recipe may reach {recipe.low:.3f} to {recipe.high:.3f}" in sentences(content)[0]
    words = visible(write_comparison(tmp_path / "out").read_text(encoding="utf-8"))
    assert "Others train and judge" in words
    assert "Nadeau and Bengio" in words
    two = compare(runs[:2], out=tmp_path / "two", timing=False)
    assert two.recipes["effusion"] == {}
    assert "With 3 runs or more" in sentences(two)[0]
