"""A run as one page that anyone can open, print and check: rebuilt from the run's tables alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import UndefinedError
from pydantic import ValidationError

from medres.config import Evaluation, Training
from medres.errors import REASONS, UsageError
from medres.evaluation.mistakes import most_of_a_kind
from medres.evaluation.subgroups import SMALLEST
from medres.evaluation.table import JudgedImages, judged_images
from medres.formatting import ABSENT, flat, network_name, slugs
from medres.model.card import chosen_besides
from medres.report.checklist import checklist, facts
from medres.report.checks import KEPT_APART, limits, verify
from medres.report.contents import LabelSection, label_section, task_section
from medres.report.external_contents import recalibrations
from medres.report.flow import flow_table, fold_flows, fold_names
from medres.report.page import render_template
from medres.report.pictures import FOLDER, TableFile, learning_pictures, table_file
from medres.report.plain import caveats, exclusions
from medres.report.shortcut_contents import shortcut_probes
from medres.runs.flow import NOT_JUDGED
from medres.runs.run_files import RunFiles, read_run
from medres.tables import refuse_existing, write_text

_MOST_REFUSALS = 100  # shown in the page; all of them stand in refused.csv


@dataclass(frozen=True, slots=True)
class Report:
    """A page and the tables that its figures were drawn from."""

    page: str
    files: tuple[TableFile, ...]


def write_report(run: Path, *, force: bool = True) -> Path:
    """Write RUN/report.html, one file, no script, no network; and the tables of its figures, RUN/tables/*.csv.

    Reads `run.json`, `metrics.json` and `oof.csv`, and where they are there `splits.json`, `refused.csv`,
    `shortcuts.json`, `gallery.csv` with its pictures and `models/fold-K/history.jsonl`. The same files give the same
    page, byte for byte.

    Args:
        run: folder of a cross-validation or an external validation.
        force: replace a report that is already there.

    Raises:
        UsageError: the folder is no such run, or a file is not what it must be.
        OutputExists: there is a report, and `force` is False.
    """
    target = run / "report.html"
    files = read_run(run)
    refuse_existing(target, force=force)
    try:
        report = render(run, files)
    except (KeyError, TypeError, AttributeError, UndefinedError) as error:
        raise UsageError(f"the files of {run} are not as medres writes them: {error!r}") from error
    (run / FOLDER).mkdir(exist_ok=True)
    for file in report.files:
        write_text(run / FOLDER / file.name, file.text)
    write_text(target, report.page)
    return target


def render(folder: Path, files: RunFiles) -> Report:
    """The page of a run, and the tables of its figures."""
    run, table, metrics = files.run, files.table, files.metrics
    images = {label: judged_images(table, label) for label in metrics["labels"]}
    evaluation = _evaluation(run)
    network = run.get("network") or {}
    training = (run.get("config") or {}).get("training") or {}
    weights = str(network.get("weights") or ABSENT)
    random_start = weights.split(":")[0].strip() == "none"
    labels = _labels(folder, files, images, evaluation or Evaluation())
    checks = verify(folder, run, metrics, table, images)
    kept_apart = next(check.passed for check in checks if check.name == KEPT_APART)
    learning, folds = learning_pictures(files.histories), fold_flows(run)
    pictures = any(row["picture"] for row in files.gallery.values())
    known = facts(
        run,
        table,
        random_start=random_start,
        kept_apart=kept_apart,
        curves=bool(learning),
        pictures=pictures,
        mistakes=any(label.exhibits for label in labels),
    )
    items = checklist(known)
    patients = int(table["PatientID"].nunique())
    flow_file = table_file("flow", flow_table(run, scored=len(table), patients=patients, folds=folds))
    undefined = {
        label: (content.get("undefined_folds") or 0, len(content["folds"]))
        for label, content in metrics["labels"].items()
    }
    page = render_template(
        "report.html",
        run=run,
        folds=run.get("folds") or [],
        flow=run.get("flow") or {},
        fold_flows=folds,
        fold_names=fold_names(run),
        named_folds=[fold["name"] for fold in run.get("folds") or [] if fold.get("name")],
        flow_file=flow_file,
        manifest=run.get("manifest") or {},
        splits=run.get("splits") or {},
        network_record=network,
        environment=run.get("environment") or {},
        external=known.external,
        members=known.members,
        recalibrations=recalibrations(run, metrics),
        network=network_name(str(network.get("architecture") or "network")),
        weights=weights,
        random_start=random_start,
        labels=labels,
        tasks=[
            task_section(name, place, content)
            for place, (name, content) in enumerate((metrics.get("tasks") or {}).items())
        ],
        asked=[task["name"] for task in run.get("tasks") or []] or list(metrics["labels"]),
        level=f"{evaluation.confidence:.0%}".replace("%", " %") if evaluation else None,
        n_images=len(table),
        n_patients=patients,
        chosen=chosen_besides(Training.model_construct(**training)).removesuffix(", ") if training else "",
        last_epoch=training.get("keep") == "last",
        n_folds=known.folds,
        checks=checks,
        kept_apart=kept_apart,
        items=items,
        caveats=caveats(
            items,
            {label.name: label.pooled for label in labels},
            random_start=random_start,
            folds_undefined=undefined,
        ),
        exclusions=exclusions(table),
        limits=limits(run, folds=known.folds, random_start=random_start),
        shortcuts=shortcut_probes(files.shortcuts),
        gallery=pictures,
        reasons=REASONS,
        not_judged=NOT_JUDGED,
        refused=[] if files.refused is None else files.refused.head(_MOST_REFUSALS).to_dict("records"),
        n_refused=0 if files.refused is None else len(files.refused),
        learning=learning,
        config=list(flat(run["config"])) if run.get("config") else [],
        smallest_group=SMALLEST,
    )  # fmt: skip
    tables = [*(file for label in labels for file in label.files), *(one.file for one in learning), flow_file]
    return Report(page, tuple(tables))


def _labels(
    folder: Path, files: RunFiles, images: Mapping[str, JudgedImages], evaluation: Evaluation
) -> list[LabelSection]:
    contents = files.metrics["labels"]
    names = slugs(list(contents))
    return [
        label_section(
            label,
            place,
            names[place],
            folder=folder,
            images=images[label],
            content=content,
            run=files.run,
            evaluation=evaluation,
            kept=files.gallery,
            most_mistakes=most_of_a_kind(len(contents)),
        )
        for place, (label, content) in enumerate(contents.items())
    ]


def _evaluation(run: Mapping[str, Any]) -> Evaluation | None:
    """The run's own settings, None where they are not recorded."""
    recorded = (run.get("config") or {}).get("evaluation")
    if recorded is None:
        return None
    try:
        return Evaluation.model_validate(recorded)
    except ValidationError as error:
        raise UsageError(f"run.json: config.evaluation: {error.errors()[0]['msg']}") from None
