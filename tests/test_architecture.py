"""The plan of the house: each room imports only from rooms below it, and each outside library enters by one door."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "medres"
ROOMS = [
    "errors",
    "records",
    "config",
    "tables",
    "documents",
    "unfinished",
    "provenance",
    "formatting",
    "terminal",
    "imaging",
    "cohort",
    "model",
    "statistics",
    "evaluation",
    "training",
    "runs",
    "report",
    "scoring",
    "review",
]
FOUNDATION = set(ROOMS[: ROOMS.index("imaging")])
NARROW = {
    "statistics": set(),
    "scoring": {"imaging", "cohort", "model"},
    "review": {"imaging", "cohort", "model", "statistics"},
}
"""Rooms that import less than all that lies below them, beside the foundation and themselves."""

ABOVE = {"cli", "demo", "doctor", "__init__"}
DOORS = {
    "click": {"cli"},
    "streamlit": set(),  # only app/
    "pydicom": {"imaging"},
    "imagecodecs": {"imaging"},
    "monai": {"training"},
    "ignite": {"training"},
    "sqlalchemy": {"review"},
    "alembic": {"review"},
    "rich": {"terminal"},
}


def _room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_rooms_below_it(path: Path) -> None:
    room = _room(path)
    if room in ABOVE:
        return
    below = NARROW.get(room, set(ROOMS[: ROOMS.index(room)]))
    allowed = below | {room} | (FOUNDATION if room not in FOUNDATION else set())
    for name in _imports(path):
        parts = name.split(".")
        if (
            parts[0] == "medres"
            and len(parts) > 1
            and (PACKAGE / parts[1]).exists() | (PACKAGE / f"{parts[1]}.py").exists()
        ):
            assert parts[1] in allowed, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_an_outside_library_enters_by_its_door(path: Path) -> None:
    for name in _imports(path):
        library = name.split(".")[0]
        if library in DOORS:
            assert _room(path) in DOORS[library], f"{path.name} imports {library}"


def test_the_app_turns_records_into_widgets_and_nothing_else() -> None:
    for path in (ROOT / "app").rglob("*.py"):
        libraries = {name.split(".")[0] for name in _imports(path)}
        assert not libraries & {"torch", "pydicom", "numpy", "monai", "sqlalchemy", "cv2", "pandas"}, path.name


def test_no_file_of_the_package_is_longer_than_one_sitting() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {name: lines for name, lines in long.items() if lines > 500}


def _loaded_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_nothing_heavy() -> None:
    code = (
        "from click.testing import CliRunner\nfrom medres.cli import medres\n"
        "assert CliRunner().invoke(medres, ['--help']).exit_code == 0"
    )
    assert not _loaded_after(code) & {
        "torch",
        "monai",
        "sklearn",
        "pandas",
        "numpy",
        "pydicom",
        "streamlit",
        "matplotlib",
    }


def test_worker_processes_start_without_torch_or_pandas() -> None:
    assert not _loaded_after("import medres.imaging.isolation, medres.imaging.preprocessing") & {
        "torch",
        "pandas",
        "monai",
        "sklearn",
    }


def test_scoring_and_explaining_do_not_import_monai() -> None:
    assert not _loaded_after("import medres.scoring.folder, medres.model.classifier, medres.review.cases") & {
        "monai",
        "ignite",
    }
