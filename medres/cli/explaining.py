"""The verb that says where scores come from: of one file, or of a folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from medres.cli.group import medres
from medres.cli.options import (
    EXIT_SOME_REFUSED,
    FILE,
    need_model,
    out_option,
    refuse_early,
    with_burned_in,
    with_device,
    with_force,
    with_group_readable,
    with_limits,
)
from medres.cli.sections import SectionedCommand
from medres.errors import UsageError
from medres.terminal import progress_bar

if TYPE_CHECKING:
    from medres.config import Limits
    from medres.model.heatmaps.grid import Stride
    from medres.model.heatmaps.library import Method
    from medres.scoring.explaining.explainer import Explained, Explainer, Format, LabelMap

_ENDINGS = {".png", ".npy"}
_SECTIONS = {
    "Which maps": ("--label", "--method", "--layer", "--stride", "--show-anyway"),
    "What is written": ("--out", "--format", "--contour", "--allow-burned-in", "--group-readable"),
    "Again": ("--resume", "--force"),
    "How it computes": ("--workers", "--device", "--limit"),
}


@medres.command(cls=SectionedCommand, sections=_SECTIONS)
@click.argument("model", type=FILE)
@click.argument("target", metavar="FILE|FOLDER", type=FILE)
@out_option(
    "IMAGE.png (the radiograph, and beside it the same with its heatmap) or IMAGE.npy (float32, native pixels, logits) "
    "of one file and one label; else a folder for heatmaps.csv, pictures and arrays."
)
@click.option(
    "--label", "labels", multiple=True, metavar="NAME",
    help="Which label to explain; repeatable. Without, every label at or above its operating point.",
)  # fmt: skip
@click.option(
    "--method",
    type=click.Choice(["cam", "gradcam", "gradcam++", "hirescam", "layercam", "eigencam", "scorecam"]),
    default="cam",
    show_default=True,
    help="cam: the class-activation map; the others: the grad-cam library's, of which no heatmap is validated.",
)
@click.option("--layer", metavar="NAME", help="The layer that such a method explains, such as backbone.layer3.")
@click.option(
    "--stride",
    type=click.Choice(["32", "16", "8"]),
    help="Network pixels between cells of the map; 32 is the exact one's [default: 16].",
)
@click.option(
    "--show-anyway",
    is_flag=True,
    help="Draw also what is not shown: labels below their operating point, and labels whose heatmaps have failed. The "
    "picture says so.",
)
@click.option(
    "--format", "formats", type=click.Choice(["png", "npy"]), multiple=True,
    help="What a folder gets of each map beside its row; repeatable [default: png].",
)  # fmt: skip
@click.option(
    "--contour",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.5,
    show_default=True,
    help="Where the contour lies, as a part of full colour; boxes and areas in the table are of what lies inside.",
)
@with_burned_in
@click.option(
    "--resume", is_flag=True, help="Keep the rows of unchanged files of an earlier run, with the same options."
)
@click.option("--workers", type=click.IntRange(1), help="Decoding processes; one per processor by default.")
@with_device
@with_limits
@with_group_readable
@with_force
def explain(
    model: Path,
    target: Path,
    out: Path,
    labels: tuple[str, ...],
    method: Method,
    layer: str | None,
    stride: str | None,
    show_anyway: bool,
    formats: tuple[Format, ...],
    contour: float,
    allow_burned_in: bool,
    resume: bool,
    workers: int | None,
    device: str,
    limits: Limits,
    force: bool,
) -> None:
    """Say where in a radiograph scores come from, in native pixels: of one file, or of every file below a folder.

    A map is shown where its label is at or above the operating point and its heatmaps have not failed their validation;
    else a sentence says why not. What was never validated says so. Exit code 3: a file was refused, or a map is missing
    that was asked for: of one file any, of a folder that of a called label.
    """
    one = out.suffix.lower() in _ENDINGS
    _refuse_contradictions(target, out, one=one, resume=resume, force=force, formats=formats)
    if not resume:
        refuse_early(out, force)
    need_model(model)
    from medres.model.heatmaps.shown import Drawing
    from medres.scoring.explaining.explainer import Asked

    wanted: tuple[Format, ...] = (cast("Format", out.suffix.lower()[1:]),) if one else formats or ("png",)
    step = cast("Stride", int(stride)) if stride else None
    asked = Asked(
        tuple(dict.fromkeys(labels)), Drawing(method, layer, contour), step, wanted, show_anyway, allow_burned_in
    )
    if one:
        from medres.scoring.explaining.folder import explain_file

        explainer, found = explain_file(model, target, asked=asked, limits=limits, device=device)
        sys.exit(_write_one(out, explainer, found))
    from medres.scoring.explaining.folder import TABLE, Reading, explain_folder

    with progress_bar("explaining") as progress:
        summary = explain_folder(
            model, target, out=out, asked=asked, reading=Reading(limits, workers, progress), device=device,
            resume=resume, force=force,
        )  # fmt: skip
    for line in summary.lines():
        click.echo(line)
    click.echo(f"table: {out / TABLE}")
    sys.exit(0 if summary.complete else EXIT_SOME_REFUSED)


def _refuse_contradictions(
    target: Path, out: Path, *, one: bool, resume: bool, force: bool, formats: tuple[Format, ...]
) -> None:
    """Say no to what cannot be meant, before seconds are spent on imports.

    Raises:
        UsageError: names it.
    """
    if resume and force:
        raise UsageError("--resume keeps results and --force replaces them: give one of the two")
    if not target.exists():
        raise UsageError(f"{target} is not there")
    if one and target.is_dir():
        raise UsageError(f"{target} is a folder, and {out} the name of one picture: let --out name a folder")
    if not one and not target.is_dir() and not out.is_dir() and out.suffix[1:].isalpha():
        raise UsageError(f"{out}: the name must end in .png (a picture) or .npy (float32 values), or be a folder's")
    if one and (formats or resume):
        idle = "--format" if formats else "--resume"
        raise UsageError(f"{idle} is about a folder of results, and --out names one file: {out}")


def _write_one(out: Path, explainer: Explainer, found: Explained) -> int:
    """Write the one map that was asked for, or say why there is none; the exit code.

    Raises:
        UsageError: several maps are shown, and `out` names one file; or the pixels may hold a name.
    """
    from medres.imaging.pictures import refuse_burned_in, write_array, write_png
    from medres.imaging.preprocessing import Prepared
    from medres.model.heatmaps.licence import in_words
    from medres.model.heatmaps.shown import score_in_words
    from medres.scoring.explaining.table import NOTHING_CALLED, drawn, pictured

    item, asked, classifier = found.result, explainer.asked, explainer.classifier
    assert isinstance(item, Prepared)
    refuse_burned_in(out, item.attributes, allowed=asked.allow_burned_in)
    shown = [one for one in found.maps if one.cells is not None]
    if len(shown) > 1:
        raise UsageError(
            f"{out} is one file, and {len(shown)} labels have a map: {', '.join(one.label for one in shown)}. Choose "
            "with --label, or let --out name a folder"
        )
    for one in found.maps:
        click.echo(f"{one.label}: {score_in_words(one.score)}")
        click.echo(in_words(one.licence) if one.cells is not None else _withheld(one))
    if not found.maps:
        click.echo(f"no heatmap: {NOTHING_CALLED}; --label and --show-anyway draw one, marked so")
    if not shown:
        return EXIT_SOME_REFUSED
    [one] = shown
    map_ = drawn(classifier, asked, item, one)
    if item.picture is None:
        write_array(out, map_.heatmap)
    else:
        write_png(out, pictured(classifier, asked, item, one, map_))
    if one.kept_back:
        click.echo(f"shown on request: {one.kept_back}")
    if map_.legend.unit:
        click.echo(f"{out}: strongest evidence {map_.strength:.2f} logits (full colour: {map_.legend.scale:.2f})")
    else:
        method = asked.drawing.method
        click.echo(f"{out}: {method} has no logit scale: full colour is this image's strongest cell, of no other image")
    return EXIT_SOME_REFUSED if len(shown) < len(found.maps) else 0


def _withheld(one: LabelMap) -> str:
    return f"no heatmap of {one.label}: {one.kept_back}; --show-anyway draws it, marked so"
