from __future__ import annotations

import math
import os
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.errors import OutputExists, UsageError
from medres.tables import (
    MARKER,
    inert,
    inert_path,
    named_path,
    original,
    output_folder,
    read_csv,
    read_json,
    refuse_inside,
    sha256_json,
    write_csv,
    write_json,
)

TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\n\x00"), max_size=30)


@given(TEXT)
def test_an_inert_cell_is_not_a_formula_and_is_read_back_as_it_was(text: str) -> None:
    cell = str(inert(text))
    assert not cell.startswith(("=", "+", "-", "@", "\t")) or math.isfinite(float(cell))
    assert original(cell) == text


NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.from_regex(r"[+-]?([0-9]{1,4}(\.[0-9]{0,3})?|\.[0-9]{1,3})([eE][+-]?[0-9]{1,2})?", fullmatch=True),
)


@given(NUMBERS)
def test_a_number_is_written_as_it_is_and_older_tables_that_escaped_it_are_read(number: str) -> None:
    assert inert(number) == number == original(number)
    assert original(f"'{number}") == (number if number[0] in "+-" else f"'{number}")


@given(NUMBERS, st.sampled_from(["+cmd|' /C calc'!A0", "-A1", "*2", "%", "(1)", "=1", "e", "-", " 1", "\n=1", "\t1"]))
def test_what_only_begins_like_a_number_is_made_inert(number: str, more: str) -> None:
    text = number + more
    assert str(inert(text)).startswith("'") == text.startswith(("+", "-"))
    assert original(str(inert(text))) == text


def test_uncertain_labels_survive_a_table_and_other_programs_read_them(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", pd.DataFrame({"label_x": ["-1", "1", "-1.0", ""], "site": ["-1+2", "a", "b", "c"]}))
    assert pd.read_csv(tmp_path / "t.csv")["label_x"].tolist()[:3] == [-1, 1, -1]
    assert read_csv(tmp_path / "t.csv")["label_x"].tolist() == ["-1", "1", "-1.0", ""]
    assert "'-1+2" in (tmp_path / "t.csv").read_text()


@given(st.text("=+-@'a./", min_size=1, max_size=8))
def test_an_inert_path_names_the_same_file(text: str) -> None:
    assert not inert_path(text).startswith(("=", "+", "-", "@"))
    assert Path(inert_path(text)) == Path(text)


NAMES = st.one_of(
    st.binary(min_size=1, max_size=60),
    st.lists(st.sampled_from([b"\r", b"\n", b"%", b"0D", b"\xe9", b"=", b"'", b'"', b",", b" ", b"."]), min_size=1)
    .map(b"".join)
    .map(lambda name: name[:200]),
).map(lambda name: name.replace(b"\0", b"0").replace(b"/", b"~"))
"""What a POSIX file may be called: any bytes but these two."""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are not UTF-8")
@given(st.lists(NAMES.filter(lambda name: name not in {b".", b".."}), min_size=1, max_size=4, unique=True))
def test_a_file_of_any_name_is_found_again_from_a_table(names: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as home:
        for number, name in enumerate(names):
            Path(home, os.fsdecode(name)).write_text(str(number))
        cells = [inert_path(os.fsdecode(name)) for name in names]
        assert [inert_path(cell) for cell in cells] == cells
        table = pd.DataFrame({"path": cells, "detail": "x"})
        table.to_parquet(Path(home, "..table"))
        write_csv(Path(home, "...table"), table)
        for again in (read_csv(Path(home, "...table")), pd.read_parquet(Path(home, "..table"))):
            found = [Path(home, named_path(cell)).read_text() for cell in again["path"]]
            assert found == [str(number) for number in range(len(names))]
            assert again["detail"].tolist() == ["x"] * len(names)


def test_a_carriage_return_in_a_cell_does_not_end_its_row_and_a_name_in_json_is_read_back(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", pd.DataFrame({"a": ["1\r2", "3"], "b": ["x", "y"]}))
    assert read_csv(tmp_path / "t.csv").to_numpy().tolist() == [["1 2", "x"], ["3", "y"]]
    write_json(tmp_path / "t.json", {"input": os.fsdecode(b"/in/\xe9")})
    assert os.fsencode(read_json(tmp_path / "t.json")["input"]) == b"/in/\xe9"


def test_a_table_keeps_leading_zeros_formulas_and_every_digit(tmp_path: Path) -> None:
    table = pd.DataFrame({"PatientID": ["007", "=cmd()", "-1", ""], "prob_a": [0.1 + 0.2, 1e-17, 1 / 3, 1.0]})
    write_csv(tmp_path / "t.csv", table)
    again = read_csv(tmp_path / "t.csv")
    assert again["PatientID"].tolist() == table["PatientID"].tolist()
    assert again["prob_a"].map(float).tolist() == table["prob_a"].tolist()
    assert "\n=cmd" not in (tmp_path / "t.csv").read_text()


def test_a_folder_that_fails_is_not_there_and_the_old_one_is_untouched(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RuntimeError), output_folder(out) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with output_folder(out) as folder:
        write_json(folder / MARKER, {})
    with pytest.raises(RuntimeError), output_folder(out, force=True):
        raise RuntimeError
    assert (out / MARKER).is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_existing_output_is_refused_and_force_replaces_only_what_medres_wrote(tmp_path: Path) -> None:
    foreign = tmp_path / "letters"
    foreign.mkdir()
    (foreign / "will.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(OutputExists), output_folder(foreign, force=force):
            pass
    assert (foreign / "will.txt").read_text() == "mine"


def test_a_link_is_never_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    with output_folder(tmp_path / "run") as folder:
        write_json(folder / MARKER, {})
    (tmp_path / "out").symlink_to("run")
    with pytest.raises(OutputExists, match="is a link"), output_folder(tmp_path / "out", force=True):
        pytest.fail("work was begun that cannot be kept")
    assert (tmp_path / "run" / MARKER).is_file()


def test_an_output_inside_an_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="inside the input folder"):
        refuse_inside(tmp_path / "images" / "out", [tmp_path / "images"])
    with pytest.raises(UsageError, match="holds the input"):
        refuse_inside(tmp_path, [tmp_path / "images" / "manifest.csv"])
    refuse_inside(tmp_path / "out", [tmp_path / "images"])


def test_nan_is_never_written_as_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert list(tmp_path.iterdir()) == []


@given(st.dictionaries(TEXT, st.integers()))
def test_a_hash_of_json_does_not_depend_on_the_order_of_keys(value: dict[str, int]) -> None:
    assert sha256_json(value) == sha256_json(dict(reversed(value.items())))
