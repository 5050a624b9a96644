"""What the shortcut probes show: whether a score may rest on a marker, a border or the style of a site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from medres.evaluation.answers import Answer, above
from medres.evaluation.shortcuts.results import AlterationRecord, FeatureResults, LabelShortcuts, Shortcuts
from medres.records import Interval
from medres.report.page import Content
from medres.report.run_context import RunContext

CHANCE = 0.5  # the AUROC of a coin
_MOST_FIRST = 3  # labels of which the first screen says more than that there is no sign


@dataclass(frozen=True, slots=True)
class AlteredRow:
    """One way to hide a part of the images, and what it left of the score."""

    name: str
    title: str
    meaning: str
    auroc: Interval
    kept: Interval


@dataclass(frozen=True, slots=True)
class MetadataRow:
    """What one column of metadata knows of the label."""

    column: str
    alike: Sequence[str]  # columns that divide the images just so
    named: bool  # in the verdict
    alone: Interval
    within: Interval
    hidden_within: Interval


@dataclass(frozen=True, slots=True)
class LabelProbes:
    """All probes of one label."""

    name: str
    suspect: bool
    answer: Answer  # whether some of the score is known not to need the anatomy
    sentences: Sequence[str]
    auroc: Interval
    alterations: Sequence[AlteredRow]
    columns: Sequence[MetadataRow]
    together: Interval | None


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """How well one column can be read from the network's features."""

    column: str
    results: FeatureResults
    read: Answer  # whether that is surely better than chance


@dataclass(frozen=True, slots=True)
class ShortcutsSection(Content):
    """The whole of `shortcuts.json`."""

    labels: Sequence[LabelProbes]
    features: Sequence[FeatureRow]
    centre: float  # share of each side that the hidden centre takes
    corner: float  # share of each side that a corner takes
    much: int  # per cent
    little: int

    @property
    def first(self) -> Sequence[LabelProbes]:
        """The labels that the first screen speaks of: all where they are few, else those in doubt."""
        if len(self.labels) <= _MOST_FIRST:
            return self.labels
        return [label for label in self.labels if label.suspect]

    @property
    def others(self) -> Mapping[Answer, Sequence[str]]:
        """The labels that the first screen only names, by what the probes say of them; none where it speaks of all."""
        spoken = {label.name for label in self.first}
        rest = [label for label in self.labels if label.name not in spoken]
        named = {answer: [label.name for label in rest if label.answer == answer] for answer in get_args(Answer)}
        return {answer: names for answer, names in named.items() if names}


def shortcuts_section(context: RunContext) -> ShortcutsSection | None:
    """The probes of a run; None where they were not made."""
    content = context.files.shortcuts
    if content is None:
        return None
    return ShortcutsSection(
        labels=[_label_probes(name, figures, content) for name, figures in content.labels.items()],
        features=[FeatureRow(column, one, above(one.auroc, CHANCE)) for column, one in content.features.items()],
        centre=content.centre,
        corner=content.corner,
        much=round(100 * content.thresholds.much),
        little=round(100 * content.thresholds.little),
    )


def _label_probes(name: str, results: LabelShortcuts, content: Shortcuts) -> LabelProbes:
    words: Mapping[str, AlterationRecord] = content.alterations
    verdict, metadata = results.verdict, results.metadata
    return LabelProbes(
        name=name,
        suspect=verdict.suspect,
        answer=verdict.answer,
        sentences=verdict.sentences,
        auroc=results.auroc,
        alterations=[
            AlteredRow(key, words[key].title, words[key].meaning, item.auroc, item.kept)
            for key, item in results.alterations.items()
        ],
        columns=[
            MetadataRow(
                column, figures.alike, column in verdict.columns, figures.alone, figures.within, figures.hidden_within
            )
            for column, figures in metadata.columns.items()
        ],
        together=metadata.together.auroc if metadata.together and len(metadata.columns) > 1 else None,
    )
