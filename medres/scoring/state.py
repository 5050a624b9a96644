"""How far a scoring run is and how it ended, for people, schedulers and monitors."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medres import __version__
from medres.provenance import now
from medres.tables import write_json, write_text

if TYPE_CHECKING:
    from medres.scoring.columns import Row

log = logging.getLogger(__name__)

STATE = "state.json"
_EVERY = 5.0  # seconds between two writings of a running state


@dataclass(slots=True)
class Summary:
    """What a scoring run did."""

    files: int
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    reused: int = 0
    unlisted: int = 0  # rows of files that a list did not name
    heatmaps: int = 0
    heatmaps_withheld: int = 0
    heatmaps_failed: int = 0  # of labels whose heatmaps have failed their validation: not drawn
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether every file was scored."""
        return not self.statuses["refused"]

    @property
    def refused_share(self) -> float:
        """The share of the files that were refused; 0 where there are none."""
        return self.statuses["refused"] / self.files if self.files else 0.0

    def lines(self) -> list[str]:
        """A short account, one line each."""
        names = ("ok", "review", "refused", "duplicate")
        counted = ", ".join(f"{self.statuses[name]} {name}" for name in names)
        found = [f"{self.files} files, one row each: {counted} ({self.seconds:.0f} s)"]
        if self.statuses["gone"]:
            found.append(f"{self.statuses['gone']} files that were scored are gone; their scores are kept")
        if self.reused:
            found.append(f"{self.reused} rows of unchanged files were kept")
        if self.unlisted:
            found.append(f"{self.unlisted} rows of files that the list does not name stay as they are")
        if self.reasons:
            found.append("reasons: " + ", ".join(f"{count} {code}" for code, count in sorted(self.reasons.items())))
        if self.heatmaps or self.heatmaps_withheld or self.heatmaps_failed:
            named, failed = self.heatmaps_withheld, self.heatmaps_failed
            found.append(
                f"{self.heatmaps} heatmaps written"
                + (f", {named} withheld: the pixels may hold a name" if named else "")
                + (f", {failed} not drawn: the heatmaps of their labels have failed" if failed else "")
            )
        return found


Word = Literal["running", "finished", "failed"]


@dataclass(frozen=True, slots=True)
class State:
    """What `state.json` says."""

    state: Word
    medres: str
    model_id: str
    started: str
    updated: str
    seconds: float
    files: int
    kept: int  # rows of unchanged files
    done: int  # rows that were made
    files_per_second: float
    statuses: dict[str, int]
    reasons: dict[str, int]
    error: str


class RunState:
    """Keeps `state.json` in a folder of scores up to date, and a textfile for Prometheus where one is asked for.

    Args:
        folder: of the scores.
        metrics: the textfile; where it cannot be written a warning says so, and the run goes on.

    Attributes:
        model_id: what scores, as soon as that is known.
        ended: whether it was told how the run ended.
    """

    def __init__(self, folder: Path, *, metrics: Path | None = None) -> None:
        self.folder, self.model_id, self.metrics = folder, "", metrics
        self.started, self._began, self._next = now(), time.monotonic(), 0.0
        self.ended = self._warned = False
        self.statuses: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.total = self.done = self.reused = 0

    def begin(self, total: int, reused: int) -> None:
        """So many files are there, of which so many have rows already."""
        self.total, self.reused = total, reused
        self.write("running")

    def add(self, rows: Sequence[Row]) -> None:
        """So many rows were made."""
        self.done += len(rows)
        self.statuses.update(str(row["status"]) for row in rows)
        self.reasons.update(str(row["reason"]) for row in rows if row.get("reason"))
        if time.monotonic() >= self._next:
            self.write("running")

    def end(self, summary: Summary) -> None:
        """The run is over: what the whole table holds."""
        self.ended, self.statuses, self.reasons = True, summary.statuses, summary.reasons
        self.write("finished")

    def fail(self, error: BaseException, *, in_folder: bool = True) -> None:
        """The run ended before its table was whole; `--resume` goes on.

        Args:
            error: why.
            in_folder: also say so in the folder of the scores.
        """
        self.ended = True
        said = str(error).splitlines()
        found = self.now("failed", f"{type(error).__name__}: {said[0] if said else ''}")
        if in_folder:
            with suppress(OSError):  # the disk may be full
                self._write_state(found)
        self._write_metrics(found)

    @property
    def elapsed(self) -> float:
        """For how long the run has gone on, seconds."""
        return time.monotonic() - self._began

    def now(self, state: Word, error: str = "") -> State:
        """How far the run is."""
        seconds = self.elapsed
        return State(
            state=state,
            medres=__version__,
            model_id=self.model_id,
            started=self.started,
            updated=now(),
            seconds=round(seconds, 1),
            files=self.total,
            kept=self.reused,
            done=self.done,
            files_per_second=round(self.done / seconds, 2) if seconds else 0.0,
            statuses=dict(self.statuses),
            reasons=dict(self.reasons),
            error=error,
        )

    def write(self, state: Word) -> None:
        """Write both files."""
        self._next = time.monotonic() + _EVERY
        found = self.now(state)
        self._write_state(found)
        self._write_metrics(found)

    def _write_state(self, found: State) -> None:
        write_json(self.folder / STATE, asdict(found))

    def _write_metrics(self, found: State) -> None:
        if self.metrics is None:
            return
        try:
            write_text(self.metrics, prometheus(found), private=False)  # the exporter is another user
        except OSError as error:
            if not self._warned:
                log.warning("%s cannot be written, monitors are not told: %s", self.metrics, error.strerror)
            self._warned = True


def prometheus(state: State) -> str:
    """A state as a textfile of Prometheus's node exporter."""
    counts: dict[str, tuple[str, dict[str, float]]] = {
        "medres_score_running": ("1 while a run goes on", {"": int(state.state == "running")}),
        "medres_score_failed": ("1 where the last run failed", {"": int(state.state == "failed")}),
        "medres_score_files": ("files in the folder", {"": state.files}),
        "medres_score_seconds": ("length of the run", {"": state.seconds}),
        "medres_score_rows": ("rows by status", _labelled("status", state.statuses)),
        "medres_score_reasons": ("rows by reason code", _labelled("reason", state.reasons)),
    }
    lines = []
    for name, (text, values) in counts.items():
        lines.append(f"# HELP {name} {text}")
        lines += [f"{name}{labels} {value}" for labels, value in values.items()]
    return "\n".join(lines) + "\n"


def _labelled(name: str, values: Mapping[str, int]) -> dict[str, float]:
    return {f"{{{name}={json.dumps(key)}}}": value for key, value in values.items()}
