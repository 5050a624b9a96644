"""A PostgreSQL of Debian's package, started for a test on a socket of its own, and ended with it.

Its driver is Debian's as well (python3-psycopg), so that medres itself asks nobody to install one.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
DRIVER = Path("/usr/lib/python3/dist-packages/psycopg")
PRESENT = bool(PROGRAMS) and DRIVER.is_dir()


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database."""
    if str(DRIVER.parent) not in sys.path:
        sys.path.append(str(DRIVER.parent))  # behind everything of this environment
    programs = PROGRAMS[-1]
    folder = Path(mkdtemp(prefix="medres-pg-"))  # a short name: a socket's has 107 characters at most
    run_as = []
    if os.geteuid() == 0:  # the server refuses root
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        run_as = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]
    options = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}")
    try:
        _run(
            [*run_as, programs / "initdb", "-D", folder / "data", "-U", "reader", "-A", "trust", "-E", "UTF8", "-N"],
            folder,
        )
        with subprocess.Popen(
            [*map(str, [*run_as, programs / "postgres", "-D", folder / "data", *options])],
            cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as server:  # fmt: skip
            try:
                _run([programs / "pg_isready", "-h", folder, "-U", "reader", "-t", "30"], folder, tries=100)
                yield f"postgresql+psycopg://reader@/postgres?host={folder}"
            finally:
                server.terminate()
                server.wait(60)
    finally:
        shutil.rmtree(folder)


def _run(command: list[object], folder: Path, *, tries: int = 1) -> None:
    for left in reversed(range(tries)):
        done = subprocess.run([*map(str, command)], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        if left:
            subprocess.run(["sleep", "0.1"], check=True)
    raise AssertionError(done.stdout + done.stderr)
