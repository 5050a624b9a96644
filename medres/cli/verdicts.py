"""Verbs about readers' verdicts: copies of the store, whether it is whole, and what is made of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from medres.cli.group import medres
from medres.cli.options import EXIT_SOME_REFUSED, FILE, out_option, refuse_early, with_force, with_group_readable
from medres.errors import UsageError

Verb = TypeVar("Verb", bound=Callable[..., Any])


@medres.group()
def verdicts() -> None:
    """Back up, restore, verify and export what readers said in the review app; the app may go on meanwhile.

    Each of backup, restore, verify and export finds the store as `medres app` does: --store, --store-file,
    MEDRES_STORE, or reviews.db in the folder of --scores. `medres verdicts VERB --help` says the rest.
    """


@dataclass(frozen=True, slots=True)
class Place:
    """Where verdicts are."""

    url: str = field(repr=False)  # it may hold a password
    scores: Path | None  # the scored folder, where one was given


def with_store(verb: Verb) -> Verb:
    """The options that name a store; the verb gets it as `place`."""

    @wraps(verb)
    def stored(*, scores: Path | None, store: str | None, store_file: Path | None, **others: Any) -> Any:
        from medres.review import address
        from medres.review.server import default_store

        if scores is not None and not (scores / "predictions.csv").is_file():
            raise UsageError(f"{scores} holds no predictions.csv: it is no output folder of `medres score`")
        found = address.chosen(store, store_file, os.environ) or (default_store(scores) if scores else None)
        if found is None:
            raise UsageError("no store is named: give --scores, --store or --store-file, or set MEDRES_STORE")
        return verb(place=Place(found, scores), **others)

    options = (
        click.option("--scores", type=FILE, help="Output folder of `medres score`, whose reviews.db is the store."),
        click.option("--store", metavar="URL", help="Database of verdicts, as `medres app --store`."),
        click.option("--store-file", type=FILE, help="A file whose first line is that URL."),
    )
    found: Callable[..., Any] = stored
    for option in reversed(options):
        found = option(found)
    return found  # type: ignore[return-value]  # the same verb with other options


@verdicts.command(short_help="Copy the store at one moment, also while readers save into it.")
@out_option("The new file for the backup: SQLite, whatever the store is, and a store by itself.")
@with_store
@with_group_readable
def backup(out: Path, place: Place) -> None:
    """Copy the store as it is at one moment, also while readers save into it."""
    from medres.review.verdicts.backup import back_up
    from medres.review.verdicts.database import need_store

    need_store(place.url)
    found = back_up(place.url, out)
    click.echo(f"{out}: {found.verdicts} verdicts, audit trail to line {found.head.number} ({found.head.hash})")


@verdicts.command(short_help="Put a backup in the place of the store.")
@click.argument("backup_file", type=FILE, metavar="BACKUP")
@with_store
@with_force
@with_group_readable
def restore(backup_file: Path, place: Place, force: bool) -> None:
    """Put BACKUP in the place of the store; --force replaces verdicts that are there, and keeps them in a file."""
    from medres.review.verdicts.backup import restore as put_back

    found = put_back(backup_file, place.url, force=force)
    click.echo(f"{found.verdicts} verdicts restored, audit trail to line {found.head.number} ({found.head.hash})")
    if found.kept is not None:
        click.echo(f"what was there before: {found.kept}")


@verdicts.command(short_help="Say whether the store is whole.")
@click.option(
    "--against",
    type=FILE,
    metavar="BACKUP|EXPORT",
    help="A backup, or an export's folder: the audit trail must still hold its last line, so that a removed tail is "
    "found, too.",
)
@with_store
def verify(against: Path | None, place: Place) -> None:
    """Say whether the store is whole: its pages, its audit trail, and every verdict. Exit code 3 if it is not."""
    from medres.review.store import ReviewStore
    from medres.review.verdicts.backup import kept_head
    from medres.review.verdicts.database import need_store
    from medres.review.verdicts.verification import faults

    need_store(place.url)
    known = kept_head(against) if against is not None else None
    with ReviewStore.open(place.url) as opened:
        found, head = faults(opened, known), opened.head()
    for fault in found:
        click.echo(fault)
    said = f"audit trail to line {head.number} ({head.hash})"
    click.echo(f"{len(found)} faults, {said}" if found else f"the store is whole, {said}")
    sys.exit(EXIT_SOME_REFUSED if found else 0)


@verdicts.command(short_help="Write verdicts as tables, and a manifest for training.")
@out_option("The new folder for verdicts.csv, agreement.csv, verdicts.json and, where it is asked for, manifest.csv.")
@click.option(
    "--manifest",
    "labels_by",
    metavar="majority|READER",
    default="",
    help="Also write manifest.csv for `medres train`: label_ columns by the majority of readers or by one of them "
    "(unsure: -1), whose word each is in the column provenance, PatientID read again from the files. Needs --scores.",
)
@with_store
@with_group_readable
def export(out: Path, labels_by: str, place: Place) -> None:
    """Write verdicts as tables, and how far readers agree with each other and with the model.

    With --scores the verdicts are those on that folder's model, and agreement knows its patients. Of a damaged store
    what can be read is written, and the exit code is 3; it is 3, too, where images are left out of the manifest.
    """
    refuse_early(out, False)
    from medres.review.verdicts.exporting import export as write_export
    from medres.review.verdicts.exporting import read_source
    from medres.review.verdicts.scored import read_scored
    from medres.review.verdicts.sentences import lines

    source = read_source(place.url, read_scored(place.scores) if place.scores else None, out)
    found = write_export(source, out, labels_by=labels_by)
    for line in lines(found, source):
        click.echo(line)
    sys.exit(EXIT_SOME_REFUSED if found.left_out or not source.whole else 0)
