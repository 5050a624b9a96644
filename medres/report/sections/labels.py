"""Results of one label, each in a section of its own: metrics, curves, calls, mistakes, folds and subgroups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medres.evaluation.results import LabelResults, PatientResults
from medres.evaluation.subgroups import SMALLEST
from medres.formatting import slugs
from medres.model.calibration import at_bound
from medres.records import Interval
from medres.report.forest import ForestFigure, fold_rows, forest_figure, subgroup_rows
from medres.report.metric_rows import MetricRow, confusion_of, label_rows, metric_title
from medres.report.page import NamedContent
from medres.report.run_context import RunContext, label_anchor
from medres.report.sections.curves import CurveSource, curves
from medres.report.sections.decisions import Decisions, decisions
from medres.report.sections.gallery import MistakesGallery, mistakes_gallery
from medres.report.sections.groups import Groups, groups
from medres.report.table_files import Picture, TableFile
from medres.runs.records import FoldRecord
from medres.statistics.metric import METRICS
from medres.statistics.sample_size import WIDTHS

_RULES_FOR_PATIENTS = {
    "any": "a patient is called where any image is, and scored by the highest probability",
    "mean": "a patient is called where half of the images are, and scored by the mean probability",
    "worst": "a patient is called as the image of the highest probability is, and scored by it",
}

_OF_FOLDS = ("sensitivity", "specificity", "calibration_slope", "calibration_in_the_large", "observed_expected")
"""What is said of a fold besides its AUROC."""


@dataclass(frozen=True, slots=True)
class FoldChoice:
    """What the validation patients of a fold chose; None where it is not recorded."""

    fold: str
    temperature: float | None
    threshold: float | None
    at_bound: bool  # the temperature is an end of its search


@dataclass(frozen=True, slots=True)
class FoldFigures:
    """What the calls of one fold's network reach, and how well its probabilities keep their word."""

    fold: str
    n_positive: int
    figures: Mapping[str, Interval]  # of _OF_FOLDS, by metric


@dataclass(frozen=True, slots=True)
class Precision:
    """How precisely a figure is known, and how many patients would make it as precise as is asked for."""

    title: str
    interval: Interval
    asked: float  # width of the interval
    needed: int  # patients

    @property
    def reached(self) -> float | None:
        """The width of the interval; None where there is none."""
        low, high = self.interval.low, self.interval.high
        return None if low is None or high is None else high - low


@dataclass(frozen=True, slots=True)
class PatientsPart:
    """The same figures with patients, not images, judged."""

    results: PatientResults
    rule: str  # how a patient's images are judged together, in words
    rows: Sequence[MetricRow]


@dataclass(frozen=True, slots=True)
class LabelSection(NamedContent):
    """All that a page shows of one label."""

    heading: str
    name: str
    results: LabelResults
    mean_probability: float | None
    pooled_over: str  # which images the metrics are of
    level_words: str
    rows: Sequence[MetricRow]
    curves: Sequence[Picture]
    decisions: Decisions
    gallery: MistakesGallery | None
    folds: ForestFigure | None
    choices: Sequence[FoldChoice]
    precisions: Sequence[Precision]  # none in runs of earlier versions
    patients: PatientsPart | None  # where patients have several images
    by_fold: Sequence[FoldFigures]  # of every fold; none in runs of earlier versions
    subgroups: ForestFigure | None
    smallest_group: int  # patients below which a group has no figure
    groups: Groups | None

    @property
    def spread(self) -> tuple[float, float] | None:
        """The lowest and the highest AUROC of the folds; None where fewer than two have one."""
        aurocs = [fold.auroc for fold in self.results.folds if fold.auroc is not None]
        return (min(aurocs), max(aurocs)) if len(aurocs) > 1 else None

    @property
    def slopes(self) -> tuple[float, float] | None:
        """The lowest and the highest calibration slope of the folds; None where fewer than two have one."""
        found = [one.figures["calibration_slope"].value for one in self.by_fold]
        slopes = [slope for slope in found if slope is not None]
        return (min(slopes), max(slopes)) if len(slopes) > 1 else None

    @property
    def fold_titles(self) -> Sequence[str]:
        """What the figures of a fold are called."""
        return [METRICS[name].title for name in _OF_FOLDS]

    @property
    def bounded(self) -> Sequence[str]:
        """Folds whose temperature is an end of its search."""
        return [choice.fold for choice in self.choices if choice.at_bound]

    @property
    def files(self) -> list[TableFile]:
        """The tables of its figures."""
        plots = [figure.file for figure in (self.folds, self.subgroups, self.groups) if figure]
        return [*(picture.file for picture in self.curves), *plots]


def _patients(results: PatientResults | None) -> PatientsPart | None:
    if results is None:
        return None
    rows = [
        MetricRow(name, metric_title(name), METRICS[name].meaning if name in METRICS else "", one, "")
        for name, one in results.figures.items()
    ]
    return PatientsPart(results, _RULES_FOR_PATIENTS[results.rule], rows)


def _choice(name: str, fold: FoldRecord, label: str) -> FoldChoice:
    temperature = fold.temperature.get(label)
    return FoldChoice(name, temperature, fold.threshold.get(label), temperature is not None and at_bound(temperature))


def _by_fold(results: LabelResults, names: Mapping[int, str]) -> list[FoldFigures]:
    """Of every fold; none where there is one fold, or a fold lacks them."""
    if len(results.folds) < 2 or not all(set(_OF_FOLDS) <= set(fold.intervals) for fold in results.folds):
        return []
    return [
        FoldFigures(
            names.get(fold.fold, f"fold {fold.fold}"),
            fold.n_positive,
            {name: fold.intervals[name] for name in _OF_FOLDS},
        )
        for fold in results.folds
    ]


def label_sections(context: RunContext) -> list[LabelSection]:
    """One section per label."""
    names = slugs(list(context.labels))
    return [_label_section(context, label, place, names[place]) for place, label in enumerate(context.labels)]


def _label_section(context: RunContext, label: str, place: int, slug: str) -> LabelSection:
    results, images, run = context.labels[label], context.images[label], context.run
    confusion, several = confusion_of(images), len(context.labels) > 1
    names = {fold.fold: context.fold_name(fold.fold) for fold in run.folds}
    source = CurveSource(
        images, results.pooled, run.thresholds(label), f"l{place}", slug, context.evaluation, run.seed or 0
    )
    return LabelSection(
        anchor=label_anchor(place),
        title=label if several else "Results",
        heading=f"Results: {label}" if several else "Results",
        name=label,
        results=results,
        mean_probability=float(images.probabilities.mean()) if len(images.truth) else None,
        pooled_over="Over all images" if run.external or context.n_folds == 1 else "Pooled over all held-out images",
        level_words=context.level_words,
        rows=label_rows(results.pooled, confusion),
        curves=curves(source),
        decisions=decisions(context, label, confusion),
        gallery=mistakes_gallery(context, label),
        folds=forest_figure("folds", fold_rows(results, names), slug) if len(results.folds) > 1 else None,
        precisions=[
            Precision(METRICS[name].title, results.pooled[name], WIDTHS[name], count)
            for name, count in results.needed.items()
        ],
        patients=_patients(results.patients),
        choices=[_choice(names[fold.fold], fold, label) for fold in run.folds],
        by_fold=_by_fold(results, names),
        subgroups=forest_figure("subgroups", subgroup_rows(results), slug),
        smallest_group=SMALLEST,
        groups=groups(results, slug, several_thresholds=len(run.thresholds(label)) > 1),
    )
