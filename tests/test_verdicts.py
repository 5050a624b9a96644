"""Verdicts leave as tables that add up, and as a manifest that a training takes; the verbs say what they find."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from medres.review.server import default_store
from medres.review.store import ReviewStore, Verdict
from medres.review.verdicts.scored import read_scored
from medres.tables import read_csv
from tests.conftest import ROOT, Medres
from tests.support.phantoms import blob, write_radiograph
from tests.support.recipes import MADE, TINY, TOKEN

FIRST_VERSION = ROOT / "tests/fixtures/stores/v0001.db"


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory, medres: Medres, small_model: Path, small_cohort: Path) -> Path:
    """A copy of the small cohort, scored, and read by A (all, right), B (all but ten, often wrong), C (unsure)."""
    folder = tmp_path_factory.mktemp("verdicts")
    out = folder / "scored"
    shutil.copytree(small_cohort.parent / "images", folder / "images")
    done = medres("score", small_model, folder / "images", "--out", out)
    assert done.returncode == 0, done.stderr[-3000:]
    scored = read_scored(out)
    with ReviewStore.open(default_store(out)) as store:
        for number, (image, said) in enumerate(scored.images.items()):
            for reader, holds in (("Dr. A", _truth(said.path)), ("B", number % 3 == 0)):
                if reader == "B" and number < 10:
                    continue
                opinion = "agree" if said.called["disc"] == int(holds) else "disagree"
                store.save(Verdict(image, scored.model_id, "disc", opinion, reader), expected_revision=0)
            unsure = Verdict(image, scored.model_id, "disc", "unsure", "C", "=1+1", called=said.called["disc"])
            store.save(unsure, expected_revision=0)
    return out


def _truth(path: str) -> bool:
    return int(path.removesuffix(".dcm")) // 2 % 2 == 0


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_exported_is_checked_and_trained_on(
    medres: Medres, scores: Path, small_cohort: Path, tmp_path: Path
) -> None:
    out = tmp_path / "verdicts"
    done = medres("verdicts", "export", "--scores", scores, "--manifest", "dr. a", "--out", out)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{out / 'manifest.csv'}: 80 images for `medres train`, 0 left out" in done.stdout
    known = {row["SOPInstanceUID"]: row for row in _rows(small_cohort)}
    manifest = _rows(out / "manifest.csv")
    assert len(manifest) == 80
    for row in manifest:
        assert (out / row["path"]).samefile(scores.parent / known[row["SOPInstanceUID"]]["path"])
        assert row["PatientID"] == known[row["SOPInstanceUID"]]["PatientID"]  # which no table of scores holds
        assert row["label_disc"] == str(int(_truth(Path(row["path"]).name)))
        assert json.loads(row["provenance"]) == {"disc": {"Dr. A": int(row["label_disc"])}}
    if os.name == "posix":
        assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    checked = medres("check", out / "manifest.csv", "--out", tmp_path / "leaks")
    assert checked.returncode == 0, checked.stdout + checked.stderr[-3000:]
    trained = medres(
        "train", out / "manifest.csv", "--label", "disc", "--out", tmp_path / "model", *TINY, *TOKEN, *MADE, made="disc"
    )
    assert trained.returncode == 0, trained.stderr[-3000:]
    assert (tmp_path / "model" / "medres.json").is_file()


def test_the_majority_is_what_more_readers_say_and_a_tie_is_unsure(
    medres: Medres, scores: Path, tmp_path: Path
) -> None:
    out = tmp_path / "verdicts"
    done = medres("verdicts", "export", "--scores", scores, "--manifest", "majority", "--out", out)
    assert done.returncode == 0, done.stderr[-3000:]
    for number, row in enumerate(_rows(out / "manifest.csv")):
        first, second = int(_truth(Path(row["path"]).name)), int(number % 3 == 0)
        expected = first if number < 10 or first == second else -1
        assert row["label_disc"] == str(expected)
        assert json.loads(row["provenance"])["disc"]["C"] == -1
    record = json.loads((out / "verdicts.json").read_text(encoding="utf-8"))
    assert (record["verdicts"], record["readers"], record["labels_by"]) == (230, ["B", "C", "Dr. A"], "majority")
    table = _rows(out / "verdicts.csv")
    assert len(table) == 230 and {row["comment"] for row in table} == {"", "'=1+1"}  # no spreadsheet runs it
    assert {row["answer"] for row in table if row["reviewer"] == "C"} == {"-1"}
    pairs = {(row["first"], row["second"]): row for row in _rows(out / "agreement.csv")}
    both = pairs["B", "Dr. A"]
    same = sum(int(_truth(f"{number:04d}.dcm") == (number % 3 == 0)) for number in range(10, 80))
    assert int(both["both_absent"]) + int(both["both_present"]) == same
    assert both["images"] == "70" and "Student's t" in both["method"]
    assert medres("verdicts", "verify", "--scores", scores, "--against", out).returncode == 0


def test_a_file_that_changed_since_is_left_out_and_named(medres: Medres, scores: Path, tmp_path: Path) -> None:
    victim = scores.parent / "images" / "0000.dcm"
    before = victim.read_bytes()
    try:
        write_radiograph(victim, blob(999, bright=True), patient="0000", uid="2.25.1000")
        done = medres("verdicts", "export", "--scores", scores, "--manifest", "majority", "--out", tmp_path / "out")
    finally:
        victim.write_bytes(before)
    assert done.returncode == 3
    assert "79 images for `medres train`, 1 left out" in done.stdout
    (row,) = _rows(tmp_path / "out" / "refused.csv")
    assert (row["path"], row["reason"]) == ("0000.dcm", "CHANGED")


def test_verdicts_without_a_scored_folder_are_exported_without_a_manifest(medres: Medres, tmp_path: Path) -> None:
    store = f"sqlite:///{shutil.copy(FIRST_VERSION, tmp_path / 'reviews.db')}"
    done = medres("verdicts", "export", "--store", store, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr[-3000:]
    table = read_csv(tmp_path / "out" / "verdicts.csv")
    assert list(table["latest"]) == ["0", "1", "1", "1", "1", "1"]
    refused = medres("verdicts", "export", "--store", store, "--manifest", "majority", "--out", tmp_path / "no")
    assert refused.returncode == 2 and "give the scored folder as --scores" in refused.stderr
    assert not (tmp_path / "no").exists()


def test_the_verbs_back_up_verify_and_restore_and_name_what_is_wrong(medres: Medres, tmp_path: Path) -> None:
    path = Path(shutil.copy(FIRST_VERSION, tmp_path / "reviews.db"))
    store = ("--store", f"sqlite:///{path}")
    made = medres("verdicts", "backup", *store, "--out", tmp_path / "backup.db")
    assert made.returncode == 0 and "6 verdicts, audit trail to line 6" in made.stdout, made.stderr
    assert "the store is whole" in medres("verdicts", "verify", *store).stdout
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE verdicts SET verdict = 'agree' WHERE id = 1")
        database.execute("DELETE FROM audit WHERE number = 6")
        database.commit()
    found = medres("verdicts", "verify", *store, "--against", tmp_path / "backup.db")
    assert found.returncode == 3
    assert "verdict 1 on “nodule” of image 2.25.1 is not what was saved" in found.stdout
    assert "its last lines were removed" in found.stdout
    refused = medres("verdicts", "restore", tmp_path / "backup.db", *store)
    assert refused.returncode == 2 and "--force" in refused.stderr
    assert medres("verdicts", "restore", tmp_path / "backup.db", *store, "--force").returncode == 0
    assert "the store is whole" in medres("verdicts", "verify", *store).stdout
    assert medres("verdicts", "verify").returncode == 2
    missing = medres("verdicts", "verify", "--store", f"sqlite:///{tmp_path}/none.db")
    assert missing.returncode == 2 and not (tmp_path / "none.db").exists()


def test_of_a_damaged_store_what_can_be_read_is_exported(medres: Medres, scores: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(scores / "reviews.db", tmp_path / "reviews.db"))
    data = bytearray(path.read_bytes())
    page = data.index(b"=1+1") // 4096 * 4096  # one that holds verdicts
    data[page : page + 4096] = b"\xa5" * 4096
    path.write_bytes(data)
    done = medres("verdicts", "export", "--store", f"sqlite:///{path}", "--out", tmp_path / "out")
    assert done.returncode == 3, done.stderr[-3000:]
    assert "the store is damaged" in done.stdout and "restore its last backup" in done.stdout
    record = json.loads((tmp_path / "out" / "verdicts.json").read_text(encoding="utf-8"))
    assert record["whole"] is False and 0 < record["verdicts"] < 230
    assert len(_rows(tmp_path / "out" / "verdicts.csv")) == record["verdicts"]
    assert path.read_bytes() == data


@pytest.mark.parametrize("content", [b"\xa5" * 40_000, None], ids=["damaged", "newer"])
def test_the_app_names_a_store_that_it_cannot_use_before_it_prints_its_address(
    medres: Medres, scores: Path, small_model: Path, tmp_path: Path, content: bytes | None
) -> None:
    path = Path(shutil.copy(FIRST_VERSION, tmp_path / "reviews.db"))
    if content is None:
        with closing(sqlite3.connect(path)) as database:
            database.execute("UPDATE alembic_version SET version_num = '9999'")
            database.commit()
    else:
        path.write_bytes(content)
    asked = ("app", "--model", small_model, "--scores", scores, "--headless", "--store", f"sqlite:///{path}")
    done = medres(*asked, timeout=120)
    assert done.returncode == 1 and done.stdout == ""
    remedy = "open it with the newer medres" if content is None else "medres verdicts restore BACKUP"
    assert remedy in done.stderr
