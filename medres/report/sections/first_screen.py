"""The head of a run's page: what is asked, how well it is answered, what that means, and what speaks against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from medres.evaluation.answers import Answer, above
from medres.evaluation.results import LabelResults
from medres.formatting import ABSENT, network_name
from medres.model.calibration import at_bound
from medres.records import Interval
from medres.report.caveats import CHANCE, caveats, exclusions
from medres.report.checks import Check
from medres.report.metric_rows import MetricRow, task_rows
from medres.report.natural_frequencies import AtPrevalence, Calls
from medres.report.page import Content
from medres.report.run_context import RunContext, label_anchor, task_anchor
from medres.report.sections.heatmaps import HeatmapsSection, heatmaps_section
from medres.report.sections.shortcuts import ShortcutsSection, shortcuts_section
from medres.report.svg import hundred_squares
from medres.runs.records import EXTERNAL

_MOST_CARDS = 3  # labels that have a card of their own; more stand in a table
_MOST_NAMED_FOLDS = 8


@dataclass(frozen=True, slots=True)
class TaskCard:
    """The main results of a grade or a class."""

    name: str
    anchor: str
    rows: Sequence[MetricRow]


@dataclass(frozen=True, slots=True)
class Verdict(Content):
    """The main results of a label: how well it ranks, and its calls as natural frequencies."""

    name: str
    anchor: str
    titled: bool  # there are other labels
    results: LabelResults
    calls: Calls
    squares: Mapping[str, Markup]  # a hundred of each kind
    threshold_words: str
    level_words: str

    @property
    def auroc(self) -> Interval:
        """How well it ranks."""
        return self.results.pooled["auroc"]

    @property
    def told(self) -> Answer:
        """Whether it surely ranks better than chance."""
        return above(self.auroc, CHANCE)

    @property
    def sensitivity(self) -> Interval:
        """How many positives it calls."""
        return self.results.pooled["sensitivity"]

    @property
    def specificity(self) -> Interval:
        """How many negatives it does not call."""
        return self.results.pooled["specificity"]

    @property
    def rarest(self) -> AtPrevalence | None:
        """What a call would mean where the finding is rarest; None where that is undefined or not recorded."""
        if not self.calls.elsewhere or self.calls.elsewhere[0].ppv.value is None:
            return None
        return self.calls.elsewhere[0]


@dataclass(frozen=True, slots=True)
class FirstScreen(Content):
    """All that a page says before its sections."""

    kind: str  # of study
    asked: Sequence[str]
    network: str
    input: str  # rows × columns of the network's input; "" where it is not recorded
    weights: str  # where the network started
    random_start: bool
    members: int  # networks of a saved model
    external: bool
    recomputed: bool  # an earlier version made the run, and its intervals are computed anew
    synthetic: bool  # every radiograph is a phantom
    n_images: int
    n_patients: int
    n_folds: int
    named_folds: Sequence[str]  # the first of them
    more_named_folds: bool
    failed: Sequence[Check]
    kept_apart: bool | None  # None: not verified
    tasks: Sequence[TaskCard]
    verdicts: Sequence[Verdict]
    shortcuts: ShortcutsSection | None
    heatmaps: HeatmapsSection | None
    caveats: Sequence[str]
    exclusions: Sequence[str]
    shift_sentence: str  # how an external cohort differs; "" where that was not measured
    chosen: str  # what validation patients chose besides temperature and thresholds
    level_words: str

    @property
    def tabled(self) -> bool:
        """Whether labels stand in a table, because they are many."""
        return len(self.verdicts) > _MOST_CARDS


def first_screen(context: RunContext) -> FirstScreen:
    """The first screen of this run."""
    run, network = context.run, context.run.network
    named = [fold.name for fold in run.folds if fold.name]
    study = "cross-validation" if context.n_folds > 1 else "held-out test"
    return FirstScreen(
        kind=EXTERNAL if run.external else study,
        asked=context.asked,
        network=network_name(network.architecture) if network else "network",
        input=network.input if network else "",
        weights=network.weights if network else ABSENT,
        random_start=context.random_start,
        members=run.members,
        external=run.external,
        recomputed=context.recomputed,
        synthetic=context.synthetic,
        n_images=context.n_images,
        n_patients=context.n_patients,
        n_folds=context.n_folds,
        named_folds=named[:_MOST_NAMED_FOLDS],
        more_named_folds=len(named) > _MOST_NAMED_FOLDS,
        failed=[check for check in context.checks if check.passed is False],
        kept_apart=context.kept_apart,
        tasks=[
            TaskCard(name, task_anchor(place), task_rows(results))
            for place, (name, results) in enumerate(context.files.metrics.tasks.items())
        ],
        verdicts=[_verdict(context, label, place) for place, label in enumerate(context.labels)],
        shortcuts=shortcuts_section(context),
        heatmaps=heatmaps_section(context),
        caveats=caveats(
            context.checklist, context.labels, random_start=context.random_start, bounded=_bounded(context)
        ),
        exclusions=exclusions(context.files.table),
        shift_sentence=run.shift.sentence if run.shift else "",
        chosen=context.chosen,
        level_words=context.level_words,
    )


def _bounded(context: RunContext) -> dict[str, list[str]]:
    """By label, the folds whose temperature is an end of its search."""
    return {
        label: [
            context.fold_name(fold.fold)
            for fold in context.run.folds
            if label in fold.temperature and at_bound(fold.temperature[label])
        ]
        for label in context.labels
    }


def _verdict(context: RunContext, label: str, place: int) -> Verdict:
    one = context.run.external or len(context.run.thresholds(label)) < 2
    return Verdict(
        name=label,
        anchor=label_anchor(place),
        titled=len(context.labels) > 1,
        results=context.labels[label],
        calls=context.calls[label],
        squares=call_squares(context.calls[label], name=f"l{place}-squares"),
        threshold_words="the frozen threshold" if one else "the frozen thresholds of the folds",
        level_words=context.level_words,
    )


def call_squares(said: Calls, *, name: str) -> dict[str, Markup]:
    """A hundred squares for each of: positives found, negatives called, calls that are right."""
    words = {
        "found": ("Positives found", said.found),
        "alarms": ("False alarms", said.alarms),
        "right": ("Calls that are right", said.right),
    }
    return {
        kind: hundred_squares(
            share.squares, name=f"{name}-{kind}", title=title, description=f"{share.squares} of 100 squares filled."
        )
        for kind, (title, share) in words.items()
        if share is not None
    }
