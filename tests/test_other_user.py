"""An account without rights: what it may not write ends in one sentence, and nothing is left half-written.

Where the tests run as root, the account is `nobody`, or root without its rights where `nobody` cannot read this Python;
else it is the one that runs them. The folders are read-only to each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.phantoms import write_cohort

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="accounts of POSIX"), pytest.mark.slow]
NOBODY = "65534"
Told = subprocess.CompletedProcess[str]


_ACCOUNTS = (
    ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    ("setpriv", "--bounding-set=-all", "--inh-caps=-all"),  # root as an account like others: permissions hold for it
)
_PROBE = (
    "import medres, multiprocessing as m\n"
    "if __name__ == '__main__':\n"
    "    p = m.get_context('spawn').Process(target=print); p.start(); p.join(); raise SystemExit(p.exitcode)"
)


@cache
def _as_other() -> tuple[str, ...]:
    """What starts a command as the other account: `nobody` if it can read this Python, else root without rights."""
    if os.geteuid():
        return ()
    return next(
        account
        for account in _ACCOUNTS
        if not subprocess.run([*account, sys.executable, "-c", _PROBE], capture_output=True, check=False).returncode
    )


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that everybody may read: `locked` may be written by nobody else, `open` by everybody."""
    folder = Path(tempfile.mkdtemp(prefix="medres-other-"))
    write_cohort(folder / "cohort", patients=4, images=1)
    for name in ("locked", "open"):
        (folder / name).mkdir()
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (folder / "locked").chmod(0o555)
    (folder / "open").chmod(0o777)
    yield folder
    (folder / "locked").chmod(0o755)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def other(place: Path) -> Callable[..., Told]:
    """The command line as the other account, whose home, cache and temporary folder are read-only unless named."""
    who = _as_other()

    def run(*arguments: object, **variables: object) -> Told:
        locked = str(place / "locked")
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        environment |= dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "MEDRES_CACHE", "TMPDIR"), locked)
        environment.pop("MEDRES_PSEUDONYM_KEY", None)
        environment |= {name: str(value) for name, value in variables.items()}
        command = [*who, sys.executable, "-m", "medres.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=place, check=False)

    return run


def assert_refused(done: Told, place: Path) -> None:
    assert done.returncode in {1, 2}, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("medres:")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr
    assert list((place / "locked").iterdir()) == []


def test_an_output_where_it_may_not_write_is_refused(place: Path, other: Callable[..., Told]) -> None:
    for out in (place / "locked" / "m.csv", place / "locked" / "new" / "m.csv", place / "locked" / "a" / "m.csv"):
        assert_refused(other("index", place / "cohort" / "images", "--out", out), place)


def test_a_cache_that_it_may_not_write_is_named(place: Path, other: Callable[..., Told]) -> None:
    done = other("check", place / "cohort" / "manifest.csv")
    assert_refused(done, place)
    assert "MEDRES_CACHE" in done.stderr


def test_without_a_home_or_temporary_folder_it_still_indexes_and_checks(
    place: Path, other: Callable[..., Told]
) -> None:
    done = other("index", place / "cohort" / "images", "--out", place / "open" / "m.csv")
    assert done.returncode == 0, done.stderr
    checked = other("check", place / "cohort" / "manifest.csv", MEDRES_CACHE=place / "open" / "cache")
    assert checked.returncode in {0, 3}, checked.stderr
    assert "Traceback" not in checked.stderr


def test_what_it_may_not_read_costs_one_file(place: Path, other: Callable[..., Told]) -> None:
    secret = place / "cohort" / "images" / "0001.dcm"
    secret.chmod(0)
    try:
        done = other("index", place / "cohort" / "images", "--out", place / "open" / "n" / "m.csv")
        assert done.returncode == 3, done.stderr
        assert "UNREADABLE" in (place / "open" / "n" / "refused.csv").read_text(encoding="utf-8")
    finally:
        secret.chmod(0o644)


def test_a_pseudonym_key_that_cannot_be_kept_is_named(place: Path, other: Callable[..., Told]) -> None:
    code = "from medres.cohort.pseudonyms import pseudonym_key; pseudonym_key()"
    environment = {"HOME": str(place / "locked"), "XDG_CONFIG_HOME": str(place / "locked"), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [*_as_other(), sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    assert "UsageError" in done.stderr.splitlines()[-1], done.stderr
    assert "MEDRES_PSEUDONYM_KEY" in done.stderr.splitlines()[-1]
