"""The checklist answers every item of both guidelines once, and from what the run did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from medres.evaluation.checklist import MET, NOT_APPLICABLE, NOT_MET, Facts, checklist
from medres.evaluation.subgroups import COLUMNS
from tests.conftest import ROOT

CLAIM = [str(number) for number in range(1, 45)]
_TRIPOD = (
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 "
    "18a 18b 18c 18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
)
TRIPOD = _TRIPOD.split()
INTERNAL = Facts(
    external=False,
    sites=["North", "South"],
    blank_columns=[],
    random_start=False,
    has_flow=True,
    has_gallery=True,
    has_shift=False,
    uncertain_policy="ignore",
)
LEAST = replace(INTERNAL, sites=[], blank_columns=list(COLUMNS), has_flow=False, has_gallery=False, random_start=True)


def test_every_item_of_both_guidelines_is_answered_once() -> None:
    for known in (INTERNAL, LEAST, replace(INTERNAL, external=True)):
        items = checklist(known)
        assert sorted(number for item in items for number in item.claim.split()) == sorted(CLAIM)
        assert sorted(number for item in items for number in item.tripod.split()) == sorted(TRIPOD)
        assert {item.state for item in items} == {MET, NOT_MET, NOT_APPLICABLE}
        assert all(item.answer.endswith(".") for item in items)


def test_what_a_run_lacks_is_not_met() -> None:
    found = {item.topic: item for item in checklist(LEAST)}
    for topic in ("Several sites", "Subgroups", "Fairness", "Flow of patients and images", "Analysis of failures"):
        assert found[topic].state == NOT_MET
        assert {item.topic: item for item in checklist(INTERNAL)}[topic].state == MET
    assert "not recorded" in found["Several sites"].answer


def test_an_external_validation_is_the_test_that_a_cross_validation_lacks() -> None:
    topic = "Test on another hospital's images"
    internal, external = (
        next(item for item in checklist(replace(INTERNAL, external=kind)) if item.topic == topic)
        for kind in (False, True)
    )
    assert (internal.state, external.state) == (NOT_MET, MET)
    assert internal.caveat == 1


def test_every_anchor_is_a_section_of_the_page() -> None:
    templates = Path(ROOT / "medres" / "evaluation" / "templates")
    pages = "".join(path.read_text(encoding="utf-8") for path in templates.glob("*.html"))
    for item in checklist(INTERNAL):
        assert not item.anchor or f'id="{item.anchor}"' in pages
