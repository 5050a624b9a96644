from __future__ import annotations

from pathlib import Path

from medres.cohort.leakage import find_leaks
from medres.records import ManifestRow


def row(name: str, patient: str) -> ManifestRow:
    return ManifestRow(Path(name), patient, "", "", {})


def test_the_same_image_under_two_patients_is_found() -> None:
    leaks = find_leaks([row("a", "P1"), row("b", "P2"), row("c", "P3")], ["x", "x", "y"])
    assert [leak.kind for leak in leaks] == ["same image"]
    assert "a, b" in leaks[0].detail


def test_the_same_image_of_one_patient_is_no_leak() -> None:
    assert find_leaks([row("a", "P1"), row("b", "P1")], ["x", "x"]) == ()


def test_patients_who_differ_only_by_spelling_are_found() -> None:
    leaks = find_leaks([row("a", "0012a"), row("b", "12 A"), row("c", "13")], [None, None, None])
    assert [leak.kind for leak in leaks] == ["similar PatientID"]
