"""Results of one label, each in a section of its own: metrics, curves, calls, mistakes, folds and subgroups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.evaluation.results import LabelResults
from medres.evaluation.subgroups import SMALLEST
from medres.formatting import slugs
from medres.report.forest import ForestFigure, fold_rows, forest_figure, subgroup_rows
from medres.report.metric_rows import MetricRow, confusion_of, label_rows
from medres.report.page import NamedContent
from medres.report.run_context import RunContext, label_anchor
from medres.report.sections.curves import CurveSource, curves
from medres.report.sections.decisions import Decisions, decisions
from medres.report.sections.gallery import MistakesGallery, mistakes_gallery
from medres.report.sections.groups import Groups, groups
from medres.report.table_files import Picture, TableFile


@dataclass(frozen=True, slots=True)
class FoldChoice:
    """What the validation patients of a fold chose; None where it is not recorded."""

    fold: str
    temperature: float | None
    threshold: float | None


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
    subgroups: ForestFigure | None
    smallest_group: int  # patients below which a group has no figure
    groups: Groups | None

    @property
    def spread(self) -> tuple[float, float] | None:
        """The lowest and the highest AUROC of the folds; None where fewer than two have one."""
        aurocs = [fold.auroc for fold in self.results.folds if fold.auroc is not None]
        return (min(aurocs), max(aurocs)) if len(aurocs) > 1 else None

    @property
    def files(self) -> list[TableFile]:
        """The tables of its figures."""
        plots = [figure.file for figure in (self.folds, self.subgroups, self.groups) if figure]
        return [*(picture.file for picture in self.curves), *plots]


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
        choices=[
            FoldChoice(names[fold.fold], fold.temperature.get(label), fold.threshold.get(label)) for fold in run.folds
        ],
        subgroups=forest_figure("subgroups", subgroup_rows(results), slug),
        smallest_group=SMALLEST,
        groups=groups(results, slug, several_thresholds=len(run.thresholds(label)) > 1),
    )
