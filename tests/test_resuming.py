"""Whatever the order in which files are done, and whatever was kept, the rows are those of a run in order of path."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from medres.cohort.duplicates import Repeats
from medres.config import GATES, Limits, Preprocessing
from medres.imaging.isolation import Workers
from medres.imaging.preprocessing import Prepared, prepare
from medres.records import Refusal
from medres.scoring.columns import text_array
from medres.scoring.folder import score_folder
from medres.scoring.known import STAMP, Unchanged, back
from medres.scoring.resuming import Kept, kept_rows, same_image, with_what_they_share
from medres.scoring.table import Numbers, RowTable
from medres.tables import read_csv, read_json
from tests.support.dicom_files import radiograph, write
from tests.support.phantoms import blob, write_radiograph


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    path = write(tmp_path_factory.mktemp("sound") / "a.dcm", radiograph())
    return prepare(str(path), spec=Preprocessing(size=32), gate=GATES["any"], limits=Limits())


FOLDERS = st.dictionaries(
    st.sampled_from([f"{number:02d}" for number in range(12)]),
    st.tuples(st.sampled_from(["", "1", "2", "3"]), st.sampled_from(["a", "a+", "b"])),
    min_size=1,
)


def judged(
    sound: Prepared,
    folder: dict[str, tuple[str, str]],
    kept: dict[str, dict[str, str]],
    order: Callable[[Sequence[str]], Sequence[str]],
) -> dict[str, str]:
    """What is said of every file: that it repeats another, that it is in conflict, or nothing."""
    repeats = Repeats()

    def read(paths: Sequence[str], ordered: bool) -> Iterator[tuple[str, Prepared | Refusal]]:
        for path in paths if ordered else order(paths):
            uid, content = folder[path]
            yield path, replace(sound, sop_instance_uid=uid, sha256=content, pixels_sha256=content[0])

    said = {path: row["detail"] for path, row in kept.items()}
    files = sorted(folder)
    places = [place for place, path in enumerate(files) if path in kept]
    uids = text_array(kept[files[place]]["SOPInstanceUID"] for place in places)

    def rows(places: Numbers) -> Iterator[dict[str, str]]:
        return ({"path": files[place], "sha256": folder[files[place]][1]} for place in places)

    def remember(row: Mapping[str, str]) -> None:
        uid, content = folder[row["path"]]
        repeats.compare(row["path"], sop_instance_uid=uid, sha256=content, pixels_sha256=content[0])

    held = Kept(files, np.array(places, np.int64), uids, rows)
    for path, result in with_what_they_share(held, read, forget=repeats.forget, remember=remember):
        assert isinstance(result, Prepared)
        found = repeats.compare(
            path, sop_instance_uid=result.sop_instance_uid, sha256=result.sha256, pixels_sha256=result.pixels_sha256
        )
        said[path] = same_image(found.identical_to) if found.identical_to else "conflict" * found.conflict
    return said


@given(folder=FOLDERS, data=st.data())
def test_the_order_in_which_files_are_done_decides_nothing(
    sound: Prepared, folder: dict[str, tuple[str, str]], data: Any
) -> None:
    shuffled = judged(sound, folder, {}, lambda paths: data.draw(st.permutations(paths)))
    assert shuffled == judged(sound, folder, {}, list)


@given(folder=FOLDERS, data=st.data())
def test_nor_do_the_rows_that_were_kept(sound: Prepared, folder: dict[str, tuple[str, str]], data: Any) -> None:
    alone = {path: item for path, item in folder.items() if data.draw(st.booleans())}
    before = judged(sound, alone, {}, list)
    whole = {path: {"SOPInstanceUID": folder[path][0], "detail": detail} for path, detail in before.items()}
    shuffled = judged(sound, folder, whole, lambda paths: data.draw(st.permutations(paths)))
    assert shuffled == judged(sound, folder, {}, list)


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "SOPInstanceUID": st.sampled_from(["", "1", "2", "3"]),
            "sha256": st.sampled_from(["s", "t"]),
            "pixels_sha256": st.sampled_from(["p", "q"]),
            "status": st.sampled_from(["ok", "duplicate", "gone"]),
            "reason": st.sampled_from(["", "DUPLICATE_CONFLICT", "LIMIT"]),
            "detail": st.sampled_from(["", "the same image as 0", "the same image as 1", "was ok", "was duplicate"]),
        }
    ),
    max_size=6,
)


@given(rows=ROWS, data=st.data())
def test_rows_are_kept_as_if_each_was_asked_in_turn(rows: list[dict[str, str]], data: Any) -> None:
    files = [f"{number}" for number in range(len(rows))]
    rows = [{"path": path, STAMP: "0", **row} for path, row in zip(files, rows, strict=True)]
    there = np.array([data.draw(st.booleans()) for _ in files], np.bool_)
    renewed = np.array([row["status"] == "gone" for row in rows], np.bool_)
    repeats, kept, doubtful = Repeats(), [], set()
    for row in (back(row) for row, found in zip(rows, there, strict=True) if found):
        if row["reason"] == "LIMIT":
            continue
        kept.append((row["path"], row["SOPInstanceUID"]))
        facts = {"sha256": row["sha256"], "pixels_sha256": row["pixels_sha256"]}
        repeat = repeats.compare(row["path"], sop_instance_uid=row["SOPInstanceUID"], **facts)
        said = row["detail"] if row["status"] == "duplicate" else ""
        would_say = same_image(repeat.identical_to) if repeat.identical_to else ""
        if repeat.conflict != (row["reason"] == "DUPLICATE_CONFLICT") or said != would_say:
            doubtful.add(row["SOPInstanceUID"])
    columns = ["path", STAMP, "SOPInstanceUID", "sha256", "pixels_sha256", "status", "reason", "detail"]
    numbers = np.where(there, np.arange(len(rows)), -1)
    stamps = text_array(["0"] * len(rows))
    held = Unchanged(RowTable.of(rows, columns), files, numbers, stamps, renewed & there, frozenset())
    found = kept_rows(held, holds=lambda row: row["reason"] != "LIMIT")
    assert list(found) == [path for path, uid in kept if uid not in doubtful]
    assert found.missing() == [path for path in files if path not in set(found)]
    for uid in ("1", "2", "3"):
        assert found.sharing(uid) == [path for path, its in kept if its == uid and uid not in doubtful]
    assert found.sharing("") == []


def test_a_refused_file_is_compared_with_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(["a", "b", "c"], np.arange(3), text_array([""] * 3))
    monkeypatch.setattr(np, "searchsorted", None)
    assert kept.sharing("") == []


def test_a_copy_of_a_later_night_is_read_once_and_its_original_is_kept(
    format3_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for number in range(3):
        pixels = blob(number, bright=True)
        write_radiograph(folder / "b" / f"{number}.dcm", pixels, patient=str(number), uid=f"2.25.{number + 1}")
    score_folder(format3_model, folder, out=out, workers=1)
    asked: list[str] = []

    def decode(_: object, job: Callable[[str], Any], items: Iterable[str], *, ordered: bool) -> Iterator[Any]:
        for path in items:
            asked.append(Path(path).parent.name)
            yield path, job(path)

    monkeypatch.setattr(Workers, "map", decode)
    shutil.copytree(folder / "b", folder / "c")
    summary = score_folder(format3_model, folder, out=out, resume=True, workers=1)
    assert (asked, summary.reused, summary.statuses["duplicate"]) == (["c"] * 3, 3, 3)
    shutil.copytree(folder / "b", folder / "a")  # comes first now: the originals are its duplicates
    summary = score_folder(format3_model, folder, out=out, resume=True, workers=1)
    assert (summary.reused, summary.statuses["duplicate"]) == (0, 6)
    score_folder(format3_model, folder, out=tmp_path / "fresh", workers=1)
    assert (out / "predictions.csv").read_bytes() == (tmp_path / "fresh" / "predictions.csv").read_bytes()


@pytest.mark.filterwarnings("ignore:.*Invalid value")
def test_rows_of_a_version_that_kept_neither_date_nor_side_are_resumed_without_them(
    format3_model: Path, tmp_path: Path
) -> None:
    folder, out, later = tmp_path / "in", tmp_path / "out", ("StudyDate", "ImageLaterality")
    for number, tags in enumerate(({"StudyDate": "20261127", "Laterality": "L"}, {"StudyDate": "1027.11.2"}, {})):
        pixels = blob(number, bright=True)
        write_radiograph(folder / f"{number}.dcm", pixels, patient="1", uid=f"2.25.{number + 1}", **tags)
    score_folder(format3_model, folder, out=out, workers=1)
    fresh = read_csv(out / "predictions.csv")
    assert fresh[list(later)].to_numpy().tolist() == [["20261127", "L"], ["", ""], ["", ""]]
    for path in (*out.glob("parts/*.parquet"), out / "predictions.parquet"):
        parquet.write_table(parquet.read_table(path).drop_columns(later), path)
    fresh.drop(columns=list(later)).to_csv(out / "predictions.csv", index=False)
    write_radiograph(
        folder / "3.dcm", blob(3, bright=True), patient="1", uid="2.25.4", StudyDate="2026.11.28", ImageLaterality="R"
    )
    assert score_folder(format3_model, folder, out=out, resume=True, workers=1).reused == 3
    resumed = read_csv(out / "predictions.csv")
    assert list(resumed.columns) == list(fresh.columns)
    assert resumed[list(later)].to_numpy().tolist() == [["", ""], ["", ""], ["", ""], ["20261128", "R"]]


@pytest.mark.slow
def test_a_refusal_by_a_limit_holds_until_the_limits_are_others(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for number in range(4):
        write_radiograph(folder / f"{number}.dcm", blob(number, bright=True), patient="1", uid=f"2.25.{number + 1}")
    refused = {"1.dcm": "DECODER_TIMEOUT", "2.dcm": "DECODER_STALLED"}
    asked: list[str] = []
    stopped: list[bool] = []

    def decode(_: object, job: Callable[[str], Any], items: Iterable[str], *, ordered: bool) -> Iterator[Any]:
        for path in reversed(list(items)):
            name = Path(path).name
            asked.append(name)
            if stopped:
                raise KeyboardInterrupt
            yield path, Refusal(path, refused[name], "late") if name in refused else job(path)

    def tried(**limits: float) -> list[str]:
        asked.clear()
        chosen = Limits.model_validate(limits)
        score_folder(small_model, folder, out=out, resume=out.exists(), limits=chosen, workers=1)
        assert read_json(out / "run.json")["limits"] == chosen.model_dump()
        return sorted(asked)

    monkeypatch.setattr(Workers, "map", decode)
    assert tried() == ["0.dcm", "1.dcm", "2.dcm", "3.dcm"]
    assert read_csv(out / "predictions.csv")["reason"].tolist()[1:3] == ["DECODER_TIMEOUT", "DECODER_STALLED"]
    assert tried() == ["2.dcm"]
    assert tried(seconds=60) == ["1.dcm", "2.dcm"]
    assert tried(seconds=60) == ["2.dcm"]
    stopped.append(True)
    with pytest.raises(KeyboardInterrupt):
        tried(seconds=30)
    stopped.clear()
    assert tried(seconds=30) == ["1.dcm", "2.dcm"]
