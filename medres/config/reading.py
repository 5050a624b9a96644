"""YAML and `key=value` texts become checked settings; an error names the key that is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from medres.config.versions import Versioned
from medres.errors import ConfigError


class Settings(Versioned):
    """The base of all settings: they cannot be changed once made, and an unknown key is refused."""


Model = TypeVar("Model", bound=BaseModel)


def read_yaml(text: str, name: str) -> dict[str, Any]:
    """The keys and values of a YAML text; `name` is what an error calls it.

    Raises:
        ConfigError: it is not YAML, or no table.
    """
    try:
        values = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none, a number without end
        raise ConfigError(f"{name} is not valid YAML: {' '.join(str(error).split())[:300]}") from None
    except RecursionError:
        raise ConfigError(f"{name} is not valid YAML: it is nested too deeply") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{name} must hold keys and values, not a {type(values).__name__}")
    return values


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set the value that `KEY.SUBKEY=VALUE` names.

    Raises:
        ConfigError: it does not have that form.
    """
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r} is not KEY=VALUE, for example training.batch_size=16")
    *parents, last = key.strip().split(".")
    branch: Any = values
    for parent in parents:
        branch = branch.setdefault(parent, {})
        if not isinstance(branch, dict):
            raise ConfigError(f"--set {override!r}: {parent} has no keys below it")
    try:
        branch[last] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(f"--set {override!r}: the value is not valid YAML") from None


def validated(model: type[Model], values: Mapping[str, Any], source: str) -> Model:
    """Settings from values, checked; `source` is what an error calls them.

    Raises:
        ConfigError: names every key that is wrong.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {_complaint(item['type'], item['msg'])}"
            for item in error.errors()
        )
        raise ConfigError(f"{source}: {problems}") from None


def _complaint(kind: str, message: str) -> str:
    message = message.removeprefix("Value error, ")
    return "unknown key" if kind == "extra_forbidden" else message[0].lower() + message[1:]
