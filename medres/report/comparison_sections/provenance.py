"""Where a comparison comes from."""

from __future__ import annotations

from dataclasses import dataclass

from medres.report.comparison_context import ComparisonContext
from medres.report.page import Content
from medres.runs.records import RunRecord


@dataclass(frozen=True, slots=True)
class ProvenanceSection(Content):
    """The record of the comparison, and the splits that its runs share."""

    record: RunRecord
    splits_sha256: str | None


def provenance_section(context: ComparisonContext) -> ProvenanceSection:
    """The provenance of a comparison."""
    return ProvenanceSection(context.record, context.comparison.splits_sha256)
