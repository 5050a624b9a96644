"""Jobs for worker processes that hang, crash, eat memory or behave; they import nothing heavy."""

from __future__ import annotations

import os
import signal
import sys
import time

from medres.errors import Refused


def act(name: str) -> str:
    """Do what the name says."""
    if name.startswith("hang"):
        time.sleep(600)
    elif name.startswith("spin"):
        while True:
            pass
    elif name.startswith("busy"):
        ending = time.process_time() + 1.5
        while time.process_time() < ending:
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
