"""How many processors this process may use, which can be fewer than the machine has."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def usable_processors(root: Path = _ROOT) -> int:
    """Processors that this process may use: its affinity (`taskset`, a job scheduler), and its control group's quota.

    A quota of one and a half processors counts as two. Windows and macOS have no such quota, and macOS no affinity.

    Args:
        root: where `/proc/self/cgroup` and `/sys/fs/cgroup` are looked for (Linux).
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([affinity, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """The quota, in processors, of each control group above this process that has one (version 2 or 1)."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, controllers, group = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            for folder in _up(root / "sys/fs/cgroup", group):
                with suppress(OSError, ValueError, ZeroDivisionError):
                    quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
                    yield int(quota) / int(period)  # "max" where there is none
        elif "cpu" in controllers.split(","):
            for mounted in {"cpu", controllers}:
                for folder in _up(root / "sys/fs/cgroup" / mounted, group):
                    with suppress(OSError, ValueError, ZeroDivisionError):
                        given = int((folder / "cpu.cfs_quota_us").read_text(encoding="utf-8"))
                        if given > 0:  # -1 where there is none
                            yield given / int((folder / "cpu.cfs_period_us").read_text(encoding="utf-8"))


def _up(mounted: Path, group: str) -> Iterator[Path]:
    """The folders of a control group and of those above it; inside a container the path may be the host's."""
    parts = PurePosixPath(group.lstrip("/")).parts
    for count in range(len(parts), -1, -1):
        yield mounted.joinpath(*parts[:count])
