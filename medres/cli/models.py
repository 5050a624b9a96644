"""Verbs about saved models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medres.cli.group import medres
from medres.cli.options import (
    FILE,
    need_model,
)

if TYPE_CHECKING:
    pass


@medres.command()
@click.argument("model", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="The card as JSON.")
def inspect(model: Path, as_json: bool) -> None:
    """Verify a saved model and show its card."""
    need_model(model)
    from medres.model.bundle import card_text
    from medres.model.classifier import Classifier

    card = Classifier.load(model, device="cpu").card
    click.echo(card.model_dump_json(indent=1) if as_json else card_text(card))
