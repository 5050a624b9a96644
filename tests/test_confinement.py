"""What a decoding process gives up before it reads its first file."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from medres import doctor
from medres.config import Limits
from medres.imaging.isolation import Workers
from medres.imaging.sandbox import confinement
from medres.imaging.sandbox.confinement import what_holds
from tests.support import worker_jobs

ROOT = Path(__file__).resolve().parents[1]
FILTERED = sys.platform == "linux" and platform.machine() in {"x86_64", "aarch64"}
pytestmark = pytest.mark.skipif(not FILTERED, reason="the filter of system calls is for Linux on two processors")
ALL = {"gains no rights", "leaves no core dump", "opens no connections", "starts no programs", "writes no files"}


def test_a_decoding_process_gives_up_what_it_does_not_need_and_this_one_keeps_it() -> None:
    with Workers(1) as pool:
        ((_, held),) = pool.map(what_holds, [""])
    assert set(held) > ALL  # type: ignore[arg-type]
    assert not {"opens no connections", "writes no files", "gains no rights"} & set(what_holds(""))


def test_attempts_of_a_decoder_that_was_taken_over_fail(tmp_path: Path) -> None:
    """Each works in a process that is not confined, or it would say nothing."""
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    items = {name: f"{name} {tmp_path / 'file'} {os.getpid()}" for name in worker_jobs.ATTEMPTS}
    with Workers(1, limits=Limits(seconds=30)) as pool:
        found = dict(pool.map(worker_jobs.attempt, items.values()))
    assert {name: found[item] for name, item in items.items()} == dict.fromkeys(items, "PermissionError")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"
    others = [item for name, item in items.items() if name not in {"program", "trace"}]
    code = f"from tests.support.worker_jobs import attempt; print(*map(attempt, {others!r}))"
    free = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "PermissionError" not in free.stdout
    assert len(free.stdout.split()) == len(others)


def test_what_the_kernel_refuses_is_left_out_and_nothing_is_said() -> None:
    code = (
        "import ctypes\n"
        "class Refusing:\n"
        "    def prctl(self, *_): return -1\n"
        "    def syscall(self, *_): raise AssertionError('not without the first')\n"
        "from medres.imaging.sandbox.confinement import confine, what_holds\n"
        "ctypes.CDLL = lambda *_, **__: Refusing()\n"
        "confine(); print(what_holds(''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "opens no connections" not in done.stdout
    assert done.stderr == ""


def test_another_processor_or_interface_has_its_own_calls_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    confinement._filter(None)  # type: ignore[arg-type]  # nothing of it is used
    for calls in confinement._CALLS.values():
        program = confinement._program(calls, 1)
        assert len(program) < 256
        assert {len(instruction) for instruction in program} == {8}


def test_doctor_says_what_holds() -> None:
    line = doctor._confinement()
    assert all(part in line for part in ALL)
