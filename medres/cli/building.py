"""Verbs that build: manifests, splits, models, runs and their reports."""

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
    out_option,
    refuse_early,
    with_burned_in,
    with_cohort,
    with_config,
    with_force,
    with_resume,
    with_root,
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
@click.option(
    "--gate",
    default="any",
    show_default=True,
    metavar="any|frontal-chest|FILE",
    help="Which radiographs to admit.",
)
@with_root
def check(manifest: Path, gate: str, root: Path | None) -> None:
    """Name every problem of a manifest: form, files, and one patient under two names. Exit 3 if there is any."""
    from medres.cohort.checking import check_manifest
    from medres.config import Limits, load_gate

    with progress_bar("checking files") as progress:
        found = check_manifest(manifest, root=root, gate=load_gate(gate), limits=Limits(), progress=progress)
    for line in found:
        click.echo(line)
    click.echo(f"{manifest}: {len(found)} problems" if found else f"{manifest}: no problems found")
    sys.exit(EXIT_SOME_REFUSED if found else 0)


@medres.command()
@click.argument("manifest", type=FILE)
@out_option("The split file (JSON).")
@click.option("--folds", type=click.IntRange(2, 50), default=5, show_default=True, help="Number of folds.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Same seed, same folds.")
@with_cohort
@with_force
def split(
    manifest: Path, out: Path, folds: int, seed: int, labels: tuple[Any, ...], root: Path | None, force: bool
) -> None:
    """Divide patients into stratified folds, as a file that crossval --splits takes."""
    from medres.cohort.manifest import read_manifest
    from medres.cohort.splits import make_folds, splits_document, write_splits
    from medres.config import Training
    from medres.tables import refuse_existing

    refuse_existing(out, force=force)
    checked = read_manifest(manifest, labels, root=root)
    fraction = Training().validation_fraction
    made = make_folds(checked.rows, checked.labels, folds=folds, validation_fraction=fraction, seed=seed)
    write_splits(out, splits_document(made, labels=checked.labels, seed=seed, manifest_sha256=checked.sha256))
    for fold in made:
        click.echo(
            f"fold {fold.index}: {len(fold.training)} training, {len(fold.validation)} validation, "
            f"{len(fold.held_out)} held-out patients"
        )


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
    check_early(manifest, labels, root)
    from medres.training.train import train_model

    with progress_bar("decoding") as progress:
        card = train_model(
            manifest,
            labels=labels,
            config=config,
            out=out,
            root=root,
            resume=resume,
            force=force,
            progress=progress,
        )
    click.echo(f"{out}: model {card.model_id}, start: {card.weights}")
    for label, values in card.metrics.items():
        click.echo(f"{label}: AUROC {_interval(values['auroc'])} on {card.metrics_split}")


@medres.command()
@click.argument("manifest", type=FILE)
@out_option("The new run folder.")
@click.option("--splits", type=FILE, help="A split file of `medres split` instead of making one.")
@with_burned_in
@with_cohort
@with_config
@with_resume
@with_force
def crossval(
    manifest: Path,
    out: Path,
    splits: Path | None,
    labels: tuple[Any, ...],
    root: Path | None,
    config: Config,
    resume: bool,
    force: bool,
    allow_burned_in: bool,
) -> None:
    """Cross-validate a recipe with patients kept apart; every figure can be recomputed from oof.csv."""
    refuse_early(out, force)
    check_early(manifest, labels, root)
    from medres.training.crossval import cross_validate

    with progress_bar("decoding") as progress:
        metrics = cross_validate(
            manifest,
            labels=labels,
            config=config,
            out=out,
            root=root,
            splits=splits,
            resume=resume,
            force=force,
            allow_burned_in=allow_burned_in,
            progress=progress,
        )
    show_metrics(metrics)
    click.echo(f"report: {out / 'report.html'}")


@medres.command()
@click.argument("run", type=FILE)
def report(run: Path) -> None:
    """Rebuild report.html of a run from its tables alone."""
    from medres.evaluation.report import write_report

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
