"""Verbs that train: one model of a whole cohort, or a cross-validation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medres.cli.figures import show_metrics
from medres.cli.group import medres
from medres.cli.options import (
    FILE,
    check_early,
    is_first_process,
    out_option,
    refuse_early,
    with_boxes,
    with_burned_in,
    with_cohort,
    with_config,
    with_folds_column,
    with_force,
    with_group_readable,
    with_resume,
)
from medres.terminal import progress_bar

if TYPE_CHECKING:
    from medres.config import Config


@medres.command()
@click.argument("manifest", type=FILE)
@out_option("The new model folder.")
@with_cohort
@with_config
@with_resume
@with_force
@with_group_readable
def train(
    manifest: Path,
    out: Path,
    labels: tuple[Any, ...],
    root: Path | None,
    config: Config,
    resume: bool,
    force: bool,
) -> None:
    """Train one model on a whole cohort."""
    refuse_early(out, force)
    checked = check_early(manifest, labels, root)
    from medres.formatting import with_counts
    from medres.runs.options import RunOptions
    from medres.runs.train import train_model

    with progress_bar("decoding") as progress:
        options = RunOptions(force=force, resume=resume, progress=progress)
        card = train_model(checked, config=config, out=out, options=options)
    click.echo(f"{out}: model {card.model_id}, start: {card.weights}")
    for label, values in card.metrics.items():
        click.echo(f"{label}: AUROC {with_counts(values['auroc'])} on {card.metrics_split}")


@medres.command()
@click.argument("manifest", type=FILE)
@out_option("The new run folder.")
@click.option("--splits", type=FILE, help="A split file of `medres split`, with its validation patients.")
@click.option("--repeat", type=click.IntRange(0), help="Which repeat of a repeated split file to go through, from 0.")
@with_folds_column
@with_boxes
@with_burned_in
@with_cohort
@with_config
@with_resume
@with_force
@with_group_readable
def crossval(
    manifest: Path,
    out: Path,
    splits: Path | None,
    repeat: int | None,
    folds_column: str | None,
    boxes: Path | None,
    labels: tuple[Any, ...],
    root: Path | None,
    config: Config,
    resume: bool,
    force: bool,
    allow_burned_in: bool,
) -> None:
    """Cross-validate a recipe with patients kept apart; every figure of performance follows from oof.csv."""
    refuse_early(out, force)
    checked = check_early(manifest, labels, root, folds_column)
    from medres.report.run_page import write_report
    from medres.runs.crossval import cross_validate
    from medres.runs.division import Division
    from medres.runs.options import RunOptions

    division = Division(splits, repeat, folds_column)
    with progress_bar("decoding") as progress:
        options = RunOptions(
            force=force, resume=resume, allow_burned_in=allow_burned_in, boxes=boxes, progress=progress
        )  # fmt: skip
        metrics = cross_validate(checked, config=config, out=out, division=division, options=options)
    if is_first_process():
        show_metrics(metrics)
        click.echo(f"report: {write_report(out)}")
