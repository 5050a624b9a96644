"""A scored folder by study: each study once, by the rule that its row names, and never more than its images say."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medres.scoring.columns import dense, known_numbers, text_array
from medres.scoring.deidentified import keyed_path, keyed_uid
from medres.scoring.folder import score_folder
from medres.scoring.studies import (
    RULES,
    STUDIES,
    STUDIES_DEIDENTIFIED,
    UNCALIBRATED,
    Rule,
    StudyTable,
    by_study,
    picked,
)
from medres.tables import read_csv, read_json
from tests.conftest import Medres
from tests.support.phantoms import blob, write_radiograph
from tests.support.processes import loaded_after

THRESHOLD = 0.5
KEY = b"0123456789abcdef"


def images(*rows: tuple[str, str, str, str, float | None]) -> pa.Table:
    """Rows of StudyInstanceUID, ViewPosition, status, reason and probability; the path is the row's number."""
    names = ("StudyInstanceUID", "ViewPosition", "status", "reason")
    columns = {name: text_array([str(row[place]) for row in rows]) for place, name in enumerate(names)}
    columns["path"] = text_array([f"{number:03d}.dcm" for number in range(len(rows))])
    columns |= {name: text_array([name] * len(rows)) for name in ("PatientKey", "model_id")}
    return pa.table({**columns, "prob_a": pa.array([row[4] for row in rows], pa.float64())})


def studies(table: pa.Table, rule: Rule) -> pd.DataFrame:
    return by_study(table, StudyTable(rule, {"a": THRESHOLD})).to_pandas().set_index("StudyInstanceUID")


def of_patients(table: pa.Table, *keys: str) -> pa.Table:
    return table.set_column(table.column_names.index("PatientKey"), "PatientKey", text_array(list(keys)))


def test_each_rule_answers_with_the_images_that_it_names() -> None:
    table = images(
        ("1.1", "PA", "ok", "", 0.2), ("1.1", "LL", "ok", "", 0.8), ("1.1", "ap", "ok", "", 0.5),
        ("1.2", "LL", "ok", "", 0.1), ("1.2", "", "ok", "", 0.3),
    )  # fmt: skip
    found = {rule: studies(table, rule) for rule in RULES}
    assert found["max"]["prob_a"].tolist() == [0.8, 0.3]
    assert found["mean"]["prob_a"].tolist() == pytest.approx([0.5, 0.2])
    assert found["frontal-first"]["prob_a"].tolist() == pytest.approx([0.35, 0.2])
    assert found["frontal-first"]["answered_by"].tolist() == ["frontal", "all"]
    assert found["frontal-first"]["images_answering"].tolist() == [2, 2]
    assert found["max"]["positive_a"].tolist() == [1, 0]
    for rule in RULES:
        assert found[rule]["images_scored"].tolist() == [3, 2]
        assert set(found[rule]["rule"]) == {rule}


def test_images_without_a_score_are_counted_and_answer_nothing() -> None:
    table = images(
        ("1.1", "PA", "ok", "", 0.2), ("1.1", "PA", "duplicate", "DUPLICATE_IDENTICAL", None),
        ("1.1", "PA", "refused", "NOT_FINITE", None), ("1.1", "PA", "gone", "", 0.9),
        ("1.2", "PA", "refused", "NOT_FINITE", None), ("", "", "refused", "NOT_DICOM", None),
    )  # fmt: skip
    for rule in RULES:
        found = studies(table, rule)
        assert found.index.tolist() == ["1.1"]  # nothing of the others was scored
        counts = ["images_scored", "images_refused", "images_duplicate", "images_gone"]
        assert found[counts].to_numpy().tolist() == [[1, 1, 1, 1]]
        assert found["prob_a"].tolist() == [0.2]
        assert found["status"].tolist() == ["ok"]


def test_a_study_whose_images_are_all_gone_keeps_its_row() -> None:
    table = images(("1.1", "PA", "gone", "", 0.2), ("1.1", "LL", "gone", "", 0.8))
    found = studies(table, "frontal-first")
    assert found[["status", "reason", "prob_a", "images_gone"]].to_numpy().tolist() == [["gone", "", 0.2, 2]]


def test_one_image_that_asks_for_review_asks_it_for_its_study() -> None:
    table = images(
        ("1.1", "PA", "ok", "", 0.2), ("1.1", "LL", "review", "OUTLIER", 0.8), ("1.1", "LL", "review", "VIEW", 0.8),
        ("1.2", "PA", "ok", "", 0.2), ("1.2", "PA", "refused", "CORRUPT", None),
    )  # fmt: skip
    found = studies(table, "frontal-first")
    assert found[["status", "reason"]].to_numpy().tolist() == [["review", "OUTLIER"], ["ok", ""]]


def test_a_study_of_several_patients_is_ascribed_to_none() -> None:
    table = images(("1.1", "PA", "ok", "", 0.2), ("1.1", "PA", "ok", "", 0.4), ("1.2", "PA", "ok", "", 0.4))
    found = studies(of_patients(table, "a", "b", "b"), "mean")
    assert found[["status", "reason", "PatientKey"]].to_numpy().tolist() == [
        ["review", "PATIENT_CONFLICT", ""], ["ok", "", "b"],
    ]  # fmt: skip


def test_a_wrong_patients_image_that_was_removed_no_longer_makes_a_conflict() -> None:
    table = images(("1.1", "PA", "ok", "", 0.2), ("1.1", "PA", "gone", "", 0.4), ("1.1", "PA", "gone", "", 0.4))
    for rule in RULES:
        found = studies(of_patients(table, "a", "b", "b"), rule)
        assert found[["status", "reason", "PatientKey"]].to_numpy().tolist() == [["ok", "", "a"]]


def test_a_wrong_patients_image_makes_a_conflict_whatever_view_answers() -> None:
    table = images(("1.1", "PA", "ok", "", 0.2), ("1.1", "LL", "ok", "", 0.4))
    found = studies(of_patients(table, "a", "b"), "frontal-first")
    assert found[["status", "reason", "PatientKey"]].to_numpy().tolist() == [["review", "PATIENT_CONFLICT", ""]]


def test_a_study_of_several_patients_that_is_all_gone_is_gone() -> None:
    table = images(("1.1", "PA", "gone", "", 0.2), ("1.1", "PA", "gone", "", 0.4))
    found = studies(of_patients(table, "a", "b"), "mean")
    assert found[["status", "reason", "PatientKey"]].to_numpy().tolist() == [["gone", "PATIENT_CONFLICT", ""]]


def test_an_image_without_a_study_is_one_by_itself() -> None:
    table = images(("", "PA", "ok", "", 0.2), ("1.1", "PA", "ok", "", 0.4), ("", "PA", "ok", "", 0.6))
    found = studies(table, "max")
    assert found["path"].tolist() == ["000.dcm", "002.dcm", ""]
    assert found["prob_a"].tolist() == [0.2, 0.6, 0.4]


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["", "1.1", "1.2", "1.10"]),
        st.sampled_from(["AP", "PA", "LL", ""]),
        st.sampled_from(["ok", "review", "refused", "duplicate", "gone"]),
        st.just(""),
        st.floats(0, 1),
    ),
    max_size=12,
)


@settings(max_examples=40)
@given(rows=ROWS)
def test_every_scored_image_is_in_one_study_whose_probability_is_among_its_images(
    rows: list[tuple[str, str, str, str, float | None]],
) -> None:
    known = [row if row[2] in {"ok", "review", "gone"} else (*row[:4], None) for row in rows]
    table = images(*known)
    frame = table.to_pandas()
    frame["key"] = [uid or path for uid, path in zip(frame["StudyInstanceUID"], frame["path"], strict=True)]
    with_scores = frame[frame["status"].isin(["ok", "review", "gone"])]
    for rule in RULES:
        found = studies(table, rule).reset_index()
        found["key"] = [uid or path for uid, path in zip(found["StudyInstanceUID"], found["path"], strict=True)]
        assert found["key"].is_unique
        assert set(found["key"]) == set(with_scores["key"])
        for row in found.itertuples():
            own = with_scores[with_scores["key"] == row.key]
            here = own[own["status"] != "gone"]
            pool = here if len(here) else own
            frontal = pool[pool["ViewPosition"].isin(["AP", "PA"])]
            used = frontal if rule == "frontal-first" and len(frontal) else pool
            expected = used["prob_a"].max() if rule == "max" else used["prob_a"].mean()
            assert row.prob_a == pytest.approx(expected)
            assert used["prob_a"].min() <= row.prob_a <= used["prob_a"].max()
            assert row.positive_a == int(row.prob_a >= THRESHOLD)
            assert (row.images_answering, row.images_scored) == (len(used), len(here))


@given(cells=st.lists(st.one_of(st.none(), st.floats(0, 1))), start=st.integers(0, 5))
def test_columns_come_out_of_arrow_as_they_went_in(cells: Sequence[float | None], start: int) -> None:
    table = pa.table({"a": pa.array(cells, pa.float64())}).slice(start)
    expected = [np.nan if cell is None else cell for cell in cells[start:]]
    np.testing.assert_array_equal(known_numbers(table["a"]), expected)
    names = text_array([f"{number}é" for number in range(len(cells))])
    sliced = pa.table({"a": names}).slice(start)
    assert dense(sliced["a"]).to_pylist() == [f"{number}é" for number in range(len(cells))][start:]
    assert picked(names, np.arange(len(cells)), where=np.zeros(len(cells), dtype=bool)).to_pylist() == [""] * len(cells)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies of two images, one of whose files lies there twice, an image without a study, and no image."""
    folder = tmp_path_factory.mktemp("studies") / "in"
    for number in range(4):
        tags: dict[str, Any] = {"StudyInstanceUID": f"1.2.3.{number // 2}", "ViewPosition": ("PA", "LL")[number % 2]}
        image, uid = blob(number, bright=number % 2 == 0), f"2.25.{number + 1}"
        write_radiograph(folder / f"{number}.dcm", image, patient=str(number // 2), uid=uid, **tags)
    shutil.copy(folder / "0.dcm", folder / "copy.dcm")
    write_radiograph(folder / "=5.dcm", blob(5, bright=True), patient="5", uid="2.25.9", StudyInstanceUID="")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_a_scored_folder_has_its_studies_and_a_resumed_one_keeps_them(
    archive: Path, format3_model: Path, tmp_path: Path, medres: Medres
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(archive, folder)
    asked = ("score", format3_model, folder, "--out", out)
    done = medres(*asked, "--studies", "frontal-first", "--deidentify")
    assert done.returncode == 3, done.stderr
    assert UNCALIBRATED in done.stdout
    table, pictures = read_csv(out / STUDIES), read_csv(out / "predictions.csv").set_index("path")
    assert table["StudyInstanceUID"].tolist() == ["", "1.2.3.0", "1.2.3.1"]
    assert table["path"].tolist() == ["./=5.dcm", "", ""]
    assert table["images_duplicate"].tolist() == ["0", "1", "0"]
    assert table["prob_disc"].tolist() == pictures.loc[["./=5.dcm", "0.dcm", "2.dcm"], "prob_disc"].tolist()
    parquet = pd.read_parquet(out / "studies.parquet")
    assert parquet["prob_disc"].tolist() == table["prob_disc"].astype(float).tolist()
    assert {STUDIES, STUDIES_DEIDENTIFIED} <= set(read_json(out / "run.json")["holds"])
    before = {name: (out / name).read_bytes() for name in (STUDIES, STUDIES_DEIDENTIFIED)}
    for path in out.glob("studies.*"):
        path.unlink()
    assert medres(*asked, "--resume").returncode == 3
    assert {name: (out / name).read_bytes() for name in before} == before
    (folder / "2.dcm").unlink()
    score_folder(format3_model, folder, out=out, resume=True, workers=1, studies="max", most_gone=1)
    table = read_csv(out / STUDIES)
    assert set(table["rule"]) == {"max"}
    assert table["images_gone"].tolist() == ["0", "0", "1"]
    score_folder(format3_model, folder, out=out, force=True, workers=1)
    assert not list(out.glob("studies.*"))


def test_the_studies_without_identifiers_join_nothing(archive: Path, format3_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDRES_PSEUDONYM_KEY", KEY.decode())
        score_folder(format3_model, archive, out=out, workers=1, studies="mean", deidentify=True)
    first, second = read_csv(out / STUDIES), read_csv(out / STUDIES_DEIDENTIFIED)
    expected = {keyed_uid("1.2.3.0", KEY), keyed_uid("1.2.3.1", KEY), ""}
    assert set(second["StudyInstanceUID"]) == expected
    assert set(second["path"]) == {keyed_path("=5.dcm", KEY), ""}
    assert sorted(first["prob_disc"]) == sorted(second["prob_disc"])
    pictures = read_csv(out / "predictions.deidentified.csv")
    assert set(second["StudyInstanceUID"]) <= set(pictures["StudyInstanceUID"])
    for name in ("studies.deidentified.csv", "studies.deidentified.parquet"):
        content = (out / name).read_bytes()
        assert not any(known in content for known in (b"1.2.3.0", b"=5.dcm"))


def test_without_the_option_there_are_no_studies(archive: Path, format3_model: Path, tmp_path: Path) -> None:
    score_folder(format3_model, archive, out=tmp_path / "out", workers=1)
    assert not list((tmp_path / "out").glob("studies.*"))
    assert "studies" not in json.loads((tmp_path / "out" / "run.json").read_text())


def test_an_empty_folder_has_tables_of_no_study(format3_model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    score_folder(format3_model, tmp_path / "in", out=tmp_path / "out", workers=1, studies="mean", deidentify=True)
    for name in (STUDIES, STUDIES_DEIDENTIFIED):
        assert read_csv(tmp_path / "out" / name).empty


@pytest.mark.skipif(sys.platform == "win32", reason="as on Linux")
def test_a_table_of_studies_is_made_without_pandas(archive: Path, format3_model: Path, tmp_path: Path) -> None:
    score_folder(format3_model, archive, out=tmp_path / "out", workers=1)
    code = (
        "from pathlib import Path; from medres.scoring.studies import StudyTable, write_studies; "
        f"write_studies(Path({str(tmp_path / 'out')!r}), StudyTable('mean', {{'disc': 0.5}}, b'k' * 16))"
    )
    assert "pandas" not in loaded_after(code)
