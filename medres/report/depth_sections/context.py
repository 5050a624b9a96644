"""A study of depth as the sections of its page need it."""

from __future__ import annotations

from dataclasses import dataclass

from medres.evaluation.depth import DepthStudy
from medres.runs.records import RunRecord


@dataclass(frozen=True, slots=True)
class DepthContext:
    """The files of a study."""

    study: DepthStudy
    record: RunRecord
