"""A model's folder holds what its card says, what medres wrote beside it, what is attached, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medres.errors import ModelError
from medres.model.attachments import attach
from medres.model.audit import audit_model
from medres.model.card import CARD_FILE, FORMAT, identify
from medres.model.classifier import Classifier, read_card
from medres.model.inspection import BAD, inspect_folder, verify_folder
from medres.tables import read_json, write_json
from tests.conftest import Medres
from tests.support.format3 import linked_copy
from tests.support.models import plant, run_saved_again, saved_again

BESIDE = {"run.json", "splits.json", "refused.csv", "history.jsonl", "history.csv"}


@pytest.fixture(scope="module")
def modern(format3_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in the newest format; tests copy it."""
    folder = tmp_path_factory.mktemp("modern") / "model"
    saved_again(format3_model, folder)
    return folder


@pytest.fixture
def model(modern: Path, tmp_path: Path) -> Path:
    return linked_copy(modern, tmp_path / "model")


def test_a_planted_configuration_is_refused_by_load_inspect_and_score(
    model: Path, small_cohort: Path, medres: Medres, tmp_path: Path
) -> None:
    """The attack of the issue: with the card and the name as they were, `monai.bundle run` would execute it."""
    plant(model, tmp_path / "owned")
    with pytest.raises(ModelError, match=r"configs/inference\.json was altered or damaged"):
        Classifier.load(model, device="cpu")
    shown = medres("inspect", model)
    assert shown.returncode == 1
    assert "- configs/inference.json: altered or damaged" in shown.stdout
    assert "- configs/train.json: whole: as the card says" in shown.stdout
    scored = medres("score", model, small_cohort.parent / "images", "--out", tmp_path / "scored")
    assert scored.returncode == 1
    assert not (tmp_path / "scored").exists()
    assert not (tmp_path / "owned").exists()


def test_a_planted_configuration_of_a_fold_is_refused_with_the_run(
    format3_run: Path, medres: Medres, tmp_path: Path
) -> None:
    run = run_saved_again(format3_run, tmp_path / "run")
    assert medres("inspect", run).returncode == 0
    plant(run / "models" / "fold-1", tmp_path / "owned")
    with pytest.raises(ModelError, match=r"fold-1/configs/inference\.json was altered"):
        Classifier.load(run)
    assert "- models/fold-1/configs/inference.json: altered" in medres("inspect", run).stdout


def test_the_card_names_every_file_of_a_saved_model(model: Path) -> None:
    card = read_card(model)
    files = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    assert {one.path for one in inspect_folder(model, card) if one.state == "covered"} == files
    assert card.format == read_json(model / CARD_FILE)["format"] == FORMAT


def test_the_name_of_a_model_is_of_128_bits_and_lies_in_no_file_that_it_covers(model: Path) -> None:
    card = read_card(model)
    digits = card.model_id.removeprefix(f"{card.architecture}-")
    assert len(bytes.fromhex(digits)) * 8 == 128
    for path in model.rglob("*"):
        assert path.name == CARD_FILE or path.is_dir() or digits.encode() not in path.read_bytes()


def test_old_cards_keep_the_names_of_48_bits(format3_model: Path) -> None:
    content = read_json(format3_model / CARD_FILE)
    assert {len(identify(content | {"format": number})) for number in (3, 4)} == {len("resnet18-") + 12}
    assert len(identify(content | {"format": 5})) == len("resnet18-") + 32


def _link(path: Path) -> None:
    path.symlink_to(os.devnull)


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "x").touch()


def _text(path: Path) -> None:
    path.write_text("import os")


@pytest.mark.parametrize("make", [_link, _folder, Path.mkdir, _text], ids=["link", "folder", "empty", "file"])
@pytest.mark.parametrize(
    "name", ["monai.py", "configs/more.json", "models/model.pt", "docs/run.json", ".hidden", "tensorboard/x.py"]
)
def test_whatever_else_lies_in_the_folder_is_refused_by_its_name(
    model: Path, name: str, make: Callable[[Path], None]
) -> None:
    (model / name).parent.mkdir(exist_ok=True)
    make(model / name)
    with pytest.raises(ModelError, match="is not the model's") as refused:
        verify_folder(model, read_card(model))
    assert Path(name).name in str(refused.value)
    assert str(refused.value).count(". ") == 0


@pytest.mark.parametrize("name", ["medres.json", "configs/inference.json", "models/model.safetensors", "LICENSE"])
def test_a_link_or_a_folder_in_place_of_a_file_is_refused(model: Path, name: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copy(model / name, elsewhere)
    card = read_card(model)
    (model / name).unlink()
    (model / name).symlink_to(elsewhere)  # the same bytes, until somebody changes them
    with pytest.raises(ModelError, match=r"\(a link\)"):
        verify_folder(model, card)
    (model / name).unlink()
    (model / name).mkdir()
    (model / name / "x").touch()
    with pytest.raises(ModelError, match=r"a folder lies in its place|card names no such file"):
        verify_folder(model, card)


@pytest.mark.parametrize("name", ["attachments", "configs"])
def test_a_folder_that_is_a_link_is_refused(model: Path, name: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    if (model / name).exists():
        (model / name).rename(elsewhere)
    else:
        elsewhere.mkdir()
    (model / name).symlink_to(elsewhere)
    assert {one.path: one.detail for one in inspect_folder(model, read_card(model))}[name] == "a link"
    with pytest.raises(ModelError):
        Classifier.load(model, device="cpu")


def test_what_training_leaves_beside_a_model_passes(model: Path, format3_model: Path) -> None:
    for name in BESIDE:
        shutil.copy(format3_model / name, model)
    events = model / "tensorboard" / "events.out.tfevents.1700000000.host.1.0"
    events.parent.mkdir()
    events.touch()
    states = {one.path: one.state for one in inspect_folder(model, read_card(model))}
    assert {name for name, state in states.items() if state == "beside"} == {*BESIDE, f"tensorboard/{events.name}"}
    verify_folder(model, read_card(model))


def test_a_trained_model_and_the_folds_of_a_run_are_covered_or_known(small_model: Path, small_run: Path) -> None:
    for home in (small_model, *(small_run / "models").iterdir()):
        states = {one.path: one.state for one in inspect_folder(home, read_card(home))}
        assert set(states.values()) == {"covered", "beside"}, states


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_byte_altered_anywhere_in_a_covered_file_is_refused(modern: Path, model: Path, data: st.DataObject) -> None:
    """Any byte of any covered file, the card's own among them: where it is white space as well."""
    card = read_card(modern)
    name = data.draw(st.sampled_from([one.path for one in inspect_folder(modern, card) if one.state == "covered"]))
    content = bytearray((modern / name).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    (model / name).unlink(missing_ok=True)
    (model / name).write_bytes(content)
    try:
        with pytest.raises(ModelError, match=Path(name).name):
            verify_folder(model, read_card(model))
    finally:
        (model / name).unlink()
        os.link(modern / name, model / name)


def test_a_model_of_an_earlier_format_loads_and_inspect_says_what_nothing_covers(
    format3_model: Path, tmp_path: Path
) -> None:
    old = linked_copy(format3_model, tmp_path / "old")
    (old / "notes.txt").touch()
    plant(old, tmp_path / "owned")
    assert Classifier.load(old, device="cpu").card.format == 3
    found = audit_model(old)
    assert not found.problems
    states = {one.path: one.state for one in found.files}
    assert {name for name, state in states.items() if state == "covered"} == {
        CARD_FILE, "models/model.safetensors", "models/outliers.safetensors",
    }  # fmt: skip
    assert {"notes.txt", "configs/inference.json", "docs/README.md"} <= {
        name for name, state in states.items() if state == "not covered"
    }
    assert not set(states.values()) & {*BAD, "unknown"}
    assert any("run its configurations" in note for note in found.notes)


def test_inspect_names_every_file_and_ends_with_what_it_found(model: Path, medres: Medres) -> None:
    attach(model, "accuracy-check", {"auroc": 0.9})
    whole = medres("inspect", model)
    assert whole.returncode == 0, whole.stderr
    for path in model.rglob("*"):
        assert path.is_dir() or f"- {path.relative_to(model).as_posix()}: " in whole.stdout
    assert "None: hashes prove that nothing was altered" in whole.stdout
    (model / "attachments" / "terms.txt").write_text("as you like")
    assert medres("inspect", model).returncode == 3
    (model / "sitecustomize.py").touch()
    foreign = medres("inspect", model)
    assert foreign.returncode == 1
    assert foreign.stderr.count("\n") == 1
    assert "sitecustomize.py is not the model's" in foreign.stderr
    assert "- sitecustomize.py: not the model's" in foreign.stdout


def test_a_name_that_would_command_the_terminal_is_shown_and_not_obeyed(model: Path, medres: Medres) -> None:
    (model / "a\x1b[2J\nb\u202e.py").touch()
    done = medres("inspect", model)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    for text in (done.stdout, done.stderr):
        assert "a�[2J�b�.py" in text
        assert "\x1b" not in text


def test_a_damaged_attachment_is_named_and_makes_inspect_fail(model: Path) -> None:
    path = attach(model, "accuracy-check", {"auroc": 0.9})
    write_json(path, read_json(path) | {"created": "2020-01-01"})
    [problem] = audit_model(model).problems
    assert path.name in problem


@pytest.mark.sweep
def test_the_bundle_command_runs_what_a_configuration_says(format3_model: Path, tmp_path: Path) -> None:
    """Why all this: a planted configuration of a model of an early format is executed by MONAI itself."""
    old = linked_copy(format3_model, tmp_path / "old")
    plant(old, tmp_path / "owned")
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", old / "configs" / "inference.json"]
    subprocess.run([*map(str, command), "--bundle_root", str(old)], check=False, capture_output=True, timeout=300)
    assert (tmp_path / "owned").exists()
