"""What this process may use is counted, not what the machine has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medres.imaging.isolation import Workers
from medres.processors import usable_processors

V2, V1 = "0::/jobs/one\n", "4:memory:/\n3:cpu,cpuacct:/jobs/one\n1:name=systemd:/\n"


def system(root: Path, groups: str, **files: str) -> Path:
    """A file system root with these control groups; `__` stands for `/`, `_dot_` for a dot."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.fixture(autouse=True)
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


@pytest.mark.parametrize(("quota", "count"), [("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1)])
def test_the_quota_of_a_control_group_of_version_2_counts(tmp_path: Path, quota: str, count: int) -> None:
    assert usable_processors(system(tmp_path, V2, jobs__one__cpu_dot_max=quota)) == count


def test_the_smallest_quota_above_a_process_counts(tmp_path: Path) -> None:
    root = system(tmp_path, V2, jobs__one__cpu_dot_max="max 100000\n", jobs__cpu_dot_max="300000 100000\n")
    assert usable_processors(root) == 3


def test_the_group_of_a_container_is_found_though_its_path_is_the_hosts(tmp_path: Path) -> None:
    assert usable_processors(system(tmp_path, V2, cpu_dot_max="400000 100000\n")) == 4


@pytest.mark.parametrize("mounted", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("group", ["", "jobs__one__"])
@pytest.mark.parametrize(("quota", "count"), [("500000", 5), ("-1", 16)])
def test_the_quota_of_a_control_group_of_version_1_counts(
    tmp_path: Path, mounted: str, group: str, quota: str, count: int
) -> None:
    place = f"{mounted}__{group}cpu_dot_cfs_"
    files = {f"{place}quota_us": quota, f"{place}period_us": "100000"}
    assert usable_processors(system(tmp_path, V1, **files)) == count


@pytest.mark.parametrize("quota", ["max 100000", "", "many", "1 0", "100000"])
def test_without_a_quota_the_affinity_counts(tmp_path: Path, quota: str) -> None:
    assert usable_processors(tmp_path / "nothing") == 16
    assert usable_processors(system(tmp_path, "0::/\nnonsense\n", cpu_dot_max=quota)) == 16


def test_a_pool_has_one_process_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medres.imaging.isolation.usable_processors", lambda: 3)
    assert Workers().count == 3


@pytest.mark.skipif(sys.platform != "linux", reason="taskset is of Linux")
def test_taskset_is_heeded() -> None:
    code = "from medres.processors import usable_processors; print(usable_processors())"
    done = subprocess.run(
        ["taskset", "-c", "0", sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout == "1\n", done.stderr
