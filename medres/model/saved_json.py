"""The JSON files of a model's folder: what is damaged, or written by a newer medres, is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

from pydantic import JsonValue, ValidationError

from medres.errors import ModelError

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")  # what pydantic calls it in a model, in a dataclass


def read_saved(path: Path, *, oldest: int, newest: int) -> tuple[int, dict[str, JsonValue]]:
    """The format of a JSON file and its content.

    Args:
        path: an object with a whole number `format`.
        oldest: the oldest format that this version reads.
        newest: the newest.

    Raises:
        ModelError: the file cannot be read, is not such an object, or is of a format that this version does not know.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_not_json)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged, for it is not JSON: {error}") from None
    if not isinstance(content, dict) or type(content.get("format")) is not int:
        raise ModelError(f"{path} is damaged: it holds no whole number `format`")
    found = content["format"]
    if found > newest:
        raise ModelError(
            f"{path} was written by a newer medres (format {found}); this one reads up to {newest}: update medres"
        )
    if found < oldest:
        raise ModelError(f"{path} has format {found}, which is too old; this medres reads {oldest} to {newest}")
    return found, content


def complaints(error: ValidationError) -> str:
    """What is wrong with a file that holds other fields than its format has, field by field."""
    found = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"])
        message = "unknown field" if item["type"] in _UNKNOWN else item["msg"]
        found.append(f"{name}: {message}" if name else message)
    return "; ".join(found)


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")
