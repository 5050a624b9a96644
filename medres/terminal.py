"""What people see while medres works: log lines and progress, on stderr, rich only on a terminal."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from medres.safe_text import unfiltered, visible, without_sequences

_QUIET = ("ignite", "monai", "matplotlib", "alembic", "PIL", "py.warnings", "pydicom", "torch", "fontTools")
_SILENT_STEP = 10.0  # seconds between progress lines where there is no terminal


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One event, one line: line breaks in a message cannot forge another event."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        event = {
            "time": stamp,
            "level": record.levelname,
            "logger": record.name,
            "message": visible(record.getMessage()),
        }
        return json.dumps(event, ensure_ascii=True)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = without_sequences(super().format(record))
        return "".join(character if character.isprintable() else "�" for character in text)


def configure_logging(*, verbose: bool = False, as_json: bool = False) -> None:
    """Send log lines to stderr: text or JSON lines."""
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
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # what ended an engine is said by who caught it


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A function to call with (done, total): a bar on a terminal, now and then a line elsewhere."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(file=unfiltered(sys.stderr)), transient=True) as bar:
            task = bar.add_task(title, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
    else:
        yield _Lines(title)


class _Lines:
    def __init__(self, title: str) -> None:
        self.title = title
        self.said = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self.said >= _SILENT_STEP:
            self.said = time.monotonic()
            logging.getLogger("medres").info("%s: %d of %d", self.title, done, total)
