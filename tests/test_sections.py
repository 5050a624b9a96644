"""A section is a record and a template that fit each other; the page and its navigation follow the list of sections."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from jinja2 import DictLoader, UndefinedError, meta, nodes

from medres.evaluation.heatmaps.measures import MEASURES
from medres.evaluation.results import CohortSize, Shift, ShiftRecord, TaskResults
from medres.evaluation.shortcuts.results import FeatureResults
from medres.records import Interval
from medres.report import comparison_sections, depth_sections, sections
from medres.report.comparison_sections.verdicts import verdicts
from medres.report.depth_sections.answer import AnswerSection
from medres.report.leaks_page import LeaksPage
from medres.report.metric_rows import MetricRow
from medres.report.page import Content, Section, SectionPerName, environment, render
from medres.report.run_context import RunContext, run_context
from medres.report.run_page import make_report
from medres.report.sections import SECTIONS
from medres.report.sections.decisions import Decisions
from medres.report.sections.first_screen import FirstScreen, Verdict
from medres.report.sections.gallery import MistakesGallery
from medres.report.sections.groups import Groups
from medres.report.sections.heatmaps import Compared, HeatmapsSection, LabelMaps, MeasureRow
from medres.report.sections.recalibration import RecalibratedLabel, RecalibratedMetric, RecalibrationSection
from medres.report.sections.shift import ShiftSection
from medres.report.sections.shortcuts import AlteredRow, FeatureRow, LabelProbes, MetadataRow, ShortcutsSection
from medres.report.sections.tasks import TaskSection
from medres.runs.run_files import read_run
from tests.support.runs import write_gallery_files, write_run

FRAMES = {"page.html", "run_page.html", "comparison_page.html", "depth_page.html", "head.html", "macros.html"}
"""Templates that show no record of a section."""

PARTS: dict[str, type[Content]] = {
    "depth/answer.html": AnswerSection,
    "sections/first_screen.html": FirstScreen,
    "sections/verdict.html": Verdict,
    "sections/many_labels.html": FirstScreen,
    "sections/shortcuts_first.html": ShortcutsSection,
    "sections/heatmaps_first.html": HeatmapsSection,
    "sections/decisions.html": Decisions,
    "sections/gallery.html": MistakesGallery,
    "sections/groups.html": Groups,
    "comparison/verdicts.html": typing.get_type_hints(verdicts)["return"],
    "leaks.html": LeaksPage,
}
"""Templates of heads and of parts of sections, with their records."""


def _record(function: typing.Any) -> type[Content]:
    """What the function of a section returns: a record, one or None, or a list of records."""
    returned = typing.get_type_hints(function)["return"]
    inner = [one for one in typing.get_args(returned) if one is not type(None)]
    found: type[Content] = inner[0] if inner else returned
    return found


def _records() -> dict[str, type[Content]]:
    found = dict(PARTS)
    for section in (*sections.SECTIONS, *comparison_sections.SECTIONS, *depth_sections.SECTIONS):
        function = section.content if isinstance(section, Section) else section.contents
        found[section.template] = _record(function)
    return found


RECORDS = _records()


def _names_of_section(tree: nodes.Template) -> Iterator[str]:
    """The attributes that a template reads of `section` itself."""
    for attribute in tree.find_all(nodes.Getattr):
        if isinstance(attribute.node, nodes.Name) and attribute.node.name == "section":
            yield attribute.attr


def _parsed(template: str) -> nodes.Template:
    loader = environment().loader
    assert loader is not None
    return environment().parse(loader.get_source(environment(), template)[0])


def test_every_template_has_a_record_and_every_record_a_template() -> None:
    templates = {name for name in environment().list_templates() if name.endswith(".html")}
    assert templates - FRAMES == set(RECORDS)


@pytest.mark.parametrize("template", sorted(RECORDS))
def test_a_template_sees_its_record_and_nothing_else_and_the_record_has_what_it_names(template: str) -> None:
    tree = _parsed(template)
    assert meta.find_undeclared_variables(tree) == {"section"}
    record = RECORDS[template]
    known = {field.name for field in fields(record)} | {
        name for one in record.__mro__ for name, value in vars(one).items() if isinstance(value, property)
    }
    names = set(_names_of_section(tree))
    assert names
    assert names <= known


@pytest.mark.parametrize("template", sorted(RECORDS))
def test_the_record_of_a_template_is_frozen(template: str) -> None:
    assert RECORDS[template].__dataclass_params__.frozen  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = write_run(tmp_path_factory.mktemp("sections") / "run")
    write_gallery_files(found, "effusion")
    return found


@pytest.fixture(scope="module")
def context(folder: Path) -> RunContext:
    return run_context(folder, read_run(folder))


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.template)
def test_a_section_holds_the_anchor_that_the_navigation_names(
    section: Section[RunContext] | SectionPerName[RunContext], context: RunContext
) -> None:
    for shown in section.shown(context):
        assert f'<section id="{shown.anchor}">' in shown.body
        assert shown.title


def test_the_page_and_its_navigation_follow_the_list(context: RunContext, folder: Path) -> None:
    text = make_report(folder, context.files).page
    navigation = re.findall(r'<a href="#([^"]+)">', text[text.index("<nav") : text.index("</nav>")])
    main = re.findall(r'^<section id="([^"]+)">', text[text.index("<main>") :], flags=re.MULTILINE)
    assert navigation == main == [one.anchor for section in SECTIONS for one in section.shown(context)]
    assert "label-0" in navigation


@dataclass(frozen=True, slots=True)
class Greeting(Content):
    """Content of a section of this test."""

    words: str


def _greeting(context: RunContext) -> Greeting:
    return Greeting(f"<b>{context.n_images}</b>")


@pytest.fixture
def greeting(monkeypatch: pytest.MonkeyPatch) -> Section[RunContext]:
    """A section with a template of its own."""
    known = environment()
    templates = {
        "greeting.html": '<section id="greeting">{{ section.words }}</section>',
        "wrong.html": "{{ section.w }}",
    }
    loader = known.loader
    assert loader is not None
    monkeypatch.setattr(known, "loader", DictLoader(templates | {
        name: loader.get_source(known, name)[0] for name in known.list_templates()
    }))  # fmt: skip
    return Section("greeting", "Greeting", "greeting.html", _greeting)


def test_a_section_that_is_added_to_the_list_stands_in_the_page_and_its_navigation(
    greeting: Section[RunContext], context: RunContext, folder: Path
) -> None:
    longer: Sequence[Section[RunContext] | SectionPerName[RunContext]] = (*SECTIONS, greeting)
    text = make_report(folder, context.files, longer).page
    assert f'<section id="greeting">&lt;b&gt;{context.n_images}&lt;/b&gt;</section>' in text
    assert '<a href="#greeting">Greeting</a>' in text


@pytest.mark.usefixtures("greeting")
def test_a_name_that_a_record_lacks_stops_the_page() -> None:
    with pytest.raises(UndefinedError, match="has no attribute 'w'"):
        render("wrong.html", Greeting("hello"))


def interval(value: float) -> Interval:
    """A figure with an interval around it."""
    return Interval(value, value - 0.1, value + 0.1, "a method", 50, 40)


def shift_line(unit: str) -> Shift:
    """A line of a shift, of shares or of means."""
    return Shift(
        group="tags",
        name="Manufacturer",
        value="A",
        training=0.2,
        here=0.5,
        difference=0.3,
        low=0.1,
        high=0.5,
        unit=unit,
        differs=True,
        training_images=100,
        training_patients=90,
        here_images=50,
        here_patients=40,
    )


MADE: dict[str, Content] = {
    "sections/shift.html": ShiftSection(
        ShiftRecord(
            sentence="it differs.",
            training=CohortSize(images=100, patients=90),
            here=CohortSize(images=50, patients=40),
            lines=(shift_line("share"), shift_line("standard deviations")),
        ),
        members=3,
    ),
    "sections/recalibration.html": RecalibrationSection(
        (
            RecalibratedLabel("mass", "", (RecalibratedMetric("Brier score", interval(0.2), interval(0.15)),)),
            RecalibratedLabel("nodule", "too few patients", ()),
        )
    ),
    "sections/task.html": TaskSection(
        "task-0",
        "kl",
        TaskResults(
            kind="ordinal", values=("0", "1"), labels=("kl_ge_1",), n=50, n_patients=40, confusion=((20, 5), (5, 20)),
            metrics={"accuracy": interval(0.8)},
        ),
        (MetricRow("accuracy", "Accuracy", "share of right ones", interval(0.8), "40 of 50"),),
    ),
    "sections/shortcuts.html": ShortcutsSection(
        (
            LabelProbes(
                "mass", True, "found", ("It may.",), interval(0.8),
                (AlteredRow("corners_only", "Corners", "four of them", interval(0.6), interval(0.4)),),
                (MetadataRow("Manufacturer", ("Site",), True, interval(0.7), interval(0.6), interval(0.5)),),
                interval(0.7),
            ),
        ),
        (FeatureRow("Manufacturer", FeatureResults(values=("A", "B"), auroc=interval(0.9)), "found"),),
        centre=0.5, corner=0.2, much=50, little=25,
    ),
    "sections/heatmaps.html": HeatmapsSection(
        "cam", 16, "held-out images", 50, True, "9 s", 8, {"fewest_patients": 20.0},
        (
            LabelMaps(
                "mass", "failed", ("It is random.",), interval(0.8), 60, 50, 20, 0,
                (
                    MeasureRow(
                        MEASURES[0], interval(0.4), "surely better",
                        (Compared("a random order", interval(0.4), interval(0.0)),), "does not pass",
                    ),
                ),
            ),
            LabelMaps("nodule", "not validated", ("not measured: Deletion",), interval(0.8), 0, 0, 0, 0, ()),
        ),
    ),
}  # fmt: skip
"""Content of sections that the run above does not have."""


@pytest.mark.parametrize("template", sorted(MADE))
def test_a_section_is_rendered_from_its_record_alone(template: str) -> None:
    text = render(template, MADE[template])
    assert text.count("<section") == text.count("</section>") == 1
    assert "40 patients" in text
