"""The figures of an evaluation, as a terminal shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from medres.evaluation.results import Metrics
    from medres.records import Interval


def with_counts(found: Interval) -> str:
    """A value with its interval and the images and patients behind it: `0.979 (0.940–0.993), n = 278 images …`."""
    if found.value is None:
        return f"undefined (n = {found.n})"
    bounds = "" if found.low is None or found.high is None else f" ({found.low:.3f}–{found.high:.3f})"
    return f"{found.value:.3f}{bounds}, n = {found.n} images of {found.n_patients} patients"


def show_metrics(metrics: Metrics) -> None:
    """The figures of a `metrics.json` that fit a terminal."""
    for label, results in metrics.labels.items():
        click.echo(f"{label}: AUROC {with_counts(results.pooled['auroc'])}")
        for name in ("sensitivity", "specificity"):
            click.echo(f"{label}: {name} {with_counts(results.pooled[name])}")
    for name, task in metrics.tasks.items():
        for metric, found in task.metrics.items():
            click.echo(f"{name}: {metric.replace('_', ' ')} {with_counts(found)}")
