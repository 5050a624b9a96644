"""What people read is what the program does."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from medres import cli
from medres.config import (
    Augmentation,
    Config,
    CrossValidation,
    Evaluation,
    Network,
    Stage,
    Training,
    recipe_names,
)
from medres.config.evaluation import HeatmapEvidence
from medres.errors import REASONS, WARNINGS
from medres.statistics.metric import METRICS
from tests.conftest import Medres

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
VERBS = sorted(cli.medres.commands)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_describes_it_and_every_option(verb: str) -> None:
    command = cli.medres.commands[verb]
    shown = command.get_help(click.Context(command, info_name=verb))
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"--{parameter.name} of {verb} has no help"
            assert max(parameter.opts, key=len) in shown


@pytest.mark.parametrize("verb", VERBS)
def test_the_readme_has_every_verb_in_its_table(verb: str) -> None:
    assert re.search(rf"^\| `{verb}\b", README, re.MULTILINE)


def test_the_readme_names_no_verb_that_does_not_exist() -> None:
    code = "\n".join(re.findall(r"`[^`\n]+`|```.*?```", README, re.DOTALL))
    named = set(re.findall(r"(?<!from )\bmedres ([a-z-]+)\b", code))
    assert named <= set(VERBS), named - set(VERBS)


@pytest.mark.parametrize("name", recipe_names())
def test_the_readme_has_every_recipe(name: str) -> None:
    assert f"`{name}`" in README


def test_help_names_every_recipe() -> None:
    command = cli.medres.commands["train"]
    shown = next(
        option.help for option in command.params if isinstance(option, click.Option) and option.name == "recipe"
    )
    assert f"Recipe: {', '.join(recipe_names())}, or" in (shown or "")


def _fields(model: type[BaseModel]) -> list[tuple[str, str | None]]:
    found = []
    for name, field in model.model_fields.items():
        found.append((f"{model.__name__}.{name}", field.description))
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _fields(field.annotation)
    return found


def test_every_field_of_the_configuration_is_documented() -> None:
    assert [name for name, description in _fields(Config) if not description] == []


@pytest.mark.parametrize("part", [Augmentation, Network, Stage, Training, CrossValidation, Evaluation, HeatmapEvidence])
def test_every_default_is_named_beside_the_reason_for_it(part: type[BaseModel]) -> None:
    """A description says `(0.8: why)`: whoever changes a default without its reason is told."""
    for name, field in part.model_fields.items():
        if field.is_required() or isinstance(field.default, BaseModel):
            continue
        said = re.findall(r"\(([^():]+): [^()]{5,}\)", field.description or "")
        assert said, f"{part.__name__}.{name} does not say why"
        assert _same(said[-1], field.default), f"{part.__name__}.{name}: {said[-1]} is not {field.default}"


def _same(said: str, default: object) -> bool:
    if default in (None, "", ()):
        return said == "empty"
    if isinstance(default, tuple):  # stages
        return said == f"{default[0].epochs} epochs at full size"
    if isinstance(default, bool | str):
        return said == str(default).lower() or said == default
    return float(said) == default


def test_every_code_is_one_sentence_without_a_full_stop() -> None:
    for code, meaning in (REASONS | WARNINGS).items():
        assert re.fullmatch(r"[A-Z0-9_]+", code)
        assert meaning
        assert not meaning.endswith(".")
        assert "\n" not in meaning


def test_every_code_that_the_source_uses_is_documented_and_the_other_way_round() -> None:
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "medres").rglob("*.py") if path.name != "errors.py"
    )
    raised = set(re.findall(r'Refused\(\s*"([A-Z_0-9]+)"', source)) | set(
        re.findall(r'Refusal\([^"]*"([A-Z_0-9]+)"', source)
    )
    assert raised <= set(REASONS)
    assert {code for code in (*REASONS, *WARNINGS) if f'"{code}"' not in source and f"{code} " not in source} == set()


def test_the_table_of_columns_has_every_column_of_an_index() -> None:
    from medres.cohort.indexing import MANIFEST_COLUMNS, REFUSED_COLUMNS

    table = (ROOT / "data_manifests" / "README.md").read_text(encoding="utf-8")
    assert [name for name in (*MANIFEST_COLUMNS, *REFUSED_COLUMNS) if name not in table] == []


def test_the_changelog_has_the_version() -> None:
    from medres import __version__

    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_two_commands_of_the_readme_are_there_and_ci_runs_the_second() -> None:
    assert "medres demo" in README
    command = re.search(r"<!-- test command -->\n```[a-z]*\n(.+?)\n```", README, re.DOTALL)
    assert command
    assert "pytest" in command[1]
    assert "<!-- test command -->" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_ci_is_a_script_and_installs_the_peers_that_contributing_names() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    (packages,) = re.findall(r"^packages=\((.*)\)$", script, re.MULTILINE)
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [name for name in packages.split() if f"`{name}`" not in contributing] == []
    assert not re.search("^(<<<<<<<|>>>>>>>)", script + contributing, re.MULTILINE)


def test_help_lists_every_verb_within_the_command_line(medres: Medres) -> None:
    done = medres("--help")
    assert done.returncode == 0
    assert all(f"  {verb}" in done.stdout for verb in VERBS)


def test_metrics_of_the_summary_are_named_as_the_field_names_them() -> None:
    assert {"auroc", "average_precision", "sensitivity", "specificity", "brier"} <= set(METRICS)
