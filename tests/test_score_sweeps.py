"""Scoring runs that last: killed again and again, and over a hundred thousand files."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow.dataset
import pyarrow.parquet
import pytest

from tests.conftest import SHARED
from tests.support import preloaded
from tests.support.phantoms import blob, write_radiograph
from tests.test_dcmtk import SLOW

FILES = 500
KILLS = int(os.environ.get("MEDRES_SWEEP_KILLS", "200"))


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind: the corpus where it is at hand, phantoms, copies, and what is no radiograph."""
    folder = tmp_path_factory.mktemp("night")
    corpus = [path for kind in ("real", "synthetic") for path in sorted((SHARED / "dicom-corpus" / kind).rglob("*"))]
    odd = [path for path in corpus if path.is_file() and not any(name in path.name for name in SLOW)]
    (folder / "odd").mkdir()
    for number, path in enumerate(odd):
        shutil.copy(path, folder / "odd" / f"{number:03d}-{path.name}")
    (folder / "letter.txt").write_text("dear colleague")
    for number in range(FILES - len(odd) - 1):
        path = folder / f"{number % 7}" / f"{number:03d}.dcm"
        if number % 50 == 49:
            shutil.copy(folder / f"{(number - 49) % 7}" / f"{number - 49:03d}.dcm", path)
        else:
            write_radiograph(path, blob(number, bright=number % 2 == 0), patient=str(number), uid=f"2.25.{number + 1}")
    return folder


def ended(arguments: list[str], home: Path, *, after: float | None) -> bool:
    """Whether a command ended before so many seconds were over; else it was killed."""
    context = preloaded.server()
    assert context is not None
    (home / "errors").unlink(missing_ok=True)
    process = context.Process(
        target=preloaded.main, args=(arguments, home / "output", home / "errors", None, dict(os.environ))
    )
    process.start()
    process.join(after)
    if process.exitcode is None:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        return False
    if process.exitcode == -signal.SIGKILL:
        return False
    assert process.exitcode == 3, (home / "errors").read_text()
    return True


def scored(out: Path) -> tuple[bytes, bytes]:
    return (out / "predictions.csv").read_bytes(), (out / "predictions.parquet").read_bytes()


@pytest.mark.sweep
@pytest.mark.timeout(5400)
def test_kills_change_no_byte_of_the_tables(night: Path, small_model: Path, tmp_path: Path) -> None:
    seed = int(os.environ.get("MEDRES_SWEEP_SEED", "0")) or time.time_ns() % 2**32
    rng = random.Random(seed)
    command = ["score", str(small_model), str(night), "--limit", "seconds=5", "--out"]
    started = time.monotonic()
    assert ended([*command, str(tmp_path / "whole")], tmp_path, after=None)
    longest = time.monotonic() - started
    coming, away = night / "0" / "000.dcm", tmp_path / "000.dcm"
    tables = {True: scored(tmp_path / "whole")}  # with this file, and without
    shutil.move(coming, away)
    assert ended([*command, str(tmp_path / "fewer")], tmp_path, after=None)
    tables[False] = scored(tmp_path / "fewer")
    kills: Counter[str] = Counter()
    out, runs = tmp_path / "out", 0
    while kills.total() < KILLS:
        runs += 1
        first = rng.choice(["fresh", "--force"]) if out.exists() else "fresh"
        if first == "fresh":
            shutil.rmtree(out, ignore_errors=True)
        else:  # what takes the old table's place differs from it
            (out / "reviews.db").write_text("verdicts")
            shutil.move(*((away, coming) if away.exists() else (coming, away)))
        wanted = tables[coming.exists()]
        arguments, name = [*command, str(out), *([first] if first == "--force" else [])], first
        while not ended(arguments, tmp_path, after=rng.uniform(0, longest)):
            kills[name] += 1
            goes_on = (out / "run.json").exists()
            if first == "--force":  # what was there is there until the new is whole, and afterwards the new is
                for found, *either in zip(scored(out), *tables.values(), strict=True):
                    assert found in either, f"seed {seed}"
                assert (out / "reviews.db").read_text() == "verdicts"
                goes_on = (out / ".anew" / "run.json").exists()  # else the old table would be gone on with
            name = "--resume" if goes_on else first
            arguments = [*command, str(out), *([name] if name != "fresh" else [])]
        assert scored(out) == wanted, f"seed {seed}"
        paths = pyarrow.dataset.dataset(out / "parts", format="parquet").to_table(columns=["path"])["path"].to_pylist()
        repeated = sum(count - 1 for count in Counter(paths).values())
        assert repeated <= 2, f"seed {seed}: {repeated} rows were there and made again"
    print(f"\n{kills.total()} kills in {runs} runs, seed {seed}: {dict(kills)}; a run takes {longest:.1f} s")


def archive(folder: Path, count: int) -> None:
    """So many radiographs with identifiers of their own, in folders of a thousand; one in a hundred is broken."""
    write_radiograph(folder / "model.dcm", blob(1, bright=True), patient="P000000", uid="2.25.9000000")
    content = (folder / "model.dcm").read_bytes()
    (folder / "model.dcm").unlink()
    for number in range(count):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.dcm"
        path.parent.mkdir(exist_ok=True)
        own = content.replace(b"2.25.9000000", f"2.25.9{number:06d}".encode())
        own = own.replace(b"P000000", f"P{number:06d}".encode())
        path.write_bytes(own[:700] if number % 100 == 99 else own)


def watched(arguments: list[str]) -> tuple[float, list[int]]:
    """Seconds that a command took from its first row on, and the memory of its process, looked at every second."""
    command = [str(Path(sys.executable).with_name("medres")), *arguments]
    started = time.monotonic()
    process = psutil.Popen(command, stdout=subprocess.DEVNULL)
    resident = []
    while process.poll() is None:
        with suppress(psutil.Error):
            resident.append(process.memory_info().rss)
        time.sleep(1)
    assert process.returncode == 3
    return time.monotonic() - started, resident


@pytest.mark.sweep
@pytest.mark.timeout(7200)
def test_a_hundred_thousand_files_have_as_many_rows_and_memory_stays_flat(small_model: Path, tmp_path: Path) -> None:
    count = int(os.environ.get("MEDRES_SWEEP_FILES", "100000"))
    folder, out = tmp_path / "archive", tmp_path / "out"
    archive(folder, count)
    seconds, resident = watched(["score", str(small_model), str(folder), "--out", str(out)])
    table = pyarrow.parquet.read_table(out / "predictions.parquet", columns=["path", "status"])
    assert len(table) == len(set(table["path"].to_pylist())) == count
    assert Counter(table["status"].to_pylist()) == {"ok": count - count // 100, "refused": count // 100}
    scoring = [size for size in resident if size]
    early = max(scoring[: max(5, len(scoring) * 5000 // count)])
    merged = max(scoring)
    before_merge = max(scoring[: -max(3, len(scoring) // 50)])
    again, _ = watched(["score", str(small_model), str(folder), "--out", str(out), "--resume"])
    start_up, _ = watched(["score", str(small_model), str(folder / "000"), "--out", str(tmp_path / "one")])
    alone, _ = watched(["score", str(small_model), str(folder / "000"), "--out", str(tmp_path / "one"), "--resume"])
    print(
        f"\n{count} files: {seconds:.0f} s; resident after the first 5,000 {early / 2**20:.0f} MiB, at most "
        f"{before_merge / 2**20:.0f} MiB while files are scored, {merged / 2**20:.0f} MiB with the tables; "
        f"resumed in {again:.1f} s, of which {alone:.1f} s are start-up (1,000 files: {start_up:.1f} s)"
    )
    assert before_merge < 1.05 * early
    assert again - alone < 0.01 * seconds
