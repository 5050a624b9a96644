"""CONTRIBUTING's recipes, followed word for word on a copy of the package: paths, anchors, snippets and commands."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest

from tests.conftest import Medres
from tests.support.phantoms import write_cohort

ROOT = Path(__file__).resolve().parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COPIED = ("medres", "tests", "data_manifests", "pyproject.toml", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", ".ci")
RECIPES = re.findall(r"^## (Add an? .+)$", CONTRIBUTING, re.MULTILINE)
LABEL = "Add a label"  # which is data, not code
FAST = (
    "--set=preprocessing.size=32",
    "--set=training.stages=[{epochs: 1}]",
    "--set=crossval.folds=2",
    "--set=evaluation.replicates=100",
    "--set=evaluation.shortcuts=false",
)
What = Literal["after", "before", "replace", "end", "create"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One instruction of a recipe."""

    what: What
    path: str
    anchor: str = ""  # a line without its indentation, or the text that is replaced
    text: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a section tells the reader to do."""

    edits: tuple[Edit, ...]
    commands: tuple[str, ...]


_PATH, _LINE, _FENCE = "`(?P<path>[^`]+)`", "the line `(?P<anchor>[^`]+)`", r":\s+(?P<text>```\w*\n.*?\n```)"
_INSTRUCTIONS: dict[What, str] = {
    "after": rf"[Ii]n {_PATH}, after {_LINE}, add{_FENCE}",
    "before": rf"[Ii]n {_PATH}, before {_LINE}, add{_FENCE}",
    "replace": rf"[Ii]n {_PATH}, replace `(?P<anchor>[^`]+)` with `(?P<text>[^`]+)`",
    "end": rf"[Aa]t the end of {_PATH}, add{_FENCE}",
    "create": rf"[Mm]ake the file {_PATH}{_FENCE}",
}


def section(title: str) -> str:
    return CONTRIBUTING.partition(f"## {title}\n")[2].partition("\n## ")[0]


LITERAL = [title for title in RECIPES if title != LABEL and "```sh" in section(title)]


def steps(title: str) -> list[str]:
    """The numbered steps of a section, each without its number and indentation."""
    found = re.findall(r"^\d+\. (.*(?:\n(?:   .*)?)*)", section(title), re.MULTILINE)
    return [textwrap.dedent(f"   {step}") for step in found]


def read_recipe(title: str) -> Recipe:
    """The instructions of a section in the order of its text; every fence belongs to one of them or is a command."""
    edits: list[Edit] = []
    commands: list[str] = []
    fences = 0
    for step in steps(title):
        fences += len(re.findall(r"^```\w+$", step, re.MULTILINE))
        commands += re.findall(r"^```sh\n(.+?)\n```", step, re.DOTALL | re.MULTILINE)
        found = []
        for what, pattern in _INSTRUCTIONS.items():
            for match in re.finditer(pattern, step, re.DOTALL):
                parts = match.groupdict()
                text = re.sub(r"^```\w*\n|```$", "", parts["text"])
                found.append((match.start(), Edit(what, parts["path"], parts.get("anchor") or "", text)))
        edits += [edit for _, edit in sorted(found, key=lambda item: item[0])]
    understood = len(commands) + sum(edit.what != "replace" for edit in edits)
    assert fences == understood, f"{title}: {fences} blocks of code, of which {understood} are understood"
    return Recipe(tuple(edits), tuple(command for block in commands for command in block.splitlines()))


def follow(edit: Edit, root: Path) -> None:
    path = root / edit.path
    if edit.what == "create":
        assert not path.exists()
        path.write_text(edit.text, encoding="utf-8")
        return
    content = path.read_text(encoding="utf-8")
    if edit.what == "end":
        path.write_text(f"{content}\n\n{edit.text}", encoding="utf-8")
    elif edit.what == "replace":
        assert content.count(edit.anchor) == 1, f"{edit.path} holds {edit.anchor!r} {content.count(edit.anchor)} times"
        path.write_text(content.replace(edit.anchor, edit.text), encoding="utf-8")
    else:
        lines = content.splitlines(keepends=True)
        places = [place for place, line in enumerate(lines) if line.strip() == edit.anchor]
        assert len(places) == 1, f"{edit.path} has {len(places)} lines {edit.anchor!r}"
        line = lines[places[0]]
        indentation = line[: len(line) - len(line.lstrip())]
        lines.insert(places[0] + (edit.what == "after"), textwrap.indent(edit.text, indentation))
        path.write_text("".join(lines), encoding="utf-8")


def run(command: str, root: Path) -> str:
    """What a command of a recipe prints, with the copy in place of the package; it must succeed."""
    arguments = shlex.split(command)
    assert arguments[:2] == ["python", "-m"], command
    testing = arguments[2] == "pytest"
    done = subprocess.run(
        [sys.executable, *arguments[1:], *(("-n0", "-p", "no:cacheprovider") if testing else ())],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    root.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name)  # with bytecode: nothing is compiled again
        else:
            shutil.copy2(ROOT / name, root / name)
    shown = [sys.executable, "-c", "import medres; print(medres.__file__)"]
    used = subprocess.run(shown, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True)
    assert Path(used.stdout.strip()).is_relative_to(root)
    return root


def test_there_are_the_recipes_that_contributors_ask_for() -> None:
    assert LABEL in RECIPES
    assert {"Add a backbone", "Add a metric", "Add a refusal code"} <= set(LITERAL)


@pytest.mark.parametrize("title", LITERAL)
def test_a_recipe_of_contributing_works_as_it_is_written(title: str, copy: Path) -> None:
    """Its edits fit, its commands succeed, and the tests that it names are found and are those of the copy."""
    recipe = read_recipe(title)
    assert recipe.edits
    for edit in recipe.edits:
        follow(edit, copy)
    told = [run(command, copy) for command in recipe.commands]
    assert any(" passed" in text for text in told), told


def test_the_recipe_for_a_label_works_as_it_is_written(medres: Medres, tmp_path: Path) -> None:
    recipe = read_recipe(LABEL)
    assert not recipe.edits
    known = pd.read_csv(write_cohort(tmp_path / "FOLDER", patients=16, images=1), dtype=str)
    labels = {"label_effusion": known["label_disc"], "label_pneumothorax": known["label_disc"]}
    known[["SOPInstanceUID"]].assign(**labels).to_csv(tmp_path / "labels.csv", index=False)
    for command in recipe.commands:
        verb, *arguments = shlex.split(command)[1:]
        done = medres(verb, *arguments, *(FAST if verb == "crossval" else ()), cwd=tmp_path)
        assert done.returncode == 0 or verb == "index", done.stderr  # 3: the folder also holds other files
    table = pd.read_csv(tmp_path / "runs" / "two" / "oof.csv", dtype=str)
    assert {"prob_effusion", "prob_pneumothorax"} <= set(table)
