"""A list names what to look at: nothing of it is lost, and the rows of all other files stay as they are."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.cohort.indexing import write_index
from medres.cohort.listing import list_files, list_named, read_names
from medres.errors import GoneError, UsageError
from medres.scoring import known
from medres.scoring.folder import score_folder
from medres.scoring.known import STAMP
from medres.scoring.ledger import Ledger
from medres.scoring.listed import Listed, with_unlisted
from medres.scoring.shown import Shown
from medres.scoring.table import RowTable, Selected
from medres.tables import inert_path
from tests.conftest import Medres
from tests.support.phantoms import blob, write_radiograph

COUNT = 6


def table(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "predictions.csv", dtype=str, keep_default_na=False).set_index("path")


def radiograph(path: Path, number: int) -> Path:
    return write_radiograph(path, blob(number, bright=number % 2 == 0), patient=str(number), uid=f"2.25.{number + 1}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(COUNT):
        radiograph(tmp_path / "in" / f"{number}.dcm", number)
    return tmp_path / "in"


@pytest.fixture(scope="module")
def scored(format3_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder `in` that was scored into `out`."""
    home = tmp_path_factory.mktemp("listed")
    for number in range(COUNT):
        radiograph(home / "in" / f"{number}.dcm", number)
    score_folder(format3_model, home / "in", out=home / "out", workers=1)
    return home


@pytest.fixture
def night(scored: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of it: the same sizes and times, other inodes."""
    shutil.copytree(scored, tmp_path / "night")
    folder, out = tmp_path / "night" / "in", tmp_path / "night" / "out"
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**record, "input": str(folder)}))
    return folder, out


def test_names_are_relative_to_the_folder_or_absolute_in_it_and_stand_once(folder: Path, tmp_path: Path) -> None:
    (folder / "ward").mkdir()
    radiograph(folder / "ward" / "a.dcm", 9)
    names = ["0.dcm", "./0.dcm", str(folder / "1.dcm"), "ward//a.dcm", "ward/../2.dcm", "ward/a.dcm"]
    assert list_named(folder, names).files == ("0.dcm", "1.dcm", "2.dcm", "ward/a.dcm")
    if sys.platform != "win32":
        (tmp_path / "link").symlink_to(folder)
        through = [str(tmp_path / "link" / "3.dcm"), str(folder / "4.dcm")]
        assert list_named(tmp_path / "link", through).files == ("3.dcm", "4.dcm")


def test_what_is_no_file_of_the_folder_is_refused_one_by_one(folder: Path, tmp_path: Path) -> None:
    (folder / "ward").mkdir()
    (tmp_path / "outside.dcm").write_bytes(b"x")
    names = ["0.dcm", "away.dcm", "ward", ".", "../outside.dcm", str(tmp_path / "outside.dcm"), "a" * 300]
    expected = {
        "away.dcm": "UNREADABLE", "ward": "UNREADABLE", ".": "UNREADABLE", "../outside.dcm": "OUTSIDE_ROOT",
        str(tmp_path / "outside.dcm"): "OUTSIDE_ROOT", "a" * 300: "UNREADABLE",
    }  # fmt: skip
    if sys.platform != "win32":
        (folder / "link.dcm").symlink_to(tmp_path / "outside.dcm")
        names, expected = [*names, "link.dcm"], {**expected, "link.dcm": "OUTSIDE_ROOT"}
    found = list_named(folder, names)
    assert found.files == ("0.dcm",)
    assert {refusal.path: refusal.code for refusal in found.refused} == expected


def test_a_list_of_which_nothing_is_there_is_a_mistake_and_an_empty_one_is_none(folder: Path) -> None:
    assert list_named(folder, []).files == ()
    with pytest.raises(UsageError, match="not one of the 2 names of the list"):
        list_named(folder, ["in/0.dcm", "in/1.dcm"])
    with pytest.raises(UsageError, match="is not a folder"):
        list_named(folder / "no", ["0.dcm"])


@pytest.mark.skipif(sys.platform == "win32", reason="names of files are text there")
@given(names=st.lists(st.binary(min_size=1, max_size=8).filter(lambda name: b"\0" not in name and b"/" not in name)))
def test_a_list_gives_back_every_name_that_a_file_can_have(names: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"".join(name + b"\0" for name in names))))
        assert [os.fsencode(name) for name in read_names("-", nul=True)] == names
        plain = [name for name in names if not {b"\n", b"\r"} & {bytes([one]) for one in name}]
        for ending in (b"\n", b"\r\n"):
            text = b"\n".join([name + ending.removesuffix(b"\n") for name in plain])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xef\xbb\xbf" + text)))
            assert [os.fsencode(name) for name in read_names("-")] == plain


def test_a_list_that_cannot_be_read_or_is_of_the_other_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_names(tmp_path / "no.txt")
    (tmp_path / "list").write_bytes(b"a.dcm\0b.dcm\0")
    with pytest.raises(UsageError, match="--files0"):
        read_names(tmp_path / "list")


def test_a_night_of_new_files_leaves_all_other_rows_as_they_are_and_opens_none(
    night: tuple[Path, Path], format3_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = night
    before = table(out)
    radiograph(folder / "ward" / "new.dcm", 50)
    (folder / "1.dcm").unlink()  # away, and not in the list
    (folder / "2.dcm").write_bytes(b"changed, and not in the list")
    opened: list[str] = []
    monkeypatch.setattr(known, "file_sha256", lambda path: opened.append(Path(path).name))
    summary = score_folder(
        format3_model, folder, out=out, resume=True, workers=1, names=["ward/new.dcm", "gone-by-now.dcm"]
    )
    after = table(out)
    assert opened == []
    assert after.loc[before.index].equals(before)
    assert after.loc["ward/new.dcm", "status"] in {"ok", "review"}
    assert after.loc["gone-by-now.dcm", ["status", "reason"]].tolist() == ["refused", "UNREADABLE"]
    assert (summary.files, summary.unlisted, summary.statuses["gone"], summary.complete) == (COUNT + 2, COUNT, 0, False)
    again = score_folder(format3_model, folder, out=out, resume=True, workers=1, names=[])
    assert (again.unlisted, again.reused) == (COUNT + 2, 0)
    assert table(out).equals(after)


def test_what_the_list_names_and_is_away_is_gone_and_what_moved_takes_its_row_along(
    night: tuple[Path, Path], format3_model: Path
) -> None:
    folder, out = night
    before = table(out)
    (folder / "1.dcm").unlink()
    (folder / "3.dcm").rename(folder / "moved.dcm")
    summary = score_folder(
        format3_model, folder, out=out, resume=True, workers=1, names=["0.dcm", "1.dcm", "moved.dcm"], most_gone=0.5
    )
    after = table(out)
    assert summary.statuses["gone"] == 1
    assert after.loc["1.dcm", "status"] == "gone"
    assert after.loc["1.dcm", "prob_disc"] == before.loc["1.dcm", "prob_disc"]
    assert "3.dcm" not in after.index
    assert after.loc["moved.dcm"].tolist() == before.loc["3.dcm"].tolist()
    for _ in range(2):  # neither a later list nor what the ledger still knows brings it back
        score_folder(format3_model, folder, out=out, resume=True, workers=1, names=["0.dcm"])
        assert table(out).equals(after)


def test_a_copy_of_a_file_that_the_list_does_not_name_is_its_duplicate(
    night: tuple[Path, Path], format3_model: Path
) -> None:
    folder, out = night
    before = table(out)
    shutil.copy(folder / "3.dcm", folder / "copy.dcm")
    score_folder(format3_model, folder, out=out, resume=True, workers=1, names=["copy.dcm"])
    after = table(out)
    assert after.loc["copy.dcm", ["status", "detail"]].tolist() == ["duplicate", "the same image as 3.dcm"]
    score_folder(format3_model, folder, out=out.with_name("whole"), workers=1)
    whole = table(out.with_name("whole"))
    assert whole.drop(columns="prob_disc").equals(after.drop(columns="prob_disc"))
    assert list(before.index) == list(after.index.drop("copy.dcm"))


def test_rows_of_a_list_that_was_ended_early_are_not_lost_by_the_next_list(
    night: tuple[Path, Path], format3_model: Path
) -> None:
    folder, out = night
    for number in (50, 51):
        radiograph(folder / f"{number}.dcm", number)
    old = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    score_folder(format3_model, folder, out=out, resume=True, workers=1, names=["50.dcm"])
    for name, content in old.items():  # as if it had been killed before it wrote its tables
        (out / name).write_bytes(content)
    score_folder(format3_model, folder, out=out, resume=True, workers=1, names=["51.dcm"])
    assert set(table(out).index) == {f"{number}.dcm" for number in (*range(COUNT), 50, 51)}


def test_many_named_files_that_are_gone_stop_the_run_and_so_does_another_model(
    night: tuple[Path, Path], format3_model: Path, format3_run: Path
) -> None:
    folder, out = night
    before = (out / "predictions.csv").read_bytes()
    for number in (1, 2, 3):
        (folder / f"{number}.dcm").unlink()
    with pytest.raises(GoneError, match="3 of 6 files"):
        score_folder(format3_model, folder, out=out, resume=True, workers=1, names=["0.dcm", "1.dcm", "2.dcm", "3.dcm"])
    with pytest.raises(UsageError, match="rows of both"):
        score_folder(format3_run, folder, out=out, resume=True, workers=1, names=["0.dcm"])
    assert (out / "predictions.csv").read_bytes() == before


def test_a_list_never_makes_half_of_a_forced_run_the_table(
    night: tuple[Path, Path], format3_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = night
    before = (out / "predictions.csv").read_bytes()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Ledger, "finish", _interrupted)
        score_folder(format3_model, folder, out=out, force=True, workers=1)
    with pytest.raises(UsageError, match="was ended before it was whole"):
        score_folder(format3_model, folder, out=out, resume=True, workers=1, names=["0.dcm"])
    assert (out / "predictions.csv").read_bytes() == before
    assert score_folder(format3_model, folder, out=out, resume=True, workers=1).reused == COUNT
    assert score_folder(format3_model, folder, out=out, resume=True, workers=1, names=["0.dcm"]).reused == 1


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@given(data=st.data())
def test_every_known_row_stays_or_moves_and_a_list_of_all_is_no_list(data: st.DataObject) -> None:
    folder = Path(tempfile.mkdtemp())
    rows: dict[str, dict[str, str]] = {}
    for name in (f"{number}.dcm" for number in range(4)):
        (folder / name).write_bytes(data.draw(st.binary(min_size=1, max_size=2), label=name))
        facts = {"path": name, "sha256": known.file_sha256(folder / name), STAMP: known.stamp(folder / name)}
        rows[name] = facts | {"status": data.draw(st.sampled_from(["ok", "duplicate"]), label=f"status of {name}")}
    for name in rows:
        match data.draw(st.sampled_from(["stay", "gone", "move"]), label=name):
            case "gone":
                (folder / name).unlink()
            case "move":
                (folder / name).rename(folder / f"new-{name}")
    (folder / "kept.dcm").write_bytes(b"there is always one")
    held = RowTable.of(list(rows.values()), [*rows["0.dcm"], "reason", "detail"])
    selected, shown = Selected(held, np.arange(len(held))), Shown(folder.with_name("none"))

    def taken(names: list[str]) -> Listed:
        return with_unlisted(selected, folder, list_named(folder, names), shown=shown, verify=False, workers=1)

    there = sorted(path.name for path in folder.iterdir())
    whole, expected = taken([*there, *rows]), known.unchanged(selected, folder, there, verify=False, workers=1)
    assert whole.held is not None
    assert (whole.held.files, whole.held.gone) == (tuple(expected.files), expected.gone)
    assert whole.held.numbers.tolist() == expected.numbers.tolist()
    assert whole.held.stamps.to_pylist() == expected.stamps.to_pylist()
    assert whole.left == frozenset()
    named = ["kept.dcm", *data.draw(st.lists(st.sampled_from([*there, *rows])), label="list")]
    found = taken(named)
    assert found.held is not None
    assert found.held.gone <= set(named)
    assert found.left.isdisjoint(named)
    scored = {name for name, row in rows.items() if row["status"] == "ok"} - set(named)
    now = {row["path"]: dict(row) for row in found.held.found()}
    assert {name for name in scored if (folder / name).exists()} <= found.left
    for name in found.left:
        assert now[name] == {**rows[name], "reason": "", "detail": ""}
    assert found.left <= set(found.listing.files) == set(found.held.files)


def test_an_index_of_a_list_holds_its_files_alone(folder: Path, tmp_path: Path) -> None:
    found = write_index(folder, tmp_path / "manifest.csv", workers=1, names=["1.dcm", "3.dcm", "no.dcm"])
    assert (found.usable, found.refused, found.reasons) == (2, 1, {"UNREADABLE": 1})


def test_a_list_comes_from_a_file_or_from_standard_input(
    folder: Path, format3_model: Path, tmp_path: Path, medres: Medres
) -> None:
    (tmp_path / "list").write_bytes(b"./0.dcm\0" + os.fsencode(folder / "1.dcm") + b"\0")
    out = tmp_path / "out"
    done = medres("score", format3_model, folder, "--out", out, "--files0", tmp_path / "list")
    assert done.returncode == 0, done.stderr
    assert set(table(out).index) == {"0.dcm", "1.dcm"}
    assert (
        medres("score", format3_model, folder, "--out", out, "--resume", "--files", "-").returncode == 0
    )  # of nothing
    asked = ("score", format3_model, folder, "--out", out, "--resume", "--files", os.devnull)
    assert medres(*asked, "--fail-if-empty").returncode == 4
    assert medres(*asked, "--files0", os.devnull).returncode == 2
    assert set(table(out).index) == {"0.dcm", "1.dcm"}


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="names need not be UTF-8 on Linux")
def test_names_that_are_no_utf8_have_their_rows(folder: Path, format3_model: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"x\xe9\n.dcm")
    shutil.copy(folder / "0.dcm", folder / odd)
    (tmp_path / "list").write_bytes(os.fsencode(odd) + b"\0")
    names = read_names(tmp_path / "list", nul=True)
    for resume in (False, True):
        score_folder(format3_model, folder, out=tmp_path / "out", workers=1, names=names, resume=resume)
        assert list(table(tmp_path / "out").index) == [inert_path(odd)]
    score_folder(format3_model, folder, out=tmp_path / "out", workers=1, names=["1.dcm"], resume=True)
    assert set(table(tmp_path / "out").index) == {inert_path(odd), "1.dcm"}
    assert odd in list_files(folder).files
