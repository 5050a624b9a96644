"""The settings that a run was made with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medres.formatting import flat
from medres.report.page import Content
from medres.report.run_context import RunContext


@dataclass(frozen=True, slots=True)
class ConfigurationSection(Content):
    """Every setting by its dotted key; none where they are not recorded."""

    settings: Sequence[tuple[str, str]]
    external: bool


def configuration_section(context: RunContext) -> ConfigurationSection:
    """The settings of this run; of an external validation those that its model was trained with."""
    config = context.run.config
    return ConfigurationSection(list(flat(dict(config))) if config else [], context.run.external)
