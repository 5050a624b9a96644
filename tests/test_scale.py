"""Twenty thousand files: memory stays flat, no descriptor is lost, and every file is one row."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import SHARED, needs_shared

pytestmark = [pytest.mark.sweep, needs_shared("dicom-corpus"), pytest.mark.timeout(3600)]
FILES = 20_000
WARM = 0.1  # of the files: imports, caches and pools are filled by then
GROWTH = 1.05
DESCRIPTORS = 8  # more than at the start: pipes of a worker that is being replaced


def looped_corpus(folder: Path, count: int) -> None:
    """The corpus again and again, as hard links; what hangs or exhausts memory on purpose is left out."""
    slow = ("jp2_zero_box", "bomb", "TextGBR")
    corpus = SHARED / "dicom-corpus"
    found = [path for part in ("real", "synthetic") for path in sorted((corpus / part).iterdir()) if path.is_file()]
    sources = [path for path in found if path.stat().st_size < 300_000 and not any(word in path.name for word in slow)]
    for source in sources:
        (folder / source.name).write_bytes(source.read_bytes())
    for number in range(count - len(sources)):
        target = folder / f"{number // 1000:03d}"
        target.mkdir(exist_ok=True)
        os.link(folder / sources[number % len(sources)].name, target / f"{number}.dcm")


def resident(process: psutil.Process) -> int:
    """Bytes that a process and its workers hold."""
    total = 0
    for member in (process, *process.children(recursive=True)):
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def test_memory_is_flat_over_twenty_thousand_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "in", tmp_path / "manifest.csv"
    folder.mkdir()
    looped_corpus(folder, FILES)
    entry = Path(sys.executable).with_name("medres")
    command = [str(entry), "index", str(folder), "--out", str(out), "--workers", "2"]
    samples: list[tuple[float, int, int]] = []  # seconds, bytes, descriptors
    started = time.monotonic()
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        process = psutil.Process(running.pid)
        while running.poll() is None:
            try:
                samples.append((time.monotonic() - started, resident(process), process.num_fds()))
            except psutil.Error:
                break
            time.sleep(0.5)
    assert running.returncode == 3, (tmp_path / "log").read_text()[-2000:]
    rows = 0
    for name in (out, out.with_name("refused.csv")):
        with name.open(encoding="utf-8", newline="") as table:
            rows += sum(1 for _ in csv.DictReader(table))
    seconds = samples[-1][0]
    warm = [memory for at, memory, _ in samples if WARM * seconds < at < 2 * WARM * seconds]
    late = [memory for at, memory, _ in samples if at > (1 - WARM) * seconds]
    growth = max(late) / max(warm)
    descriptors = [count for at, _, count in samples if at > WARM * seconds]
    with capsys.disabled():
        print(
            f"\n{rows} rows in {seconds:.0f} s; {max(warm) / 2**20:.0f} MiB at first, {growth:.3f} of it at the end; "
            f"{min(descriptors)} to {max(descriptors)} descriptors"
        )
    assert rows == FILES
    assert growth < GROWTH
    assert max(descriptors) - descriptors[0] <= DESCRIPTORS
