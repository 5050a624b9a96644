"""Verbs that build: manifests, models, runs and their reports."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medres.cli.group import medres
from medres.cli.options import (
    EXIT_SOME_REFUSED,
    FILE,
    check_early,
    is_first_process,
    out_option,
    refuse_early,
    with_burned_in,
    with_cohort,
    with_config,
    with_folds_column,
    with_force,
    with_resume,
)
from medres.terminal import progress_bar

if TYPE_CHECKING:
    from medres.config import Config


@medres.command()
@click.argument("folder", type=FILE)
@out_option("The manifest (CSV); refused.csv is written beside it.")
@click.option(
    "--gate",
    default="any",
    show_default=True,
    metavar="any|frontal-chest|FILE",
    help="Which radiographs to admit.",
)
@click.option(
    "--labels",
    type=FILE,
    help="CSV with label_<finding> columns to join by SOPInstanceUID, path, Series…, Study… or PatientID.",
)
@click.option(
    "--source",
    metavar="NAME|FILE",
    help="Labels of a public dataset, described by a YAML file of data_manifests/.",
)
@click.option("--workers", type=click.IntRange(1), help="Decoding processes; one per processor by default.")
@with_force
def index(
    folder: Path,
    out: Path,
    gate: str,
    labels: Path | None,
    source: str | None,
    workers: int | None,
    force: bool,
) -> None:
    """List a folder of DICOM files as a manifest: one row per usable radiograph, every other file with its reason."""
    from medres.cohort.indexing import write_index

    with progress_bar("reading files") as progress:
        result = write_index(
            folder,
            out,
            gate=gate,
            labels=labels,
            source=source,
            workers=workers,
            force=force,
            progress=progress,
        )
    for line in result.lines():
        click.echo(line)
    sys.exit(EXIT_SOME_REFUSED if result.refused else 0)


@medres.command()
@click.argument("manifest", type=FILE)
@out_option("The new model folder.")
@with_cohort
@with_config
@with_resume
@with_force
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
    from medres.runs.options import RunOptions
    from medres.runs.train import train_model

    with progress_bar("decoding") as progress:
        options = RunOptions(force=force, resume=resume, progress=progress)
        card = train_model(checked, config=config, out=out, options=options)
    click.echo(f"{out}: model {card.model_id}, start: {card.weights}")
    for label, values in card.metrics.items():
        click.echo(f"{label}: AUROC {_interval(values['auroc'])} on {card.metrics_split}")


@medres.command()
@click.argument("manifest", type=FILE)
@out_option("The new run folder.")
@click.option("--splits", type=FILE, help="A split file of `medres split`, with its validation patients.")
@click.option("--repeat", type=click.IntRange(0), help="Which repeat of a repeated split file to go through, from 0.")
@with_folds_column
@with_burned_in
@with_cohort
@with_config
@with_resume
@with_force
def crossval(
    manifest: Path,
    out: Path,
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
    """Cross-validate a recipe with patients kept apart; every figure of performance follows from oof.csv."""
    refuse_early(out, force)
    checked = check_early(manifest, labels, root, folds_column)
    from medres.report.run_page import write_report
    from medres.runs.crossval import cross_validate
    from medres.runs.division import Division
    from medres.runs.options import RunOptions

    division = Division(splits, repeat, folds_column)
    with progress_bar("decoding") as progress:
        options = RunOptions(force=force, resume=resume, allow_burned_in=allow_burned_in, progress=progress)
        metrics = cross_validate(checked, config=config, out=out, division=division, options=options)
    if is_first_process():
        show_metrics(metrics)
        click.echo(f"report: {write_report(out)}")


@medres.command()
@click.argument("run", type=FILE)
def report(run: Path) -> None:
    """Rebuild report.html of a run from its tables alone."""
    from medres.report.run_page import write_report

    click.echo(f"report: {write_report(run)}")


def _interval(item: dict[str, Any]) -> str:
    if item["value"] is None:
        return f"undefined (n = {item['n']})"
    bounds = "" if item["low"] is None else f" ({item['low']:.3f}–{item['high']:.3f})"
    return f"{item['value']:.3f}{bounds}, n = {item['n']} images of {item['n_patients']} patients"


def show_metrics(metrics: dict[str, Any]) -> None:
    """The figures of a metrics.json that fit a terminal."""
    for label, values in metrics["labels"].items():
        pooled = values["pooled"]
        click.echo(f"{label}: AUROC {_interval(pooled['auroc'])}")
        for name in ("sensitivity", "specificity"):
            click.echo(f"{label}: {name} {_interval(pooled[name])}")
    for task, values in metrics["tasks"].items():
        for name, item in values["metrics"].items():
            click.echo(f"{task}: {name.replace('_', ' ')} {_interval(item)}")
