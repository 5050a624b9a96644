"""The checklist answers every item of both guidelines once, and from what the run did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from medres.evaluation.results import Metrics
from medres.evaluation.subgroups import DIVIDING_COLUMNS
from medres.report.checklist import MET, NOT_APPLICABLE, NOT_MET, Facts, Item, checklist, facts
from medres.runs.records import RunRecord
from medres.runs.run_files import RunFiles
from tests.conftest import ROOT

CLAIM = [str(number) for number in range(1, 45)]
_TRIPOD = (
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 "
    "18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
)
TRIPOD = _TRIPOD.split()
INTERNAL = Facts(
    external=False,
    members=1,
    folds=5,
    division="patient-grouped, stratified by the label counts of patients",
    kept_apart=True,
    sites=["North", "South"],
    sites_apart=False,
    blank_columns=[],
    random_start=False,
    recorded=frozenset({"config", "network", "environment"}),
    has_flow=True,
    has_curves=True,
    has_pictures=True,
    has_mistakes=True,
    has_shift=False,
    has_recalibration=False,
    uncertain_policy="ignore",
)
LEAST = replace(
    INTERNAL, sites=[], blank_columns=list(DIVIDING_COLUMNS), has_flow=False, has_pictures=False, random_start=True,
    kept_apart=None, recorded=frozenset(), division="",
)  # fmt: skip
EXTERNAL = replace(
    INTERNAL, external=True, folds=1, division="", has_curves=False, has_pictures=False, has_shift=True,
    has_recalibration=True,
)  # fmt: skip
GIVEN = replace(INTERNAL, division="given by the column ward: each value held out once, patient-grouped")
ELSEWHERE = "Test on another hospital's images"


def answers(known: Facts) -> dict[str, Item]:
    return {item.topic: item for item in checklist(known)}


def test_every_item_of_both_guidelines_is_answered_once() -> None:
    for known in (INTERNAL, LEAST, EXTERNAL, GIVEN):
        items = checklist(known)
        assert sorted(number for item in items for number in item.claim.split()) == sorted(CLAIM)
        assert sorted(number for item in items for number in item.tripod.split()) == sorted(TRIPOD)
        assert {item.state for item in items} == {MET, NOT_MET, NOT_APPLICABLE}
        assert all(item.answer.endswith(".") for item in items)


def test_what_a_run_lacks_is_not_met() -> None:
    least, whole = answers(LEAST), answers(INTERNAL)
    for topic in ("Several sites", "Subgroups", "Flow of patients and images", "Analysis of failures",
                  "Explanations", "Training", "Description of the network", "Software and versions", "Starting weights",
                  "Division of the data", "Internal test", "Selection of parts of the data"):  # fmt: skip
        assert least[topic].state == NOT_MET, topic
        assert whole[topic].state == MET, topic
    assert "not recorded" in least["Several sites"].answer


@pytest.mark.parametrize(
    ("known", "topic", "state", "said"),
    [
        (INTERNAL, "Division of the data", MET, "stratified"),
        (GIVEN, "Division of the data", MET, "Given by the column ward"),
        (replace(INTERNAL, kept_apart=False), "Division of the data", NOT_MET, "contradicted"),
        (replace(INTERNAL, kept_apart=None), "Division of the data", NOT_MET, "could not be verified"),
        (replace(INTERNAL, kept_apart=False), "Internal test", NOT_MET, "may have seen"),
        (replace(INTERNAL, kept_apart=False), "Choice of the final model", NOT_MET, "may have chosen"),
        (INTERNAL, ELSEWHERE, NOT_MET, "was not tested on another hospital"),
        (GIVEN, ELSEWHERE, NOT_MET, "is not recorded"),
        (replace(GIVEN, sites_apart=True), ELSEWHERE, MET, "Each of 2 institutions was held out"),
        (EXTERNAL, ELSEWHERE, MET, "This page"),
        (replace(EXTERNAL, kept_apart=False), ELSEWHERE, NOT_MET, "holds some of what"),
        (INTERNAL, "Ensembles", NOT_APPLICABLE, "one network"),
        (replace(EXTERNAL, members=5), "Ensembles", MET, "5 networks"),
        (INTERNAL, "Training", MET, "learning curves."),
        (replace(INTERNAL, has_curves=False), "Training", MET, "no learning curves"),
        (EXTERNAL, "Training", MET, "are the model's"),
        (EXTERNAL, "Explanations", NOT_MET, "No class-activation map"),
        (replace(EXTERNAL, has_mistakes=False), "Analysis of failures", MET, "No call was wrong"),
        (INTERNAL, "Updating of the model", NOT_APPLICABLE, "Nothing was refitted"),
        (EXTERNAL, "Updating of the model", MET, "stands apart"),
        (INTERNAL, "Variation over clusters", MET, "Fold by fold"),
        (EXTERNAL, "Variation over clusters", MET, "subgroups"),
        (replace(EXTERNAL, sites=["North"]), "Variation over clusters", NOT_APPLICABLE, "judged once"),
        (replace(INTERNAL, folds=1), "Kind of study, in the title", NOT_MET, "a test on held-out patients"),
        (INTERNAL, "Fairness", NOT_MET, "is for the authors to say"),
        (INTERNAL, "Missing data", NOT_MET, "Why they are missing"),
        (INTERNAL, "Explanations", MET, "not validated"),
        (replace(INTERNAL, maps_measured=2), "Explanations", MET, "with what was measured of them"),
        (replace(INTERNAL, maps_measured=2, maps_failed=("a",)), "Explanations", NOT_MET, "failed: a"),
    ],
)  # fmt: skip
def test_an_answer_is_that_of_the_run(known: Facts, topic: str, state: str, said: str) -> None:
    item = answers(known)[topic]
    assert item.state == state
    assert said in item.answer


def test_a_run_of_folds_by_site_is_known_by_its_table() -> None:
    table = pd.DataFrame({"fold": [0, 0, 1, 1], "InstitutionName": ["North", "North", "South", "West"]})

    def apart(table: pd.DataFrame) -> bool:
        files = RunFiles(RunRecord(), Metrics(labels={}), table, None, {}, {}, None)
        return facts(files, kept_apart=True, curves=True, pictures=True, mistakes=True).sites_apart

    assert apart(table)
    assert not apart(table.assign(fold=[0, 1, 1, 0]))  # a site in both
    assert not apart(table.assign(InstitutionName=["North", "", "South", "West"]))  # one image's is unknown
    assert not apart(table.assign(fold=0))  # nothing was held out from
    assert not apart(table.drop(columns="InstitutionName"))


def test_an_external_validation_is_the_test_that_a_cross_validation_lacks() -> None:
    assert answers(EXTERNAL)[ELSEWHERE].state == MET
    assert answers(INTERNAL)[ELSEWHERE].caveat == 1


def test_whoever_reads_that_an_item_is_met_can_click_to_where() -> None:
    for known in (INTERNAL, LEAST, EXTERNAL, GIVEN, replace(EXTERNAL, members=5)):
        assert [item.topic for item in checklist(known) if item.state == MET and not item.anchor] == []


def test_every_anchor_is_a_section_of_the_page() -> None:
    templates = Path(ROOT / "medres" / "report" / "templates" / "sections")
    pages = "".join(path.read_text(encoding="utf-8") for path in templates.glob("*.html"))
    anchors = {item.anchor for item in checklist(INTERNAL)} - {""}
    assert anchors
    assert {anchor for anchor in anchors if f'id="{anchor}"' not in pages} == set()
