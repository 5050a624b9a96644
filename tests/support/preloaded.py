"""The `medres` command in a process of its own that need not import torch again: seconds less for every command.

The entry point's function runs in a fork of a process that has done the imports and nothing else; arguments, folder,
environment, output and exit code are the command's own. The demo and two tests of `tests/test_cli.py` start the command
as users do.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import tempfile
from multiprocessing.context import ForkServerContext
from pathlib import Path

from tests.support.recipes import Kind

IMPORTS = (
    "medres.cli",
    "medres.runs.crossval",
    "medres.runs.external",
    "medres.runs.compare",
    "medres.scoring.folder",
    "medres.model.explain",
)


def server() -> ForkServerContext | None:
    """Where processes are forked from; None on systems that cannot."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*IMPORTS, "tests.support.preloaded", "tests.support.made"])
    return context


def run(
    arguments: list[str], *, timeout: float, cwd: Path | None, made: Kind | None = None
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run` gives of the command.

    Args:
        arguments: of the command.
        timeout: seconds.
        cwd: the folder it runs in.
        made: its networks are made, not trained: see `tests.support.made`.

    Raises:
        subprocess.TimeoutExpired: it took longer than `timeout` seconds, and was ended.
    """
    context = server()
    assert context is not None
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder) / "output", Path(folder) / "errors"
        process = context.Process(target=main, args=(arguments, output, errors, cwd, dict(os.environ), made))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(arguments, timeout, output.read_bytes(), errors.read_bytes())
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in (output, errors)]
        return subprocess.CompletedProcess(["medres", *arguments], process.exitcode, *texts)


def main(
    arguments: list[str],
    output: Path,
    errors: Path,
    cwd: Path | None,
    environment: dict[str, str],
    made: Kind | None = None,
) -> None:
    for number, path in ((1, output), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    gc.freeze()  # what was imported stays: it need not be looked through for what can go
    os.environ.clear()
    os.environ.update(environment)
    if cwd:
        os.chdir(cwd)
    if threads := environment.get("OMP_NUM_THREADS"):  # torch has read it where it was imported
        import torch

        torch.set_num_threads(int(threads))
    sys.argv = ["medres", *arguments]
    from medres.cli import main

    if made is None:
        main()
    else:
        from tests.support.made import made_networks

        with made_networks(made):
            main()
