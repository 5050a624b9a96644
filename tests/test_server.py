"""How the review app is started: its port is ours before anybody hears of it, and what is secret stays so."""

from __future__ import annotations

import socket
import stat
import sys
import webbrowser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medres.review import server
from medres.review.door import Address
from medres.review.server import Start, app_file, listen, open_browser

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(model=TEXT, store=TEXT, token=TEXT, port=st.none() | st.integers(1, 65535))
def test_the_server_hears_what_it_was_told(model: str, store: str, token: str, port: int | None) -> None:
    told = Start(model=model, scores=("s",), store=store, token=token, folder="f", port=port)
    assert Start.of(told.line()) == told
    assert told.line().count("\n") == 1 and told.line().isascii()


def test_what_is_secret_is_not_in_the_record_s_text() -> None:
    told = Start(model="m", scores=("s",), store="postgresql://u:pass@h/d", token="key", folder="f", port=None)
    assert "pass" not in repr(told) and "key" not in repr(told)
    assert told.at(8501) == Address(8501, "key", "f")


def test_the_first_free_port_is_taken_and_held() -> None:
    with listen(None) as first, listen(None) as second:
        one, other = first.getsockname(), second.getsockname()
        assert one[0] == other[0] == "127.0.0.1" and server._FIRST_PORT <= one[1] < other[1]
        with pytest.raises(OSError, match="in use"):
            listen(other[1])
        with socket.create_connection(one):  # somebody who is early waits, and is answered by us
            pass


def test_the_browser_is_led_by_a_file_that_nobody_else_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setenv("BROWSER", "any")
    monkeypatch.setattr(webbrowser, "open", opened.append)
    opening = open_browser(Address(8501, 'a"b', "f"), tmp_path)
    assert opening is not None
    opening.join()
    (page,) = tmp_path.iterdir()
    assert opened == [page.as_uri()]
    assert "url=http://127.0.0.1:8501/f/?token=a&quot;b" in page.read_text(encoding="utf-8")
    if sys.platform != "win32":
        assert stat.S_IMODE(page.stat().st_mode) == 0o600


def test_a_terminal_without_a_desktop_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(webbrowser, "open", lambda _: pytest.fail("opened"))
    assert open_browser(Address(8501), tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_the_app_s_scripts_are_found() -> None:
    assert app_file().name == "medres_app.py" and app_file("launch.py").is_file()
