"""Jobs for worker processes that hang, crash, eat memory or behave; they import nothing heavy."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    """Hang at the first of the tries that a file named after the item counts; any other name only takes a while.

    It counts them as seconds of its time, for a decoding process writes no files: see `tries`.
    """
    began = time.monotonic()
    counted = Path(path)
    if counted.name.startswith("hang"):
        os.utime(counted, (0, tries(counted) + 1))
        if counted.name.startswith("hang always") or tries(counted) == 1:
            time.sleep(600)
    time.sleep(0.2)
    return f"{began} {time.monotonic()}"


def tries(path: Path) -> int:
    """How often `hang_once` has been given a file that began with a time of 0."""
    return round(path.stat().st_mtime)


def uncounted(path: Path) -> str:
    """Make a file for `hang_once`; its name."""
    path.touch()
    os.utime(path, (0, 0))
    return str(path)


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


@dataclass(frozen=True)
class Hostile:
    """Answer as a decoder that was taken over may, by the item's name; else as it should."""

    messages: Mapping[str, Sequence[bytes]]

    def __call__(self, name: str) -> str:
        """Answer in place of the process, and end it."""
        if name in self.messages:
            known = sys._getframe(1).f_locals
            number, pipe = known["number"], known["pipe"]
            for message in self.messages[name]:
                said = message.replace(b"[0,", f"[{number},".encode()).replace(b'"path": "item"', _path(name))
                pipe.send_bytes(said)
            os._exit(0)
        return name


def _path(name: str) -> bytes:
    return json.dumps({"path": name}).encode()[1:-1]


def lie(name: str) -> str:
    """Answer twice, and before that to the task after this one."""
    if name == "liar":
        known = sys._getframe(1).f_locals
        number, pipe = known["number"], known["pipe"]
        for later in range(3):
            pipe.send_bytes(json.dumps([number + later, "", "liar"]).encode())
    return name


def stop_within_the_answer(name: str) -> str:
    """Begin to answer, and never end."""
    if name == "stuck":
        os.write(sys._getframe(1).f_locals["pipe"].fileno(), b"\0\0\1\0[")
        time.sleep(600)
    return name


ATTEMPTS = (
    "connect", "pair", "program", "shell", "write", "append", "truncate", "make", "folder", "delete", "rename", "link",
    "mode", "signal", "trace",
)  # fmt: skip
"""What `attempt` may try."""


def attempt(item: str) -> str:
    """Try what a decoder has no business with: the name of the error that it ends in, or "done".

    Args:
        item: what is tried, a file, and another process.
    """
    what, path, other = item.rsplit(" ", 2)[0], item.rsplit(" ", 2)[1], int(item.rsplit(" ", 2)[2])
    tries: dict[str, Callable[[], object]] = {
        "connect": lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
        "pair": socket.socketpair,
        "program": lambda: os.execv("/bin/true", ["true"]),
        "shell": lambda: subprocess.run(["/bin/true"], check=True),
        "write": lambda: os.open(path, os.O_WRONLY),
        "append": lambda: os.open(path, os.O_RDWR | os.O_APPEND),
        "truncate": lambda: os.truncate(path, 4),
        "make": lambda: Path(f"{path}.new").touch(),
        "folder": lambda: Path(f"{path}.folder").mkdir(),
        "delete": lambda: Path(f"{path}.absent").unlink(),
        "rename": lambda: Path(path).rename(path),
        "link": lambda: Path(f"{path}.link").symlink_to(path),
        "mode": lambda: Path(path).chmod(0o644),
        "signal": lambda: os.kill(other, 0),
        "trace": lambda: _trace(other),
    }
    try:
        tries[what]()
    except OSError as error:
        return type(error).__name__
    return "done"


def _trace(process: int) -> None:
    """Look into another process's memory, which a tracer may."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.ptrace(0x4206, process, None, None) < 0:  # PTRACE_SEIZE
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
