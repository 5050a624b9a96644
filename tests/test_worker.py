"""Limits of one file: its own processor time counts, not what else the machine does."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import imagecodecs
import psutil
import pytest

from medres.config import GATES, Limits
from medres.errors import BY_LIMITS, MAY_PASS, MedresError, Refused
from medres.imaging.isolation import Workers, read_isolated
from medres.imaging.preprocessing import inspect
from medres.processors import usable_processors
from medres.records import Refusal
from tests.support import worker_jobs
from tests.support.dicom_files import JPEG, compress, picture, radiograph, write

ROOT = Path(__file__).resolve().parents[1]
J2K = f"{JPEG}90"


def write_j2k(path: Path, rows: int, columns: int) -> Path:
    stored = picture(rows, columns)
    frame = imagecodecs.jpeg2k_encode(stored, level=0, codecformat="j2k", bitspersample=12)
    return write(path, compress(radiograph(stored), J2K, bytes(frame)))


@pytest.fixture
def busy() -> Iterator[None]:
    """Six busy processes on every processor."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(6 * usable_processors())]
    yield
    for other in others:
        other.kill()
        other.wait()


@pytest.mark.slow
@pytest.mark.usefixtures("busy")
def test_no_sound_file_is_refused_because_the_machine_is_busy(tmp_path: Path) -> None:
    path = write_j2k(tmp_path / "a.dcm", 1000, 800)
    before = time.process_time()
    inspect(str(path), gate=GATES["any"], limits=Limits())
    limits = Limits(seconds=4 * (time.process_time() - before))  # by the clock it takes seven times as long
    job = partial(inspect, gate=GATES["any"], limits=limits)
    with Workers(2, limits=limits) as pool:
        results = [result for _, result in pool.map(job, [str(path)] * 6)]
    assert not [result for result in results if isinstance(result, Refusal)]


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes are stopped by a signal")
def test_time_in_which_a_process_cannot_run_does_not_count(tmp_path: Path) -> None:
    with Workers(1, limits=Limits(seconds=1.0)) as pool:
        assert [result for _, result in pool.map(worker_jobs.act, ["begin"])] == ["done begin"]
        results = pool.map(worker_jobs.wait, ["a"])
        worker = psutil.Process(pool._pool[0].process.pid)
        worker.suspend()
        resumed = subprocess.Popen(
            [sys.executable, "-c", f"import psutil, time; time.sleep(3); psutil.Process({worker.pid}).resume()"]
        )
        assert list(results) == [("a", "a")]
        resumed.wait()


def test_what_spins_is_refused_for_good_and_what_sleeps_for_now() -> None:
    with Workers(2, limits=Limits(seconds=1, wall_seconds=60)) as pool:
        ((_, spun),) = pool.map(worker_jobs.act, ["spin"])
    with Workers(2, limits=Limits(seconds=60, wall_seconds=1)) as pool:
        ((_, slept),) = pool.map(worker_jobs.act, ["hang"])
    assert isinstance(spun, Refusal)
    assert isinstance(slept, Refusal)
    assert (spun.code, slept.code) == ("DECODER_TIMEOUT", "DECODER_STALLED")
    assert {spun.code} <= BY_LIMITS - MAY_PASS
    assert {slept.code} <= MAY_PASS - BY_LIMITS
    assert ("1 s of processor time" in spun.detail, "within 1 s" in slept.detail) == (True, True)


def test_what_takes_too_long_by_the_clock_is_tried_once_more_alone_at_the_end(tmp_path: Path) -> None:
    once, always = (worker_jobs.uncounted(tmp_path / name) for name in ("hang", "hang always"))
    names = ["a", once, always, *(f"{number}" for number in range(20))]
    with Workers(2, limits=Limits(seconds=30, wall_seconds=4)) as pool:
        found = dict(pool.map(worker_jobs.hang_once, names))
    refused = found.pop(always)
    assert isinstance(refused, Refusal)
    assert refused.code == "DECODER_STALLED"
    assert [worker_jobs.tries(tmp_path / name) for name in ("hang", "hang always")] == [2, 2]
    times = {name: tuple(map(float, str(result).split())) for name, result in found.items()}
    began, _ = times.pop(once)
    assert began > max(ended for _, ended in times.values())
    assert set(times) == {name for name in names if "hang" not in name}


def test_a_file_that_is_read_alone_has_the_same_limits(tmp_path: Path) -> None:
    path = write_j2k(tmp_path / "a.dcm", 1500, 1200)
    with pytest.raises(Refused) as refused:
        read_isolated(path, limits=Limits(seconds=0.02))
    assert refused.value.code == "DECODER_TIMEOUT"
    assert read_isolated(path).pixels.shape == (1500, 1200)


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
class TestMemory:
    MOST = 3_000_000  # KiB, less than a decoding process may have by default

    @pytest.mark.parametrize("limit", ["-v", "-Sv", "-Hv"])
    def test_a_lower_limit_of_the_shell_stays(self, tmp_path: Path, limit: str) -> None:
        write(tmp_path / "in.dcm", radiograph())
        command = (
            "from medres.imaging.isolation import Workers; from tests.support import worker_jobs\n"
            "with Workers(1) as pool: print(*next(pool.map(worker_jobs.memory_limits, ['a']))[1])"
        )
        shell = f'ulimit -Sv {self.MOST} && ulimit {limit} {self.MOST} && exec "$0" -c "$1"'
        import resource

        done = subprocess.run(
            ["bash", "-c", shell, sys.executable, command], capture_output=True, text=True, check=False, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        soft, hard = map(int, done.stdout.split())
        assert soft == self.MOST * 1024
        assert hard == (resource.getrlimit(resource.RLIMIT_AS)[1] if limit == "-Sv" else self.MOST * 1024)

    def test_a_verb_reads_files_under_a_limit_of_the_shell(self, tmp_path: Path) -> None:
        (tmp_path / "in").mkdir()
        write(tmp_path / "in" / "a.dcm", radiograph())
        shell = f'ulimit -v {self.MOST} && exec "$0" index "$1" --out "$2"'
        medres = Path(sys.executable).with_name("medres")
        command = ["bash", "-c", shell, str(medres), str(tmp_path / "in"), str(tmp_path / "manifest.csv")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "1 radiographs" in done.stdout

    def test_processes_that_cannot_start_are_an_error_that_names_the_limit(self) -> None:
        with (
            Workers(2, limits=Limits(worker_bytes=50_000_000)) as pool,
            pytest.raises(MedresError, match=r"did not start .*--limit worker_bytes=50000000"),
        ):
            list(pool.map(worker_jobs.act, ["a", "b"]))


def test_the_time_of_a_job_is_not_that_of_the_ones_before_it() -> None:
    with Workers(1, limits=Limits(seconds=1.0)) as pool:
        results = [result for _, result in pool.map(worker_jobs.work, ["0.4"] * 6)]
    assert results == ["0.4"] * 6
