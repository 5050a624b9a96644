"""A run of nine labels, some at chance, a grade and a class: what it says first, and that no figure stands bare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel
from scipy.special import expit

from medres.cohort.tasks import Task
from medres.config import load_config
from medres.documents import write_document
from medres.evaluation.performance import summarise
from medres.evaluation.results import Metrics
from medres.evaluation.shortcuts.alterations import ALTERATIONS
from medres.evaluation.shortcuts.summary import probability_column, summarise_shortcuts
from medres.evaluation.table import read_table
from medres.records import Interval
from medres.report.run_context import RunContext, run_context
from medres.report.run_page import write_report
from medres.report.sections.first_screen import FirstScreen, first_screen
from medres.report.sections.labels import label_sections
from medres.runs.run_files import read_run
from medres.tables import read_json, write_csv, write_json
from tests.support.runs import FOLDS, write_run
from tests.test_report import bare_figures, visible
from tests.test_summary import out_of_fold

TOLD, CHANCE = ("effusion", "mass"), ("edema", "fracture")
GRADE, VIEW = Task("kl", "ordinal", ("0", "1", "2")), Task("view", "multiclass", ("AP", "LL", "PA"))
TASKS = [*map(Task, (*TOLD, *CHANCE)), GRADE, VIEW]
LABELS = [label for task in TASKS for label in task.labels]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Findings that are told and findings that are not, a grade that is told and a class that is not."""
    table = out_of_fold(patients=120, folds=FOLDS)
    generator, n = np.random.default_rng(3), len(table)

    def add(label: str, truth: Any, likely: Any) -> None:
        table[f"label_{label}"], table[f"logit_{label}"] = truth * 1, np.log(likely / (1 - likely))
        table[f"prob_{label}"], table[f"positive_{label}"] = likely, (likely >= 0.5) * 1

    for label in ("mass", *CHANCE):
        truth = generator.random(n) < 0.4
        signal = 2.0 if label in TOLD else 0.0
        add(label, truth, expit(signal * truth - 1 + generator.normal(size=n)))
    severity = generator.integers(0, 3, n)
    for place, label in enumerate(GRADE.labels):
        add(label, severity > place, expit(3 * (severity - place - 0.5) + generator.normal(size=n)))
    shown, guessed = generator.integers(0, 3, n), generator.dirichlet(np.ones(3), n)
    for place, label in enumerate(VIEW.labels):
        add(label, shown == place, np.clip(guessed[:, place], 0.001, 0.999))
    folder = write_run(tmp_path_factory.mktemp("nine") / "run", table=table)
    evaluation = load_config("quick", ["evaluation.replicates=100"]).evaluation
    read = read_table(folder / "oof.csv")
    write_document(folder / "metrics.json", summarise(read, labels=TASKS, evaluation=evaluation, seed=0))
    probed = read[["path", "PatientID", "SOPInstanceUID", "fold"]].copy()
    for label in LABELS:
        for one in ALTERATIONS:
            kept = read[f"logit_{label}"] if label == "mass" else generator.normal(size=n)
            probed[probability_column(label, one)] = expit(kept)
    write_csv(folder / "shortcuts.csv", probed)
    found = summarise_shortcuts(read, probed, labels=LABELS, evaluation=evaluation, seed=0)
    write_document(folder / "shortcuts.json", found)
    record = read_json(folder / "run.json")
    record["labels"] = LABELS
    record["tasks"] = [{"name": one.name, "kind": one.kind, "values": list(one.values)} for one in TASKS]
    record["folds"][1]["temperature"]["mass"] = 8.0
    write_json(folder / "run.json", record)
    return folder


@pytest.fixture(scope="module")
def context(folder: Path) -> RunContext:
    return run_context(folder, read_run(folder))


@pytest.fixture(scope="module")
def screen(context: RunContext) -> FirstScreen:
    return first_screen(context)


def test_a_label_is_told_or_not_and_the_first_screen_says_which(screen: FirstScreen) -> None:
    assert screen.tabled
    told = {one.name: one.told for one in screen.verdicts}
    at_chance = {*CHANCE, *VIEW.labels}
    assert {name for name, answer in told.items() if answer == "not found"} == at_chance
    assert {name for name, answer in told.items() if answer == "found"} == set(LABELS) - at_chance
    said = [line for line in screen.caveats if "not surely told better than chance" in line]
    assert {line.split("”")[0].lstrip("“") for line in said} == at_chance
    assert any("temperature of “mass” is an end of its search in fold 1" in line for line in screen.caveats)
    assert not any("100 is the least" in line for line in screen.caveats)
    assert any("Riley et al. (2021)" in line for line in screen.caveats)


def test_what_cannot_be_judged_is_not_called_free_of_doubt(screen: FirstScreen) -> None:
    shortcuts = screen.shortcuts
    assert shortcuts is not None
    assert {one.name for one in shortcuts.first} == {"mass"}  # all of it survives without the centre
    assert set(shortcuts.others.get("cannot be told", ())) >= {*CHANCE, *VIEW.labels}
    assert "effusion" in shortcuts.others["not found"]
    named = [name for names in shortcuts.others.values() for name in names]
    assert sorted([*named, "mass"]) == sorted(LABELS)


def test_grades_and_classes_stand_beside_what_needs_no_image(screen: FirstScreen) -> None:
    rows = {task.name: {row.name: row for row in task.rows} for task in screen.tasks}
    assert "this is better by" in rows["kl"]["accuracy"].reference
    assert rows["kl"]["quadratic_weighted_kappa"].reference == "chance gives 0"
    assert "this is better by" not in rows["view"]["accuracy"].reference  # it is not
    assert rows["view"]["balanced_accuracy"].reference == "chance gives 0.333"


def intervals(content: Any, where: str = "") -> Iterator[tuple[str, Interval]]:
    """Every figure of a record, with its place."""
    if isinstance(content, Interval):
        yield where, content
    elif isinstance(content, BaseModel):
        for name in type(content).model_fields:
            yield from intervals(getattr(content, name), f"{where}.{name}")
    elif isinstance(content, Mapping):
        for name, value in content.items():
            yield from intervals(value, f"{where}.{name}")
    elif isinstance(content, (tuple, list)):
        for place, value in enumerate(content):
            yield from intervals(value, f"{where}[{place}]")


def test_every_figure_of_the_record_has_n_and_an_interval_or_says_why_it_has_none(context: RunContext) -> None:
    metrics: Metrics = context.files.metrics
    found = list(intervals(metrics)) + list(intervals(context.files.shortcuts))
    assert len(found) > 500
    for where, one in found:
        if one.value is None:
            assert one.method.startswith("undefined"), where
            continue
        assert one.n >= one.n_patients > 0, where
        if one.low is None or one.high is None:
            assert one.method.startswith("no interval"), where
        else:
            assert one.low <= one.value <= one.high, where
    for label in metrics.labels.values():
        for fold in label.folds:
            assert set(fold.figures) == set(fold.intervals)


def test_the_sections_hold_folds_patients_and_precision(context: RunContext) -> None:
    few = Metrics(labels={label: context.labels[label] for label in TOLD})
    sections = {one.name: one for one in label_sections(replace(context, files=replace(context.files, metrics=few)))}
    effusion = sections["effusion"]
    assert len(effusion.by_fold) == FOLDS
    assert effusion.slopes is not None
    assert effusion.patients is not None
    assert [row.title for row in effusion.precisions] == ["AUROC", "Calibration slope", "Observed ÷ expected"]
    assert sections["mass"].bounded == ["fold 1"]
    assert effusion.bounded == []


def test_the_page_says_all_of_that_and_no_figure_on_it_is_bare(folder: Path) -> None:
    page = write_report(folder).read_text(encoding="utf-8")
    bare, seen = bare_figures(page)
    assert bare == []
    assert seen > 200
    words = visible(page)
    for said in (
        "not surely better than chance",
        "Whether there is a shortcut cannot be told:",
        "Patient by patient",
        "Calls and calibration fold by fold",
        "always giving the commonest answer reaches",
        "ties to the right",
    ):
        assert said in words, said
