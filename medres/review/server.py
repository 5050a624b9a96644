"""How the review app is started: one command, on this machine only, for whoever has the address that is printed."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path

from medres.errors import UsageError
from medres.review.door import LOOPBACK, Address

_FIRST_PORT, _PORTS = 8501, 100
_SECONDS_TO_END = 5.0
_STORE = "reviews.db"


@dataclass(frozen=True, slots=True)
class Start:
    """What the server process is told through its standard input, where no list of processes shows it."""

    model: str  # folder of the model that scored
    scores: tuple[str, ...]  # output folders of `medres score`
    store: str = field(repr=False)  # URL of the verdicts' database; it may hold a password
    token: str = field(repr=False)
    folder: str  # of the address
    port: int | None  # 8501, or the next free one, if None
    device: str = "auto"  # where the network computes
    open_verdicts: bool = False  # show others' verdicts also to who has none of their own yet

    def line(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def of(cls, line: str) -> Start:
        """From the line that `line` wrote."""
        said = json.loads(line)
        return cls(**{**said, "scores": tuple(said["scores"])})

    def at(self, port: int) -> Address:
        """The address that is served."""
        return Address(port, self.token, self.folder)


def app_file(name: str = "medres_app.py") -> Path:
    """A script of the app: in an installed package below `medres/_app/`, in a checkout below `app/`.

    Raises:
        UsageError: neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_app", package.parent / "app"):
        if (folder / name).is_file():
            return folder / name
    raise UsageError("this installation of medres holds no review app (medres/_app is missing); install it again")


def default_store(scores: Path) -> str:
    """The URL of the verdicts' database when none is given: `reviews.db` in the folder of scores."""
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(scores.resolve() / _STORE)).render_as_string()


def store_of(scores: Sequence[Path]) -> str:
    """The URL of the verdicts' database of folders that are one list: the first one's.

    Raises:
        UsageError: another one has verdicts of its own, which nobody would see.
    """
    for folder in scores[1:]:
        if (folder / _STORE).exists():
            raise UsageError(
                f"{folder} has verdicts of its own ({_STORE}), which a list with those of {scores[0]} would not show: "
                "name the store of this list with --store"
            )
    return default_store(scores[0])


def serve(
    *,
    model: Path,
    scores: Sequence[Path],
    store: str | None,
    port: int | None,
    headless: bool,
    say: Callable[[str], object],
    device: str = "auto",
    open_verdicts: bool = False,
) -> int:
    """Serve the review app until it is ended; its exit code.

    Args:
        model: the model that scored.
        scores: the output folders of `medres score`, shown as one list.
        store: URL of the verdicts' database; `store_of` the folders if None.
        port: 8501, or the next free one, if None.
        headless: do not open a browser.
        device: where the network computes: `auto`, `cpu`, `cuda` or `cuda:1`.
        open_verdicts: show others' verdicts also to who has none of their own yet.
        say: told the address, once the port is ours; with it, whoever hears it can open the app.

    Raises:
        UsageError: the port is in use, or not this user's to use; or see `store_of`.
    """
    key = Address(0)
    start = Start(
        model=os.fspath(model.resolve()),
        scores=tuple(os.fspath(folder.resolve()) for folder in scores),
        store=store or store_of(scores),
        token=key.token,
        folder=key.folder,
        port=port,
        device=device,
        open_verdicts=open_verdicts,
    )
    command = [sys.executable, os.fspath(app_file("launch.py"))]
    with (
        tempfile.TemporaryDirectory(prefix="medres-app-") as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8") as server,
    ):
        try:
            address = _begin(server, start)
            if address is not None:
                say(f"review app: {address.start} (Ctrl-C ends it)")
                if not headless:
                    open_browser(address, Path(folder))
            return server.wait()
        except BaseException:
            server.terminate()
            try:
                server.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:  # a page that closes at this moment can leave Streamlit waiting for it
                server.kill()
            raise


def _begin(server: subprocess.Popen[str], start: Start) -> Address | None:
    """Tell the server what to serve, and hear at which port; None where it ended before it could say so.

    Its standard input stays open: the server ends when it closes, so that none outlives the command.
    """
    assert server.stdin is not None and server.stdout is not None
    try:
        server.stdin.write(start.line())
        server.stdin.flush()
    except OSError:  # it has ended; what it said stands on stderr
        return None
    heard = server.stdout.readline()
    if not heard:
        return None
    if heard.strip().isdecimal():
        return start.at(int(heard))
    ports = f"port {start.port}" if start.port else f"none of the ports {_FIRST_PORT} to {_FIRST_PORT + _PORTS - 1}"
    verb = "cannot" if start.port else "can"
    raise UsageError(f"{ports} {verb} be used ({heard.strip()}); give another --port")


def listen(port: int | None) -> socket.socket:
    """Listen on this machine's loopback address: at this port, or the first free one from 8501 on.

    The port is taken before the address is printed: nobody else can wait there for the key.

    Raises:
        OSError: there is none.
    """
    tries = [port] if port else range(_FIRST_PORT, _FIRST_PORT + _PORTS)
    for tried in tries:
        try:
            return socket.create_server((LOOPBACK, tried), backlog=128)
        except OSError:
            if tried == tries[-1]:
                raise
    raise AssertionError("there is a port to try")


def open_browser(address: Address, folder: Path) -> threading.Thread | None:
    """Open the user's browser at the address, in a thread, because some ways to open one wait until it is closed.

    The browser is given a file that leads there: its command line, which every account may read, names only the file.

    Args:
        address: where to.
        folder: for that file; nobody else may read it.
    """
    graphical = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if not graphical:  # a browser in the terminal would take it over
        return None
    page = folder / "open.html"
    target = escape(address.start)
    page.touch(mode=0o600)
    page.write_text(
        f'<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
        f'<meta http-equiv="refresh" content="0; url={target}"><title>medres review</title>'
        f'<a href="{target}">Open the review app</a>\n',
        encoding="utf-8",
    )
    opening = threading.Thread(target=webbrowser.open, args=(page.as_uri(),), daemon=True)
    opening.start()
    return opening
