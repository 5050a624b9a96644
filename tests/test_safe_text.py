"""Text from data steers no terminal, and no name looks like another one."""

from __future__ import annotations

import io
import re
import sys
from typing import TextIO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.formatting import printable
from medres.safe_text import UNSAFE, VisibleWriter, one_line, unfiltered, visible, visible_streams

SEQUENCES = {
    "\x1b[31m": "colour", "\x1b[2J": "clear", "\x1b[1;1H": "move", "\x1b[?1049h": "screen",
    "\x1b[38;2;1;2;3m": "colour",
    "\x1b]0;title\x07": "title", "\x1b]52;c;ZXZpbA==\x07": "clipboard", "\x1b]8;;http://x\x1b\\": "link",
    "\x1bP1$r0m\x1b\\": "device", "\x1b^private\x1b\\": "message", "\x1b_app\x1b\\": "application",
    "\x1bX string\x9c": "string",
    "\x1bc": "reset", "\x1b(0": "alphabet", "\x1b7": "save", "\x9b31m": "colour in C1", "\x9d0;t\x9c": "title in C1",
    "\x90q\x9c": "device in C1",
}  # fmt: skip
STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]"
)
PIECES = st.one_of(
    st.text(max_size=6), st.sampled_from(sorted(SEQUENCES)), st.sampled_from("\x1b\x9b[]\x07;m\u202e\u200b\r")
)


@pytest.mark.parametrize("sequence", SEQUENCES, ids=SEQUENCES.values())
def test_a_whole_control_sequence_goes(sequence: str) -> None:
    assert one_line(f"A{sequence}B") == "AB"
    assert visible(f"A{sequence}B") == printable(f"A{sequence}B") == "A�B"


@given(st.lists(PIECES, max_size=8).map("".join))
def test_nothing_that_steers_is_left_whatever_it_is_made_of(text: str) -> None:
    assert not UNSAFE.search(one_line(text))
    assert not STEERING.search(visible(text))
    assert one_line(one_line(text)) == one_line(text)
    assert visible(visible(text)) == visible(text)


@given(st.text(st.characters(categories=["L", "N", "P", "Sm", "Sc"]), max_size=20))
def test_what_people_write_stays_as_it_is(text: str) -> None:
    assert one_line(text) == visible(text) == printable(text) == text


def test_characters_without_width_and_turned_directions_make_no_second_name() -> None:
    assert one_line("Doe\u200b\ufeff") == one_line("Do\u2060e") == "Doe"
    assert one_line("Jo\u202ehn") == "Jo hn"


def test_streams_of_the_command_line_show_and_do_not_steer(monkeypatch: pytest.MonkeyPatch) -> None:
    output, errors = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(sys, "stderr", errors)
    with visible_streams():
        print("a\x1b[31mb")
        print("c\x9b2Jd\u202e", file=sys.stderr)
        assert isinstance(sys.stdout, VisibleWriter)
        assert unfiltered(cast(TextIO, sys.stdout)) is output
        sys.stdout.flush()
    assert cast(object, sys.stdout) is output
    assert output.buffer.getvalue().decode() == "a�b\n"
    assert errors.getvalue() == "c�d�\n"
