"""What a report says of one label, or of one grade or class: plain values for the page to show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from medres.config import Evaluation
from medres.evaluation.mistakes import worst_mistakes
from medres.evaluation.subgroups import recorded_subgroups
from medres.evaluation.table import JudgedImages
from medres.records import Interval
from medres.report.exhibits import Exhibit, exhibit
from medres.report.flow import fold_names
from medres.report.forest import Forest, fold_rows, forest, forest_table, subgroup_rows
from medres.report.group_table import GroupTable, group_table
from medres.report.pictures import Picture, TableFile, call_squares, label_pictures, table_file
from medres.report.plain import Calls, calls
from medres.report.rules import RuleRow, elsewhere, read_interval, rule_rows
from medres.runs.gallery import Kept
from medres.statistics.metric import METRICS


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One line of the table of metrics."""

    key: str
    title: str
    meaning: str
    result: Interval
    share: str  # "87 of 102", where the metric is a share


@dataclass(frozen=True, slots=True)
class Confusion:
    """Images by truth and decision."""

    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int


@dataclass(frozen=True, slots=True)
class ForestFigure:
    """A forest plot with the table that is written beside the page."""

    forest: Forest
    file: TableFile


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """What is said of subgroups in a table, with the file that is written beside the page."""

    table: GroupTable
    file: TableFile


@dataclass(frozen=True, slots=True)
class Frozen:
    """What an external validation took over from the model, of one label."""

    rule: str  # that chose the threshold
    temperatures: Sequence[float]  # of each network


@dataclass(frozen=True, slots=True)
class LabelSection:
    """All that a report shows of one label."""

    name: str
    anchor: str
    content: Mapping[str, Any]  # of metrics.json
    rows: Sequence[MetricRow]
    confusion: Confusion
    calls: Calls
    rules: Sequence[RuleRow]
    squares: Mapping[str, Markup]
    pictures: Sequence[Picture]
    folds: ForestFigure | None
    spread: tuple[float, float] | None  # lowest and highest AUROC of the folds
    thresholds: Sequence[float]  # of the folds; of a saved model one
    frozen: Frozen | None  # of an external validation
    mean_probability: float | None
    subgroups: ForestFigure | None
    groups: GroupFigures | None
    exhibits: Sequence[Exhibit]

    def metric(self, key: str) -> MetricRow:
        """One line of `rows`."""
        return next(row for row in self.rows if row.key == key)

    @property
    def pooled(self) -> dict[str, Interval]:
        """The metrics by name."""
        return {row.key: row.result for row in self.rows}

    @property
    def files(self) -> list[TableFile]:
        """The tables of its figures."""
        plots = [figure.file for figure in (self.folds, self.subgroups, self.groups) if figure]
        return [*(picture.file for picture in self.pictures), *plots]


@dataclass(frozen=True, slots=True)
class TaskSection:
    """All that a report shows of a grade or a class."""

    name: str
    anchor: str
    content: Mapping[str, Any]  # of metrics.json
    rows: Sequence[MetricRow]

    @property
    def ordinal(self) -> bool:
        """Whether its values are grades."""
        return bool(self.content["kind"] == "ordinal")

    @property
    def noun(self) -> str:
        """What one of its values is called."""
        return "grade" if self.ordinal else "class"


def title_and_meaning(name: str) -> tuple[str, str]:
    """What a metric is called, and what it means; its bare name where the list does not know it."""
    known = METRICS.get(name)
    return (known.title, known.meaning) if known else (name, "")


def in_order(names: Iterable[str]) -> list[str]:
    """Metrics in the order of the list; those that it does not know come last, in their own order."""
    order = {name: place for place, name in enumerate(METRICS)}
    return sorted(names, key=lambda name: order.get(name, len(order)))


def task_section(name: str, place: int, content: Mapping[str, Any]) -> TaskSection:
    """Gather what a report shows of a grade or a class.

    Args:
        name: the task's.
        place: its number in the report, for anchors.
        content: its part of `metrics.json`.
    """
    right = sum(counts[at] for at, counts in enumerate(content["confusion"]))
    rows = [
        MetricRow(
            key,
            *title_and_meaning(key),
            read_interval(recorded),
            f"{right} of {content['n']}" if key == "accuracy" else "",
        )
        for key, recorded in content["metrics"].items()
    ]
    return TaskSection(name, f"task-{place}", content, rows)


def label_section(
    label: str,
    place: int,
    slug: str,
    *,
    folder: Path,
    images: JudgedImages,
    content: Mapping[str, Any],
    run: Mapping[str, Any],
    evaluation: Evaluation,
    kept: Kept,
    most_mistakes: int,
) -> LabelSection:
    """Gather what a report shows of one label.

    Args:
        label: its name.
        place: its number in the report, for anchors and ids.
        slug: the label in file names.
        folder: the run, for the pictures of its gallery.
        images: its judged images.
        content: its part of `metrics.json`.
        run: `run.json`.
        evaluation: for the bands.
        kept: `gallery.csv`.
        most_mistakes: of either kind.
    """
    confusion, seed = _confusion(images), int(run.get("seed") or 0)
    rows = [_row(name, content["pooled"][name], confusion) for name in in_order(content["pooled"])]
    results = {row.key: row.result for row in rows}
    decisions = (results["sensitivity"], results["specificity"], results["ppv"])
    said = calls(*decisions, content["prevalence"], elsewhere(content, evaluation))
    thresholds = _thresholds(run, label)
    aurocs = [fold["auroc"] for fold in content["folds"] if fold["auroc"] is not None]
    divisions = recorded_subgroups(content)
    groups = group_table(divisions, content)
    folds = fold_rows(content, fold_names(run)) if len(content["folds"]) > 1 else []
    return LabelSection(
        name=label,
        anchor=f"label-{place}",
        content=content,
        rows=rows,
        confusion=confusion,
        calls=said,
        rules=rule_rows(content, evaluation, _thresholds_by_rule(run, label)),
        squares=call_squares(said, name=f"l{place}-squares"),
        pictures=label_pictures(
            images,
            {name: result.value for name, result in results.items()},
            thresholds,
            name=f"l{place}",
            slug=slug,
            evaluation=evaluation,
            seed=seed,
        ),
        folds=_forest("folds", folds, slug),
        spread=(min(aurocs), max(aurocs)) if len(aurocs) > 1 else None,
        thresholds=thresholds,
        frozen=_frozen(run, label),
        mean_probability=float(images.probabilities.mean()) if len(images.truth) else None,
        subgroups=_forest("subgroups", subgroup_rows(divisions, content), slug),
        groups=GroupFigures(groups, table_file("groups", groups.frame(), slug)) if groups else None,
        exhibits=[exhibit(folder, label, mistake, kept) for mistake in worst_mistakes(images, most=most_mistakes)],
    )


def _forest(kind: str, rows: Sequence[Any], slug: str) -> ForestFigure | None:
    plot = forest(rows)
    return ForestFigure(plot, table_file(kind, forest_table(rows), slug)) if plot else None


def _confusion(images: JudgedImages) -> Confusion:
    truth, positive = images.truth == 1, images.positive == 1
    counts = (truth & positive, truth & ~positive, ~truth & positive, ~truth & ~positive)
    return Confusion(*(int(count.sum()) for count in counts))


def _row(name: str, recorded: Mapping[str, Any], confusion: Confusion) -> MetricRow:
    hits, misses = confusion.true_positive, confusion.false_negative
    alarms, rejections = confusion.false_positive, confusion.true_negative
    shares = {
        "sensitivity": (hits, hits + misses),
        "specificity": (rejections, rejections + alarms),
        "ppv": (hits, hits + alarms),
        "npv": (rejections, rejections + misses),
    }
    share = "{} of {}".format(*shares[name]) if name in shares else ""
    return MetricRow(name, *title_and_meaning(name), read_interval(recorded), share)


def _thresholds(run: Mapping[str, Any], label: str) -> list[float]:
    entries = [fold.get("threshold") for fold in run.get("folds") or []]
    found = [(entry or {}).get(label) for entry in [*entries, (run.get("frozen") or {}).get("thresholds")]]
    return [float(value) for value in found if value is not None]


def _thresholds_by_rule(run: Mapping[str, Any], label: str) -> dict[str, list[float]]:
    entries = [fold.get("thresholds") for fold in run.get("folds") or []]
    entries.append((run.get("frozen") or {}).get("thresholds_by_rule"))
    found: dict[str, list[float]] = {}
    for entry in entries:
        for rule, value in ((entry or {}).get(label) or {}).items():
            found.setdefault(rule, []).append(float(value))
    return found


def _frozen(run: Mapping[str, Any], label: str) -> Frozen | None:
    recorded = run.get("frozen")
    if not recorded:
        return None
    rule = (recorded.get("rules") or {}).get(label) or "by a rule that is not recorded"
    return Frozen(rule, [float(one[label]) for one in recorded["temperatures"]])
