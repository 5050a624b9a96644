"""JSON files as typed records: one writer and one reader each; what is damaged or newer is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from medres import __version__
from medres.errors import UsageError
from medres.tables import read_json, write_json


class Document(BaseModel):
    """A record that is kept as JSON. Only fields that were set are written; unknown ones are refused when read."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


Kind = TypeVar("Kind", bound=Document)


def write_document(path: Path, document: Document) -> None:
    """Write a record atomically, its fields in the order in which its class declares them."""
    write_json(path, document.model_dump(mode="json", exclude_unset=True))


def read_document(path: Path, kind: type[Kind]) -> Kind:
    """Read a record.

    Raises:
        UsageError: the file is missing, is not JSON, or is not such a record; the message names the first fault.
    """
    content = read_json(path)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise UsageError(f"{path}: {fault(error)}") from None


def fault(error: ValidationError) -> str:
    """The first fault of a record that could not be read, in one sentence."""
    first: ErrorDetails = error.errors()[0]
    place = ".".join(map(str, first["loc"])) or "the file"
    if first["type"] == "extra_forbidden":
        return f"{place} is not known to medres {__version__}; a newer version may have written it"
    if first["type"] == "missing":
        return f"{place} is missing; the file is damaged or incomplete"
    return f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}"
