"""What people see while medres works: log lines and progress, on stderr, rich only on a terminal; and a log file."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from medres.errors import OutputExists, UsageError
from medres.files import open_to_append
from medres.safe_text import unfiltered, visible, without_sequences

_QUIET = ("ignite", "monai", "matplotlib", "alembic", "PIL", "py.warnings", "pydicom", "torch", "fontTools")
_SILENT_STEP = 10.0  # seconds between progress lines where there is no terminal


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One event, one line: line breaks in a message cannot forge another event."""
        event = {
            "time": _utc(record),
            "level": record.levelname,
            "logger": record.name,
            "message": visible(record.getMessage()),
        }
        return json.dumps(event, ensure_ascii=True)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = without_sequences(super().format(record))
        return "".join(character if character.isprintable() else "�" for character in text)


class _Dated(_OneLine):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """A file is read on another day, and beside files of other machines."""
        return _utc(record)


def _utc(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))


class LogFile(logging.Handler):
    """Appends lines to a private file, and to a new one of its name once somebody (logrotate) moved it away.

    A line that cannot be written is lost, which is said once on stderr: the work that is logged goes on.

    Args:
        path: the file.
        first: its first line, by which it is tried.
        as_json: JSON lines instead of text.

    Raises:
        UsageError: it cannot be written, or the disk is full.
        OutputExists: a link lies there, or something that is no file.
    """

    def __init__(self, path: Path, first: str, *, as_json: bool = False) -> None:
        super().__init__()
        self.setFormatter(_JsonLines() if as_json else _Dated("%(asctime)s %(levelname)s %(message)s"))
        self.path, self._lost, self._cut = path.absolute(), False, False
        try:
            self._file = open_to_append(self.path)
            self._write(_event(logging.INFO, first))
        except OSError as error:
            raise UsageError(f"the log file {path} cannot be written: {error.strerror}") from None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            self._follow()
            self._write(record)
        except (OSError, OutputExists) as error:
            if not self._lost:
                said = getattr(error, "strerror", None) or error
                sys.stderr.write(f"medres: the log file {self.path} cannot be written ({said}): lines are lost\n")
            self._lost = True

    def _write(self, record: logging.LogRecord) -> None:
        start = "\n" if self._cut else ""
        line = f"{start}{self.format(record)}\n".encode(errors="backslashreplace")
        self._cut = self._file.write(line) < len(line)  # a disk that fills takes a part

    def _follow(self) -> None:
        """Open what has the file's name now."""
        held = os.fstat(self._file.fileno())
        with suppress(FileNotFoundError):
            there = self.path.stat()
            if (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino):
                return
        new = open_to_append(self.path)
        self._file.close()
        self._file = new

    def close(self) -> None:
        """Let the file go."""
        if hasattr(self, "_file"):
            self._file.close()
        super().close()


def _event(level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord("medres", level, __file__, 0, text, None, None)


def note(level: int, text: str) -> None:
    """Say something in the log file alone, where there is one: people see it elsewhere."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogFile):
            handler.handle(_event(level, text))


def configure_logging(*, verbose: bool = False, as_json: bool = False, file: LogFile | None = None) -> None:
    """Send log lines to stderr, text or JSON lines; and to a file."""
    handler: logging.Handler
    if as_json:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_JsonLines())
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(
            console=Console(file=unfiltered(sys.stderr)), show_path=False, log_time_format="%H:%M:%S", markup=False
        )
        handler.setFormatter(_OneLine("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, handlers=[handler, *([file] if file else [])], force=True
    )
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # what ended an engine is said by who caught it


class Told(Protocol):
    """What is told how far something is: things done, of so many, and how many of them were refused."""

    def __call__(self, done: int, total: int, refused: int = 0) -> None:
        """Take it in."""


@contextmanager
def progress_bar(title: str) -> Iterator[Told]:
    """A function to call with (done, total) or (done, total, refused): a bar on a terminal, now and then a line
    elsewhere. What is done at the first call does not count for the rate.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
        from rich.progress import TimeRemainingColumn as TimeLeft
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{task.speed:.1f}/s" if task.speed else "")

        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeLeft(),
            TextColumn("{task.fields[refused]}"),
        )  # fmt: skip
        with Progress(*columns, console=Console(file=unfiltered(sys.stderr)), transient=True) as bar:
            task = bar.add_task(title, total=None, refused="")

            def told(done: int, total: int, refused: int = 0) -> None:
                said = _refusals(refused)
                if bar.tasks[0].total is None:
                    bar.reset(task, completed=done, total=total, refused=said)
                else:
                    bar.update(task, completed=done, total=total, refused=said)

            yield told
    else:
        yield _Lines(title)


class _Lines:
    def __init__(self, title: str) -> None:
        self.title = title
        self.said = self.began = time.monotonic()
        self.before: int | None = None

    def __call__(self, done: int, total: int, refused: int = 0) -> None:
        if self.before is None:
            self.before = done
        now = time.monotonic()
        if now - self.said >= _SILENT_STEP:
            self.said = now
            parts = [f"{(done - self.before) / (now - self.began):.1f}/s", *filter(None, [_refusals(refused)])]
            logging.getLogger("medres").info("%s: %d of %d (%s)", self.title, done, total, ", ".join(parts))


def _refusals(count: int) -> str:
    return f"{count} refused" if count else ""
