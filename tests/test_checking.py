"""Every check of a manifest runs that can, whatever else is wrong; what did not run is told, and nothing twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.cohort.checking import Checked, check_manifest
from medres.cohort.form import label_questions
from medres.cohort.leakage import KINDS
from medres.config import GATES, Limits
from medres.evaluation.metadata import check_metadata
from tests.conftest import Medres
from tests.support.phantoms import write_radiograph
from tests.support.textures import brighter, texture, without_edges

SOUND, PLANTED = 7, ("same", "near", "uid", "zeros")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven images of seven patients and one leak of each kind; `manifest.csv` is sound but for them."""
    folder = tmp_path_factory.mktemp("leaks")
    lines = ["path,PatientID,SOPInstanceUID,label_x"]

    def add(name: str, pixels: np.ndarray, patient: str, uid: str) -> None:
        write_radiograph(folder / f"{name}.dcm", pixels.astype(np.uint16) * 16, patient=patient, uid=uid)
        lines.append(f"{name}.dcm,{patient},{uid},{len(lines) % 2}")

    for number in range(SOUND):
        add(str(number), texture(number), f"ward{number}", f"2.25.{number}")
    add("same", texture(0), "other", "2.25.100")
    add("near", brighter(without_edges(texture(1), (0.05, 0.0, 0.04, 0.0)), 0.8, 20), "another", "2.25.101")
    add("uid", texture(50), "third", "2.25.2")
    add("zeros", texture(51), " Ward 3", "2.25.102")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "letter.dcm").write_text("dear colleague")
    return folder


def checked(folder: Path, table: pd.DataFrame) -> Checked:
    table.to_csv(folder / "changed.csv", index=False)
    return check_metadata(check_manifest(folder / "changed.csv", gate=GATES["any"], limits=Limits()))


def manifest(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "manifest.csv", dtype=str, keep_default_na=False)


def found(check: Checked) -> set[str]:
    return {leak.kind for leak in check.leaks if leak.problem}


def changed(**cells: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A table with one more column, or another cell in its seventh row."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        for column, cell in cells.items():
            if column in table:
                table.loc[6, column] = cell
            else:
                table[column] = cell
        return table

    return change


def again(table: pd.DataFrame, **cells: str) -> pd.DataFrame:
    return pd.concat([table, table.iloc[[6]].assign(**cells)], ignore_index=True)


FAULTS: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], int]] = {  # and how many problems it is
    "none": (lambda table: table, 0),
    "a label cell that is none": (changed(label_x="maybe"), 1),
    "a number that is no label": (changed(label_x="2"), 1),
    "another label column that is invalid": (changed(label_y=[*"0101010101", "yes"]), 1),
    "a label of one class": (changed(label_y="1"), 1),
    "a label that nobody knows": (changed(label_y=""), 1),
    "a grade": (changed(label_kl=list("01230123012")), 0),
    "a class": (changed(label_view=["AP", "PA", *["AP", "PA", "LL"] * 3]), 0),
    "no label": (lambda table: table.drop(columns="label_x"), 1),
    "no SOPInstanceUID": (lambda table: table.drop(columns="SOPInstanceUID"), 0),
    "another SOPInstanceUID": (changed(SOPInstanceUID="2.25.77"), 1),
    "the SOPInstanceUID of another row": (changed(SOPInstanceUID="2.25.5"), 1),
    "a blank PatientID": (changed(PatientID=""), 1),
    "two blank PatientIDs": (lambda table: again(changed(PatientID="")(table), path="5.dcm", SOPInstanceUID=""), 2),
    "a row twice": (again, 2),  # its path and its SOPInstanceUID
    "a row twice under two patients": (lambda table: again(table, PatientID="nobody"), 1),
    "a file that is missing": (changed(path="gone.dcm"), 1),
    "a file that is no radiograph": (changed(path="letter.dcm"), 1),
    "a path that is blank": (changed(path=""), 1),
    "a row left out": (changed(status=["ok"] * 6 + ["refused"] + ["review"] * 4), 0),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_each_kind_of_leak_is_found_beside_each_fault_and_each_fault_counts_once(fault: str, cohort: Path) -> None:
    change, count = FAULTS[fault]
    check = checked(cohort, change(manifest(cohort)))
    assert found(check) == set(KINDS)
    problems, _ = check.lines()
    assert len(problems) == len(KINDS) + count, problems
    assert sum(one.problems for one in check.checks) == len(problems)
    assert [one.name for one in check.not_run] == (["labels readable from metadata"] if fault == "no label" else [])


def test_a_blank_patient_may_be_anybody(cohort: Path) -> None:
    table = manifest(cohort)
    table.loc[table["path"].isin(["same.dcm", "near.dcm"]), "PatientID"] = ""
    check = checked(cohort, table)
    assert {"same image", "near-duplicate"} <= found(check)
    assert any("blank" in leak.detail for leak in check.leaks)


def test_without_patients_images_are_compared_all_the_same(cohort: Path) -> None:
    check = checked(cohort, manifest(cohort).drop(columns="PatientID"))
    assert found(check) == set(KINDS) - {"similar PatientID"}
    assert {one.name for one in check.not_run} == {"similar PatientID", "labels readable from metadata"}


NO_FILE: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "no column path": lambda table: table.rename(columns={"path": "file"}),
    "no file exists": lambda table: table.assign(path="elsewhere/" + table["path"]),
    "no file is a radiograph": lambda table: table.assign(path=["letter.dcm", *table["path"][1:].radd("no/")]),
    "no row is used": lambda table: table.assign(status="refused"),
    "no row": lambda table: table.iloc[:0],
}


def test_without_paths_rows_are_named_by_their_lines_in_the_file(cohort: Path) -> None:
    table = manifest(cohort).drop(columns="path").assign(status=["refused", *["ok"] * 10])
    [leak] = checked(cohort, table).leaks
    assert leak.detail.endswith("line 12, line 5")


@pytest.mark.parametrize("reason", sorted(NO_FILE))
def test_what_did_not_run_is_told_on_the_page_in_words_and_by_the_exit_code(
    reason: str, cohort: Path, tmp_path: Path, medres: Medres
) -> None:
    table = NO_FILE[reason](manifest(cohort))
    table.to_csv(tmp_path / "m.csv", index=False)
    out = tmp_path / "out"
    done = medres("check", tmp_path / "m.csv", "--root", cohort, "--out", out)
    assert done.returncode == 3, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("not checked: ")]
    page = (out / "leaks.html").read_text(encoding="utf-8")
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    not_run = {one["name"] for one in record["checks"] if one["not_run"]}
    assert {"same image", "near-duplicate", "same SOPInstanceUID"} <= not_run
    assert all(name in line for name in not_run)
    assert "No leak was found" not in page
    assert "Not everything was checked" in page
    assert page.count("did not run</strong>") == len(not_run)
    assert f"but {len(not_run)} checks did not run" in done.stdout
    assert ("similar PatientID: " in done.stdout) == (not reason.startswith("no row"))


def test_a_sound_manifest_is_told_to_be_one_once_everything_was_looked_at(
    cohort: Path, tmp_path: Path, medres: Medres
) -> None:
    table = manifest(cohort)
    table[:SOUND].to_csv(tmp_path / "m.csv", index=False)
    done = medres("check", tmp_path / "m.csv", "--root", cohort, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout
    assert "m.csv: no problems found\n" in done.stdout
    assert "No leak was found." in (tmp_path / "out" / "leaks.html").read_text(encoding="utf-8")


def test_an_invalid_cell_does_not_hide_a_leak(cohort: Path, tmp_path: Path, medres: Medres) -> None:
    table = changed(label_x="maybe")(manifest(cohort))
    table.to_csv(tmp_path / "m.csv", index=False)
    done = medres("check", tmp_path / "m.csv", "--root", cohort, "--out", tmp_path / "out")
    assert done.returncode == 3
    assert "identical pixels under 2 PatientIDs: 0.dcm, same.dcm" in done.stdout
    page = (tmp_path / "out" / "leaks.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 8
    assert "maybe" in page
    assert "m.csv: 5 problems found\n" in done.stdout


@given(st.lists(st.sampled_from(["0", "1", "-1", "", "1.0", "0.0", "-1.0", " 1"]), min_size=1, max_size=30))
def test_a_finding_is_a_fault_only_where_a_class_is_missing(cells: list[str]) -> None:
    [question] = label_questions(pd.DataFrame({"label_x": cells}))
    classes = {float(cell) for cell in cells if cell.strip()} - {-1.0}
    assert (question.task is not None) == (classes == {0.0, 1.0})


@given(st.integers(0, 1), st.integers(2, 8), st.sampled_from(["", "-1", "-1.0"]), st.sampled_from(["", ".0"]))
def test_a_grade_without_a_gap_is_no_fault(lowest: int, count: int, unknown: str, form: str) -> None:
    cells = [f"{lowest + grade}{form}" for grade in range(count)] * 2 + [unknown]
    [question] = label_questions(pd.DataFrame({"label_kl": cells}))
    assert question.task is not None
    assert question.task.kind == ("binary" if lowest + count == 2 else "ordinal")
    assert question.task.kind == "binary" or "--ordinal kl" in str(question)


@pytest.mark.parametrize("slip", ["2", "9", "99", "1.5", "-2", "yes", "O", "0,5", "1 1"])
def test_a_slip_in_a_finding_is_a_fault(slip: str) -> None:
    [question] = label_questions(pd.DataFrame({"label_x": [*"0101010101", slip]}))
    assert question.task is None
    assert repr(slip) in question.complaint
    [question] = label_questions(pd.DataFrame({"label_x": ["yes", "no"] * 5}))
    assert question.task is None
