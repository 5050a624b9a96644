"""Fields that were added to saved records after format 3: what an old model has instead of them, for ever.

A model folder must load with its old identifier in every later version. Whoever adds a field to a record that a model's
card holds (ModelCard and all below it, among them Preprocessing and Gate) marks it::

    crop: Annotated[bool, Since(4, then=False)] = Field(default=True, description="…")

raises `card.FORMAT` to that number, and never changes the mark again, whatever becomes of the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationInfo, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

OLDEST_FORMAT = 3
"""The oldest format of a model's card that is read; its fields bear no mark."""


@dataclass(frozen=True, slots=True)
class Since:
    """Marks a field of a record that is saved with models: the format that introduced it, and what held before.

    `then` is what models without the field did, as JSON has it. It is not always the field's default: recipes may
    come to prefer something else, old models stay what they are.
    """

    format: int
    then: JsonValue


@dataclass(frozen=True, slots=True)
class SavedAs:
    """The context in which pydantic validates a saved record: the format in which it was written."""

    format: int


class Versioned(BaseModel):
    """A frozen record that knows no key that is not its own, and can be read as earlier versions wrote it.

    Without the context `SavedAs`, as in a recipe, an absent field has its default, like in any pydantic model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _as_saved(cls, values: Any, info: ValidationInfo) -> Any:
        if not isinstance(info.context, SavedAs) or not isinstance(values, Mapping):
            return values
        later = {
            name: mark
            for name, field in cls.model_fields.items()
            if (mark := introduction(field)) and mark.format > info.context.format
        }
        if early := sorted(later.keys() & values.keys()):
            raise PydanticCustomError(
                "of_a_later_format", "{names} came with a later format", {"names": ", ".join(early)}
            )
        return {**values, **{name: mark.then for name, mark in later.items()}}


def introduction(field: FieldInfo) -> Since | None:
    """The mark of a field that was added after format 3; None of one that was always there."""
    return next((mark for mark in field.metadata if isinstance(mark, Since)), None)


def hashed_content(record: Versioned) -> dict[str, JsonValue]:
    """What a hash of a record covers: all its fields but those of later formats that hold what always held.

    So a model of format 3 keeps its hash when fields are added, and a value that was never possible before changes it.
    """
    content: dict[str, JsonValue] = record.model_dump(mode="json")
    for name, field in type(record).model_fields.items():
        mark, value = introduction(field), getattr(record, name)
        if mark and content[name] == mark.then:
            del content[name]
        elif isinstance(value, Versioned):
            content[name] = hashed_content(value)
    return content
