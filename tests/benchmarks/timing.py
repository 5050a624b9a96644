"""Paired timing: two ways of doing one thing, run in turn, so that what disturbs one disturbs the other."""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def interleaved(runs: Mapping[str, Callable[[], Any]], *, rounds: int) -> dict[str, dict[str, float]]:
    """Median wall and processor seconds of each run, over rounds in which every run has its turn.

    One round before the first is not counted. Processor seconds are those of this process and all its threads.
    """
    wall: dict[str, list[float]] = {name: [] for name in runs}
    processor: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            started, used = time.perf_counter(), time.process_time()
            run()
            if number:
                wall[name].append(time.perf_counter() - started)
                processor[name].append(time.process_time() - used)
    return {
        name: {"wall_s": statistics.median(wall[name]), "processor_s": statistics.median(processor[name])}
        for name in runs
    }


def versions(*names: str) -> dict[str, str]:
    """Versions of packages, for a result's head; absent ones are said to be."""
    found = {"python": platform.python_version(), "machine": platform.processor() or platform.machine()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def finish(result: dict[str, Any], unmet: list[str]) -> None:
    """Print a result as JSON, and end the process with 1 where a promise was not kept."""
    print(json.dumps({**result, "unmet": unmet}, indent=1))
    sys.exit(1 if unmet else 0)
