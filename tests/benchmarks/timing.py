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


def in_turn(runs: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """What each run says of itself (seconds, images/s), over rounds in which every run has its turn; one more is first.

    >>> in_turn({"a": lambda: 2.0, "b": lambda: 1.0}, rounds=2)
    {'a': [2.0, 2.0], 'b': [1.0, 1.0]}
    """
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            value = run()
            if number:
                found[name].append(value)
    return found


def ratio(found: Mapping[str, list[float]], over: str, under: str) -> float:
    """The median over rounds of one run's figure divided by the other's of the same round.

    >>> ratio({"a": [2.0, 9.0, 4.0], "b": [1.0, 1.0, 1.0]}, "a", "b")
    4.0
    """
    return statistics.median(one / other for one, other in zip(found[over], found[under], strict=True))


def medians(found: Mapping[str, list[float]]) -> dict[str, float]:
    """The median figure of each run."""
    return {name: statistics.median(values) for name, values in found.items()}


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
