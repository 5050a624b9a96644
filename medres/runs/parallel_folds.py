"""Several folds at once, in processes that share the processors or a GPU, or take a GPU each: if a trial says so."""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import torch

from medres.config import Config
from medres.errors import MedresError, TrainingError
from medres.imaging.worker import unguarded_main
from medres.model.device import choose_device
from medres.model.weights import load_backbone
from medres.records import Fold
from medres.runs.cohort import TrainingCohort
from medres.runs.fitting import NetworkFitter, RunSetup
from medres.runs.folds import Folds
from medres.runs.records import FoldsAtOnce
from medres.training.distributed import ALONE
from medres.training.trial import equal_epochs, trial_speed

log = logging.getLogger(__name__)

_GAIN = 1.1  # what several must be faster by: starting them, and their memory, cost something
_WORTH = 120.0  # seconds of fitting below which nothing is tried
_ON_ONE_GPU = 3
_MEMORY_EACH = 3e9  # bytes that a process needs besides its pixels, which all of them share
_SOON = 5.0  # seconds in which a process that closed its pipe is gone
_TRIAL = "trial"
_INTERRUPTED = 130
_CONTEXT = multiprocessing.get_context("spawn")


def fit_folds(run: Folds, folds: Sequence[Fold]) -> FoldsAtOnce:
    """Fit and save the model of every fold that is not finished, one after another or several at once.

    Returns:
        What `run.json` says of it: `count` at once, and the `images_per_second` of a trial by count where one was held.

    Raises:
        TrainingError: a fold cannot be fitted, or its process was ended; what is finished is kept.
        KeyboardInterrupt: Ctrl-C or SIGTERM; every process has kept its state.
    """
    left = run.unfinished(folds)
    asked = run.setup.config.crossval.folds_at_once
    alone = run.setup.processes.count == 1 and run.setup.config.training.method == "fine-tune"
    count = min(len(left), most_at_once(run.setup.config) if asked == "auto" else asked) if alone else 1
    speeds: dict[int, float] = {}
    if count > 1 and asked == "auto":
        speeds[1] = trial(run)
        if _seconds(run, left, speeds[1]) < _WORTH:
            count = 1
    if count > 1:
        with _Team(count, run) as team:
            if asked == "auto":
                speeds[count] = team.trial()
                log.info("1 fold at a time: %.0f images/s, %d at once: %.0f", speeds[1], count, speeds[count])
            if asked != "auto" or speeds[count] > _GAIN * speeds[1]:
                team.fit(left)
                left = []
            else:
                count = 1
    for fold in left:
        run.fit(fold)
    return FoldsAtOnce(
        count=count, images_per_second={str(number): round(speed, 1) for number, speed in speeds.items()}
    )


def most_at_once(config: Config) -> int:
    """How many folds are worth a trial on this machine: one per GPU, a few on one GPU, else one per thread."""
    gpus = _gpus(config)
    if gpus:
        return len(gpus) if len(gpus) > 1 else _ON_ONE_GPU
    return max(1, min(torch.get_num_threads(), int(psutil.virtual_memory().available / _MEMORY_EACH)))


def _gpus(config: Config) -> Sequence[int]:
    """The numbers of the GPUs that folds may take."""
    device = choose_device(config.training.device)
    if device.type == "cpu":
        return ()
    return (device.index,) if ":" in config.training.device else range(torch.cuda.device_count())


def trial(run: Folds) -> float:
    """Images per second of a training like the run's; 0 where it cannot run."""
    return trial_speed(run.setup.cohort.data, run.setup.config, run.setup.weights)


def _seconds(run: Folds, folds: Sequence[Fold], speed: float) -> float:
    """How long the folds take one after another, at most."""
    images = sum(len(run.setup.cohort.places(fold.training, learning=True)) for fold in folds)
    return equal_epochs(run.setup.config) * images / speed if speed else 0.0


@dataclass(frozen=True, slots=True)
class _Shared:
    """What every process is told of the run; each reads the starting weights itself."""

    folder: Path
    count: int
    splits_sha256: str
    cohort: TrainingCohort
    config: Config
    at_once: int  # processes


@dataclass(slots=True)
class _Member:
    process: BaseProcess
    pipe: Connection
    busy: bool = True  # until it has imported what it needs


class _Team:
    """Processes that fit folds, for the length of a `with` block; what they log, this process says."""

    def __init__(self, count: int, run: Folds) -> None:
        self.members: list[_Member] = []
        threads = max(1, torch.get_num_threads() // count)
        shared = _Shared(run.folder, run.count, run.splits_sha256, run.setup.cohort, run.setup.config, count)
        for number in range(count):
            ours, theirs = _CONTEXT.Pipe()
            level = logging.getLogger().getEffectiveLevel()
            process = _CONTEXT.Process(target=_serve, args=(theirs, shared, number, threads, level))
            with unguarded_main():
                process.start()
            theirs.close()
            self.members.append(_Member(process, ours))

    def __enter__(self) -> _Team:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """End the processes: those that still fit keep their state first; a second Ctrl-C ends them at once."""
        try:
            for member in self.members:
                if kind is not None:
                    member.process.terminate()
                else:
                    with suppress(OSError):
                        member.pipe.send(None)
            while alive := [member for member in self.members if member.process.is_alive()]:
                wait([member.process.sentinel for member in alive], timeout=0.2)
                for member in alive:
                    _drain(member.pipe)  # one that waits for room in its pipe would not end
        finally:
            for member in self.members:
                member.process.kill()
                member.process.join()
                member.pipe.close()

    def trial(self) -> float:
        """Images per second of all processes together, each with a training of its own."""
        for _ in self.members:
            self._finished()
        for member in self.members:
            self._tell(member, _TRIAL)
        speeds = [float(self._finished()) for _ in self.members]
        return sum(speeds) if all(speeds) else 0.0

    def fit(self, folds: Sequence[Fold]) -> None:
        """Fit all folds, each process one at a time."""
        waiting = list(folds)
        while True:
            for member in self.members:
                if waiting and not member.busy:
                    self._tell(member, waiting.pop(0))
            if not any(member.busy for member in self.members):
                return
            self._finished()

    def _tell(self, member: _Member, order: Fold | str) -> None:
        member.busy = True
        with suppress(OSError):  # it has ended: `_finished` says so
            member.pipe.send(order)

    def _finished(self) -> Any:
        """Wait until one process has done what it was told; what it found."""
        busy = {member.pipe: member for member in self.members if member.busy}
        while True:
            for pipe in wait(list(busy)):
                assert isinstance(pipe, Connection)
                try:
                    message = pipe.recv()
                except (EOFError, OSError):
                    code = _exit_code(busy[pipe].process)
                    raise TrainingError(f"a process that fitted a fold was ended (exit code {code})") from None
                if isinstance(message, logging.LogRecord):
                    _say(message)
                elif isinstance(message, BaseException):
                    raise message
                else:
                    busy[pipe].busy = False
                    return message[0]


def _exit_code(process: BaseProcess) -> int | None:
    process.join(_SOON)
    return process.exitcode


def _drain(pipe: Connection) -> None:
    """Say what an ending process still logs."""
    with suppress(EOFError, OSError):
        while pipe.poll():
            if isinstance(message := pipe.recv(), logging.LogRecord):
                _say(message)


def _say(record: logging.LogRecord) -> None:
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


class _ToFirst(QueueHandler):
    """Log lines go to the process that started this one."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__(queue.SimpleQueue())
        self.pipe = pipe

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send one."""
        with suppress(OSError):
            self.pipe.send(record)


def _serve(pipe: Connection, shared: _Shared, number: int, threads: int, level: int) -> None:
    """The life of a process: it fits the folds that it is given, one after another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches every process: the first one decides
    signal.signal(signal.SIGTERM, _interrupt)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=level, handlers=[_ToFirst(pipe)], force=True)
    try:
        torch.set_num_threads(threads)
        config = shared.config
        if gpus := _gpus(config):
            torch.cuda.set_device(gpus[number % len(gpus)])
            together = len(range(number % len(gpus), shared.at_once, len(gpus)))  # that share this one
            free, total = torch.cuda.mem_get_info()
            torch.cuda.set_per_process_memory_fraction(0.95 * free / total / together)
        setup = RunSetup(shared.cohort, config, load_backbone(config.network), ALONE)
        run = Folds(shared.folder, shared.count, shared.splits_sha256, NetworkFitter(setup))
        pipe.send((None,))
        while (order := pipe.recv()) is not None:
            if order == _TRIAL:
                pipe.send((trial(run),))
            else:
                run.fit(order)
                pipe.send((None,))
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except EOFError:
        return
    except MedresError as error:
        pipe.send(error)
    except Exception as error:  # noqa: BLE001  the first process says it
        pipe.send(TrainingError(f"{type(error).__name__}: {error}"))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """Nobody waits for this process any more: its last checkpoint is what a resumed run goes on from."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(_INTERRUPTED)
