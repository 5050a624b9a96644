"""An interrupted training: nothing half-made appears in its place, and going on gives what there would have been."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from medres import unfinished
from medres.cohort.manifest import read_manifest
from medres.config import load_config
from medres.errors import OutputExists, UsageError
from medres.imaging.isolation import Workers
from medres.records import Refusal
from medres.runs.cohort import TrainingCohort, begin_or_resume
from medres.tables import read_csv, read_json, write_json
from medres.training.checkpoints import Checkpoints
from medres.training.distributed import ALONE, Processes
from medres.training.steps import AccumulatedStep
from medres.unfinished import HOLDER, IDENTITY, LOCK, lock, resumable_folder, unfinished_folder
from tests.conftest import STEADY, TINY, Medres
from tests.support import preloaded


def interrupted(arguments: list[str], *, epochs: int, by: signal.Signals) -> int:
    """Run medres until it has logged so many epochs, send it a signal, and return its exit code."""
    entry = Path(sys.executable).with_name("medres")
    with subprocess.Popen([str(entry), *arguments], stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            epochs -= " · epoch " in line
            if epochs == 0:
                running.send_signal(by)
                break
        running.stderr.read()
        return running.wait(timeout=120)


def crossval(manifest: Path, out: Path, *more: str) -> list[str]:
    return ["crossval", str(manifest), "--label", "disc", "--out", str(out), *STEADY, *more]


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("oof.csv", "metrics.json", "splits.json", "shortcuts.csv", "shortcuts.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for fold in ("fold-0", "fold-1"):
        left, right = (load_file(run / "models" / fold / "models" / "model.safetensors") for run in (one, other))
        assert all(np.array_equal(left[name], right[name]) for name in left)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_run_that_was_ended_twice_goes_on_and_becomes_the_run_it_would_have_been(
    medres: Medres, one_thread: object, steady_run: Path, small_cohort: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert interrupted(crossval(small_cohort, out), epochs=2, by=signal.SIGTERM) == 130
    assert not out.exists()
    assert unfinished_folder(out).is_dir()
    assert interrupted(crossval(small_cohort, out, "--resume"), epochs=3, by=signal.SIGKILL) == -signal.SIGKILL
    done = medres(*crossval(small_cohort, out, "--resume"))
    assert done.returncode == 0, done.stderr
    assert "fold 1/2 was finished before the interruption" in done.stderr
    assert "fold 2/2 · going on after epoch" in done.stderr
    assert not unfinished_folder(out).exists()
    assert_same_run(out, steady_run)
    assert not list(out.rglob("checkpoint*"))
    assert not (out / LOCK).exists()


def test_a_run_does_not_go_on_with_other_images_than_it_began_with(
    medres: Medres, small_cohort: Path, tmp_path: Path
) -> None:
    """One image more deals out other folds: patients of a finished fold's training would be its held-out patients."""
    shutil.copytree(small_cohort.parent, tmp_path / "cohort")
    manifest, out = tmp_path / "cohort" / small_cohort.name, tmp_path / "run"
    image = manifest.parent / read_csv(manifest)["path"][5]
    content = image.read_bytes()
    image.write_bytes(content[:200])
    assert interrupted(crossval(manifest, out), epochs=4, by=signal.SIGTERM) == 130
    image.write_bytes(content)
    done = medres(*crossval(manifest, out, "--resume"))
    assert done.returncode == 2
    assert "that had other usable images (now 80; `refused.csv` there says" in done.stderr
    assert len(read_csv(unfinished_folder(out) / "refused.csv")) == 1
    image.write_bytes(content[:200])
    assert medres(*crossval(manifest, out, "--resume")).returncode == 0


def test_a_run_goes_on_without_what_it_was_refused_for_the_moment_and_all_processes_alike(
    small_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that took too long as the run began would deal out other folds when it no longer does."""
    monkeypatch.setenv("MEDRES_CACHE", str(tmp_path))
    manifest = read_manifest(small_cohort, ["disc"])
    config = load_config("quick", ["preprocessing.size=32", "training.stages=[{epochs: 1}]"])
    late = [manifest.rows[5].path.name]

    def decode(_: object, job: Callable[[str], Any], items: Iterable[str], *, ordered: bool) -> Iterator[Any]:
        for path in items:
            yield path, Refusal(path, "DECODER_STALLED", "late") if Path(path).name in late else job(path)

    def begun(folder: str, processes: Processes = ALONE) -> TrainingCohort:
        (tmp_path / folder).mkdir(exist_ok=True)
        if not (tmp_path / folder / IDENTITY).exists():
            write_json(tmp_path / folder / IDENTITY, {})
        return begin_or_resume(tmp_path / folder, manifest, config, processes=processes)

    monkeypatch.setattr(Workers, "map", decode)
    first = begun("run")
    assert [(row, refusal.code) for row, refusal in first.cache.refusals] == [(5, "DECODER_STALLED")]
    late.clear()
    again = begun("run")
    assert (again.sha256, again.cache.refusals) == (first.sha256, first.cache.refusals)
    monkeypatch.setattr(Processes, "decide", lambda *_: dict(first.cache.refusals))  # what the first process had
    assert begun("nothing", Processes(1, 2)).sha256 == first.sha256
    monkeypatch.undo()
    monkeypatch.setenv("MEDRES_CACHE", str(tmp_path))
    assert len(begun("another").rows) == len(first.rows) + 1


def diverging(arguments: list[str], folder: Path) -> None:
    """The command, in a training whose weights become NaN at the last step of its third epoch."""
    step = AccumulatedStep.__call__
    Checkpoints.due = property(lambda self: not self.newest.exists())  # type: ignore[assignment, misc]

    def poisoned(self: AccumulatedStep, engine: Any, batch: Any) -> dict[str, torch.Tensor]:
        found = step(self, engine, batch)
        if engine.state.iteration == 3 * engine.state.epoch_length:
            torch.nn.init.constant_(engine.network.head.weight, float("nan"))
        return found

    AccumulatedStep.__call__ = poisoned  # type: ignore[method-assign]
    preloaded.main(arguments, folder / "output", folder / "errors", None, dict(os.environ))


@pytest.mark.skipif(preloaded.server() is None, reason="the process is forked")
def test_weights_that_are_no_longer_numbers_end_the_run_and_a_sound_epoch_is_kept(
    medres: Medres, small_cohort: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    short = (
        "--set=training.stages=[{epochs: 3}]",
        "--set=training.ema_decay=0",
        "--set=training.keep=last",
    )
    asked = ["train", str(small_cohort), "--label", "disc", "--out", str(out), *TINY, *short]
    context = preloaded.server()
    assert context is not None
    process = context.Process(target=diverging, args=(asked, tmp_path))
    process.start()
    process.join(120)
    lines = (tmp_path / "errors").read_text().splitlines()
    said = lines[-1]
    assert process.exitcode == 1, said
    assert not [line for line in lines if "terminating" in line]  # one error, said once
    assert said.startswith("medres: model: the network's answers to the validation images are no longer finite numbers")
    checkpoints = Checkpoints(unfinished_folder(out) / "checkpoints")
    assert "finite numbers in epoch 3: start anew" in said
    assert f"(whole epochs: 1) lies in {checkpoints.newest}" in said
    kept = checkpoints.load()
    assert kept is not None
    assert [entry["epoch"] for entry in kept["history"]] == [1]
    assert all(torch.isfinite(value).all() for value in kept["network"].values())
    slower = (*asked, "--set=training.learning_rate=1e-5", "--set=training.stages=[{epochs: 1}]")
    assert "--resume takes no other configuration" in said
    assert medres(*slower, "--resume").returncode == 2
    assert "start anew (--force) with a lower training.learning_rate" in said
    assert medres(*slower, "--force").returncode == 0


def killed(arguments: list[str], *, after: float) -> int:
    """Run medres, kill it so many seconds after a fit has gone on or done its first epoch, and return its exit code."""
    entry = Path(sys.executable).with_name("medres")
    with subprocess.Popen([str(entry), *arguments], stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        print(
            next(line for line in running.stderr if " · going on after epoch " in line or " · epoch " in line), end=""
        )
        try:
            return running.wait(timeout=after)
        except subprocess.TimeoutExpired:
            running.kill()
            running.stderr.read()
            return running.wait(timeout=120)


@pytest.mark.sweep
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_twenty_kills_at_random_moments_change_nothing(medres: Medres, small_cohort: Path, tmp_path: Path) -> None:
    seed = int(os.environ.get("MEDRES_KILLS_SEED", "0")) or int(np.random.default_rng().integers(1, 2**31))
    print(f"delays of the kills: MEDRES_KILLS_SEED={seed}")
    rng = np.random.default_rng(seed)
    # few epochs: of what was done between two kills, hardly more than one is kept
    long = ("--set=training.stages=[{epochs: 4, size: 32}, {epochs: 6}]", "--set=training.keep=last")
    whole, out = tmp_path / "whole", tmp_path / "run"
    done = medres(*crossval(small_cohort, whole, *long))
    assert done.returncode == 0, done.stderr
    folds = read_json(whole / "run.json")["folds"]
    assert [fold["epochs"] for fold in folds] == [10, 10]
    seconds = sum(fold["seconds"] for fold in folds)
    drawn = rng.uniform(0, 1, 20)
    delays = drawn / drawn.sum() * 0.9 * seconds  # together shorter than the training: every kill finds it unfinished
    print(f"{seconds:.0f} s of training; killed after {', '.join(f'{delay:.2f}' for delay in delays)} s")
    codes = [killed(crossval(small_cohort, out, *long, "--resume"), after=delay) for delay in delays]
    assert codes == [-signal.SIGKILL] * 20
    assert not out.exists()
    done = medres(*crossval(small_cohort, out, *long, "--resume"))
    assert done.returncode == 0, done.stderr
    epochs = done.stderr.count(" · epoch ")
    print(f"{epochs} of 20 epochs were left after the twentieth kill")
    assert 0 < epochs < 20
    assert_same_run(out, whole)


IDENTICAL = {"verb": "test", "configuration": {"a": 1}}


def fill(path: Path, *, resume: bool = False, force: bool = False, fail: bool = False, **identity: object) -> None:
    with resumable_folder(path, identity=IDENTICAL | identity, resume=resume, force=force) as folder:
        with (folder / "checkpoint.pt").open("a") as file:
            file.write("x")
        if fail:
            raise KeyboardInterrupt


def test_an_output_appears_only_when_it_is_finished(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        fill(out, fail=True)
    assert not out.exists()
    fill(out, resume=True)
    assert (out / "checkpoint.pt").read_text() == "xx"
    assert sorted(path.name for path in out.iterdir()) == ["checkpoint.pt"]
    assert not unfinished_folder(out).exists()


def test_force_starts_again_and_without_it_nothing_is_lost(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        fill(out, fail=True)
    with pytest.raises(OutputExists, match="--resume goes on"):
        fill(out)
    fill(out, force=True)
    assert (out / "checkpoint.pt").read_text() == "x"


def test_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        fill(out, fail=True)
    with pytest.raises(UsageError, match="another configuration"):
        fill(out, resume=True, configuration={"a": 2})
    assert json.loads((unfinished_folder(out) / IDENTITY).read_text()) == IDENTICAL


def test_a_run_that_finished_nothing_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="bad"),
        resumable_folder(tmp_path / "out", identity=IDENTICAL, resume=False, force=False),
    ):
        raise ValueError("bad")
    assert list(tmp_path.iterdir()) == []


def test_two_processes_cannot_write_one_output(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with resumable_folder(out, identity=IDENTICAL, resume=False, force=False) as folder:
        holder = json.loads((folder / HOLDER).read_text())
        with pytest.raises(OutputExists, match=f"being written by process {holder['pid']}"):
            fill(out, resume=True)
    assert out.is_dir()


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"force": True}], ids=["plain", "resume", "force"])
def test_a_folder_that_is_not_an_unfinished_run_is_not_touched(tmp_path: Path, how: dict[str, bool]) -> None:
    precious = unfinished_folder(tmp_path / "out")
    precious.mkdir()
    (precious / "thesis.txt").write_text("years")
    with pytest.raises(OutputExists, match="was not written by medres"):
        fill(tmp_path / "out", **how, fail=True)
    assert [path.name for path in precious.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("left", [[], [LOCK], [IDENTITY], [LOCK, IDENTITY]], ids=str)
def test_what_a_run_left_that_finished_nothing_is_in_nobody_s_way(tmp_path: Path, left: list[str]) -> None:
    building = unfinished_folder(tmp_path / "out")
    building.mkdir()
    if LOCK in left:
        (building / LOCK).write_text(json.dumps({"pid": 2**22 + 1, "host": socket.gethostname()}))  # no such process
    if IDENTITY in left:
        (building / IDENTITY).write_text(json.dumps({"verb": "another"}))
    fill(tmp_path / "out")
    assert (tmp_path / "out" / "checkpoint.pt").read_text() == "x"


KILLED = """
import json, os, signal, sys
from pathlib import Path
from medres.unfinished import resumable_folder
out, identity, left, finishing = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3]), False

def kill(event, _):
    global left
    left -= finishing and event in {"os.rename", "os.remove", "shutil.rmtree"}
    if left == 0:
        left = -1  # the kill is an event, too
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
with resumable_folder(out, identity=identity, resume=False, force=True) as folder:
    (folder / "checkpoint.pt").write_text("new")
    (folder / "run.json").write_text("{}")
    finishing = True
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("step", range(1, 7))
def test_a_kill_at_the_end_leaves_a_run_that_is_whole_or_can_be_gone_on_with(tmp_path: Path, step: int) -> None:
    """Killed before each thing that is done to the files once the run is finished, while it replaces another."""
    out = tmp_path / "out"
    fill(out)
    (out / "run.json").write_text("{}")
    command = [sys.executable, "-c", KILLED, str(out), json.dumps(IDENTICAL), str(step)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    if not out.exists() or (out / "checkpoint.pt").read_text() != "new":
        assert (unfinished_folder(out) / "checkpoint.pt").read_text() == "new"
        with resumable_folder(out, identity=IDENTICAL, resume=True, force=out.exists()):
            pass
    assert (out / "checkpoint.pt").read_text() == "new"
    with resumable_folder(out, identity=IDENTICAL, resume=False, force=True) as folder:
        (folder / "run.json").write_text("{}")
    assert [path.name for path in out.iterdir()] == ["run.json"]


def test_a_run_that_was_finished_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"

    def late(folder: Path) -> None:
        monkeypatch.undo()
        fill(out)
        lock(folder)

    monkeypatch.setattr(unfinished, "lock", late)
    with pytest.raises(OutputExists, match="already exists"):
        fill(out)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_run_that_another_process_writes_is_said_to_be_so(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with resumable_folder(out, identity=IDENTICAL, resume=False, force=False) as folder:
        (folder / "checkpoint.pt").touch()
        for how in ({}, {"resume": True}, {"force": True}):
            with pytest.raises(OutputExists, match="is being written by process"):
                fill(out, **how)
    assert (out / "checkpoint.pt").read_text() == ""


def test_other_starting_weights_are_another_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        fill(out, fail=True, weights="a" * 64)
    with pytest.raises(UsageError, match="another weights"):
        fill(out, resume=True, weights="b" * 64)
