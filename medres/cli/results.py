"""Verbs about what was found: external validation, comparison of runs, and a run's page made again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medres.cli.figures import show_metrics
from medres.cli.group import medres
from medres.cli.options import (
    EXIT_SOME_REFUSED,
    FILE,
    need_model,
    out_option,
    refuse_early,
    with_device,
    with_force,
    with_group_readable,
    with_limits,
    with_root,
)
from medres.errors import UsageError
from medres.terminal import progress_bar

if TYPE_CHECKING:
    from medres.config import Limits


@medres.command()
@click.argument("model", type=FILE)
@click.argument("manifest", type=FILE)
@out_option("The new folder for table, metrics and report.")
@click.option(
    "--allow-overlap",
    is_flag=True,
    help="Go on although patients or images of the training cohort are in this one; the report says so.",
)
@with_root
@with_device
@with_limits
@with_force
@with_group_readable
def evaluate(
    model: Path,
    manifest: Path,
    out: Path,
    allow_overlap: bool,
    root: Path | None,
    device: str,
    limits: Limits,
    force: bool,
) -> None:
    """Validate a saved model (or a run as an ensemble) on another labelled cohort, with all it learned frozen.

    Also says how that cohort differs from the training cohort, and separately what recalibration there would give.
    Exit 3 if any row was not judged.
    """
    refuse_early(out, force)
    need_model(model)
    from medres.report.run_page import write_report
    from medres.runs.external import evaluate_model
    from medres.runs.options import RunOptions

    with progress_bar("decoding") as progress:
        found = evaluate_model(
            model, manifest, out=out, root=root, allow_overlap=allow_overlap, limits=limits,
            options=RunOptions(force=force, device=device, progress=progress),
        )  # fmt: skip
    show_metrics(found.metrics)
    for line in found.lines():
        click.echo(line)
    click.echo(f"report: {write_report(out)}")
    sys.exit(EXIT_SOME_REFUSED if found.refused else 0)


@medres.command()
@click.argument("runs", type=FILE, nargs=-1, required=True, metavar="RUN RUN...")
@out_option("The new folder for compare.html, comparison.json, comparison.csv, costs.csv and run.json.")
@click.option(
    "--seed-spread", type=click.FloatRange(0, 1), metavar="AUROC",
    help="The change of AUROC that another seed is assumed to make, where no recipe was run with two seeds. With fewer "
    "than three seeds of two recipes it is combined with what they show. Default: 0.017, the upper end of the usual.",
)  # fmt: skip
@click.option("--timing/--no-timing", default=True, help="Measure the speed of scoring on this machine.")
@with_device
@with_force
@with_group_readable
def compare(
    runs: tuple[Path, ...], out: Path, seed_spread: float | None, timing: bool, device: str, force: bool
) -> None:
    """Compare cross-validation runs on the same splits, paired by patient; the first is the reference.

    Runs that differ in the seed, or in the repeat of one split file, count as one recipe: their mean is what is
    compared, and they measure its spread. A verdict needs an interval over other patients and other seeds that excludes
    0: with one run each, what another seed changes is assumed; three seeds of every recipe measure it.
    """
    refuse_early(out, force)
    for run in runs:
        if not (run / "oof.csv").is_file():
            raise UsageError(f"{run} is not a run of `medres crossval` (it holds no oof.csv)")
    from medres.report.comparison_page import write_comparison
    from medres.report.comparison_sentences import advice, sentences
    from medres.runs.comparable import read_runs

    found = read_runs(runs)  # before seconds are spent on torch
    from medres.runs.compare import compare_runs

    content = compare_runs(found, out=out, spread=seed_spread, timing=timing, device=device, force=force)
    for sentence in [*sentences(content), *filter(None, [advice(content)])]:
        click.echo(sentence)
    click.echo(f"report: {write_comparison(out)}")


@medres.command()
@click.argument("run", type=FILE)
@with_group_readable
def report(run: Path) -> None:
    """Rebuild report.html of a run from its tables alone; of a study of `depth`, depth.html and those of its runs."""
    from medres.report.run_page import write_report

    if (run / "depth.json").is_file():
        from medres.report.depth_page import write_depth

        for one in sorted((run / "runs").iterdir()):
            write_report(one)
        click.echo(f"report: {write_depth(run)}")
        return
    click.echo(f"report: {write_report(run)}")
