"""Verbs that look at radiographs: score a folder, render one file."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from click.core import ParameterSource

from medres.cli.group import medres
from medres.cli.options import (
    EXIT_NOTHING,
    EXIT_SOME_REFUSED,
    FILE,
    SHARE,
    need_model,
    out_option,
    refuse_early,
    with_burned_in,
    with_device,
    with_files,
    with_force,
    with_group_readable,
    with_limits,
    with_precision,
    with_trust,
)
from medres.cli.sections import SectionedCommand
from medres.errors import UsageError
from medres.terminal import note, progress_bar

if TYPE_CHECKING:
    from medres.config import Limits
    from medres.records import Decoding, Precision


_SECTIONS = {
    "What is written": ("--out", "--studies", "--deidentify", "--heatmaps", "--allow-burned-in", "--group-readable"),
    "Night after night": ("--resume", "--files", "--files0", "--verify", "--max-gone", "--force"),
    "For schedulers": ("--max-refused", "--fail-if-empty", "--json", "--metrics"),
    "How it computes": ("--workers", "--device", "--precision", "--decode", "--limit", "--trust"),
}


@medres.command(cls=SectionedCommand, sections=_SECTIONS)
@click.argument("model", type=FILE)
@click.argument("folder", type=FILE)
@out_option("Folder for predictions.csv and predictions.parquet.")
@click.option(
    "--heatmaps",
    is_flag=True,
    help="Also write a picture for every label at or above its operating point whose heatmaps have not failed.",
)
@with_burned_in
@click.option(
    "--resume",
    is_flag=True,
    help="Continue: keep the rows of unchanged files, and of all that a list (--files) does not name.",
)
@with_files
@click.option("--workers", type=click.IntRange(1), help="Decoding processes; one per processor by default.")
@click.option(
    "--deidentify",
    is_flag=True,
    help="Also write predictions.deidentified.csv and .parquet: keyed UIDs and paths, nothing that joins a manifest.",
)
@click.option(
    "--studies",
    type=click.Choice(["max", "mean", "frontal-first"]),
    help="Also write studies.csv and .parquet: one row for each StudyInstanceUID. max: the highest probability of its "
    "images; mean; frontal-first: the mean of its frontal images (ViewPosition AP or PA), or of all where it has none. "
    "Calibration and operating points are of single images: a study's probability is not calibrated at its own level.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="With --resume: hash every file, instead of trusting size, modification time and inode.",
)
@click.option(
    "--max-gone",
    type=SHARE,
    default="10%",
    show_default=True,
    metavar="SHARE",
    help="With --resume or --force: the share of scored files that may be gone. More is a missing mount: exit 1.",
)
@click.option(
    "--max-refused",
    type=SHARE,
    default="0%",
    metavar="SHARE",
    help="The share of refused files that is still exit code 0; by default any is 3.",
)
@click.option("--fail-if-empty", is_flag=True, help="Exit 4 where the folder holds no file, or the list no name.")
@click.option("--json", "as_json", is_flag=True, help="Print what state.json says, instead of lines for people.")
@click.option("--metrics", type=FILE, help="Also write a textfile for Prometheus, kept up to date.")
@with_trust
@with_precision
@with_device
@with_limits
@with_group_readable
@with_force
def score(
    model: Path,
    folder: Path,
    out: Path,
    heatmaps: bool,
    allow_burned_in: bool,
    resume: bool,
    names: list[str] | None,
    workers: int | None,
    deidentify: bool,
    studies: Literal["max", "mean", "frontal-first"] | None,
    verify: bool,
    max_gone: float,
    max_refused: float,
    fail_if_empty: bool,
    as_json: bool,
    metrics: Path | None,
    trust: tuple[Path, ...],
    precision: Precision,
    decode: Decoding | None,
    device: str,
    limits: Limits,
    force: bool,
) -> None:
    """Score a folder with a model (or a cross-validation run as an ensemble): one row per file, always."""
    if resume and force:
        raise UsageError("--resume keeps results and --force replaces them: give one of the two")
    _refuse_idle(resume=resume, force=force, heatmaps=heatmaps, allow_burned_in=allow_burned_in, verify=verify)
    if not resume and not force and metrics is None:  # else who looks after the folder is told as well
        need_model(model)
    from medres.scoring.folder import score_folder
    from medres.scoring.heatmaps import HeatmapPolicy
    from medres.scoring.state import STATE
    from medres.tables import MARKER, read_json

    with progress_bar("scoring") as progress:
        summary = score_folder(
            model, folder, out=out, resume=resume, force=force, workers=workers, progress=progress,
            heatmaps=HeatmapPolicy(enabled=heatmaps, allow_burned_in=allow_burned_in), limits=limits, device=device,
            trust=trust, deidentify=deidentify, verify=verify, most_gone=max_gone, metrics=metrics,
            names=names, studies=studies, precision=precision, decode=decode,
        )  # fmt: skip
    ending = EXIT_SOME_REFUSED if summary.refused_share > max_refused else 0
    if fail_if_empty and (not summary.files if names is None else not names):
        ending = EXIT_NOTHING
    for line in summary.lines():
        note(logging.INFO, line)
    if as_json:
        click.echo((out / STATE).read_text(encoding="utf-8"))
        sys.exit(ending)
    for line in summary.lines():
        click.echo(line)
    for name, holds in read_json(out / MARKER)["holds"].items():
        click.echo(f"table: {out / name}: {holds}")
    sys.exit(ending)


def _refuse_idle(*, resume: bool, force: bool, heatmaps: bool, allow_burned_in: bool, verify: bool) -> None:
    """Say no to an option that would change nothing: who gives it believes that it does.

    Raises:
        UsageError: names it, and what it goes with.
    """
    if verify and not resume:
        raise UsageError("--verify hashes the files whose rows are kept: give it with --resume")
    given = click.get_current_context().get_parameter_source("max_gone")
    if given is ParameterSource.COMMANDLINE and not resume and not force:
        raise UsageError("--max-gone is about files that were scored before: give it with --resume or --force")
    if allow_burned_in and not heatmaps:
        raise UsageError("--allow-burned-in is about pictures, and score writes some only with --heatmaps: give both")


@medres.command()
@click.argument("file", type=FILE)
@out_option("IMAGE.png (8 bit), or IMAGE.npy (float32 in [0, 1]).")
@click.option(
    "--voi", type=click.Choice(["header", "full", "percentile"]), default="header", show_default=True,
    help="Which values are shown as black and white: the header's window, the full range, or percentiles.",
)  # fmt: skip
@with_burned_in
@with_limits
@with_group_readable
@with_force
def render(
    file: Path,
    out: Path,
    voi: Literal["header", "full", "percentile"],
    allow_burned_in: bool,
    limits: Limits,
    force: bool,
) -> None:
    """Show what the network and the reader see of one DICOM file."""
    from medres.imaging.isolation import read_isolated
    from medres.imaging.pictures import as_bytes, refuse_burned_in, write_picture

    refuse_early(out, force)
    radiograph = read_isolated(file, voi=voi, limits=limits)
    refuse_burned_in(out, radiograph.attributes, allowed=allow_burned_in)
    write_picture(out, radiograph.pixels, as_bytes(radiograph.pixels))
    rows, columns = radiograph.pixels.shape
    warnings = f" · warnings: {', '.join(radiograph.warnings)}" if radiograph.warnings else ""
    click.echo(f"{out}: {rows} × {columns} pixels{warnings}")
