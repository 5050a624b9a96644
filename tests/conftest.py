"""What several tests share: the real data's place, the demo run, and a command line that is really run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from tests.support import preloaded
from tests.support.format3 import write_format3
from tests.support.phantoms import write_cohort

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
"""Real data that a user's checkout does not have; tests that need it skip where it is absent."""

settings.register_profile("fixed", deadline=None, derandomize=True)  # the same tree gets the same verdict
settings.register_profile("fresh", deadline=None, max_examples=300)  # new examples: `--hypothesis-profile=fresh`
settings.load_profile("fixed")

Medres = Callable[..., "subprocess.CompletedProcess[str]"]


def needs_shared(name: str) -> pytest.MarkDecorator:
    """Skip a test where the real data are absent."""
    return pytest.mark.skipif(not (SHARED / name).exists(), reason=f"real data absent: ../shared/{name}")


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests keep caches, keys and weights to themselves."""
    home = tmp_path_factory.mktemp("home")
    os.environ["MEDRES_CACHE"] = str(home / "cache")
    os.environ["MEDRES_PSEUDONYM_KEY"] = "0123456789abcdef-for-tests-only"
    os.environ["TORCH_HOME"] = str(home / "torch")
    if "PYTEST_XDIST_WORKER" in os.environ:  # processes share the processors; threads would wait for each other
        os.environ["OMP_NUM_THREADS"] = "1"


def start_medres(*arguments: object, timeout: float = 900, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the installed `medres` command exactly as a user would."""
    entry = Path(sys.executable).with_name("medres")
    command = [str(entry), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=cwd, check=False)


def run_medres(*arguments: object, timeout: float = 900, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command's entry point in a process of its own that need not import torch again: see `preloaded`."""
    if preloaded.server() is None:
        return start_medres(*arguments, timeout=timeout, cwd=cwd)
    return preloaded.run([str(argument) for argument in arguments], timeout=timeout, cwd=cwd)


@pytest.fixture(scope="session")
def medres() -> Medres:
    """The command line's entry point, run in a process of its own."""
    return run_medres


@pytest.fixture(scope="session")
def installed_medres() -> Medres:
    """The command as it is installed, for what depends on how it starts."""
    return start_medres


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one whole `medres demo --no-app`; the run's standard output is in `stdout.txt` beside it."""
    folder = tmp_path_factory.mktemp("demo")
    done = start_medres("demo", "--no-app", "--out", folder / "demo")
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "stdout.txt").write_text(done.stdout, encoding="utf-8")
    (folder / "stderr.txt").write_text(done.stderr, encoding="utf-8")
    return folder / "demo"


TINY = (
    "--set=preprocessing.size=64",
    "--set=training.stages=[{epochs: 8}]",
    "--set=training.patience=8",
    "--set=training.batch_size=8",
    "--set=crossval.folds=2",
    "--set=evaluation.replicates=200",
)
"""Options that make a recipe learn a small cohort in seconds."""

STEADY = (*TINY, "--set=training.stages=[{epochs: 1, size: 32}, {epochs: 2}]", "--set=training.saturation=1")
"""Options of a run of two folds, three epochs each, that tests interrupt: no stage ends early."""


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first of several parallel test processes fills and all of them use."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / name
    with FileLock(f"{folder}.lock"):
        if not (root / f"{name}.made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (root / f"{name}.made").touch()
    return folder


def _must(*arguments: object) -> None:
    done = run_medres(*arguments)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a small cohort that can be learnt."""
    return _made_once(tmp_path_factory, "cohort", write_cohort) / "manifest.csv"


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory, small_cohort: Path) -> Path:
    """A model trained on it through the command line."""

    def make(folder: Path) -> None:
        _must("train", small_cohort, "--label", "disc", "--out", folder / "model", *TINY)

    return _made_once(tmp_path_factory, "small-model", make) / "model"


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, small_cohort: Path) -> Path:
    """A cross-validation run on it through the command line."""

    def make(folder: Path) -> None:
        _must("crossval", small_cohort, "--label", "disc", "--out", folder / "run", *TINY)

    return _made_once(tmp_path_factory, "small-run", make) / "run"


@pytest.fixture(scope="session")
def format3_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of `small_cohort` that the first version with format 3 wrote, with drawn weights: nothing is trained."""
    return _made_once(tmp_path_factory, "format3", write_format3) / "model"


@pytest.fixture(scope="session")
def format3_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation run of two folds of `small_cohort`, by the same version: nothing is trained."""
    return _made_once(tmp_path_factory, "format3", write_format3) / "run"


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As many threads for every run of a module, so that not even last digits differ."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="session")
def steady_run(tmp_path_factory: pytest.TempPathFactory, small_cohort: Path) -> Path:
    """A run of STEADY on one thread, one fold after another, that nothing disturbed."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", "1")
            _must("crossval", small_cohort, "--label", "disc", "--out", folder / "run", *STEADY)

    return _made_once(tmp_path_factory, "steady-run", make) / "run"


LONGEST = (
    "test_end_to_end", "test_cases", "test_side_by_side", "test_shortcuts", "test_unfinished", "test_checkpoints",
    "test_distributed", "test_dicom_corpus", "test_pipeline_leaks",
)  # fmt: skip
"""Test files that take minutes: they start first, so that parallel processes end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest files; the order is kept otherwise."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Under .ci/run, which installs what tests need, a skip is a failure."""
    if report.skipped and os.environ.get("MEDRES_NO_SKIP") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
