"""What recalibration on the cohort of an external validation would give, apart from what the frozen model gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.records import Interval
from medres.report.metric_rows import metric_title
from medres.report.page import Content
from medres.report.run_context import RunContext


@dataclass(frozen=True, slots=True)
class RecalibratedMetric:
    """A metric as the frozen model has it, and as it would be if the model were recalibrated here."""

    title: str
    frozen: Interval
    recalibrated: Interval


@dataclass(frozen=True, slots=True)
class RecalibratedLabel:
    """What recalibration would give one label."""

    name: str
    reason: str  # why it is not possible; "" where it is
    rows: Sequence[RecalibratedMetric]


@dataclass(frozen=True, slots=True)
class RecalibrationSection(Content):
    """What recalibration would give, label by label."""

    labels: Sequence[RecalibratedLabel]


def recalibration_section(context: RunContext) -> RecalibrationSection | None:
    """The recalibration of an external validation that tried it."""
    if not context.run.external or not context.run.recalibration:
        return None
    found = []
    for label, recorded in context.run.recalibration.items():
        pooled = context.labels[label].pooled if recorded.metrics else {}
        rows = [
            RecalibratedMetric(metric_title(name), pooled[name], interval)
            for name, interval in (recorded.metrics or {}).items()
        ]
        found.append(RecalibratedLabel(label, "" if rows else recorded.reason, rows))
    return RecalibrationSection(found)
