"""What a decoding process gives up before it reads its first file (Linux): whoever takes it over has little to use.

It starts no programs and gains no rights, opens no connections, changes, makes and deletes no files, looks into no
other process and signals none. It may still read what its user may read, and answer: see `replies`. The kernel holds it
to that by a filter of system calls (seccomp), which needs no library and no rights. Where the kernel refuses, or the
processor is another one, that part is left out: what holds is found by trying it, and `medres doctor` says it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _ALL_THREADS = 1, 1  # SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions of the filter (BPF)
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # where `struct seccomp_data` has them
_WRITES = 0o3 | 0o100 | 0o1000  # O_WRONLY and O_RDWR, O_CREAT, O_TRUNC
_FOREIGN = 0x40000000  # system calls of the x32 interface begin here


@dataclass(frozen=True, slots=True)
class _Calls:
    """Numbers of system calls on one kind of processor."""

    architecture: int  # AUDIT_ARCH_*
    seccomp: int
    openat: int
    openat2: int
    open: int | None  # of older processors alone
    own_process: tuple[int, ...]  # kill, tgkill: their first argument must be this process
    refused: tuple[int, ...]


_CALLS = {
    "x86_64": _Calls(
        architecture=0xC000003E, seccomp=317, openat=257, openat2=437, open=2, own_process=(62, 234),
        refused=(
            *(41, 42, 43, 49, 50, 53, 288),  # socket, connect, accept, bind, listen, socketpair, accept4
            *(59, 322),  # execve, execveat
            *(101, 310, 311, 438, 272, 308),  # ptrace, process_vm_readv, writev, pidfd_getfd, unshare, setns
            *(76, 77, 85, 285),  # truncate, ftruncate, creat, fallocate
            *(82, 83, 84, 86, 87, 88),  # rename, mkdir, rmdir, link, unlink, symlink
            *(90, 91, 92, 93, 94, 133),  # chmod, fchmod, chown, fchown, lchown, mknod
            *(258, 259, 260, 263, 264, 265, 266, 268, 316, 452),  # the same beside an open folder
            *(129, 200, 297, 424),  # rt_sigqueueinfo, tkill, rt_tgsigqueueinfo, pidfd_send_signal
            *(165, 248, 249, 250, 298, 321, 323),  # mount, keys, perf_event_open, bpf, userfaultfd
            *(425, 426, 427),  # io_uring, which does all of these by another way
        ),
    ),
    "aarch64": _Calls(
        architecture=0xC00000B7, seccomp=277, openat=56, openat2=437, open=None, own_process=(129, 131),
        refused=(
            *(198, 199, 200, 201, 202, 203, 242),
            *(221, 281),
            *(117, 270, 271, 438, 97, 268),
            *(45, 46, 47),
            *(33, 34, 35, 36, 37, 38, 276),
            *(52, 53, 54, 55, 452),
            *(130, 138, 240, 424),
            *(40, 217, 218, 219, 241, 280, 282),
            *(425, 426, 427),
        ),
    ),
}  # fmt: skip


def confine() -> None:
    """Give up, in this process and for good, what decoding does not need; what the kernel refuses is left as it is."""
    if sys.platform != "linux":
        return
    import resource

    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        with suppress(OSError, ValueError):
            resource.setrlimit(limit, (0, 0))
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        _filter(library)


def _filter(library: ctypes.CDLL) -> None:
    calls = _CALLS.get(platform.machine()) if sys.maxsize > 2**32 else None
    if calls is None:
        return
    code = b"".join(_program(calls, os.getpid()))
    content = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(content)))
    library.syscall(*map(ctypes.c_long, (calls.seccomp, _SET_MODE_FILTER, _ALL_THREADS)), program)


def _program(calls: _Calls, process: int) -> list[bytes]:
    refuse = _instruction(_RETURN, _ERRNO | _EPERM)
    allow = _instruction(_RETURN, _ALLOW)
    found = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_EQUAL, calls.architecture, 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        _instruction(_AT_LEAST, _FOREIGN, 0, 1),
        refuse,
    ]
    for number in calls.refused:
        found += [_instruction(_EQUAL, number, 0, 1), refuse]
    found += [_instruction(_EQUAL, calls.openat2, 0, 1), _instruction(_RETURN, _ERRNO | _ENOSYS)]
    for number in calls.own_process:
        found += [*_where(number, 0), _instruction(_EQUAL, process, 1, 0), refuse, allow]
    for opening, flags in ((calls.openat, 2), (calls.open, 1)):
        if opening is not None:
            found += [*_where(opening, flags), _instruction(_ANY_BIT, _WRITES, 0, 1), refuse, allow]
    return [*found, allow]


def _where(number: int, argument: int) -> Sequence[bytes]:
    """Of one system call load an argument, and skip the three instructions that judge it for any other."""
    return (_instruction(_EQUAL, number, 0, 4), _instruction(_LOAD, _ARGUMENTS + 8 * argument))


def _instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def what_holds(_: str) -> list[str]:
    """What this process may not do, each found by trying it: a job for a decoding process."""
    found = []
    if sys.platform == "linux":
        import resource

        with suppress(OSError):
            status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
            found += ["gains no rights"] if "NoNewPrivs:\t1" in status else []
        found += ["leaves no core dump"] if resource.getrlimit(resource.RLIMIT_CORE)[0] == 0 else []
        if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
            found.append("has a limit of memory")
    found += ["opens no connections"] if _is_refused(_connect) else []
    found += ["starts no programs"] if sys.platform == "linux" and _is_refused(_start) else []
    found += ["writes no files"] if sys.platform == "linux" and _is_refused(_write) else []
    return found


def _is_refused(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _connect() -> None:
    socket.socket().close()


def _start() -> None:
    os.execv("/absent/program", ["program"])  # it ends in one error or the other


def _write() -> None:
    os.close(os.open(os.devnull, os.O_WRONLY))
