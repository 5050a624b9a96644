"""The parts of the viewer that need no page, tested where they run: under node."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="node absent: Debian package nodejs")
def test_what_viewer_and_worklist_compute_holds_under_node() -> None:
    assert NODE is not None
    files = sorted(Path(__file__).with_name("room").glob("*.test.mjs"))
    assert len(files) >= 5
    done = subprocess.run([NODE, "--test", *map(str, files)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "# fail 0" in done.stdout
