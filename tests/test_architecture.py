"""The plan of the house: rooms import from rooms below them alone, each outside library enters by one door, and what
travels between rooms has a type.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import loaded_after

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "medres"
ROOMS = [
    "errors",
    "records",
    "safe_text",
    "config",
    "files",
    "tables",
    "documents",
    "unfinished",
    "processors",
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
    "review": {"imaging", "cohort", "model", "statistics", "scoring"},  # of scoring only what its folders say
}
"""Rooms that import less than all that lies below them, beside the foundation and themselves."""

ABOVE = {"api", "cli", "demo", "doctor", "__init__"}
DOORS = {
    "click": {"cli"},
    "streamlit": set(),  # only app/
    "pydicom": {"imaging"},
    "imagecodecs": {"imaging"},
    "monai": {"training"},
    "ignite": {"training"},
    "sqlalchemy": {"review"},
    "alembic": {"review"},
    "cryptography": {"model"},
    "pytorch_grad_cam": {"model"},
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


MOST_LINES = 330
MOST_FILES = 25  # of one folder
MOST_UNTYPED = 40  # mappings of anything, each at a boundary: JSON, YAML, a batch of MONAI, a state of torch


def test_no_file_of_the_package_is_longer_than_one_sitting() -> None:
    long = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {name: lines for name, lines in long.items() if lines > MOST_LINES}


def test_no_folder_of_the_package_holds_more_files_than_one_can_overlook() -> None:
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert not {str(folder): count for folder, count in Counter(map(_folder, files)).items() if count > MOST_FILES}


def _folder(path: Path) -> Path:
    return path.parent.relative_to(ROOT)


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_no_files_import_each_other_in_a_circle() -> None:
    """Counts every import, also those inside functions; `medres` itself only lists names and imports nothing."""
    modules = {_module(path): path for path in FILES}
    needs = {name: {found for found in _imports(path) if found in modules} - {name} for name, path in modules.items()}
    needs["medres"] = set()
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in above:
            pytest.fail(f"a circle: {' -> '.join((*above[above.index(name) :], name))}")
        if name not in done:
            for other in sorted(needs[name]):
                visit(other, (*above, name))
            done.add(name)

    for name in sorted(needs):
        visit(name, ())


MAPPINGS = {"dict", "Dict", "Mapping", "MutableMapping", "defaultdict", "OrderedDict"}
LOOSE = {"Any", "object"}


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_untyped(node: ast.AST) -> bool:
    """Whether this is a mapping whose values may be anything: `dict[str, Any]`, `Mapping[str, tuple[object, ...]]`, …

    A mapping inside of it is counted by itself, and a bare `dict` in an annotation is not let through by mypy.
    """
    if not (isinstance(node, ast.Subscript) and _name(node.value) in MAPPINGS):
        return False
    values = node.slice.elts[-1] if isinstance(node.slice, ast.Tuple) else node.slice
    waiting: list[ast.AST] = [values]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.expr) and _name(part) in LOOSE:
            return True
        if isinstance(part, ast.Subscript) and _name(part.value) in {*MAPPINGS, "Callable", "type", "NDArray"}:
            continue
        waiting += ast.iter_child_nodes(part)
    return False


def _aliases(trees: dict[Path, ast.Module]) -> set[str]:
    """Names that stand for such a mapping: `Record = dict[str, Any]`, `Record: TypeAlias = …`, `type Record = …`."""
    found: set[str] = set()
    assigned: list[tuple[str, ast.expr]] = []
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                assigned.append((node.targets[0].id, node.value))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                if "TypeAlias" in ast.unparse(node.annotation):
                    assigned.append((node.target.id, node.value))
            elif sys.version_info >= (3, 12) and isinstance(node, ast.TypeAlias):
                assigned.append((node.name.id, node.value))
    for name, value in assigned:
        if isinstance(value, ast.Subscript) and any(map(_is_untyped, ast.walk(value))):
            found.add(name)
    return found


def _annotations(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
            yield node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
            yield node.returns
        elif isinstance(node, ast.Assign | ast.Call | ast.ClassDef):
            parts = [node.value] if isinstance(node, ast.Assign) else [*getattr(node, "bases", []), *_called(node)]
            yield from (part for part in parts if isinstance(part, ast.Subscript))


def _called(node: ast.AST) -> list[ast.expr]:
    """The types that a call names: `cast(dict[str, Any], …)`, `TypeAdapter(dict[str, Any])`, `TypeVar(bound=…)`."""
    return [*node.args, *(one.value for one in node.keywords)] if isinstance(node, ast.Call) else []


def _untyped(trees: dict[Path, ast.Module]) -> list[str]:
    """Every place where a mapping of anything is named, or an alias of one is used."""
    aliases = _aliases(trees)
    places = []
    for path, tree in trees.items():
        for annotation in _annotations(tree):
            quoted = annotation.value if isinstance(annotation, ast.Constant) else None
            written = ast.parse(quoted, mode="eval").body if isinstance(quoted, str) else annotation
            places += [
                f"{path.relative_to(ROOT)}:{annotation.lineno}: {ast.unparse(node)}"
                for node in ast.walk(written)
                if _is_untyped(node) or (isinstance(node, ast.expr) and _name(node) in aliases)
            ]
    return places


def test_few_mappings_hold_just_anything() -> None:
    """What is known by name is a field of a record: a type checker sees it, and a reader can find it."""
    places = _untyped({path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES})
    assert len(places) <= MOST_UNTYPED, "\n".join([f"{len(places)} mappings hold anything:", *places])


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("def f(x: dict[str, Any]) -> Mapping[str, object]: ...", 2),
        ("x: list[dict[str, Any]] = []", 1),
        ("x: dict[str, dict[str, Any]] = {}", 1),
        ("x: dict[str, str | None] = {}", 0),
        ("x: dict[str, list[Any]] = {}", 1),
        ("x: dict[str, NDArray[Any]] = {}", 0),
        ("x: dict[str, Callable[..., Any]] = {}", 0),
        ("Record = dict[str, Any]\ndef f(x: Record) -> list[Record]: ...", 3),
        ("x = cast(dict[str, Any], y)", 1),
        ("def f(x: 'dict[str, Any]') -> None: ...", 1),
        ("class A(dict[str, Any]): ...", 1),
    ],
)
def test_the_count_of_such_mappings_sees_aliases_and_nesting(code: str, count: int) -> None:
    assert len(_untyped({ROOT / "example.py": ast.parse(code)})) == count


def test_what_a_run_is_called_has_one_home() -> None:
    """`run.json` says of itself "external validation" and the like; whoever asks compares with the constant."""
    from medres.runs import records

    kinds = {records.EXTERNAL}
    written = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in kinds and path.stem != "records"
    ]
    assert not written


CROSS_CUTTING = {
    "architecture", "benchmarks", "canaries", "cli", "contributing", "coverage", "dcmtk", "dicom_corpus",
    "documentation", "end_to_end", "field", "format3", "fuzz", "hostile", "locks", "many_readers", "nights",
    "notebooks", "other_user", "parity", "pipeline_leaks", "planted_blob", "probing", "report_page", "scale",
    "score_sweeps", "side_by_side", "supply_chain",
}  # fmt: skip
"""Tests of the whole house; every other file of tests names the module whose facts it holds."""


def test_every_file_of_tests_names_a_module_or_is_about_the_whole_house() -> None:
    modules = {path.stem for path in FILES} | {path.parent.name for path in FILES}
    named = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    assert named - modules - CROSS_CUTTING == set()
    assert named >= CROSS_CUTTING


def _libraries_after(code: str) -> set[str]:
    return {name.split(".")[0] for name in loaded_after(code)}


def test_help_imports_nothing_heavy() -> None:
    code = (
        "from click.testing import CliRunner\nfrom medres.cli import medres\n"
        "assert CliRunner().invoke(medres, ['--help']).exit_code == 0"
    )
    assert not _libraries_after(code) & {
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
    code = "import medres.imaging.isolation, medres.imaging.preprocessing, medres.imaging.reading"
    assert not _libraries_after(code) & {"torch", "pandas", "monai", "sklearn", "scipy"}


@pytest.mark.slow
def test_scoring_imports_no_library_of_training_tables_or_pages() -> None:
    libraries = _libraries_after("import medres.scoring.folder")
    assert libraries >= {"torch"}
    assert not libraries & {"monai", "ignite", "sklearn", "scipy", "pandas", "torchvision", "matplotlib", "jinja2"}


def test_the_app_s_worklist_does_not_import_monai() -> None:
    shown = "import medres.review.room, medres.review.feed, medres.review.checks"
    assert not _libraries_after(shown) & {"monai", "ignite", "torch", "pandas", "sklearn", "scipy", "matplotlib"}
