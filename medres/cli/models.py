"""Verbs about saved models."""

from __future__ import annotations

import json
from pathlib import Path

import click

from medres.cli.group import medres
from medres.cli.options import FILE, need_model


@medres.command()
@click.argument("model", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="The card as JSON.")
def inspect(model: Path, as_json: bool) -> None:
    """Verify a saved model and show its card."""
    need_model(model)
    from medres.model.attachments import attachments_text, read_attachments
    from medres.model.bundle import card_text
    from medres.model.classifier import Classifier

    card = Classifier.load(model, device="cpu").card
    attached = read_attachments(model, card.model_id)
    click.echo(json.dumps(card.content(), indent=1, ensure_ascii=False) if as_json else card_text(card))
    if attached and not as_json:
        click.echo(attachments_text(attached))
