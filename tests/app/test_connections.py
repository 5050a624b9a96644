"""Nothing leaves the machine: not from a demo whose app is opened and clicked through, not from any other verb.

Every Python process of a run writes down what it looks up and connects to, and the browser what it asks for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medres.cli import medres
from tests.conftest import ROOT
from tests.support.browsing import Open, click_through, free_port, needs_chromium
from tests.support.connections import assert_nothing_left
from tests.support.every_verb import SERVED


def test_the_recorder_hears_processes_and_the_processes_below_them() -> None:
    code = "import socket; s = socket.socket(); s.settimeout(0.1); s.connect_ex(('192.0.2.1', 9))"
    below = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}])"
    here = "import socket; socket.getaddrinfo('localhost', 1); socket.socket().connect_ex(('127.0.0.1', 9))"
    for program in (below, here):
        subprocess.run([sys.executable, "-c", program], check=True)
    with pytest.raises(AssertionError) as found:
        assert_nothing_left()
    assert "socket.connect 192.0.2.1 by " in str(found.value) and str(found.value).count("\n") == 2
    assert_nothing_left()


@pytest.mark.sweep
@needs_chromium
def test_no_connection_leaves_the_machine_whatever_the_verb(tmp_path: Path, visit: Open) -> None:
    """Every other test asserts the same of each command that it starts; here none is left out."""
    program = [sys.executable, "-m", "tests.support.every_verb"]
    demo = ["demo", "--patients", "15", "--out", str(tmp_path / "demo"), "--port", str(free_port())]
    (tmp_path / "out").mkdir()
    with subprocess.Popen(
        [*program, *demo], stdout=subprocess.PIPE, text=True, env={**os.environ, "BROWSER": "true"}, cwd=ROOT
    ) as running:
        assert running.stdout is not None
        for said in running.stdout:
            if said.startswith("review app: "):
                page = visit(said.split()[2])  # which fails at its end if the page asked for anything elsewhere
                click_through(page)
                page.context.close()
                running.terminate()
    assert_nothing_left()
    done = subprocess.run(
        [*program, tmp_path / "demo", tmp_path / "out"],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    ended = json.loads(done.stdout.splitlines()[-1])
    assert ended.keys() | SERVED == set(medres.commands), "tests/support/every_verb.py says how a new verb is run"
    assert {verb for verb, code in ended.items() if code not in (0, 3)} == set(), done.stderr[-3000:]
    assert_nothing_left()
