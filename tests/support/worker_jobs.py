"""Jobs for worker processes that hang, crash, eat memory or behave; they import nothing heavy."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from medres.errors import Refused


def act(name: str) -> str:
    """Do what the name says."""
    if name.startswith("hang"):
        time.sleep(600)
    elif name.startswith("spin"):
        while True:
            pass
    elif name.startswith("abort"):
        os.abort()
    elif name.startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    elif name.startswith("exit"):
        sys.exit(3)
    elif name.startswith("allocate"):
        return str(len(bytearray(100 * 2**30)))
    elif name.startswith("refuse"):
        raise Refused("PHOTOMETRIC", "in colour")
    elif name.startswith("fail"):
        raise ValueError("Jane Doe, born 1970-01-01")
    return f"done {name}"


def nap(name: str) -> str:
    """Do nothing for 5 ms, or what the name says."""
    time.sleep(0.005)
    return act(name)


def shout(name: str) -> str:
    """Another job than `act`."""
    return name.upper()


def process_id(name: str) -> int:
    """The process that did the job."""
    return os.getpid()


def heavy_modules(name: str) -> list[str]:
    """Which libraries this process has imported that a decoding process has no use for."""
    heavy = {"torch", "pandas", "monai", "sklearn", "matplotlib", "streamlit", "scipy"}
    return sorted(heavy & {module.split(".")[0] for module in sys.modules})


def wait(name: str) -> str:
    """Take a while."""
    time.sleep(0.3)
    return name


def hang_once(path: str) -> str:
    """Hang at the first of the tries that a file named after the item counts; any other name only takes a while."""
    began = time.monotonic()
    tries = Path(path)
    if tries.name.startswith("hang"):
        with tries.open("a", encoding="utf-8") as file:
            file.write(".")
        if tries.name.startswith("hang always") or tries.stat().st_size == 1:
            time.sleep(600)
    time.sleep(0.2)
    return f"{began} {time.monotonic()}"


def memory_limits(name: str) -> tuple[int, int]:
    """What this process may allocate, bytes: its soft and its hard limit."""
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)


def wait_or_shout(name: str) -> str:
    """`shout`, after a while where the name is that of `wait`."""
    if name == "wait":
        time.sleep(1.5)
    return name.upper()


def hang_or_nap(name: str) -> str:
    """`hang_once` or `nap`, as the name says."""
    return nap(name) if name.isdigit() else hang_once(name)


def work(seconds: str) -> str:
    """Use so much processor time."""
    ending = time.process_time() + float(seconds)
    while time.process_time() < ending:
        pass
    return seconds
