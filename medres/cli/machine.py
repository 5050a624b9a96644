"""Verbs about this machine: the demonstration, what the installation can do, and the review app."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medres.cli.group import medres
from medres.cli.options import (
    FILE,
    need_model,
    with_device,
    with_force,
    with_group_readable,
)
from medres.errors import UsageError
from medres.terminal import progress_bar

if TYPE_CHECKING:
    pass


@medres.command()
@click.option("--out", type=FILE, default=Path("medres-demo"), show_default=True, help="New folder for everything.")
@click.option("--app/--no-app", "app", default=True, help="Open the review app at the end.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the app; 8501, or the next free one, by default.")
@click.option(
    "--patients",
    type=click.IntRange(min=15),
    default=90,
    show_default=True,
    help="Phantom patients to learn from; fewer are sooner done, and too few to learn much.",
)
@with_force
@with_group_readable
def demo(out: Path, app: bool, port: int | None, patients: int, force: bool) -> None:
    """Show the whole path on synthetic radiographs: needs no data, no network, no GPU; about three minutes."""
    from medres.demo import run_demo, serve_demo

    for line in run_demo(out, patients=patients, force=force, progress=progress_bar):
        click.echo(line)
    if app:
        serve_demo(out, port=port, say=click.echo)


@medres.command()
@click.option(
    "--gpu", is_flag=True,
    help="Try the GPU, about a minute: exact values, a saved model against the processor, memory that runs out.",
)  # fmt: skip
def doctor(gpu: bool) -> None:
    """Say what this installation can do: device, precision, weights, folders, and what it decodes, by decoding it.

    Exit code 1 where a package is missing, a transfer syntax is not decoded, or a check of the GPU fails.
    """
    from medres.doctor import decoding, findings, missing_packages

    missing = missing_packages()
    for requirement in missing:
        click.echo(f"MISSING {requirement}: pip install '{requirement}'")
    if missing:
        sys.exit(1)
    for line in findings():
        click.echo(line)
    sound = True
    for line, decoded in decoding():
        click.echo(line)
        sound &= decoded
    if gpu:
        from medres.doctor import on_the_gpu

        for line, passed in on_the_gpu():
            click.echo(line)
            sound &= passed
    if not sound:
        sys.exit(1)


@medres.command()
@click.option("--model", type=FILE, required=True, help="The model (or run) that scored the folder.")
@click.option(
    "--scores",
    type=FILE,
    required=True,
    multiple=True,
    help="Output folder of `medres score`; given several times, one list of all that this model scored.",
)
@click.option(
    "--store",
    metavar="URL",
    help="Database of verdicts; by default what MEDRES_STORE says, else reviews.db in the (first) folder of scores.",
)
@click.option(
    "--store-file",
    type=FILE,
    help="A file whose first line is that URL: as with MEDRES_STORE, no list of processes shows its password.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port on 127.0.0.1; 8501, or the next free one, by default."
)
@click.option("--headless", is_flag=True, help="Do not open a browser.")
@click.option(
    "--open-verdicts",
    is_flag=True,
    help="Show other readers' verdicts at once. Without, they are seen once one's own is stored.",
)
@with_device
@with_group_readable
def app(
    model: Path,
    scores: tuple[Path, ...],
    store: str | None,
    store_file: Path | None,
    port: int | None,
    headless: bool,
    open_verdicts: bool,
    device: str,
) -> None:
    """Open the review app: worklist, image, prediction, heatmap, verdict.

    Whoever has the address that it prints can open the app on this machine, and nobody else: keep it to yourself.
    """
    from medres.review import address
    from medres.review.server import serve

    need_model(model)
    for folder in scores:
        if not (folder / "predictions.csv").is_file():
            raise UsageError(f"{folder} holds no predictions.csv; run `medres score` first")
    store = address.chosen(store, store_file, os.environ)
    if device not in ("auto", "cpu"):
        from medres.model.device import choose_device

        choose_device(device)  # one that is not there is said now, not on the first page
    sys.exit(
        serve(
            model=model,
            scores=scores,
            store=store,
            port=port,
            headless=headless,
            device=device,
            open_verdicts=open_verdicts,
            say=click.echo,
        )
    )
