"""Verbs that train: one model of a whole cohort, a cross-validation, or networks of several depths."""

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


@medres.command()
@click.argument("manifest", type=FILE)
@out_option("The new folder for depth.html, depth.json, depth.csv, splits.json and the runs.")
@click.option(
    "--architectures",
    default="resnet18,resnet34,resnet50,resnet101,resnet152",
    show_default=True,
    metavar="NAME,NAME…",
    help="The networks that are compared, two or more; densenet121 is known, too.",
)
@click.option(
    "--seeds",
    default=3,
    show_default=True,
    help="How often each network is trained. Three measure what another seed changes; with one it is assumed, and the "
    "answer may be that it cannot be told.",
)
@click.option(
    "--probe-only",
    is_flag=True,
    help="A cheap first look: the pretrained backbones rest, and only the last layer is fitted. Needs weights of every "
    "network, e.g. --set network.weights=IMAGENET1K_V1.",
)
@click.option("--dry-run", is_flag=True, help="Say what it would take on this machine, and end; nothing is written.")
@click.option("--splits", type=FILE, help="A split file of `medres split`, with its validation patients.")
@click.option("--repeat", type=click.IntRange(0), help="Which repeat of a repeated split file to go through, from 0.")
@with_folds_column
@with_burned_in
@with_cohort
@with_config
@with_resume
@with_force
@with_group_readable
def depth(
    manifest: Path,
    out: Path,
    architectures: str,
    seeds: int,
    probe_only: bool,
    dry_run: bool,
    splits: Path | None,
    repeat: int | None,
    folds_column: str | None,
    labels: tuple[Any, ...],
    root: Path | None,
    config: Config,
    resume: bool,
    force: bool,
    allow_burned_in: bool,
) -> None:
    """Which depth is worth it: cross-validate networks of several depths on the same folds, and compare what they reach
    and what they cost.

    The recipe is that of `crossval`, and its architecture is changed; heatmaps and shortcuts are left to `crossval`.
    The answer is the cheapest network that ties with the best by the rule of `compare`. What the study will take is
    measured and said before it starts; --resume goes on with one that was interrupted.
    """
    refuse_early(out, force)
    checked = check_early(manifest, labels, root, folds_column)
    from medres.report.depth_page import write_depth
    from medres.report.depth_sentences import answers
    from medres.report.run_page import write_report
    from medres.runs.depth.study import DepthPlan, study_depth
    from medres.runs.division import Division
    from medres.runs.options import RunOptions

    names = [name.strip() for name in architectures.split(",") if name.strip()]
    division = Division(splits, repeat, folds_column)
    plan = DepthPlan.of(names, seeds=seeds, division=division, probe=probe_only)
    with progress_bar("decoding") as progress:
        options = RunOptions(force=force, resume=resume, allow_burned_in=allow_burned_in, progress=progress)
        found = study_depth(checked, plan, config=config, out=out, options=options, say=click.echo, dry=dry_run)
    if found is None:
        return
    for run in found.runs:
        write_report(out / "runs" / run.name)
    for sentence in answers(found):
        click.echo(f"answer: {sentence}")
    click.echo(f"report: {write_depth(out)}")
