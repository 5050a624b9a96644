"""What a report shows of the shortcut probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medres.records import Interval

_MOST_FIRST = 3  # labels of which the first screen says more than that there is no sign


@dataclass(frozen=True, slots=True)
class Altered:
    """One way to hide a part of the images, and what it left of the score."""

    name: str
    title: str
    meaning: str
    auroc: Interval
    kept: Interval


@dataclass(frozen=True, slots=True)
class Column:
    """What one column of metadata knows of the label."""

    column: str
    alike: Sequence[str]  # columns that divide the images just so
    named: bool  # in the verdict
    alone: Interval
    within: Interval
    hidden_within: Interval


@dataclass(frozen=True, slots=True)
class Readable:
    """How well one column can be read from the network's features."""

    column: str
    values: Sequence[str]
    auroc: Interval


@dataclass(frozen=True, slots=True)
class LabelProbes:
    """All probes of one label."""

    name: str
    suspect: bool
    sentences: Sequence[str]
    auroc: Interval
    alterations: Sequence[Altered]
    columns: Sequence[Column]
    together: Interval | None


@dataclass(frozen=True, slots=True)
class ShortcutProbes:
    """The whole of `shortcuts.json` for a page to show."""

    labels: Sequence[LabelProbes]
    features: Sequence[Readable]
    centre: float
    corner: float
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


def shortcut_probes(content: Mapping[str, Any] | None) -> ShortcutProbes | None:
    """The content of `shortcuts.json` for a page to show; None where the probes were not made."""
    if content is None:
        return None
    return ShortcutProbes(
        labels=[_label(name, figures, content["alterations"]) for name, figures in content["labels"].items()],
        features=[
            Readable(column, figures["values"], Interval(**figures["auroc"]))
            for column, figures in content["features"].items()
        ],
        centre=content["centre"],
        corner=content["corner"],
        much=round(100 * content["thresholds"]["much"]),
        little=round(100 * content["thresholds"]["little"]),
    )


def _label(name: str, content: Mapping[str, Any], alterations: Mapping[str, Any]) -> LabelProbes:
    verdict, metadata = content["verdict"], content["metadata"]
    together = metadata["together"] if len(metadata["columns"]) > 1 else None
    return LabelProbes(
        name=name,
        suspect=verdict["suspect"],
        sentences=verdict["sentences"],
        auroc=Interval(**content["auroc"]),
        alterations=[
            Altered(key, **alterations[key], auroc=Interval(**item["auroc"]), kept=Interval(**item["kept"]))
            for key, item in content["alterations"].items()
        ],
        columns=[
            Column(
                column,
                figures["alike"],
                column in verdict["columns"],
                *(Interval(**figures[key]) for key in ("alone", "within", "hidden_within")),
            )
            for column, figures in metadata["columns"].items()
        ],
        together=Interval(**together["auroc"]) if together else None,
    )
