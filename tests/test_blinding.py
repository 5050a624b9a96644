"""Another reader's word is seen once there is one of one's own: the rule, and every table and message that asks it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.review.cases import Worklist
from medres.review.list_columns import update
from medres.review.room import Reader, kept, shown_case
from medres.review.sent import SaidVerdict
from medres.review.store import Conflict, ReviewStore, Verdict
from medres.review.verdicts import audit
from medres.review.verdicts.backup import url_of
from medres.review.verdicts.blinding import has_judged, is_of, visible
from tests.support.reviewing import score_shared_uid

LABEL = "disc"
NAME, WORD = "Dr. Hidden", "unheard"
READERS = ("", "Dr. New", "Dr. Skips", "Dr. Own")


@pytest.fixture(scope="module")
def worklist(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Worklist:
    """Two images that share a SOPInstanceUID."""
    return Worklist.open(score_shared_uid(small_model, tmp_path_factory.mktemp("blinding")), small_model)


@pytest.fixture
def store(worklist: Worklist, tmp_path: Path) -> Iterator[ReviewStore]:
    """Of the first image: Dr. Hidden disagrees, under its own name and the shared one; others do as their names say."""
    case = worklist.cases[0]
    hidden = Verdict(case.verdict_key, worklist.model.model_id, LABEL, "disagree", NAME, WORD)
    with ReviewStore.open(url_of(tmp_path / "reviews.db")) as store:
        store.save(hidden, expected_revision=0)
        store.save(replace(hidden, sop_instance_uid=case.sop_instance_uid), expected_revision=0)
        for reader, verdict in (("Dr. Skips", "skipped"), ("Dr. Own", "agree")):
            said = replace(hidden, reviewer=reader, verdict=verdict, comment="", skip_reason="not readable")
            store.save(said, expected_revision=0)
        yield store


def _case_page(worklist: Worklist, store: ReviewStore, reader: Reader) -> str:
    return shown_case(worklist, store, worklist.cases[0], reader).model_dump_json()


def _answer_to_a_conflict(worklist: Worklist, store: ReviewStore, reader: Reader) -> str:
    case = worklist.cases[0]
    said = SaidVerdict(
        id="1", key=case.key, label=LABEL, verdict="unsure", reviewer=reader.name or "Nobody", revision=99,
        probability=0.5, checked=True, seconds_in_view=1, heatmap_shown=False,
    )  # fmt: skip
    answer = kept(worklist, store, said, blinded=reader.blinded)
    assert not answer.saved
    return answer.model_dump_json()


def _list(worklist: Worklist, store: ReviewStore, reader: Reader) -> str:
    return update(worklist, store, reader.name, blinded=reader.blinded).packed().decode()


def _compared(worklist: Worklist, store: ReviewStore, reader: Reader) -> str:
    said = store.changes(worklist.model.model_id).verdicts
    return repr(visible(said, reader.name) if reader.blinded else said)


@pytest.mark.parametrize("told", [_case_page, _answer_to_a_conflict, _list, _compared])
def test_nothing_that_is_told_of_an_image_holds_a_word_that_its_reader_may_not_see(
    worklist: Worklist, store: ReviewStore, told: Callable[[Worklist, ReviewStore, Reader], str]
) -> None:
    for name in READERS:
        assert (NAME in told(worklist, store, Reader(name))) == (name == "Dr. Own"), name
        if told is not _answer_to_a_conflict:  # a server that was started so shows everything
            assert NAME in told(worklist, store, Reader(name, blinded=False)), name


def test_what_was_kept_under_a_shared_name_is_hidden_counted_and_its_reveal_noted(
    worklist: Worklist, store: ReviewStore
) -> None:
    new, skips, own = (
        shown_case(worklist, store, worklist.cases[0], Reader(name)).labels[LABEL] for name in READERS[1:]
    )
    assert (new.history, new.others, new.revision) == ((), (), 0)
    assert new.hidden == "3 verdicts of others are shown once yours is saved."
    assert [one.reviewer for one in skips.history] == ["Dr. Skips"] and skips.others == ()
    assert (own.hidden, [one.reviewer for one in own.others]) == ("", [NAME])
    assert own.others_said.startswith("Saved under the SOPInstanceUID")
    with store.reading() as connection:
        lines = [line for line in audit.lines(connection) if line.action == "reveal"]
    revealed = [(line.actor, json.loads(line.detail)["image"]) for line in lines]
    case = worklist.cases[0]
    assert revealed == [("Dr. Own", case.verdict_key), ("Dr. Own", case.sop_instance_uid)]


def test_a_conflict_names_nobody_but_the_reader(store: ReviewStore, worklist: Worklist) -> None:
    said = Verdict(worklist.cases[0].verdict_key, worklist.model.model_id, LABEL, "agree", "Dr. New")
    with pytest.raises(Conflict) as conflict:
        store.save(said, expected_revision=9)
    assert conflict.value.latest is None and NAME not in str(conflict.value)


_SAID = st.builds(
    Verdict,
    sop_instance_uid=st.sampled_from(["1", "2"]), model_id=st.just("m"), label=st.sampled_from(["a", "b"]),
    verdict=st.sampled_from(["agree", "disagree", "own", "skipped"]), reviewer=st.sampled_from(["A", "a ", "B"]),
)  # fmt: skip


@given(st.lists(_SAID), st.sampled_from(["A", "B", "C", ""]))
def test_of_many_verdicts_one_sees_ones_own_and_those_beside_a_word_of_ones_own(
    said: list[Verdict], reader: str
) -> None:
    seen = visible(said, reader)
    assert list(seen) == [one for one in said if one in seen]
    for one in said:
        own = [
            other
            for other in said
            if is_of(reader, other) and (other.sop_instance_uid, other.label) == (one.sop_instance_uid, one.label)
        ]
        assert (one in seen) == (is_of(reader, one) or has_judged(own))
