"""A walk through a folder loses nothing, and a manifest's paths lead to the files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from medres.cohort.indexing import write_index
from medres.cohort.listing import list_files
from medres.cohort.manifest import read_manifest
from medres.errors import ManifestError, UsageError
from medres.tables import read_csv
from tests.conftest import Medres
from tests.support.phantoms import blob, write_radiograph


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_radiograph(tmp_path / "real" / "in" / "a.dcm", blob(1, bright=True), patient="1", uid="2.25.1")
    return tmp_path / "real" / "in"


def test_a_folder_that_cannot_be_listed_is_an_entry_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/1", "locked/2", "z/3"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    scandir = os.scandir

    def refusing(path: Path) -> Iterator[os.DirEntry[str]]:
        if Path(path).name in locked:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    locked = {"locked"}
    monkeypatch.setattr(os, "scandir", refusing)
    found = list_files(tmp_path)
    assert found.files == ("a/1", "z/3")
    assert [(item.path, item.code) for item in found.refused] == [("locked", "UNREADABLE")]
    assert "Permission denied" in found.refused[0].detail
    locked.add(tmp_path.name)
    with pytest.raises(UsageError, match="cannot be listed: Permission denied"):
        list_files(tmp_path)


def test_links_are_followed_once_and_never_out_of_the_folder_or_in_a_circle(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "1").touch()
    (tmp_path / "elsewhere").touch()
    for name, target in {
        "self": "self", "b/up": "..", "c": "b", "out": "../elsewhere", "parent": "..", "gone": "nowhere", "copy": "b/1",
    }.items():  # fmt: skip
        (folder / name).symlink_to(target)
    found = list_files(folder)
    assert found.files == ("b/1", "copy", "gone")
    assert {item.path: item.code for item in found.refused} == {
        "self": "UNREADABLE", "out": "OUTSIDE_ROOT", "parent": "OUTSIDE_ROOT",
    }  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fwalk"), reason="needs paths relative to an open folder")
def test_a_tree_deeper_than_a_path_may_be_long_is_an_entry(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").touch()
    handle = os.open(tmp_path / "in", os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=handle)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = deeper
    os.close(handle)
    found = list_files(tmp_path / "in")
    assert found.files == ("file",)
    assert [item.code for item in found.refused] == ["UNREADABLE"]


@pytest.mark.slow
def test_paths_lead_to_the_files_from_a_manifest_behind_a_link(images: Path, tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "far" / "away")
    (tmp_path / "data").symlink_to(images.parent)
    for folder in (images, tmp_path / "data" / "in"):
        for out in (tmp_path / "out" / "m.csv", tmp_path / "m.csv"):
            write_index(folder, out, workers=1, force=True)
            assert (out.parent / read_csv(out)["path"][0]).samefile(images / "a.dcm")
            assert read_manifest(out.resolve()).rows[0].path.is_file()
    assert read_csv(tmp_path / "m.csv")["path"].tolist() == ["data/in/a.dcm"]


def test_labels_for_a_folder_of_refused_files_do_not_keep_the_refusals_back(
    images: Path, tmp_path: Path, medres: Medres
) -> None:
    labels, out = tmp_path / "labels.csv", tmp_path / "m.csv"
    labels.write_text("PatientID,label_disc\n2,1\n")
    with pytest.raises(ManifestError, match="no PatientID of it is in the folder"):
        write_index(images, out, labels=labels, workers=1)
    (images / "a.dcm").write_text("dear colleague")
    done = medres("index", images, "--out", out, "--labels", labels)
    assert done.returncode == 3, done.stderr
    assert read_csv(tmp_path / "refused.csv")["reason"].tolist() == ["NOT_DICOM"]
    assert read_csv(out).empty


def test_an_index_counts_its_radiographs_by_modality(tmp_path: Path, medres: Medres) -> None:
    for number, modality in enumerate(["DX", "DX", "CR", "XA", "", "CT"]):
        pixels = blob(number, bright=True)
        write_radiograph(tmp_path / f"in/{number}.dcm", pixels, patient="1", uid=f"2.25.{number}", Modality=modality)
    done = medres("index", tmp_path / "in", "--out", tmp_path / "m.csv")
    assert "by Modality: 2 DX, " in done.stdout
    [line] = [line for line in done.stdout.splitlines() if line.startswith("by Modality: ")]
    assert set(line.removeprefix("by Modality: ").split(", ")) == {"2 DX", "1 CR", "1 XA", "1 absent"}
    assert "1 other files (1 MODALITY)" in done.stdout


def test_uncertain_labels_survive_an_index_and_are_numbers_to_other_programs(images: Path, tmp_path: Path) -> None:
    write_radiograph(images / "b.dcm", blob(2, bright=False), patient="2", uid="2.25.2")
    write_radiograph(images / "c.dcm", blob(3, bright=False), patient="-3", uid="2.25.3")
    labels = "SOPInstanceUID,label_x\n2.25.1,-1\n2.25.2,1\n2.25.3,0\n"
    (tmp_path / "labels.csv").write_text(labels)
    write_index(images, tmp_path / "m.csv", labels=tmp_path / "labels.csv", workers=1)
    assert sorted(pd.read_csv(tmp_path / "m.csv")["label_x"]) == [-1, 0, 1]
    rows = {row.patient_id: row for row in read_manifest(tmp_path / "m.csv", ["x"]).rows}
    assert rows["1"].uncertain == {"x"}
    assert {name: row.targets["x"] for name, row in rows.items()} == {"1": None, "2": 1, "-3": 0}
