"""The worklist as the browser gets it: columns once, and of verdicts only what a reader may see."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from medres.review.cases import Case, Unscored, Worklist
from medres.review.list_columns import Cell, fingerprint, list_columns, update
from medres.review.scored_folders import ScoredFolder
from medres.review.store import ReviewStore, Verdict
from medres.review.verdicts.backup import url_of


@dataclass
class Listed:
    """What of a Worklist a list is made of."""

    cases: tuple[Case, ...]
    unscored: tuple[Unscored, ...] = ()
    folders: tuple[ScoredFolder, ...] = (ScoredFolder(Path("scored"), Path("in"), "scored"),)
    labels: tuple[str, ...] = ("disc", "rib")
    model: Any = field(default_factory=lambda: SimpleNamespace(model_id="m"))

    def threshold(self, label: str) -> float:
        return {"disc": 0.5, "rib": 0.25}[label]


def _case(number: int, *, review: tuple[str, ...] = ()) -> Case:
    probabilities = {"disc": number / 10, "rib": 0.25}
    return Case(
        f"key{number}", f"{number}.dcm", f"{number:064x}", f"2.25.{number}", f"2.25.{number}", f"P{number // 2}", "PA",
        number % 2 + 1, 2, "review" if review else "ok", review, (), probabilities,
        {label: value >= {"disc": 0.5, "rib": 0.25}[label] for label, value in probabilities.items()},
        study_instance_uid=f"S{number // 3}" if number < 9 else "",
        study_date="" if number == 1 else f"202611{number + 1:02d}", laterality="LRBU"[number : number + 1],
    )  # fmt: skip


LIST = Listed(tuple(_case(number, review=("Look.",) if number == 3 else ()) for number in range(10)))


def _of(listed: Listed) -> Worklist:
    return cast(Worklist, listed)


def test_columns_hold_every_case_once_in_the_order_of_the_table() -> None:
    found = list_columns(_of(LIST), readable=str.lower)
    assert found.key == tuple(f"key{number}" for number in range(10))
    assert found.patient[:4] == ("p0", "p0", "p1", "p1") and found.view == ("pa",) * 10
    assert found.study == (0, 0, 0, 1, 1, 1, 2, 2, 2, 3)  # the last one has no StudyInstanceUID
    assert (found.date[:2], found.side[:5]) == (("2026-11-01", ""), ("left", "right", "both sides", "unpaired", ""))
    assert found.review == ("", "", "", "Look.", *[""] * 6)
    disc, rib = found.labels
    assert (disc.label, disc.point, disc.shown[5], disc.positive) == ("disc", "50 %", "50 %", (0,) * 5 + (1,) * 5)
    assert (rib.point, set(rib.positive)) == ("25 %", {1})
    sent = json.loads(found.packed())
    assert sent["labels"][0]["probability"] == [number / 10 for number in range(10)]
    assert fingerprint(found.packed()) == fingerprint(found.packed()) != fingerprint(b"")


def test_files_without_a_score_are_grouped_by_their_reason() -> None:
    unscored = [Unscored(number, "refused", "Not DICOM.") for number in range(20, 30)]
    unscored += [Unscored(40, "duplicate", "The same as row 3."), Unscored(41, "duplicate", "The same as row 4.")]
    unscored += [Unscored(50, "gone", "It is not there any more.")]
    found = list_columns(_of(Listed(LIST.cases, tuple(unscored)))).unscored
    assert [(one.status, one.rows) for one in found] == [
        ("refused", tuple(range(20, 30))), ("duplicate", (40, 41)), ("gone", (50,)),
    ]  # fmt: skip


def test_a_reader_is_told_others_verdicts_beside_their_own_and_only_what_changed(tmp_path: Path) -> None:
    with ReviewStore.open(url_of(tmp_path / "reviews.db")) as store:

        def say(image: int, reader: str, label: str = "disc", verdict: Any = "agree", model: str = "m") -> None:
            found = store.history(f"2.25.{image}", model, label)
            said = Verdict(f"2.25.{image}", model, label, verdict, reader)
            store.save(said, expected_revision=found[-1].revision if found else 0)

        say(1, "A")
        say(1, "B", verdict="disagree")
        say(2, "B")
        say(3, "A", label="rib")
        say(4, "A", model="another")
        say(77, "A")  # of no image of this folder
        first = update(_of(LIST), store, "a")
        assert set(first.cells) == {
            Cell(1, 0, "agree", (("B", "disagree"),), 0), Cell(2, 0, "", (), 1), Cell(3, 1, "agree", (), 0),
        }  # fmt: skip
        assert Cell(2, 0, "", (("B", "agree"),), 0) in update(_of(LIST), store, "A", blinded=False).cells
        assert {cell.mine for cell in update(_of(LIST), store, "").cells} == {""}
        assert update(_of(LIST), store, "A", since=first.last).cells == ()
        say(2, "A", verdict="unsure")
        later = update(_of(LIST), store, "A", since=first.last)
        assert later.cells == (Cell(2, 0, "unsure", (("B", "agree"),), 0),)
        behind = update(_of(LIST), store, "A", since=later.last + 5)  # a store that was restored
        assert (behind.last, len(behind.cells)) == (later.last, 3)
        assert json.loads(later.packed(str.lower))["cells"][0]["others"] == [["b", "agree"]]
