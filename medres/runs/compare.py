"""Comparing runs: verdicts paired by patient, and what each recipe costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medres.config import Evaluation
from medres.documents import write_document
from medres.evaluation.comparison import (
    PRIMARY,
    Candidate,
    JudgedDifference,
    ResampledDifference,
    decide,
    mean_of_runs,
    resample_difference,
)
from medres.evaluation.comparison_results import (
    ADDED_VARIANCES,
    ComparedDifference,
    ComparedRecipe,
    ComparedRun,
    Comparison,
    Cost,
    SpreadOfSeeds,
)
from medres.evaluation.performance import interval
from medres.evaluation.seeds import (
    DEFAULT_SPREAD,
    FEWEST_RUNS,
    USUAL_SPREAD,
    SeedSpread,
    recipe_interval,
    run_noise,
    seed_spread,
)
from medres.evaluation.table import judged_images
from medres.model.cost import compare_speed, cost, device_name
from medres.model.device import choose_device, said_plainly
from medres.records import Interval
from medres.runs.comparable import ComparableRun, by_recipe, design_of, settings
from medres.runs.comparison_tables import comparison_rows, cost_rows
from medres.runs.recording import comparison_record
from medres.runs.records import write_run_record
from medres.statistics.metric import shown_in
from medres.statistics.resampling import Resampling
from medres.tables import output_folder, refuse_inside, write_csv

COSTS = "costs.csv"

Groups = Mapping[str, Sequence[ComparableRun]]
"""The runs of every recipe, by its name; the first is the reference."""


def compare_runs(
    runs: Sequence[ComparableRun],
    *,
    out: Path,
    spread: float | None = None,
    timing: bool = True,
    device: str = "auto",
    force: bool = False,
) -> Comparison:
    """Compare cross-validation runs on the same splits, paired by patient; the first run's recipe is the reference.

    Writes `comparison.json`, `comparison.csv`, `costs.csv` and `run.json` into `out`.

    Args:
        runs: what `comparable.read_runs` gave; those that differ in the seed or the repeat alone count as one recipe.
        out: the new folder.
        spread: the AUROC by which runs that differ in the seed alone are taken to differ where that was not measured;
            `comparison.DEFAULT_SPREAD` without.
        timing: measure the speed of scoring on this machine.
        device: where.
        force: replace `out`.

    Raises:
        UsageError: recipes have runs of other repeats; or `out` lies in a run, or is there already.
    """
    refuse_inside(out, [run.folder for run in runs])
    groups = by_recipe(runs)
    with output_folder(out, force=force) as folder:
        compared = _compared(groups, spread=DEFAULT_SPREAD if spread is None else spread)
        content = compared.model_copy(update={"candidates": _described(groups, timing=timing, device=device)})
        write_document(folder / "comparison.json", content)
        write_csv(folder / "comparison.csv", pd.DataFrame(comparison_rows(content)))
        write_csv(folder / COSTS, pd.DataFrame(cost_rows(content)))
        write_run_record(folder, comparison_record())
    return content


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """What every recipe reaches of one label, by metric and recipe, and what tells recipes apart."""

    values: Mapping[str, Mapping[str, tuple[float | None, ...]]]  # of every run
    intervals: Mapping[str, Mapping[str, tuple[Interval, ...]]]  # the same with intervals
    means: Mapping[str, Mapping[str, Interval]]  # over the runs of a recipe
    recipes: Mapping[str, Interval]  # AUROC of a recipe, over other patients who train, too
    drawn: Sequence[ResampledDifference]
    spread: SeedSpread


def _compared(groups: Groups, *, spread: float) -> Comparison:
    """Everything of `comparison.json` but the cost."""
    reference = next(iter(groups))
    first = groups[reference][0]
    evaluation = first.evaluation
    labels = {label: label_figures(label, groups, evaluation, usual=spread) for label in first.labels}
    spreads = {label: figures.spread for label, figures in labels.items()}
    drawn = [item for figures in labels.values() for item in figures.drawn] if len(groups) > 1 else []
    deciding = [item for item in drawn if item.metric == PRIMARY]
    found = decide(deciding, spreads, confidence=evaluation.confidence)
    tested = sum(item.p is not None for item in found)
    others = [_undecided(item, evaluation) for item in drawn if item.metric != PRIMARY]
    return Comparison(
        reference=reference,
        labels=tuple(first.labels),
        splits_sha256=first.record.splits.sha256 if first.record.splits else None,
        images=len(first.table),
        patients=int(first.table["PatientID"].nunique()),
        folds=int(first.table["fold"].nunique()),
        repeats=tuple(sorted({run.repeat for run in groups[reference] if run.repeat is not None})),
        confidence=evaluation.confidence,
        tested=tested,
        correction="Holm 1979" if tested > 1 else None,
        usual_spread=USUAL_SPREAD,
        rule=ADDED_VARIANCES,
        seed_spread={label: SpreadOfSeeds(**asdict(one)) for label, one in spreads.items()},
        values={label: figures.values for label, figures in labels.items()},
        intervals={label: figures.intervals for label, figures in labels.items()},
        means={label: figures.means for label, figures in labels.items()},
        recipes={label: figures.recipes for label, figures in labels.items()},
        comparisons=(*map(decided, found), *others),
    )


def label_figures(
    label: str, groups: Groups, evaluation: Evaluation, *, usual: float, metrics: Sequence[str] = ()
) -> LabelFigures:
    """What every recipe reaches of one label, and how it differs from the first.

    Args:
        label: which.
        groups: the runs of every recipe; the first is the reference.
        evaluation: how they are judged.
        usual: the change of AUROC that another seed is assumed to make where that is not measured.
        metrics: names, the primary one among them; those that a comparison shows without.
    """
    reference = next(iter(groups))
    first = groups[reference][0]
    images = judged_images(first.table, label)
    found_of = {name: [judged_images(run.table, label) for run in runs] for name, runs in groups.items()}
    resampling = Resampling(evaluation.replicates, evaluation.confidence, first.seed)
    values: dict[str, Mapping[str, tuple[float | None, ...]]] = {}
    intervals: dict[str, Mapping[str, tuple[Interval, ...]]] = {}
    means: dict[str, Mapping[str, Interval]] = {}
    drawn: list[ResampledDifference] = []
    for metric in metrics or [one.name for one in shown_in("comparison")]:
        candidates = [Candidate(name, [one.scores(metric) for one in found]) for name, found in found_of.items()]
        pairs = [
            resample_difference(
                images.truth,
                candidates[0],
                candidate,
                images.patients,
                label=label,
                metric=metric,
                resampling=resampling,
            )
            for candidate in candidates[1:] or candidates
        ]
        values[metric] = {reference: pairs[0].reference_values} | {
            item.candidate: item.candidate_values for item in pairs
        }
        intervals[metric] = {
            name: tuple(interval(one, metric, evaluation, first.seed) for one in found)
            for name, found in found_of.items()
        }
        means[metric] = {
            one.name: mean_of_runs(images.truth, one, images.patients, metric=metric, resampling=resampling)
            for one in candidates
        }
        drawn += pairs
    aurocs = {name: [one.scores(PRIMARY) for one in found] for name, found in found_of.items()}
    noises = [run_noise(images.truth, runs, images.patients, resampling=resampling) for runs in aurocs.values()]
    folds = int(first.table["fold"].nunique())
    recipes = {
        name: recipe_interval(images.truth, runs, images.patients, folds=folds, resampling=resampling)
        for name, runs in aurocs.items()
        if len(runs) >= FEWEST_RUNS
    }
    spread = seed_spread(list(values[PRIMARY].values()), usual=usual, noises=noises)
    return LabelFigures(values, intervals, means, recipes, drawn, spread)


def decided(item: JudgedDifference) -> ComparedDifference:
    """A difference with its verdict, as it is written."""
    return ComparedDifference(
        label=item.difference.label,
        metric=item.difference.metric,
        reference=item.difference.reference,
        candidate=item.difference.candidate,
        difference=item.interval,
        level=round(item.level, 6),
        p=item.p,
        p_holm=item.p_adjusted,
        seed_bar=item.bar,
        excludes_zero=item.excludes_zero,
        verdict=item.verdict,
        patients_error=float(np.sqrt(item.error.patients)) if item.error else None,
        seeds_error=float(np.sqrt(item.error.seeds)) if item.error else None,
    )


def _undecided(item: ResampledDifference, evaluation: Evaluation) -> ComparedDifference:
    """A difference that is shown, and on which nothing is decided."""
    return ComparedDifference(
        label=item.label,
        metric=item.metric,
        reference=item.reference,
        candidate=item.candidate,
        difference=item.interval(evaluation.confidence),
        level=round(evaluation.confidence, 6),
        p=item.p(),
        p_holm=None,
        seed_bar=None,
        excludes_zero=None,
        verdict=None,
    )


def _described(groups: Groups, *, timing: bool, device: str) -> tuple[ComparedRecipe, ...]:
    """Every candidate with its runs, what is peculiar to it, and its cost."""
    flat = {name: settings(runs[0]) for name, runs in groups.items()}
    keys = sorted({key for one in flat.values() for key in one})
    differing = [key for key in keys if len({one.get(key) for one in flat.values()}) > 1]
    designs = {name: design_of(runs[0]) for name, runs in groups.items()}
    where = choose_device(device)
    with said_plainly(where):
        speeds = compare_speed(designs, device=where) if timing else {}
    least = cost(designs[next(iter(groups))]).gflop
    found = []
    for name, runs in groups.items():
        counted, speed, network = cost(designs[name]), speeds.get(name), runs[0].record.network
        seconds = [run.record.seconds for run in runs if run.record.seconds is not None]
        found.append(
            ComparedRecipe(
                name=name,
                architecture=designs[name].architecture,
                weights=network.weights if network else None,
                side=designs[name].side,
                recipe=runs[0].config.get("name"),
                peculiar={key: flat[name].get(key, "absent") for key in differing},
                runs=tuple(
                    ComparedRun(folder=str(run.folder), seed=run.seed, repeat=run.repeat, oof_sha256=run.oof_sha256)
                    for run in runs
                ),
                cost=Cost(
                    parameters=counted.parameters,
                    gflop=counted.gflop,
                    relative_gflop=counted.gflop / least,
                    images_per_second=speed.images_per_second if speed else None,
                    relative_time=speed.relative_time if speed else None,
                    machine=device_name(where) if speed else None,
                    training_seconds=float(np.mean(seconds)) if seconds else None,
                    training_device=tuple(sorted({run.record.device or "None" for run in runs})),
                ),
            )
        )
    return tuple(found)
