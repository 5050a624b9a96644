"""Where a run comes from: when, with which command, from which files, on which machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.formatting import duration
from medres.report.page import Content
from medres.report.run_context import RunContext

Fact = tuple[str, str | int | None]
"""What it is, and what was recorded of it; None or "" where nothing was."""


@dataclass(frozen=True, slots=True)
class ProvenanceSection(Content):
    """The facts, in the order in which they are shown."""

    facts: Sequence[Fact]


def provenance_section(context: RunContext) -> ProvenanceSection:
    """The provenance of this run."""
    run = context.run
    model: list[Fact] = [("Model", run.model_id)] if run.model_id else []
    made: list[Fact] = [
        ("Created", run.created),
        ("Command", run.command),
        ("medres", run.medres),
        ("Source commit", run.git_commit),
        ("Recipe", run.recipe),
        *model,
        ("Seed", run.seed),
    ]
    where: list[Fact] = [("Device", run.device), ("Time", duration(run.seconds))]
    environment: list[Fact] = [*run.environment.items()] or [("Environment", None)]
    return ProvenanceSection([*made, *_network(context), *where, *_inputs(context), *environment])


def _network(context: RunContext) -> list[Fact]:
    found = context.run.network
    sha256 = "none: a random start has no file" if context.random_start else found.weights_sha256 if found else None
    return [
        ("Architecture", found.architecture if found else None),
        ("Parameters", found.parameters if found else None),
        ("Starting weights", found.weights if found else None),
        ("SHA-256 of the starting weights", sha256),
    ]


def _inputs(context: RunContext) -> list[Fact]:
    """The manifest, and of a cross-validation the splits."""
    manifest, splits = context.run.manifest, context.run.splits
    found: list[Fact] = [
        ("Manifest", manifest.name if manifest else None),
        ("SHA-256 of the manifest", manifest.sha256 if manifest else None),
    ]
    if context.run.external:
        return found
    return [
        *found,
        ("Splits", splits.method if splits else None),
        ("Folds", (splits.folds or None) if splits else None),
        ("SHA-256 of the splits", splits.sha256 if splits else None),
    ]
