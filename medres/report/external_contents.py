"""What a report says of an external validation alone: plain values for the page to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medres.records import Interval
from medres.report.contents import title_and_meaning
from medres.report.rules import read_interval


@dataclass(frozen=True, slots=True)
class Recalibrated:
    """What recalibration on an external cohort would give, of one label."""

    name: str
    reason: str  # why it is not possible; "" where it is
    rows: Sequence[tuple[str, Interval, Interval]]  # title, as it is, and if recalibrated


def recalibrations(run: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[Recalibrated]:
    """What recalibration would give, label by label, beside what the frozen model gives.

    Args:
        run: content of `run.json`.
        metrics: content of `metrics.json`.
    """
    found = []
    for label, content in (run.get("recalibration") or {}).items():
        pooled = metrics["labels"][label]["pooled"]
        rows = [
            (title_and_meaning(name)[0], read_interval(pooled[name]), read_interval(item))
            for name, item in (content["metrics"] or {}).items()
        ]
        found.append(Recalibrated(label, "" if rows else content["reason"], rows))
    return found
