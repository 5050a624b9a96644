"""What several tests share: the real data's place, the demo run, and a command line that is really run.

Three kinds of networks: `small_model` and `small_run` are made (see `tests.support.made`), and know what they should on
every processor; `steady_run` and `demo_run` are trained, for tests that hold whatever was learnt; `test_end_to_end`
trains on tasks so plain that they are learnt everywhere. `--fixture-seed` and `--fixture-precision` change all of them.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from tests.support import preloaded
from tests.support.connections import assert_nothing_left, record
from tests.support.format3 import write_format3
from tests.support.phantoms import write_cohort
from tests.support.recipes import MADE, STEADY, TINY, Kind, fixture_changes

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
"""Real data that a user's checkout does not have; tests that need it skip where it is absent."""

sys.dont_write_bytecode = False  # thirty test processes would each compile everything again
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile("fixed", deadline=None, derandomize=True)  # the same tree gets the same verdict
settings.register_profile("fresh", deadline=None, max_examples=300)  # new examples: `--hypothesis-profile=fresh`
settings.load_profile("fixed")

_ENTRY = Path(sys.executable).with_name("medres")
Medres = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """What a network of seconds learns depends on these, so no test may depend on them."""
    group = parser.getgroup("medres")
    group.addoption("--fixture-seed", type=int, default=0, help="seed of synthetic images and of trainings")
    group.addoption("--fixture-precision", default="auto", help="training.precision of trainings: auto, fp32, bf16")


def pytest_configure(config: pytest.Config) -> None:
    """Tell the settings of the fixtures to this process and to those below it."""
    if config.getoption(
        "numprocesses", None
    ):  # processes share the processors: their threads would wait for each other
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # a test's own import of it would call its makers as well
    seed, precision = config.getoption("--fixture-seed"), config.getoption("--fixture-precision")
    os.environ["MEDRES_FIXTURE_SEED"], os.environ["MEDRES_FIXTURE_PRECISION"] = str(seed), precision
    for options in (TINY, STEADY):
        options += [f"--set={change}" for change in fixture_changes()]


def needs_shared(name: str) -> pytest.MarkDecorator:
    """Skip a test where the real data are absent."""
    return pytest.mark.skipif(not (SHARED / name).exists(), reason=f"real data absent: ../shared/{name}")


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests keep caches, keys and weights to themselves, and what they start sends nothing elsewhere."""
    home = tmp_path_factory.mktemp("home")
    record(home / "connections")
    os.environ["MEDRES_CACHE"] = str(home / "cache")
    os.environ["MEDRES_PSEUDONYM_KEY"] = "0123456789abcdef-for-tests-only"
    os.environ["TORCH_HOME"] = str(home / "torch")


def start_medres(*arguments: object, timeout: float = 900, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the installed `medres` command exactly as a user would."""
    return _run(_ENTRY, *arguments, timeout=timeout, cwd=cwd)


def _run(*command: object, timeout: float, cwd: Path | None) -> subprocess.CompletedProcess[str]:
    texts = [str(part) for part in command]
    done = subprocess.run(texts, capture_output=True, text=True, timeout=timeout, cwd=cwd, check=False)
    assert_nothing_left()
    return done


def run_medres(
    *arguments: object, timeout: float = 900, cwd: Path | None = None, made: Kind | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command's entry point in a process of its own that need not import torch again: see `preloaded`.

    With `made` its networks are made, not trained: see `tests.support.made`, whose options it gets after its own.
    """
    texts = [str(argument) for argument in arguments]
    if made:
        texts += MADE
    if preloaded.server() is None:
        command = (sys.executable, "-m", "tests.support.made", made) if made else (_ENTRY,)
        return _run(*command, *texts, timeout=timeout, cwd=cwd)
    done = preloaded.run(texts, timeout=timeout, cwd=cwd, made=made)
    assert_nothing_left()
    return done


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
    """The folder of a `medres demo --no-app` of few patients; its standard output is in `stdout.txt` beside it."""
    return show(tmp_path_factory.mktemp("demo"), patients=15)


def show(folder: Path, *, patients: int) -> Path:
    """Start `medres demo` as a user does; what it says is kept beside its folder."""
    done = start_medres("demo", "--no-app", "--patients", patients, "--out", folder / "demo")
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "stdout.txt").write_text(done.stdout, encoding="utf-8")
    (folder / "stderr.txt").write_text(done.stderr, encoding="utf-8")
    return folder / "demo"


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


def _must(*arguments: object, made: Kind | None = None) -> None:
    done = run_medres(*arguments, made=made)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a small cohort, bright discs or none; the labels of four of its 40 patients are wrong."""

    def make(folder: Path) -> None:
        write_cohort(folder, mislabelled=(7, 16, 25, 34))

    return _made_once(tmp_path_factory, "cohort", make) / "manifest.csv"


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory, small_cohort: Path) -> Path:
    """A model of it through the command line, whose network is made and knows a disc."""

    def make(folder: Path) -> None:
        _must("train", small_cohort, "--label", "disc", "--out", folder / "model", *TINY, made="disc")

    return _made_once(tmp_path_factory, "small-model", make) / "model"


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, small_cohort: Path) -> Path:
    """A cross-validation of it through the command line, whose networks are made and know a disc."""

    def make(folder: Path) -> None:
        _must("crossval", small_cohort, "--label", "disc", "--out", folder / "run", *TINY, made="disc")

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
    """A run of STEADY on one thread, trained one fold after another, that nothing disturbed."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("OMP_NUM_THREADS", "1")
            _must("crossval", small_cohort, "--label", "disc", "--out", folder / "run", *STEADY)

    return _made_once(tmp_path_factory, "steady-run", make) / "run"


LONGEST = (
    "test_end_to_end", "test_checkpoints", "test_unfinished", "test_side_by_side", "test_distributed",
    "test_pipeline_leaks", "test_shortcuts", "test_dicom_corpus", "test_app", "test_coverage",
)  # fmt: skip
"""Test files that take longest: they start first, so that parallel processes end together."""

SLOW_FILES = {
    *LONGEST, "test_augmentation", "test_base_rates", "test_benchmarks", "test_cache", "test_checking",
    "test_confinement", "test_contributing", "test_dcmtk", "test_device", "test_display", "test_doctor",
    "test_explain", "test_field", "test_files", "test_fuzz", "test_hostile", "test_inspection", "test_isolation",
    "test_leakage", "test_markup", "test_notebooks", "test_parity", "test_probing", "test_replies",
    "test_report_page", "test_splits", "test_tasks", "test_training", "test_weights", "test_worker",
}  # fmt: skip
"""Files that train, decode whole cohorts, start processes or browsers, or fill large networks."""

SLOW_FIXTURES = {"medres", "installed_medres", "demo_run", "steady_run", "small_run", "small_model"}
"""What only runs of the command line give."""


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest files; the order is kept otherwise. Mark what is slow by what it asks for."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))
    for item in items:
        asked = SLOW_FIXTURES & set(getattr(item, "fixturenames", ()))
        if asked or item.path.stem in SLOW_FILES or item.get_closest_marker("fuzz") or item.get_closest_marker("sweep"):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported stays: neither now nor later need it be looked through for what can go."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_sessionfinish() -> None:
    """At the end everything can go."""
    gc.unfreeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Under .ci/run, which installs what tests need, a skip is a failure."""
    if report.skipped and os.environ.get("MEDRES_NO_SKIP") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
