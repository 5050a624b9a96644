"""A run as one page that anyone can open, print and check: rebuilt from the run's tables alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError
from markupsafe import Markup
from pydantic import ValidationError

from medres.config import Evaluation
from medres.errors import REASONS, UsageError
from medres.evaluation.checks import KEPT_APART, limits, unmet, verify
from medres.evaluation.contents import label_section, task_section
from medres.evaluation.figures import learning_figures
from medres.evaluation.shortcut_contents import shortcut_probes
from medres.evaluation.subgroups import SMALLEST
from medres.evaluation.summary import judged, read_table
from medres.records import Interval
from medres.tables import read_csv, read_json, read_json_lines, refuse_existing, write_text

_ABSENT = "not recorded"
_MOST_REFUSALS = 100  # shown in the page; all of them stand in refused.csv
_NETWORKS = {
    "resnet18": "ResNet-18",
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "resnet152": "ResNet-152",
    "densenet121": "DenseNet-121",
}


def network_name(architecture: str) -> str:
    """An architecture as people write it."""
    return _NETWORKS.get(architecture, architecture)


def render_template(name: str, **content: Any) -> str:
    """A page of `templates/`, every text from a file escaped."""
    return _environment().get_template(name).render(**content) + "\n"


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The files of a run that a report is made of."""

    run: Mapping[str, Any]
    metrics: Mapping[str, Any]
    table: pd.DataFrame  # oof.csv
    refused: pd.DataFrame | None
    histories: Mapping[int, list[dict[str, Any]]]  # by fold
    shortcuts: Mapping[str, Any] | None  # shortcuts.json


def write_report(run: Path, *, force: bool = True) -> Path:
    """Write RUN/report.html: one file, no script, no network.

    Reads `run.json`, `metrics.json` and `oof.csv`, and where they are there `splits.json`, `shortcuts.json`,
    `refused.csv` and `models/fold-K/history.jsonl`. The same files give the same page, byte for byte.

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
        page = render(run, files)
    except (KeyError, TypeError, AttributeError, UndefinedError) as error:
        raise UsageError(f"the files of {run} are not as medres writes them: {error!r}") from error
    write_text(target, page)
    return target


def read_run(folder: Path) -> RunFiles:
    """Read a run's files.

    Raises:
        UsageError: one that is needed is missing or malformed.
    """
    run, metrics = read_json(folder / "run.json"), read_json(folder / "metrics.json")
    if not isinstance(run, dict) or not isinstance(metrics, dict) or not isinstance(metrics.get("labels"), dict):
        raise UsageError(f"{folder} is not a run of `medres crossval` or `medres evaluate`")
    refused = folder / "refused.csv"
    histories = {}
    for path in folder.glob("models/fold-*/history.jsonl"):
        number = path.parent.name.removeprefix("fold-")
        if number.isdecimal():
            histories[int(number)] = read_json_lines(path)
    table = read_table(folder / "oof.csv")
    if "path" not in table.columns:
        raise UsageError(f"{folder / 'oof.csv'} lacks the column path")
    return RunFiles(
        run=run,
        metrics=metrics,
        table=table,
        refused=read_csv(refused) if refused.is_file() else None,
        histories=dict(sorted(histories.items())),
        shortcuts=read_json(folder / "shortcuts.json") if (folder / "shortcuts.json").is_file() else None,
    )


def render(folder: Path, files: RunFiles) -> str:
    """The page of a run."""
    run, table = files.run, files.table
    images = {label: judged(table, label) for label in files.metrics["labels"]}
    evaluation = _evaluation(run)
    graded = files.metrics.get("tasks") or {}
    network = run.get("network") or {}
    weights = str(network.get("weights") or _ABSENT)
    random_start = weights.split(":")[0].strip() == "none"
    architecture = str(network.get("architecture") or _ABSENT)
    sections = [
        label_section(
            label,
            place,
            table=table,
            images=images[label],
            content=content,
            run=run,
        )
        for place, (label, content) in enumerate(files.metrics["labels"].items())
    ]
    checks = verify(folder, run, files.metrics, table, images)
    return _environment().get_template("report.html").render(
        run=run,
        folds=run.get("folds") or [],
        flow=run.get("flow") or {},
        manifest=run.get("manifest") or {},
        splits=run.get("splits") or {},
        network_record=network,
        environment=run.get("environment") or {},
        external=run.get("kind") == "external validation",
        network=_NETWORKS.get(architecture, architecture),
        weights=weights,
        random_start=random_start,
        labels=sections,
        tasks=[task_section(name, place, content) for place, (name, content) in enumerate(graded.items())],
        asked=[task["name"] for task in run.get("tasks") or []] or list(files.metrics["labels"]),
        level=f"{evaluation.confidence:.0%}".replace("%", " %") if evaluation else None,
        n_images=len(table),
        n_patients=int(table["PatientID"].nunique()),
        n_folds=int(table["fold"].nunique()),
        checks=checks,
        kept_apart=next(check.passed for check in checks if check.name == KEPT_APART),
        unmet=unmet(run, table),
        limits=limits(run, random_start=random_start),
        reasons=REASONS,
        refused=[] if files.refused is None else files.refused.head(_MOST_REFUSALS).to_dict("records"),
        n_refused=0 if files.refused is None else len(files.refused),
        learning=[(caption, Markup(svg)) for caption, svg in learning_figures(files.histories)],
        config=list(_flat(run.get("config") or {})),
        smallest_group=SMALLEST,
        shortcuts=shortcut_probes(files.shortcuts),
    ) + "\n"  # fmt: skip


def _evaluation(run: Mapping[str, Any]) -> Evaluation | None:
    """The run's own settings, None where they are not recorded."""
    recorded = (run.get("config") or {}).get("evaluation")
    if recorded is None:
        return None
    try:
        return Evaluation.model_validate(recorded)
    except ValidationError as error:
        raise UsageError(f"run.json: config.evaluation: {error.errors()[0]['msg']}") from None


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("medres.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters.update(
        figure=_figure, bounds=_bounds, count=_count, recorded=_recorded, duration=_duration, probability=_probability
    )
    return environment


def _printable(value: Any) -> Any:
    """Text from files without control characters."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return "".join(character if character.isprintable() else "�" for character in value)
    return value


def _figure(value: float | None) -> str:
    """A metric as it is shown.

    >>> _figure(0.87349), _figure(-0.2), _figure(None)
    ('0.873', '−0.200', 'undefined')
    """
    return "undefined" if value is None else f"{value:.3f}".replace("-", "−")


def _bounds(result: Interval) -> str:
    """Lower and upper bound of an interval.

    >>> _bounds(Interval(0.5, 0.4, 0.6, "", 9, 9)), _bounds(Interval(0.5, None, None, "", 9, 9))
    ('0.400 to 0.600', '')
    """
    return "" if result.low is None or result.high is None else f"{_figure(result.low)} to {_figure(result.high)}"


def _probability(value: float) -> str:
    """A probability, never rounded to certainty.

    >>> _probability(0.5), _probability(0.00012), _probability(0.99999)
    ('0.500', '< 0.001', '> 0.999')
    """
    if value < 0.001:
        return "< 0.001"
    return "> 0.999" if value > 0.999 else f"{value:.3f}"


def _count(value: Any) -> str:
    """A whole number, grouped by thin spaces.

    >>> _count(11170753).split("\\u202f"), _count(1000)
    (['11', '170', '753'], '1000')
    """
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) and abs(value) >= 10_000 else str(value)


def _recorded(value: Any) -> str:
    """What was recorded, or that it was not."""
    if value is None or value == "":
        return _ABSENT
    return _count(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _duration(seconds: Any) -> str:
    """Seconds as a person says them.

    >>> _duration(412.0), _duration(9000), _duration(None)
    ('6 min 52 s', '2 h 30 min', 'not recorded')
    """
    if not isinstance(seconds, int | float):
        return _ABSENT
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """A nested configuration as dotted keys and texts."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, "none" if value in (None, [], {}, ()) else str(value)
