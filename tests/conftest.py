"""What several tests share: the real data's place, the demo run, and a command line that is really run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from tests.phantoms import write_cohort

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


def run_medres(*arguments: object, timeout: float = 900, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the installed `medres` command as a user would."""
    entry = Path(sys.executable).with_name("medres")
    command = [str(entry), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=cwd, check=False)


@pytest.fixture(scope="session")
def medres() -> Medres:
    """The command line's entry point, run in a process of its own."""
    return run_medres


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one whole `medres demo --no-app`; the run's standard output is in `stdout.txt` beside it."""
    folder = tmp_path_factory.mktemp("demo")
    done = run_medres("demo", "--no-app", "--out", folder / "demo")
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


@pytest.fixture(scope="session")
def small_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a small cohort that can be learnt."""
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory, small_cohort: Path) -> Path:
    """A model trained on it through the command line."""
    out = tmp_path_factory.mktemp("model") / "model"
    done = run_medres("train", small_cohort, "--label", "disc", "--out", out, *TINY)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, small_cohort: Path) -> Path:
    """A cross-validation run on it through the command line."""
    out = tmp_path_factory.mktemp("run") / "run"
    done = run_medres("crossval", small_cohort, "--label", "disc", "--out", out, *TINY)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Under .ci/run, which installs what tests need, a skip is a failure."""
    if report.skipped and os.environ.get("MEDRES_NO_SKIP") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
