"""What a training or a cross-validation is asked besides its cohort and its recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medres.cohort.indexing import Progress


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run treats what lies in its place, and whom it tells how far it is."""

    force: bool = False  # replace an output that is already there
    resume: bool = False  # go on with what an interrupted run left
    allow_burned_in: bool = False  # keep pictures of mistakes although pixels may hold a name
    boxes: Path | None = None  # where readers saw findings, which heatmaps are measured by: see `cohort.boxes`
    device: str = "auto"  # where a saved model computes: cpu, cuda or cuda:1; a training's is in its recipe
    progress: Progress | None = None  # told (done, total) while images are decoded


DEFAULT = RunOptions()
