"""What the shortcut probes show: whether a score may rest on a marker, a border or the style of a site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medres.evaluation.results import AlterationRecord, FeatureResults, LabelShortcuts, Shortcuts
from medres.records import Interval
from medres.report.page import Content
from medres.report.run_context import RunContext

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
    sentences: Sequence[str]
    auroc: Interval
    alterations: Sequence[AlteredRow]
    columns: Sequence[MetadataRow]
    together: Interval | None


@dataclass(frozen=True, slots=True)
class ShortcutsSection(Content):
    """The whole of `shortcuts.json`."""

    labels: Sequence[LabelProbes]
    features: Mapping[str, FeatureResults]  # by column
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
    def unsuspected(self) -> int:
        """How many labels the first screen does not speak of."""
        return len(self.labels) - len(self.first)


def shortcuts_section(context: RunContext) -> ShortcutsSection | None:
    """The probes of a run; None where they were not made."""
    content = context.files.shortcuts
    if content is None:
        return None
    return ShortcutsSection(
        labels=[_label_probes(name, figures, content) for name, figures in content.labels.items()],
        features=content.features,
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
