"""The typed results of the shortcut probes: what `shortcuts.json` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from medres.documents import Document
from medres.evaluation.answers import CANNOT_BE_TOLD, FOUND, NOT_FOUND, Answer
from medres.records import Interval


class AlterationResults(Document):
    """What is left of a score when a part of every image is hidden."""

    auroc: Interval
    kept: Interval  # (AUROC altered − 0.5) ÷ (AUROC − 0.5)


class ColumnResults(Document):
    """What one column of metadata knows of a label."""

    alike: tuple[str, ...]  # columns that divide the images just so
    alone: Interval
    within: Interval  # the score's AUROC over pairs of images that share the column's value
    difference: Interval  # the AUROC minus that
    hidden_within: Interval  # the same with the centre hidden
    hidden_difference: Interval


class TogetherResults(Document):
    """What all columns of metadata know of a label together."""

    columns: tuple[str, ...]
    auroc: Interval


class MetadataResults(Document):
    """What metadata alone know of a label."""

    together: TogetherResults | None
    columns: Mapping[str, ColumnResults]


class ShortcutVerdict(Document):
    """What the probes mean; see `shortcuts.verdicts`."""

    anatomy: Literal["much", "part", "little", "open", "undefined"]
    corners: bool  # whether corners alone give half of the score
    columns: tuple[str, ...]  # that stand in for the score
    suspect: bool  # whether a reader must be warned
    sentences: tuple[str, ...]

    @property
    def answer(self) -> Answer:
        """Whether some of the score is known not to need the anatomy."""
        if self.suspect or self.anatomy in ("much", "part"):
            return FOUND
        return NOT_FOUND if self.anatomy == "little" else CANNOT_BE_TOLD


class LabelShortcuts(Document):
    """All shortcut probes of one label."""

    auroc: Interval
    alterations: Mapping[str, AlterationResults]
    metadata: MetadataResults
    verdict: ShortcutVerdict


class FeatureResults(Document):
    """How well one column can be read from the network's features."""

    values: tuple[str, ...]
    auroc: Interval  # mean over values, each against all others


class AlterationRecord(Document):
    """One way to hide a part of the images, in words."""

    title: str
    meaning: str


class VerdictThresholds(Document):
    """From which share of a score on much of it survives, and below which little does."""

    much: float
    little: float


class Shortcuts(Document):
    """The content of `shortcuts.json`: a function of `oof.csv` and `shortcuts.csv`."""

    format: Literal[1] = 1
    labels: Mapping[str, LabelShortcuts]
    features: Mapping[str, FeatureResults]
    alterations: Mapping[str, AlterationRecord]
    centre: float  # share of each side that the hidden centre takes
    corner: float  # share of each side that a corner takes
    thresholds: VerdictThresholds
