"""A hang, a crash or a bomb costs exactly one file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import psutil
import pytest

from medres.config import Limits
from medres.errors import Refused
from medres.imaging.isolation import Workers, read_isolated
from medres.imaging.reading import read_radiograph
from medres.records import Refusal
from tests.support import worker_jobs
from tests.support.dicom_files import radiograph, write

ROOT = Path(__file__).resolve().parents[1]
PATIENT = Limits(seconds=30.0)
HASTY = Limits(seconds=2.0, wall_seconds=2.0)


def outcome(result: object) -> object:
    return result.code if isinstance(result, Refusal) else result


@pytest.mark.parametrize(
    ("culprit", "code"),
    [("hang", "DECODER_STALLED"), ("abort", "DECODER_CRASH"), ("exit", "DECODER_CRASH")]
    + ([("kill", "DECODER_CRASH")] if hasattr(signal, "SIGKILL") else []),
)
def test_a_bad_file_costs_exactly_itself(culprit: str, code: str) -> None:
    names = ["a", "b", culprit, "c", "d", f"{culprit} again", "e"]
    with Workers(2, limits=HASTY) as pool:
        results = dict(pool.map(worker_jobs.act, names))
    assert sorted(results) == sorted(names)
    for name, result in results.items():
        assert outcome(result) == (code if name.startswith(culprit) else f"done {name}")
        assert not isinstance(result, Refusal) or result.path == name


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_a_job_that_wants_all_memory_is_refused_and_its_process_goes_on() -> None:
    with Workers(1, limits=PATIENT) as pool:
        results = [outcome(result) for _, result in pool.map(worker_jobs.act, ["allocate", "after"], ordered=True)]
    assert results == ["OUT_OF_MEMORY", "done after"]


def test_a_refusal_keeps_its_code_and_any_other_error_loses_its_text() -> None:
    with Workers(1, limits=PATIENT) as pool:
        (_, refused), (_, failed) = pool.map(worker_jobs.act, ["refuse", "fail"], ordered=True)
    assert refused == Refusal("refuse", "PHOTOMETRIC", "in colour")
    assert isinstance(failed, Refusal)
    assert failed.code == "CORRUPT"
    assert "Jane" not in failed.detail


def test_one_pool_serves_several_jobs() -> None:
    with Workers(1, limits=PATIENT) as pool:
        assert [result for _, result in pool.map(worker_jobs.act, ["a"])] == ["done a"]
        assert [result for _, result in pool.map(worker_jobs.shout, ["a"])] == ["A"]


def test_paths_are_taken_only_as_results_are_wanted() -> None:
    taken = 0

    def names() -> Iterator[str]:
        nonlocal taken
        for number in range(100_000):
            taken += 1
            yield str(number)

    with Workers(1, limits=PATIENT) as pool:
        results = pool.map(worker_jobs.shout, names())
        for _ in range(5):
            next(results)
        time.sleep(0.3)
        assert taken < 100
        results.close()
        assert list(pool.map(worker_jobs.shout, ["x"])) == [("x", "X")]


def test_what_an_abandoned_run_left_undone_is_not_taken_for_the_next_one() -> None:
    with Workers(2, limits=PATIENT) as pool:
        results = pool.map(worker_jobs.wait, (f"old {number}" for number in range(50)))
        next(results)
        results.close()
        names = [f"new {number}" for number in range(6)]
        assert dict(pool.map(worker_jobs.act, names)) == {name: f"done {name}" for name in names}


def test_files_that_hang_hold_up_no_other() -> None:
    """300 jobs of 5 ms; what hangs sleeps or spins, and is at it long after the others are done."""
    names = [str(number) for number in range(300)]
    names[10], names[60], names[61] = "hang", "spin", "hang again"
    with Workers(2, limits=PATIENT) as pool:
        results = pool.map(worker_jobs.nap, names)
        done = dict(islice(results, 297))
        results.close()
    assert done == {name: f"done {name}" for name in names if name.isdigit()}


def test_as_many_spare_processes_start_as_there_are_workers() -> None:
    with Workers(2, limits=PATIENT) as pool:
        results = pool.map(worker_jobs.act, ["quick", *(f"hang {number}" for number in range(9))])
        assert next(results) == ("quick", "done quick")
        deadline = time.monotonic() + 60
        while sum(process.task is not None for process in pool._pool) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.5)
        assert len(pool._pool) == 4
        results.close()
        assert len(pool._pool) <= 2


def test_results_come_in_order_where_that_is_asked_for() -> None:
    names = ["wait", *(str(number) for number in range(100))]
    with Workers(2, limits=PATIENT) as pool:
        results = list(pool.map(worker_jobs.wait_or_shout, names, ordered=True))
    assert results == [(name, name.upper()) for name in names]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_slow_reader_of_results_keeps_few_of_them_waiting(*, ordered: bool) -> None:
    taken = 0

    def names() -> Iterator[str]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield str(number)

    with Workers(2, limits=PATIENT) as pool:
        results = pool.map(worker_jobs.shout, names(), ordered=ordered)
        for seen in range(1, 60):
            next(results)
            assert taken - seen < 100
        results.close()


def test_what_hangs_at_the_first_of_ordered_files_keeps_few_results_waiting(tmp_path: Path) -> None:
    limits = Limits(seconds=30, wall_seconds=3)
    names = [worker_jobs.uncounted(tmp_path / "hang"), *(str(number) for number in range(200))]
    with Workers(2, limits=limits) as pool:
        found = [name for name, _ in pool.map(worker_jobs.hang_or_nap, names, ordered=True)]
    assert found == names
    assert worker_jobs.tries(tmp_path / "hang") == 2


def test_no_process_is_left_over() -> None:
    with Workers(2, limits=PATIENT) as pool:
        processes = {result for _, result in pool.map(worker_jobs.process_id, ["a", "b", "c"])}
    assert os.getpid() not in processes
    assert not any(psutil.pid_exists(process) for process in processes if isinstance(process, int))
    assert not [child for child in multiprocessing.active_children() if child.pid in processes]


def test_no_more_processes_start_than_there_are_files() -> None:
    with Workers(4, limits=PATIENT) as pool:
        assert len(list(pool.map(worker_jobs.process_id, ["a"]))) == 1
        assert len(pool._pool) == 1
        assert len(list(pool.map(worker_jobs.process_id, ["a", "b", "c"]))) == 3
        assert len(pool._pool) <= 3


def test_a_decoding_process_imports_nothing_heavy(tmp_path: Path) -> None:
    from functools import partial

    from medres.config import GATES, Preprocessing
    from medres.imaging.preprocessing import prepare

    path = str(write(tmp_path / "a.dcm", radiograph()))
    job = partial(prepare, spec=Preprocessing(size=32), gate=GATES["any"], limits=PATIENT)
    with Workers(1, limits=PATIENT) as pool:
        ((_, prepared),) = pool.map(job, [path])
        assert not isinstance(prepared, Refusal)
        assert prepared.pixels.shape == (32, 32)
        assert list(pool.map(worker_jobs.heavy_modules, ["a"])) == [("a", [])]


def test_an_isolated_read_gives_the_same_radiograph(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", radiograph(WindowCenter=2000, WindowWidth=1500))
    isolated, direct = read_isolated(path), read_radiograph(path)
    assert np.array_equal(isolated.pixels, direct.pixels)
    assert isolated.attributes == direct.attributes
    with pytest.raises(Refused) as refusal:
        read_isolated(tmp_path / "absent.dcm")
    assert refusal.value.code == "UNREADABLE"


def test_a_script_without_a_main_guard_is_not_run_again_in_its_workers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dcm", radiograph())
    script = tmp_path / "script.py"
    script.write_text(
        "from medres.imaging.isolation import read_isolated\n"
        f"print('shape', read_isolated({str(path)!r}).pixels.shape)\n",
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["shape (48, 40)"]


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to a process group")
def test_ctrl_c_ends_promptly_and_leaves_no_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a test run in the background inherits SIG_IGN
        "from medres.config import Limits\n"
        "from medres.imaging.isolation import Workers\n"
        "from tests.support import worker_jobs\n"
        "with Workers(2, limits=Limits(seconds=500)) as pool:\n"
        "    for name, result in pool.map(worker_jobs.act, ['a', 'b', 'hang', 'hang']):\n"
        "        print(name, flush=True)\n",
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert {process.stdout.readline(), process.stdout.readline()} == {b"a\n", b"b\n"}
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        try:
            assert process.wait(timeout=20) != 0
        finally:
            process.kill()  # or the block would wait for it for ever
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


@pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")
def test_a_killed_parent_leaves_no_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from medres.config import Limits\n"
        "from medres.imaging.isolation import Workers\n"
        "from tests.support import worker_jobs\n"
        "with Workers(2, limits=Limits(seconds=500, wall_seconds=500)) as pool:\n"
        "    for name, result in pool.map(worker_jobs.act, ['a', 'b', 'hang', 'spin', 'spin', 'hang']):\n"
        "        print(name, flush=True)\n",
        encoding="utf-8",
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        assert process.stdout is not None
        assert {process.stdout.readline(), process.stdout.readline()} == {b"a\n", b"b\n"}
        deadline = time.monotonic() + 60
        while len(children := psutil.Process(process.pid).children()) < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1)
        process.kill()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers of a process")
@pytest.mark.parametrize(
    ("budget", "job", "by"),
    [
        ("0.5, 0", "import re; re.match('(a+)+$', 'a' * 60 + 'b')", "SIGPROF"),  # lets no other thread run
        ("0, 0.5", "import time; time.sleep(600)", "SIGALRM"),
    ],
)
def test_a_process_ends_by_itself_when_nobody_is_left_to_end_it(budget: str, job: str, by: str) -> None:
    code = f"from medres.imaging.worker import _end_by_itself; _end_by_itself({budget}); {job}"
    done = subprocess.run([sys.executable, "-c", code], timeout=120, check=False)
    assert done.returncode == -getattr(signal, by)
