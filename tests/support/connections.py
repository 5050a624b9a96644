"""What leaves the machine while tests run medres: every Python process below them writes it down, see `recorder`."""

from __future__ import annotations

import os
from pathlib import Path

RECORDER = Path(__file__).with_name("recorder")
FILE = "MEDRES_TEST_CONNECTIONS"


def record(file: Path) -> None:
    """Let every process that is started from now on write to this file what leaves the machine."""
    os.environ[FILE] = str(file)
    others = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(RECORDER), *([others] if others else [])])


def assert_nothing_left() -> None:
    """Fail with what left the machine since the last time this was asked."""
    file = Path(os.environ[FILE])
    if file.exists():
        said = file.read_text(encoding="utf-8")
        file.unlink()
        raise AssertionError(f"left this machine:\n{said}")
