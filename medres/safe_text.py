r"""The door for text that comes from data and goes to a terminal, a log line or a cell: what steers is taken out of it.

A terminal obeys control sequences (colours, titles, the clipboard), a reader's eye obeys direction overrides, and
characters of no width make two names look like one. A whole sequence goes, not its first character alone.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_SEQUENCE = re.compile(
    "|".join(
        (
            r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]",  # control sequences (ECMA-48 5.4)
            r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)",  # command strings (5.6)
            r"\x1b[ -/]*[0-~]",  # escape sequences (ECMA-35 13.2)
        )
    )
)
_CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029"
_STEERING = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction of text
_UNSEEN = "\u00ad\u180e\u200b-\u200d\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
UNSAFE = re.compile(f"[{_CONTROLS}{_STEERING}{_UNSEEN}\ud800-\udfff]+")
"""Control characters, what turns the direction of text, what has no width, and what Python makes of bytes of a file
name that are no UTF-8."""

_WITHOUT_WIDTH = re.compile(f"[{_UNSEEN}]+")
_ON_A_TERMINAL = re.compile(f"[{_CONTROLS}{_STEERING}{_UNSEEN}]+")
_IN_LINES = re.compile(r"[^\n\t]+")


def one_line(text: str) -> str:
    r"""Text of a header as one line: without control sequences and what has no width, controls as one space each run.

    >>> one_line("A\r\nB"), one_line("\x1b[31mred\x1b[0m"), one_line("a\u202eb"), one_line("x\x1b]0;title\x07y")
    ('A B', 'red', 'a b', 'xy')
    """
    return UNSAFE.sub(" ", _WITHOUT_WIDTH.sub("", _SEQUENCE.sub("", text)))


def without_sequences(text: str) -> str:
    """Text whose control sequences stand as "�" each; single control characters stay."""
    return _SEQUENCE.sub("�", text)


def visible(text: str) -> str:
    r"""Text for a terminal or a log, where the reader should see that something was there: it stands as "�".

    Line breaks and tabs stay, and so do surrogates, which an encoder shows as it is told to.

    >>> visible("a\x1b[31mb"), visible("up\x1b[2A\r!"), visible("one\ntwo\tthree"), visible("\x9b2Jx")
    ('a�b', 'up��!', 'one\ntwo\tthree', '�x')
    """
    if text.isprintable():
        return text
    return _IN_LINES.sub(lambda line: _ON_A_TERMINAL.sub("�", without_sequences(line[0])), text)


class VisibleWriter(io.TextIOBase):
    """A text stream that lets no control sequence through to the one behind it."""

    def __init__(self, unfiltered: TextIO) -> None:
        self.unfiltered = unfiltered

    def write(self, text: str) -> int:
        """Write what is visible of a text."""
        self.unfiltered.write(visible(text))
        return len(text)

    def flush(self) -> None:
        """Hand on what is kept back."""
        self.unfiltered.flush()

    def isatty(self) -> bool:
        """Whether somebody is looking."""
        return self.unfiltered.isatty()

    def fileno(self) -> int:
        """The number of the file behind it."""
        return self.unfiltered.fileno()

    def writable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Nothing is closed: the stream behind it belongs to the process."""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a plain attribute there
        """How text becomes bytes."""
        return self.unfiltered.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """What becomes of text that has no bytes."""
        return self.unfiltered.errors


@contextmanager
def visible_streams() -> Iterator[None]:
    """Inside, what this process writes to standard output and standard error goes through `visible`."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = VisibleWriter(before[0]), VisibleWriter(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def unfiltered(stream: TextIO) -> TextIO:
    """What lies behind a stream: for what draws on a terminal (a progress bar), and shows no text of others."""
    return stream.unfiltered if isinstance(stream, VisibleWriter) else stream
