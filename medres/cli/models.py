"""Verbs about saved models: what is in a folder, who stands for it, and a copy that may travel."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medres.cli.group import medres
from medres.cli.options import (
    EXIT_SOME_REFUSED,
    FILE,
    check_early,
    need_model,
    out_option,
    refuse_early,
    with_boxes,
    with_device,
    with_limits,
    with_precision,
    with_root,
    with_trust,
)
from medres.errors import ModelError, UsageError
from medres.terminal import progress_bar

if TYPE_CHECKING:
    from medres.config import Limits
    from medres.records import Decoding, Precision


@medres.command()
@click.argument("model", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="The card as JSON.")
@with_trust
def inspect(model: Path, as_json: bool, trust: tuple[Path, ...]) -> None:
    """Verify a saved model; show its card, every file and what covers it, and who signed it.

    Exit 1 where a file is altered, missing or not the model's, or --trust finds no signature for it; exit 3 where the
    model is sound and files lie in its folder that nothing covers.
    """
    need_model(model)
    from medres.model.attachments import attachments_text, read_attachments
    from medres.model.audit import audit_model

    found = audit_model(model, trust)
    if found.problems:
        if not as_json:
            click.echo("\n".join(found.lines()))
        more = len(found.problems) - 1
        raise ModelError(found.problems[0] + (f" (and {more} more, listed above)" if more and not as_json else ""))
    from medres.model.bundle import card_text
    from medres.model.classifier import Classifier
    from medres.model.inspection import shown

    card = Classifier.load(model, device="cpu", trust=trust).card
    attached = read_attachments(model, card.model_id)
    if as_json:
        click.echo(json.dumps(card.content(), indent=1, ensure_ascii=False))
    else:
        click.echo("\n".join(map(shown, card_text(card).split("\n"))))
        if attached:
            click.echo("\n".join(map(shown, attachments_text(attached).split("\n"))))
        click.echo("\n".join(found.lines()))
    if found.uncovered:
        click.echo(f"{model}: {found.uncovered} files in it are covered by nothing", err=True)
        sys.exit(EXIT_SOME_REFUSED)


@medres.command()
@click.argument("model", type=FILE, required=False)
@click.option("--key", type=FILE, help="Your private key (Ed25519, PEM).")
@click.option(
    "--new-key", type=FILE, metavar="KEY.pem",
    help="Make this key first (0600), and KEY.pub.pem beside it for those who shall trust it.",
)  # fmt: skip
@click.option("--signer", default="", metavar="TEXT", help="Who signs, in words; only the key proves it.")
def sign(model: Path | None, key: Path | None, new_key: Path | None, signer: str) -> None:
    """Sign a saved model as it is, with all that is attached to it; `inspect --trust` verifies it (medres[signing])."""
    if (key is None) == (new_key is None):
        raise UsageError("give --key KEY, or --new-key KEY to make one")
    if key is not None and model is None:
        raise UsageError("name the model that is to be signed")
    if model is not None:
        need_model(model)
    from medres.model import signing

    if new_key is not None:
        public = signing.new_key(new_key)
        click.echo(f"{new_key}: keep it to yourself; {public}: for those who shall trust it")
    if model is not None and (mine := key or new_key):
        from medres.model.classifier import Classifier

        card = Classifier.load(model, device="cpu").card
        path = signing.sign_model(model, mine, signer=signer)
        click.echo(f"{path}: signed {card.model_id}, and all that is attached to it now")


@medres.command("accuracy-check")
@click.argument("model", type=FILE)
@click.argument("manifest", type=FILE)
@with_precision
@with_root
@with_device
@with_limits
def accuracy_check(
    model: Path,
    manifest: Path,
    precision: Precision,
    decode: Decoding | None,
    root: Path | None,
    device: str,
    limits: Limits,
) -> None:
    """Does MODEL score the labelled images of MANIFEST alike in another precision, or from smaller copies?

    They are scored both ways. It passes where every label's AUROC differs by at most 0.002, every probability by at
    most 0.005, and at most 0.1 % of the calls change; at least 100 images of each label, 10 with and 10 without it.
    The figures are attached to the model (a signed model is signed again afterwards), and `score` then takes the same
    --precision and --decode on the same kind of device. Take images that it was not trained on. Exit 1 where it fails.
    """
    need_model(model)
    check_early(manifest, (), root)
    from medres.runs.accuracy_checks import check_accuracy
    from medres.runs.options import RunOptions

    with progress_bar("decoding") as progress:
        found = check_accuracy(
            model, manifest, precision=precision, decode=decode, root=root, limits=limits,
            options=RunOptions(device=device, progress=progress),
        )  # fmt: skip
    for line in found.lines():
        click.echo(line)
    if found.check.failures:
        sys.exit(1)


@medres.command("heatmap-check")
@click.argument("model", type=FILE)
@click.argument("manifest", type=FILE, required=False)
@click.option("--run", type=FILE, help="Instead of MANIFEST: a cross-validation of the recipe of MODEL.")
@with_boxes
@with_root
@with_device
@with_limits
def heatmap_check(
    model: Path,
    manifest: Path | None,
    run: Path | None,
    boxes: Path | None,
    root: Path | None,
    device: str,
    limits: Limits,
) -> None:
    """Do MODEL's heatmaps mean anything? Measure them, and attach the licence by which they are shown or withheld.

    MANIFEST: labelled images that MODEL did not learn from; or, where MODEL is a cross-validation run, its own
    manifest: each image is then measured by the network that had held it out. --run RUN: take over what `crossval`
    has measured for the same recipe, labels and manifest. A signed model is signed again afterwards. Exit 1 where the
    maps of a label failed.
    """
    need_model(model)
    if (manifest is None) == (run is None):
        raise UsageError("give MANIFEST, on whose images the maps are measured, or --run RUN, whose figures count")
    if run is not None and (boxes or root):
        raise UsageError("--boxes and --root belong to MANIFEST: with --run nothing is measured")
    if manifest is not None:
        check_early(manifest, (), root)
    from medres.runs.heatmaps.checks import check_heatmaps, take_over
    from medres.runs.options import RunOptions

    if run is not None:
        found = take_over(model, run)
    else:
        assert manifest is not None
        with progress_bar("decoding") as progress:
            options = RunOptions(boxes=boxes, device=device, progress=progress)
            found = check_heatmaps(model, manifest, root=root, limits=limits, options=options)
    for line in found.lines():
        click.echo(line)
    if any(one.state == "failed" for one in found.found.labels.values()):
        sys.exit(1)


@medres.command()
@click.argument("model", type=FILE)
@out_option("The new folder, which may travel.")
def export(model: Path, out: Path) -> None:
    """Copy a saved model without what tells of its patients and site: splits, records, and tags that name a site."""
    refuse_early(out, False)
    need_model(model)
    from medres.model.exporting import export_model

    card = export_model(model, out)
    click.echo(f"{out}: model {card.model_id}, made to travel; it computes what {model} does")
