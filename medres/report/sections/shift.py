"""How the cohort of an external validation differs from the training cohort."""

from __future__ import annotations

from dataclasses import dataclass

from medres.evaluation.results import ShiftRecord
from medres.report.page import Content
from medres.report.run_context import RunContext


@dataclass(frozen=True, slots=True)
class ShiftSection(Content):
    """The differences, line by line."""

    shift: ShiftRecord
    members: int  # networks of the model


def shift_section(context: RunContext) -> ShiftSection | None:
    """The shift of an external validation that measured it."""
    run = context.run
    return ShiftSection(run.shift, run.members) if run.external and run.shift else None
