"""Options that several verbs share, and checks that are made before seconds are spent on imports."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from medres.errors import UsageError

if TYPE_CHECKING:
    from medres.cohort.manifest import Manifest
    from medres.config import Limits

Verb = TypeVar("Verb", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)
EXIT_SOME_REFUSED = 3
EXIT_NOTHING = 4


class _Share(click.ParamType[float]):
    """A share, as `5%` or `0.05`."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share as a number from 0 to 1."""
        text = str(value).strip()
        try:
            found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            found = -1.0
        if not 0 <= found <= 1:
            self.fail(f"{value!r} is no share: give 5% or 0.05", param, ctx)
        return found


SHARE = _Share()
_RECIPES = sorted(path.stem for path in (Path(__file__).parents[1] / "recipes").glob("*.yaml"))


def with_config(verb: Callable[..., None]) -> Callable[..., None]:
    """The options that choose and change a recipe; the verb gets the `config` that they make."""

    @wraps(verb)
    def configured(
        *,
        recipe: str,
        overrides: tuple[str, ...],
        weights: Path | None,
        tensorboard: bool,
        mlflow: str,
        device: str,
        limits: Limits,
        **others: Any,
    ) -> None:
        from medres.config import load_config

        own = ("network.weights=file", f"network.weights_file={json.dumps(str(weights))}") if weights else ()
        tracked: tuple[str, ...] = ("tracking.tensorboard=true",) if tensorboard else ()
        tracked += (f"tracking.mlflow={json.dumps(mlflow)}",) if mlflow else ()
        where = (f"training.device={device}",) if device != "auto" else ()
        config = load_config(recipe, (*own, *tracked, *where, *overrides))
        verb(config=config.model_copy(update={"limits": config.limits.changed_by(limits)}), **others)

    config = click.option(
        "--config", "recipe", default="quick", show_default=True, metavar="NAME|FILE",
        help=f"Recipe: {', '.join(_RECIPES)}, or a YAML file. The README says what each is for.",
    )  # fmt: skip
    change = click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change one value, e.g. training.batch_size=16.",
    )
    start = click.option(
        "--weights",
        type=FILE,
        metavar="PATH",
        help="Start from this checkpoint (names of torchvision, timm or MONAI, or a medres model's own).",
    )
    board = click.option(
        "--tensorboard", is_flag=True, help="Write event files for TensorBoard beside each model (medres[tensorboard])."
    )
    runs = click.option(
        "--mlflow",
        metavar="http://HOST:PORT|sqlite:///FILE",
        default="",
        help="Send epochs to this MLflow (medres[mlflow]).",
    )
    return config(start(with_device(change(board(runs(with_limits(configured)))))))


def with_cohort(verb: Verb) -> Verb:
    """The options that name labels, grades and classes, and the images' folder; the verb gets `labels` and `root`."""

    @wraps(verb)
    def asked(
        *, findings: tuple[str, ...], ordinal: tuple[str, ...], multiclass: tuple[str, ...], **others: Any
    ) -> Any:
        from medres.cohort.tasks import Task

        labels = (
            *findings,
            *(Task(name, "ordinal") for name in ordinal),
            *(Task(name, "multiclass") for name in multiclass),
        )
        if not labels:
            raise UsageError("no label is named: give --label, --ordinal or --multiclass")
        return verb(labels=labels, **others)

    options = (
        click.option(
            "--label", "findings", multiple=True, metavar="NAME",
            help="A finding: column label_NAME of the manifest, 1, 0, -1 or blank; repeatable.",
        ),
        click.option(
            "--ordinal", multiple=True, metavar="NAME",
            help="A grade: column NAME, whole numbers from 0, -1 or blank; asks for every 'at least this grade'.",
        ),
        click.option(
            "--multiclass", multiple=True, metavar="NAME", help="One class of several: column NAME, any text or blank.",
        ),
    )  # fmt: skip
    found: Callable[..., Any] = with_root(asked)
    for option in reversed(options):
        found = option(found)
    return found  # type: ignore[return-value]  # the same verb with other options


def with_root(verb: Verb) -> Verb:
    """The option that says what a manifest's paths are relative to."""
    return click.option(
        "--root",
        type=FILE,
        help="Folder that the manifest's paths start from; the manifest's own by default.",
    )(verb)


def with_device(verb: Verb) -> Verb:
    """The option that says where networks compute; the verb gets `device`."""
    return click.option(
        "--device",
        default="auto",
        show_default=True,
        metavar="auto|cpu|cuda|cuda:N",
        help="Where networks compute: a GPU where there is one, the processor, or one GPU of several by its number.",
    )(verb)


def with_precision(verb: Verb) -> Verb:
    """The options that say how a model computes; the verb gets `precision` and `decode`."""
    precision = click.option(
        "--precision", type=click.Choice(["float32", "bf16", "fp16"]), default="float32", show_default=True,
        help="What the network computes in. Another than float32 needs a passed `medres accuracy-check` of exactly "
        "this model, precision, decoding and kind of device. --resume refuses results of another one.",
    )  # fmt: skip
    decode = click.option(
        "--decode", type=click.Choice(["full", "reduced"]),
        help="All pixels, or a smaller copy where JPEG 2000, HTJ2K or baseline JPEG holds one. As the model was "
        "trained by default; the other needs a passed `medres accuracy-check`. --resume refuses results of the other.",
    )  # fmt: skip
    return precision(decode(verb))


def with_limits(verb: Verb) -> Verb:
    """The option that changes budgets of one file; the verb gets them as `limits`."""

    @wraps(verb)
    def limited(*, limit: tuple[str, ...], **others: Any) -> Any:
        from medres.config import Limits

        return verb(limits=Limits.from_texts(limit), **others)

    return click.option(
        "--limit", multiple=True, metavar="NAME=VALUE",
        help="Change a budget for one file; repeatable. Defaults: seconds=20 (of processor time), wall_seconds=120 (by "
        "the clock), worker_bytes=4294967296 (memory), file_bytes=536870912, pixels=100000000 (Rows × Columns), "
        "inflated_bytes=419430400, inflation_ratio=250, sequence_depth=50, smallest_side=16.",
    )(limited)  # type: ignore[return-value]  # fmt: skip  # the same verb with another option


def with_force(verb: Verb) -> Verb:
    """The option that replaces an output."""
    return click.option("--force", is_flag=True, help="Replace an output that is already there.")(verb)


def with_group_readable(verb: Verb) -> Verb:
    """The option that lets the group read what is written."""

    @wraps(verb)
    def readable(*, group_readable: bool, **others: Any) -> Any:
        from medres.files import group_readable as let_the_group_read

        with let_the_group_read(group_readable):
            return verb(**others)

    return click.option(
        "--group-readable",
        is_flag=True,
        help="Let the group read what is written (0640, folders 0750), where the umask allows it. Without, what holds "
        "identifiers, pixels or keys is for you alone (0600, 0700).",
    )(readable)  # type: ignore[return-value]  # the same verb with another option


def with_trust(verb: Verb) -> Verb:
    """The option that names keys, one of which must have signed the model."""
    return click.option(
        "--trust",
        type=FILE,
        multiple=True,
        metavar="PUBLIC_KEY",
        help="Refuse the model unless this key (PEM, of `medres sign`) signed it as it is, with all that is attached; "
        "repeatable: one of them must have.",
    )(verb)


def with_resume(verb: Verb) -> Verb:
    """The option that goes on with an interrupted training."""
    text = "Go on with what an interrupted run left in OUT.unfinished."
    return click.option("--resume", is_flag=True, help=text)(verb)


def with_folds_column(verb: Verb) -> Verb:
    """The option that takes folds from the manifest."""
    return click.option(
        "--folds-column",
        metavar="NAME",
        help="Column that gives the folds: each value is held out once (InstitutionName: one site left out at a time); "
        "train, valid and test are one fold.",
    )(verb)


def with_gate(verb: Verb) -> Verb:
    """The option that says which radiographs are admitted."""
    return click.option(
        "--gate",
        default="any",
        show_default=True,
        metavar="any|frontal-chest|grayscale|FILE",
        help="Which images to admit. any: projection radiographs (Modality CR, DX, MG, IO, PX, RG, RF, XA; absent or "
        "OT: review). frontal-chest: of the chest, PA or AP. grayscale: every image of one frame. FILE: a gate of your "
        "own in YAML, for example two lines 'modality: [CR, DX]' and 'body_part: [KNEE]'; also view, review_modality, "
        "projection, for_presentation (see the README).",
    )(verb)


def with_burned_in(verb: Verb) -> Verb:
    """The option that allows pictures of images whose pixels may show a name."""
    text = "Write pictures although BurnedInAnnotation is not NO: pixels may hold a name."
    return click.option("--allow-burned-in", is_flag=True, help=text)(verb)


def with_boxes(verb: Verb) -> Verb:
    """The option that says where readers saw findings."""
    return click.option(
        "--boxes",
        type=FILE,
        metavar="BOXES.csv|COCO.json",
        help="Boxes that readers drew, by which heatmaps are measured: columns path (as in the manifest), label, x, y, "
        "width and height in native pixels, x along a row; or COCO.",
    )(verb)


def with_files(verb: Verb) -> Verb:
    """The options that name a list of files; the verb gets `names`, None where every file is looked at."""

    @wraps(verb)
    def listed(*, files: str | None, files0: str | None, **others: Any) -> Any:
        if files and files0:
            raise UsageError("--files and --files0 both name the list: give one of the two")
        names = None
        if source := files or files0:
            from medres.cohort.listing import read_names

            names = read_names(source, nul=bool(files0))
        return verb(names=names, **others)

    lines = click.option(
        "--files",
        metavar="LIST|-",
        help="Look only at the files that this text file (-: standard input) names, one a line, relative to FOLDER or "
        "absolute in it. A name that is no file there is refused.",
    )
    nul = click.option("--files0", metavar="LIST|-", help="The same with NUL after each name, as find -print0 writes.")
    return lines(nul(listed))  # type: ignore[return-value]  # the same verb with other options


def out_option(text: str) -> Callable[[Verb], Verb]:
    """The option that names the output."""
    return click.option("--out", type=FILE, required=True, help=text)


def is_first_process() -> bool:
    """Whether this is the process that speaks and writes pages, where torchrun started several."""
    return os.environ.get("RANK", "0") == "0"


def refuse_early(out: Path, force: bool) -> None:
    """Refuse an output that is already there, before seconds are spent on imports."""
    from medres.tables import refuse_existing

    refuse_existing(out, force=force)


def need_model(model: Path) -> None:
    """Refuse a folder without a model, before seconds are spent on imports; `Classifier.load` verifies the model."""
    if not (model / "medres.json").is_file() and not list((model / "models").glob("fold-*/medres.json")):
        raise UsageError(f"{model} holds no model (no medres.json) and no cross-validation run (no models/fold-*)")


def check_early(
    manifest: Path, labels: tuple[Any, ...], root: Path | None, folds_column: str | None = None
) -> Manifest:
    """Refuse a manifest, or folds it gives, that cannot be used, before seconds are spent on imports; what was read."""
    from medres.cohort.manifest import read_manifest

    checked = read_manifest(manifest, labels, root=root)
    if folds_column:
        from medres.cohort.given_folds import folds_from_column

        folds_from_column(checked, folds_column, validation_fraction=0.2, seed=0)
    return checked
