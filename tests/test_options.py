"""Options that several verbs share: what they refuse, and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from medres.cli import medres as command_line
from medres.cli.options import with_config, with_limits
from medres.config import Config, Limits
from medres.errors import UsageError
from tests.conftest import Medres
from tests.support.dicom_files import radiograph, write
from tests.test_cli import refusal


@pytest.mark.parametrize(
    "verb", ["index", "check", "train", "crossval", "depth", "evaluate", "score", "render", "explain"]
)
def test_help_says_every_limit_with_its_default(verb: str) -> None:
    command = command_line.commands[verb]
    shown = " ".join(command.get_help(click.Context(command, info_name=verb)).split())
    assert not [name for name, value in Limits() if f"{name}={value:.0f}" not in shown]


@pytest.mark.parametrize(
    "given", ["seconds", "second=3", "seconds=soon", "seconds=0", "seconds=nan", "pixels=1.5", "=3"]
)
def test_a_wrong_limit_is_refused_before_anything_is_read(medres: Medres, tmp_path: Path, given: str) -> None:
    (tmp_path / "in").mkdir()
    line = refusal(medres("index", tmp_path / "in", "--out", tmp_path / "m.csv", "--limit", given), 2)
    assert "--limit" in line
    assert "seconds" in line or "pixels" in line


def test_a_limit_reaches_the_reader(medres: Medres, tmp_path: Path) -> None:
    write(tmp_path / "a.dcm", radiograph())
    few = ("--limit", "pixels=100", "--limit", "seconds=60")
    assert "LIMIT: 48 × 40 pixels" in refusal(
        medres("render", tmp_path / "a.dcm", "--out", tmp_path / "a.png", *few), 3
    )
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.dcm", radiograph())
    done = medres("index", tmp_path / "in", "--out", tmp_path / "m.csv", *few)
    assert (done.returncode, "1 LIMIT" in done.stdout) == (3, True)


def test_limits_of_the_command_line_replace_those_of_the_recipe_one_by_one() -> None:
    found: list[Config | Limits] = []

    @click.command()
    @with_config
    def trained(config: Config) -> None:
        found.append(config)

    @click.command()
    @with_limits
    def scored(limits: Limits) -> None:
        found.append(limits)

    asked = ["--limit", "seconds=20", "--limit", "pixels=1000"]
    assert CliRunner().invoke(trained, [*asked, "--set", "limits.smallest_side=32"]).exit_code == 0
    assert CliRunner().invoke(scored, asked).exit_code == 0
    config, limits = found
    assert isinstance(config, Config)
    assert limits == Limits(seconds=20, pixels=1000)
    assert config.limits == Limits(seconds=20, pixels=1000, smallest_side=32)


def test_help_in_sections_shows_every_option_once() -> None:
    command = command_line.commands["score"]
    shown = command.get_help(click.Context(command, info_name="score"))
    options = [max(parameter.opts, key=len) for parameter in command.params if isinstance(parameter, click.Option)]
    starts = [line.split()[0] for line in shown.splitlines() if line.startswith("  -")]
    starts = ["--help" if name == "-h," else name for name in starts]  # the group gives it a short name
    assert sorted(starts) == sorted([*options, "--help"])
    assert "For schedulers:" in shown


@pytest.mark.parametrize(
    ("given", "goes_with"),
    [
        (["--verify"], "--resume"),
        (["--verify", "--force"], "--resume"),
        (["--max-gone", "10%"], "--resume or --force"),
        (["--allow-burned-in"], "--heatmaps"),
    ],
)
def test_score_refuses_an_option_that_would_change_nothing(given: list[str], goes_with: str, tmp_path: Path) -> None:
    places = [str(tmp_path / name) for name in ("model", "in")]
    done = CliRunner().invoke(command_line, ["score", *places, "--out", str(tmp_path / "out"), *given])
    assert isinstance(done.exception, UsageError)
    assert given[0] in str(done.exception)
    assert goes_with in str(done.exception)
    assert not (tmp_path / "out").exists()
