"""Rows as columns: found, told apart and put in order as Python would, though none of them is a Python object."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.scoring import columns
from medres.scoring.columns import places_in, text_array
from medres.scoring.table import RowTable, Selected

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=3)
COLUMNS = ["path", "status", "prob_a", "positive_a"]


@given(wanted=st.lists(TEXTS, max_size=9), known=st.lists(TEXTS, max_size=9), collide=st.booleans())
def test_texts_are_found_also_where_two_have_one_hash(wanted: list[str], known: list[str], collide: bool) -> None:
    with pytest.MonkeyPatch.context() as patched:
        if collide:
            patched.setattr(columns, "hash", lambda text: len(text), raising=False)
        places = places_in(text_array(wanted), text_array(known)).tolist()
    assert [place >= 0 for place in places] == [text in known for text in wanted]
    assert all(known[place] == text for place, text in zip(places, wanted, strict=True) if place >= 0)


@given(paths=st.lists(TEXTS, max_size=12), data=st.data())
def test_the_last_row_of_each_path_is_found_in_python_s_order(paths: list[str], data: st.DataObject) -> None:
    table = RowTable.of([{"path": path} for path in paths], COLUMNS)
    among = data.draw(st.lists(st.booleans(), min_size=len(paths), max_size=len(paths)))
    expected = {path: number for number, (path, counts) in enumerate(zip(paths, among, strict=True)) if counts}
    found = table.latest(np.array(among, np.bool_))
    assert [(table.row(number)["path"], number) for number in found.tolist()] == sorted(expected.items())


def test_a_row_is_text_and_counts_are_those_of_the_rows_that_are_chosen() -> None:
    rows = [
        {"path": "b", "status": "ok", "prob_a": 0.1, "positive_a": 1},
        {"path": "a", "status": ""},
        {"path": "c", "status": "gone", "prob_a": 1.0, "positive_a": 0},
    ]
    table = RowTable.of(rows, COLUMNS)
    assert dict(table.row(0)) == {"path": "b", "status": "ok", "prob_a": "0.1", "positive_a": "1"}
    assert dict(table.row(1)) == dict.fromkeys(COLUMNS, "") | {"path": "a"}
    chosen = Selected(table, np.array([2, 1]))
    assert chosen.counts("status") == {"gone": 1}
    assert [row["path"] for row in chosen.rows()] == ["c", "a"]
    assert chosen.where("status", bool).tolist() == [True, False]
    assert chosen.only(np.array([True, False])).text("path").to_pylist() == ["c"]
    assert [piece.num_rows for piece in chosen.only(np.zeros(2, np.bool_)).pieces(["path"])] == [0]
    assert chosen.table.where("path", "a".__eq__).tolist() == [False, True, False]
