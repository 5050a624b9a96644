"""A model that is older than a field keeps its name, its hashes and what it did; what is newer is refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import Field, ValidationError, model_validator

from medres.config import Preprocessing
from medres.config.versions import OLDEST_FORMAT, SavedAs, Since, Versioned, hashed_content, introduction
from medres.errors import ModelError
from medres.imaging.preprocessing import specification_hash
from medres.model import inspection
from medres.model.bundle import card_text
from medres.model.card import FORMAT, ModelCard, identify
from medres.model.classifier import Classifier
from medres.model.ensemble import joint_card
from medres.model.inspection import read_card
from medres.review.about import card_facts
from medres.tables import write_json
from tests.support.format3 import FIXTURE


class LaterPreprocessing(Preprocessing):
    """Preprocessing once a later version has learnt to crop, and recipes prefer it."""

    crop: Annotated[bool, Since(FORMAT + 1, then=False)] = Field(default=True, description="Crop.")


class Audience(Versioned):
    """A new record that is itself added to a card."""

    readers: int = 2


class LaterCard(ModelCard):
    """The card of a later version."""

    preprocessing: LaterPreprocessing
    language: Annotated[str, Since(FORMAT + 1, then="not recorded")]
    audience: Annotated[Audience, Since(FORMAT + 1, then={"readers": 1})] = Audience()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards are read as that version would."""
    monkeypatch.setattr(inspection, "ModelCard", LaterCard)
    monkeypatch.setattr(inspection, "FORMAT", FORMAT + 1)


def written(folder: Path, content: Mapping[str, Any]) -> Path:
    """A folder that holds a card of this content, under the name that fits it."""
    write_json(folder / "medres.json", {**content, "model_id": identify(content)})
    return folder


@pytest.fixture
def content() -> dict[str, Any]:
    """The card of a model of format 3, as it was written."""
    found: dict[str, Any] = json.loads((FIXTURE / "model" / "medres.json").read_text(encoding="utf-8"))
    return found


def test_a_new_field_leaves_old_models_their_names_hashes_and_scores(
    format3_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Classifier.load(format3_model, device="cpu")
    pixels = np.random.default_rng(0).integers(0, 65535, (2, 64, 64)).astype(np.uint16)
    scores = before.score(pixels).logits
    monkeypatch.setattr(inspection, "ModelCard", LaterCard)
    monkeypatch.setattr(inspection, "FORMAT", FORMAT + 1)
    after = Classifier.load(format3_model, device="cpu")
    assert isinstance(after.card, LaterCard)
    assert (after.model_id, after.card.preprocessing_sha256) == (before.model_id, before.card.preprocessing_sha256)
    assert specification_hash(after.preprocessing) == specification_hash(before.preprocessing)
    np.testing.assert_array_equal(after.score(pixels).logits, scores)
    assert (after.card.format, card_text(after.card), card_facts(after.card)) == (
        3, card_text(before.card), card_facts(before.card),
    )  # fmt: skip


@pytest.mark.usefixtures("later")
def test_an_old_card_says_what_held_before_and_not_what_recipes_prefer_now() -> None:
    card = read_card(FIXTURE / "model")
    assert isinstance(card, LaterCard)
    assert isinstance(card.preprocessing, LaterPreprocessing)
    assert (card.preprocessing.crop, card.language, card.audience.readers) == (False, "not recorded", 1)
    assert LaterPreprocessing().crop


@pytest.mark.usefixtures("later")
def test_folds_of_an_old_run_are_still_one_ensemble() -> None:
    cards = tuple(read_card(folder) for folder in sorted((FIXTURE / "run" / "models").iterdir()))
    assert joint_card(cards).model_id == "resnet18-ensemble2-10c36b07a612"


def test_a_value_that_was_not_possible_before_changes_the_hash() -> None:
    base = Preprocessing(size=64)
    assert specification_hash(LaterPreprocessing(size=64, crop=False)) == specification_hash(base)
    assert specification_hash(LaterPreprocessing(size=64, crop=True)) != specification_hash(base)


def test_a_hash_leaves_out_new_fields_of_inner_records_as_well() -> None:
    class Outer(Versioned):
        inner: LaterPreprocessing = LaterPreprocessing()

    assert "crop" not in str(hashed_content(Outer(inner=LaterPreprocessing(crop=False))))
    assert "crop" in str(hashed_content(Outer()))


@pytest.mark.usefixtures("later")
def test_a_card_of_the_later_format_is_read_as_it_was_written(tmp_path: Path, content: dict[str, Any]) -> None:
    spec = content["preprocessing"] | {"crop": True}
    sha = specification_hash(LaterPreprocessing.model_validate(spec))
    new = content | {"format": FORMAT + 1, "language": "en", "preprocessing": spec, "preprocessing_sha256": sha}
    card = read_card(written(tmp_path, new))
    assert isinstance(card, LaterCard)
    assert (card.language, card.audience.readers, card.model_id) == ("en", 2, identify(new))
    assert card.model_id != content["model_id"]


@pytest.mark.usefixtures("later")
def test_a_field_cannot_be_older_than_its_format(tmp_path: Path, content: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="language came with a later format"):
        read_card(written(tmp_path, content | {"language": "en"}))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (
            FORMAT + 1,
            rf"written by a newer medres \(format {FORMAT + 1}\); this one reads up to {FORMAT}: update medres",
        ),
        (OLDEST_FORMAT - 1, "too old"),
    ],
)
def test_another_format_is_refused_by_its_number(
    tmp_path: Path, content: dict[str, Any], number: int, said: str
) -> None:
    with pytest.raises(ModelError, match=said) as refused:
        read_card(written(tmp_path, content | {"format": number, "language": "en"}))
    assert "medres.json" in str(refused.value)


@pytest.mark.parametrize("place", ["", "preprocessing", "gate", "provenance", "tasks.0", "metrics.disc.auroc"])
def test_an_unknown_field_is_refused_by_its_name(tmp_path: Path, content: dict[str, Any], place: str) -> None:
    part: Any = content
    for key in filter(None, place.split(".")):
        part = part[int(key)] if key.isdecimal() else part[key]
    part["colour"] = "red"
    name = f"{place}.colour".lstrip(".").replace(".", r"\.")
    with pytest.raises(ModelError, match=f"not a card of format 3: {name}: unknown field"):
        read_card(written(tmp_path, content))


def test_what_a_card_cannot_hold_is_refused_by_its_field(tmp_path: Path, content: dict[str, Any]) -> None:
    content["preprocessing"]["size"] = 1
    with pytest.raises(ModelError, match=r"not a card of format 3: preprocessing\.size"):
        read_card(written(tmp_path, content))
    content["preprocessing"]["size"] = 64
    with pytest.raises(ModelError, match="temperatures are not of these labels"):
        read_card(written(tmp_path, content | {"temperatures": {"other": 1.0}}))


def test_a_card_of_other_preprocessing_is_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="preprocesses images differently"):
        read_card(written(tmp_path, content | {"preprocessing_sha256": "0" * 64}))


@pytest.mark.parametrize("error", [KeyError, AttributeError, TypeError])
def test_a_fault_of_medres_is_not_called_damage_of_a_file(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    class Faulty(ModelCard):
        @model_validator(mode="after")
        def _fault(self) -> Faulty:
            raise error("ours")

    monkeypatch.setattr(inspection, "ModelCard", Faulty)
    with pytest.raises(error, match="ours"):
        read_card(FIXTURE / "model")


@pytest.mark.parametrize("name", ["model", "run/models/fold-0"])
def test_every_field_that_format_3_did_not_have_says_since_when_it_exists(name: str) -> None:
    content = json.loads((FIXTURE / name / "medres.json").read_text(encoding="utf-8"))
    _compare(ModelCard.model_validate(content, context=SavedAs(3)), content)


def _compare(value: Any, content: Any) -> None:
    if isinstance(value, Versioned):
        for field, info in type(value).model_fields.items():
            mark = introduction(info)
            assert (mark is None) == (field in content), (
                f"{type(value).__name__}.{field} needs Since(…), or was renamed"
            )
            assert mark is None or OLDEST_FORMAT < mark.format <= FORMAT, f"{field}: raise FORMAT to {mark.format}"
            if mark is None:
                _compare(getattr(value, field), content[field])
    elif isinstance(value, dict):
        for key, item in value.items():
            _compare(item, content[key])
    elif isinstance(value, tuple):
        for item, part in zip(value, content, strict=True):
            _compare(item, part)


def test_without_a_saved_record_s_context_an_absent_field_has_its_default() -> None:
    assert LaterPreprocessing.model_validate({}).crop
    assert not LaterPreprocessing.model_validate({}, context=SavedAs(FORMAT)).crop
    assert LaterPreprocessing.model_validate({}, context=SavedAs(FORMAT + 1)).crop
    with pytest.raises(ValidationError, match="crop came with a later format"):
        LaterPreprocessing.model_validate({"crop": True}, context=SavedAs(FORMAT))
