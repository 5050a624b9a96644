"""A scoring run that fails before it has begun says so, too: a missing mount, a model that does not load."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medres.errors import MedresError, OutputExists, UsageError
from medres.scoring.record import read_scores_record
from medres.scoring.state import RunState
from medres.unfinished import LOCK, lock, unlock


@contextmanager
def failures_told(state: RunState, *, in_folder: bool) -> Iterator[None]:
    """Inside, an error of which `state` was not told ends the run as failed, for schedulers and monitors.

    Nothing is said where another process holds the folder of the scores, for its run goes on; and none but the monitor
    is told where that folder is not one of scores.

    Args:
        state: of the run.
        in_folder: the run is to go on with what lies in the folder, or to replace it; else only the monitor is told.
    """
    try:
        yield
    except BaseException as error:
        if not state.ended:
            _tell(state, error, in_folder=in_folder and _holds_scores(state.folder))
        raise


def _tell(state: RunState, error: BaseException, *, in_folder: bool) -> None:
    if not in_folder and not (state.folder / LOCK).exists():
        state.fail(error, in_folder=False)
        return
    try:
        lock(state.folder)
    except OutputExists:
        return
    except (MedresError, OSError):  # it cannot be written
        state.fail(error, in_folder=False)
        return
    try:
        state.fail(error, in_folder=in_folder)
    finally:
        unlock(state.folder)


def _holds_scores(folder: Path) -> bool:
    try:
        read_scores_record(folder)
    except UsageError:
        return False
    return True
