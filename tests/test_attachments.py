"""What is learnt later lies beside a model, names it, and changes nothing that identifies it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medres.errors import ModelError, UsageError
from medres.model.attachments import attach, read_attachments
from medres.model.classifier import Classifier, read_card
from medres.tables import write_json
from tests.conftest import Medres
from tests.support.format3 import linked_copy


@pytest.fixture
def model(format3_model: Path, tmp_path: Path) -> Path:
    return linked_copy(format3_model, tmp_path / "model")


def test_what_is_attached_is_read_again(model: Path) -> None:
    attach(model, "accuracy-check", {"auroc": 0.9, "images": 12})
    attach(model, "licence", {"heatmaps": ["disc"]})
    name = read_card(model).model_id
    found = read_attachments(model, name)
    assert {item.kind: item.content for item in found} == {
        "accuracy-check": {"auroc": 0.9, "images": 12},
        "licence": {"heatmaps": ["disc"]},
    }
    assert {item.model_id for item in found} == {name}
    assert [item.created for item in found] == sorted(item.created for item in found)


def test_an_attachment_changes_nothing_of_the_model(model: Path) -> None:
    card = (model / "medres.json").read_bytes()
    before = Classifier.load(model, device="cpu").model_id
    attach(model, "signature", {"by": "somebody"})
    assert Classifier.load(model, device="cpu").model_id == before
    assert (model / "medres.json").read_bytes() == card


def test_the_same_content_is_kept_once_and_other_content_beside_it(model: Path) -> None:
    first = attach(model, "accuracy-check", {"auroc": 0.9})
    text = first.read_bytes()
    assert attach(model, "accuracy-check", {"auroc": 0.9}) == first
    assert first.read_bytes() == text
    attach(model, "accuracy-check", {"auroc": 0.8})
    assert len(read_attachments(model, read_card(model).model_id)) == 2


def test_the_folds_of_a_run_have_attachments_together(format3_run: Path, tmp_path: Path) -> None:
    run = linked_copy(format3_run, tmp_path / "run")
    path = attach(run, "conformal-set", {"alpha": 0.1})
    assert path.parent == run / "attachments"
    assert [item.kind for item in read_attachments(run, Classifier.load(run).model_id)] == ["conformal-set"]


def test_a_model_without_attachments_has_none(model: Path) -> None:
    assert read_attachments(model, read_card(model).model_id) == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_id": "resnet18-other"}, "is about model resnet18-other"),
        ({"format": 3}, r"newer medres \(format 3\); this one reads up to 2"),
        ({"created": "2020-01-01"}, "was altered"),
        ({"kind": "licence"}, "was altered"),
        ({"format": None}, "is damaged"),
        ({"content": {"auroc": 0.99}}, "was altered"),
        ({"colour": "red"}, "damaged: colour: unknown field"),
        ({"kind": "../x"}, "damaged: kind"),
        ({"created": None}, "damaged: created"),
    ],
)
def test_an_attachment_that_cannot_be_trusted_is_refused_by_its_name(
    model: Path, change: dict[str, Any], said: str
) -> None:
    path = attach(model, "accuracy-check", {"auroc": 0.9})
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | change)
    with pytest.raises(ModelError, match=said) as refused:
        read_attachments(model, read_card(model).model_id)
    assert path.name in str(refused.value)


def test_half_an_attachment_is_refused_by_its_name(model: Path) -> None:
    path = attach(model, "accuracy-check", {"auroc": 0.9})
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ModelError, match=f"{path.name} is damaged"):
        read_attachments(model, read_card(model).model_id)


@pytest.mark.parametrize("kind", ["", "Two Words", "../x", "x" * 60])
def test_a_kind_is_a_name(model: Path, kind: str) -> None:
    with pytest.raises(UsageError, match="no kind of attachment"):
        attach(model, kind, {})
    assert not (model / "attachments").exists()


def test_nothing_is_attached_to_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no model"):
        attach(tmp_path, "licence", {})


def test_inspect_lists_attachments(model: Path, medres: Medres) -> None:
    path = attach(model, "accuracy-check", {"auroc": 0.9})
    created = json.loads(path.read_text(encoding="utf-8"))["created"]
    shown = medres("inspect", model)
    assert shown.returncode == 3, shown.stderr  # of format 3: nothing covers its configurations
    assert f"- accuracy-check, {created}" in shown.stdout
