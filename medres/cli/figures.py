"""The figures of an evaluation, as a terminal shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from medres.evaluation.results import Metrics


def show_metrics(metrics: Metrics) -> None:
    """The figures of a `metrics.json` that fit a terminal."""
    from medres.formatting import with_counts

    for label, results in metrics.labels.items():
        click.echo(f"{label}: AUROC {with_counts(results.pooled['auroc'])}")
        for name in ("sensitivity", "specificity"):
            click.echo(f"{label}: {name} {with_counts(results.pooled[name])}")
    for name, task in metrics.tasks.items():
        for metric, found in task.metrics.items():
            click.echo(f"{name}: {metric.replace('_', ' ')} {with_counts(found)}")
