from __future__ import annotations

from pathlib import Path

import pytest

from medres.cohort.manifest import read_manifest
from medres.errors import ManifestError


def manifest(folder: Path, text: str) -> Path:
    path = folder / "manifest.csv"
    path.write_text(text, encoding="utf-8")
    for name in ("a.dcm", "b.dcm", "=c.dcm"):
        (folder / name).touch()
    return path


def test_targets_are_one_zero_or_unknown_and_identifiers_are_text(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,PatientID,label_x\na.dcm,007,1\nb.dcm,7,0\n./=c.dcm, 8 ,-1\n")
    read = read_manifest(path, ["x"])
    assert [row.patient_id for row in read.rows] == ["007", "7", "8"]
    assert [row.targets["x"] for row in read.rows] == [1, 0, None]
    assert read.rows[2].path == tmp_path / "=c.dcm"
    assert read.patients == 3


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        ("path,PatientID,label_x\n", "no rows"),
        ("file,PatientID\na,1\n", "no column path"),
        ("path,patient\na,1\n", "no column PatientID"),
        ("path,PatientID,label_x\na.dcm,1,1\na.dcm,1,0\n", "occur twice"),
        ("path,PatientID,label_x\na.dcm,1,1\nb.dcm,,0\n", "no PatientID"),
        ("path,PatientID,label_y\na.dcm,1,1\nb.dcm,2,0\n", "no label 'x'.*it has y"),
        ("path,PatientID\na.dcm,1\nb.dcm,2\n", "no label_ columns at all"),
        ("path,PatientID,label_x\na.dcm,1,1\nb.dcm,2,1\n", "2 positive and 0 negative"),
        ("path,PatientID,label_x\na.dcm,1,yes\nb.dcm,2,0\n", "holds 'yes'"),
        ("path,PatientID,label_x\nq.dcm,1,1\nr.dcm,2,0\n", "none of its 2 files exists"),
        ("path,PatientID,label_x,status\na.dcm,1,1,alive\nb.dcm,2,0,dead\n", "status.*leaves no row.*'alive', 'dead'"),
        ("path,PatientID,SOPInstanceUID,label_x\na.dcm,1,1.2,1\nb.dcm,2,1.2,0\n", "SOPInstanceUIDs occur twice"),
    ],
)
def test_every_problem_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ManifestError, match=complaint):
        read_manifest(manifest(tmp_path, text), ["x"])


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    path = manifest(tmp_path, "path,PatientID,label_x\na.dcm,,1\na.dcm,2,maybe\n")
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, ["x"])
    assert all(words in str(caught.value) for words in ("occur twice", "no PatientID", "'maybe'"))


def test_a_path_that_cannot_be_looked_up_is_a_missing_file(tmp_path: Path) -> None:
    path = manifest(tmp_path, f"path,PatientID,label_x\na.dcm,1,1\n{'z' * 5000},2,0\n")
    assert len(read_manifest(path, ["x"]).rows) == 2


def test_a_missing_manifest_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path / "none.csv", ["x"])


def test_a_binary_file_is_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes(bytes(range(256)))
    with pytest.raises(ManifestError, match="not a CSV"):
        read_manifest(tmp_path / "m.csv", ["x"])


def test_rows_that_an_index_did_not_accept_are_left_out(tmp_path: Path) -> None:
    text = "path,PatientID,status,label_x\na.dcm,1,ok,1\nb.dcm,2,review,0\nc.dcm,3,refused,1\n"
    assert len(read_manifest(manifest(tmp_path, text), ["x"]).rows) == 2
