"""Verbs about a cohort: its manifest, what is wrong with it, and which patients go into which fold."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medres.cli.group import medres
from medres.cli.options import (
    EXIT_SOME_REFUSED,
    FILE,
    out_option,
    with_burned_in,
    with_cohort,
    with_files,
    with_folds_column,
    with_force,
    with_gate,
    with_group_readable,
    with_limits,
    with_root,
)
from medres.errors import UsageError
from medres.terminal import progress_bar

if TYPE_CHECKING:
    from medres.config import Limits

_MOST_NOTES = 20  # shown on a terminal


@medres.command()
@click.argument("folder", type=FILE)
@out_option("The manifest (CSV); refused.csv is written beside it.")
@with_gate
@click.option(
    "--labels",
    type=FILE,
    help="CSV with label_<finding> columns to join by SOPInstanceUID, path, Series- or StudyInstanceUID, or PatientID.",
)
@click.option(
    "--source",
    metavar="NAME|FILE",
    help="Labels of a public dataset, described by a YAML file of data_manifests/.",
)
@with_files
@click.option("--workers", type=click.IntRange(1), help="Decoding processes; one per processor by default.")
@with_limits
@with_force
@with_group_readable
def index(
    folder: Path,
    out: Path,
    gate: str,
    labels: Path | None,
    source: str | None,
    names: list[str] | None,
    workers: int | None,
    limits: Limits,
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
            limits=limits,
            workers=workers,
            force=force,
            progress=progress,
            names=names,
        )
    for line in result.lines():
        click.echo(line)
    sys.exit(EXIT_SOME_REFUSED if result.refused else 0)


@medres.command()
@click.argument("manifest", type=FILE)
@click.option("--out", type=FILE, help="A folder for leaks.csv and leaks.html, with suspicious images side by side.")
@with_gate
@with_root
@with_burned_in
@with_limits
@with_force
@with_group_readable
def check(
    manifest: Path,
    out: Path | None,
    gate: str,
    root: Path | None,
    allow_burned_in: bool,
    limits: Limits,
    force: bool,
) -> None:
    """Name every problem of a manifest: its form, its files, one patient or image under two names.

    Exit 3 if there is any problem, or any check that could not run.
    """
    from medres.cohort.checking import check_manifest
    from medres.cohort.planted import what_is_found
    from medres.config import load_gate
    from medres.evaluation.metadata import check_metadata
    from medres.report.leaks_page import write_leaks
    from medres.tables import refuse_existing

    if out is not None:
        refuse_existing(out, force=force)
    admitted = load_gate(gate)
    with progress_bar("checking") as progress:
        checked = check_manifest(manifest, root=root, gate=admitted, limits=limits, progress=progress)
    checked = check_metadata(checked)
    if out is not None:
        write_leaks(out, checked, gate=admitted, limits=limits, allow_burned_in=allow_burned_in, force=force)
    problems, notes = checked.lines()
    for line in problems:
        click.echo(line)
    for line in notes[:_MOST_NOTES]:
        click.echo(f"note: {line}")
    if len(notes) > _MOST_NOTES:
        click.echo(f"note: {len(notes) - _MOST_NOTES} more of this kind; --out writes them all")
    for line in checked.lines_not_run():
        click.echo(line)
    if checked.compared_images:
        click.echo(f"note: {what_is_found()}")
    click.echo(f"{manifest}: {checked.verdict()}")
    if out is not None:
        click.echo(f"leaks: {out / 'leaks.html'}")
    sys.exit(EXIT_SOME_REFUSED if problems or checked.not_run else 0)


@medres.command()
@click.argument("manifest", type=FILE)
@out_option("The split file (JSON).")
@click.option("--folds", type=click.IntRange(2, 50), help="Number of folds; 5 by default.")
@click.option(
    "--repeats",
    type=click.IntRange(1, 50),
    help="How often every patient is held out, each time with another seed; once by default.",
)
@with_folds_column
@click.option(
    "--validation-fraction",
    type=click.FloatRange(0, 0.5, min_open=True, max_open=True),
    help="Share of each fold's training patients that is set aside to choose epoch (unless the last is kept), "
    "calibration and thresholds; 0.15 by default, rounded to one of equal parts (one in seven). A run on this file "
    "takes these patients, whatever training.validation_fraction says.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Same seed, same folds.")
@with_cohort
@with_force
@with_group_readable
def split(
    manifest: Path,
    out: Path,
    folds: int | None,
    repeats: int | None,
    folds_column: str | None,
    validation_fraction: float | None,
    seed: int,
    labels: tuple[Any, ...],
    root: Path | None,
    force: bool,
) -> None:
    """Divide patients into stratified folds, as a file that crossval --splits takes."""
    from medres.cohort.given_folds import folds_from_column
    from medres.cohort.manifest import read_manifest
    from medres.cohort.splits import make_folds, splits_document, write_splits
    from medres.cohort.stratification import STRATIFIED
    from medres.config import CrossValidation, Training
    from medres.tables import refuse_existing

    if folds_column and (folds or repeats):
        raise UsageError("--folds-column gives the folds; --folds and --repeats make them: choose one")
    refuse_existing(out, force=force)
    checked = read_manifest(manifest, labels, root=root)
    fraction = validation_fraction or Training().validation_fraction
    if folds_column:
        made, method = folds_from_column(checked, folds_column, validation_fraction=fraction, seed=seed)
    else:
        count, times = folds or CrossValidation().folds, repeats or 1
        made = make_folds(
            checked.rows, checked.labels, folds=count, repeats=times, validation_fraction=fraction, seed=seed
        )
        method = STRATIFIED
    document = splits_document(made, labels=checked.labels, seed=seed, manifest_sha256=checked.sha256, method=method)
    write_splits(out, document)
    for fold in made:
        where = f" ({fold.name})" if fold.name else f" of repeat {fold.repeat}" if repeats and repeats > 1 else ""
        click.echo(
            f"fold {fold.index}{where}: {len(fold.training)} training, {len(fold.validation)} validation, "
            f"{len(fold.held_out)} held-out patients"
        )
