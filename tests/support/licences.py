"""Models whose heatmaps are known to mean something, or not: a licence lies in a copy of a made model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medres.model.heatmaps.grid import SHOWN
from medres.model.heatmaps.licence import HeatmapLicence, LabelLicence, State, attach_licence
from tests.support.format3 import linked_copy

REASONS: Mapping[State, str] = {
    "validated": "the peak lies in the box in 8 of 10 images",
    "not validated": "too few images were called",
    "failed": "it stays as it is when the weights are random",
}


def licensed(model: Path, copy: Path, states: Mapping[str, State], *, created: str = "2026-11-28T00:00:00Z") -> Path:
    """A copy of a model or run, whose labels have these licences."""
    if not copy.exists():
        linked_copy(model, copy)
    labels = {label: LabelLicence(state=state, reasons=(REASONS[state],)) for label, state in states.items()}
    attach_licence(copy, HeatmapLicence(
        stride=SHOWN, measured_on="held-out images", images=10, labels=labels, created=created,
    ))  # fmt: skip
    return copy
