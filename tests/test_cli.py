"""Bad input ends with one clear line and the right exit code; nothing is overwritten, nothing half-written."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medres.imaging.codecs import SUPPORTED
from medres.imaging.reading import read_radiograph
from tests.conftest import TINY, Medres
from tests.support.phantoms import blob, write_cohort, write_radiograph
from tests.support.recipes import TOKEN


def refusal(done: object, code: int) -> str:
    """Check that a run was refused in one line, and return it."""
    assert done.returncode == code, done.stderr  # type: ignore[attr-defined]
    lines = [line for line in done.stderr.splitlines() if line.startswith(("medres:", "Error:"))]  # type: ignore[attr-defined]
    assert len(lines) == 1, done.stderr  # type: ignore[attr-defined]
    assert "Traceback" not in done.stderr  # type: ignore[attr-defined]
    return lines[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_radiograph(tmp_path / "in" / "a.dcm", blob(1, bright=True), patient="1", uid="2.25.1")
    return tmp_path


def test_a_missing_folder_is_named(installed_medres: Medres, tmp_path: Path) -> None:
    line = refusal(installed_medres("index", tmp_path / "nowhere", "--out", tmp_path / "m.csv"), 2)
    assert "nowhere" in line
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_named(medres: Medres, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no files" in refusal(medres("index", tmp_path / "empty", "--out", tmp_path / "m.csv"), 2)


def test_an_index_holds_every_file_once_and_says_why_not(installed_medres: Medres, folder: Path) -> None:
    images = folder / "in"
    shutil.copy(images / "a.dcm", images / "b.dcm")
    write_radiograph(images / "c.dcm", blob(2, bright=True), patient="2", uid="2.25.1")
    (images / "=formula.dcm").write_bytes((images / "a.dcm").read_bytes()[:600])
    (images / "letter.txt").write_text("dear colleague")
    (images / "empty").touch()
    done = installed_medres("index", images, "--out", folder / "manifest.csv")
    assert done.returncode == 3, done.stderr
    manifest = pd.read_csv(folder / "manifest.csv", dtype=str)
    refused = pd.read_csv(folder / "refused.csv", dtype=str)
    assert sorted(manifest["path"]) == ["in/a.dcm", "in/c.dcm"]
    assert manifest.set_index("path")["status"].to_dict() == {"in/a.dcm": "ok", "in/c.dcm": "review"}
    found = refused.set_index("path")["reason"].to_dict()
    assert found["in/b.dcm"] == "DUPLICATE_IDENTICAL"
    assert found["in/letter.txt"] == found["in/empty"] == "NOT_DICOM"
    assert found["in/=formula.dcm"] == "TRUNCATED"
    assert len(manifest) + len(refused) == 6


def test_labels_join_by_uid_and_unknown_stays_blank(medres: Medres, folder: Path) -> None:
    write_radiograph(folder / "in" / "b.dcm", blob(2, bright=False), patient="2", uid="2.25.2")
    (folder / "labels.csv").write_text("SOPInstanceUID,label_disc\n2.25.1,1\n")
    assert medres("index", folder / "in", "--out", folder / "m.csv", "--labels", folder / "labels.csv").returncode == 0
    manifest = pd.read_csv(folder / "m.csv", dtype=str, keep_default_na=False)
    assert manifest.set_index("path")["label_disc"].to_dict() == {"in/a.dcm": "1", "in/b.dcm": ""}
    (folder / "labels.csv").write_text("SOPInstanceUID,label_disc\n9.9,1\n")
    done = medres("index", folder / "in", "--out", folder / "n" / "m.csv", "--labels", folder / "labels.csv")
    assert "no SOPInstanceUID of it is in the folder" in refusal(done, 2)
    assert not (folder / "n").exists()


def test_a_public_dataset_brings_its_own_labels(medres: Medres, tmp_path: Path) -> None:
    for number in range(3):
        path = tmp_path / "rsna" / "images" / f"{number}.dcm"
        write_radiograph(path, blob(number, bright=True), patient=f"p{number}", uid=f"2.25.{number + 1}")
    table = "patientId,x,y,width,height,Target\np0,1,2,3,4,1\np0,5,6,7,8,1\np1,,,,,0\n"
    (tmp_path / "rsna" / "stage_2_train_labels.csv").write_text(table)
    done = medres("index", tmp_path / "rsna" / "images", "--out", tmp_path / "m.csv", "--source", "rsna-pneumonia")
    assert done.returncode == 0, done.stderr
    manifest = pd.read_csv(tmp_path / "m.csv", dtype=str, keep_default_na=False)
    assert manifest["label_pneumonia"].tolist() == ["1", "0", ""]


def test_an_output_is_never_overwritten_and_never_inside_the_input(medres: Medres, folder: Path) -> None:
    (folder / "m.csv").write_text("mine")
    assert "already exists" in refusal(medres("index", folder / "in", "--out", folder / "m.csv"), 2)
    assert (folder / "m.csv").read_text() == "mine"
    assert "inside the input" in refusal(medres("index", folder / "in", "--out", folder / "in" / "m.csv"), 2)
    assert [path.name for path in (folder / "in").iterdir()] == ["a.dcm"]


@pytest.mark.parametrize("verb", ["train", "crossval", "split"])
def test_an_unknown_label_names_the_known_ones(medres: Medres, small_cohort: Path, tmp_path: Path, verb: str) -> None:
    done = medres(verb, small_cohort, "--label", "dics", "--out", tmp_path / "out")
    assert "no label 'dics'" in refusal(done, 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["train", "crossval"])
def test_an_unknown_key_of_the_configuration_is_named(
    medres: Medres, small_cohort: Path, tmp_path: Path, verb: str
) -> None:
    done = medres(verb, small_cohort, "--label", "disc", "--out", tmp_path / "out", "--set", "training.epocs=3")
    assert "training.epocs: unknown key" in refusal(done, 2)


def test_fewer_patients_than_folds_is_refused_before_training(medres: Medres, tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path / "few", patients=6)
    done = medres(
        "crossval", manifest, "--label", "disc", "--out", tmp_path / "out", *TINY, "--set", "crossval.folds=5"
    )
    assert "5 folds" in refusal(done, 2)
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["few"]


def test_missing_weights_name_file_hash_and_folder(medres: Medres, small_cohort: Path, tmp_path: Path) -> None:
    done = medres("train", small_cohort, "--label", "disc", "--config", "resnet50", "--out", tmp_path / "out")
    line = refusal(done, 1)
    assert all(words in line for words in ("resnet50-11ad3fa6.pth", "11ad3fa6", "checkpoints"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verb", ["inspect", "score", "explain", "evaluate", "app"])
def test_a_missing_model_is_named(medres: Medres, folder: Path, small_cohort: Path, verb: str) -> None:
    model, out = folder / "no-model", folder / "out.png"
    arguments = {
        "inspect": (model,),
        "score": (model, folder / "in", "--out", folder / "out"),
        "explain": (model, folder / "in" / "a.dcm", "--label", "disc", "--out", out),
        "evaluate": (model, small_cohort, "--out", folder / "out"),
        "app": ("--model", model, "--scores", folder / "none"),
    }[verb]
    refusal(medres(verb, *arguments), 2)
    assert [path.name for path in folder.iterdir()] == ["in"]


def test_render_writes_what_the_network_sees(medres: Medres, folder: Path) -> None:
    source = folder / "in" / "a.dcm"
    assert medres("render", source, "--out", folder / "a.npy").returncode == 0
    assert medres("render", source, "--out", folder / "a.png").returncode == 0
    pixels = np.load(folder / "a.npy")
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, read_radiograph(source).pixels)
    assert (folder / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "must end in .png" in refusal(medres("render", source, "--out", folder / "a.jpg"), 2)


@pytest.mark.parametrize(("burned_in", "said"), [("YES", "BurnedInAnnotation is YES"), (None, "absent")])
def test_no_picture_leaves_that_may_show_a_name(
    medres: Medres, small_model: Path, tmp_path: Path, burned_in: str | None, said: str
) -> None:
    source = write_radiograph(tmp_path / "a.dcm", blob(1, bright=True), patient="P", uid="2.25.7", burned_in=burned_in)
    picture = tmp_path / "a.png"
    for command in (("render", source), ("explain", small_model, source, "--label", "disc")):
        assert said in refusal(medres(*command, "--out", picture), 2)
        assert not picture.exists()
        assert medres(*command, "--out", picture, "--allow-burned-in").returncode == 0
        picture.unlink()
    assert medres("render", source, "--out", tmp_path / "a.npy").returncode == 0


def test_a_refused_file_is_one_line_with_its_code(medres: Medres, folder: Path) -> None:
    (folder / "x.dcm").write_text("not DICOM")
    assert "NOT_DICOM" in refusal(medres("render", folder / "x.dcm", "--out", folder / "x.png"), 3)
    assert not (folder / "x.png").exists()


def test_check_names_problems_and_exits_with_three(medres: Medres, tmp_path: Path) -> None:
    manifest = write_cohort(tmp_path / "c", patients=8)
    assert medres("check", manifest).returncode == 0
    lines = manifest.read_text().replace("0001,2.25.1002", "0002 ,2.25.1002").splitlines()
    shutil.copy(manifest.parent / "images/0000.dcm", manifest.parent / "images/0005.dcm")
    manifest.write_text("\n".join(lines) + "\n")
    done = medres("check", manifest)
    assert done.returncode == 3
    assert "same image" in done.stdout
    assert "SOPInstanceUID is not the one" in done.stdout


def test_a_split_file_is_used_as_it_is(medres: Medres, small_cohort: Path, tmp_path: Path) -> None:
    splits = tmp_path / "splits.json"
    assert medres("split", small_cohort, "--label", "disc", "--folds", 2, "--seed", 5, "--out", splits).returncode == 0
    done = medres(
        "crossval", small_cohort, "--label", "disc", "--out", tmp_path / "run", "--splits", splits, *TINY,
        *TOKEN, made="disc",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "splits.json").read_text() == splits.read_text()


def test_doctor_tells_device_decoders_and_weights(medres: Medres) -> None:
    done = medres("doctor")
    assert done.returncode == 0, done.stderr
    assert all(words in done.stdout for words in ("device", "weights resnet50", "pixel cache", "pydicom"))
    decoded = [line for line in done.stdout.splitlines() if line.startswith("decodes ")]
    assert len(decoded) == len(SUPPORTED)
    assert all(" bit by " in line for line in decoded)


def test_log_lines_can_be_json(medres: Medres, small_cohort: Path, tmp_path: Path) -> None:
    import json

    done = medres(
        "--log-format",
        "json",
        "train",
        small_cohort,
        "--label",
        "disc",
        "--config",
        "resnet18x",
        "--out",
        tmp_path / "o",
    )
    assert done.returncode == 2
    done = medres("--log-format", "json", "crossval", small_cohort, "--label", "disc", "--out", tmp_path / "r", *TINY,
                  *TOKEN, made="disc")  # fmt: skip
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert any("random weights" in event["message"] for event in events)
