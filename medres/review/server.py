"""How the review app is started: one command, on this machine only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from medres.errors import UsageError

_SETTINGS = {
    # The rest stands in .streamlit/config.toml beside the app. These stand here as well, because what they guard must
    # not depend on STREAMLIT_* variables of the environment, which go over that file.
    "server.address": "127.0.0.1",
    "server.fileWatcherType": "none",
    "server.showEmailPrompt": "false",
    "server.enableXsrfProtection": "true",
    "server.enableCORS": "true",
    "client.showErrorDetails": "none",
    "browser.gatherUsageStats": "false",
    "logger.hideWelcomeMessage": "true",  # else Streamlit advertises its tools to developers, over the patient's score
}
_FIRST_PORT, _PORTS = 8501, 100
_SECONDS_TO_END = 5.0


def app_file() -> Path:
    """The app's script: in an installed package `medres/_app/`, in a checkout `app/`.

    Raises:
        UsageError: neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_app", package.parent / "app"):
        if (folder / "medres_app.py").is_file():
            return folder / "medres_app.py"
    raise UsageError("this installation of medres holds no review app (medres/_app is missing); install it again")


def default_store(scores: Path) -> str:
    """The URL of the verdicts' database when none is given: `reviews.db` in the folder of scores."""
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(scores.resolve() / "reviews.db")).render_as_string()


def serve(
    *, model: Path, scores: Path, store: str | None, port: int | None, headless: bool, say: Callable[[str], object]
) -> int:
    """Serve the review app until it is ended; its exit code.

    Args:
        model: the model that scored.
        scores: the output folder of `medres score`.
        store: URL of the verdicts' database; `default_store` if None.
        port: 8501, or the next free one, if None.
        headless: do not open a browser.
        say: told the address.
    """
    port = port or _free_port()
    say(f"review app: http://127.0.0.1:{port} (Ctrl-C ends it)")
    command = _command(model=model, scores=scores, store=store or default_store(scores), port=port, headless=headless)
    with subprocess.Popen(command) as server:
        try:
            return server.wait()
        except BaseException:
            server.terminate()
            try:
                server.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:  # a page that closes at this moment can leave Streamlit waiting for it
                server.kill()
            raise


def _free_port() -> int:
    """The first port from 8501 on that nobody listens to.

    Raises:
        UsageError: there is none.
    """
    for port in range(_FIRST_PORT, _FIRST_PORT + _PORTS):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)):
                return port
    raise UsageError(f"ports {_FIRST_PORT} to {_FIRST_PORT + _PORTS - 1} are all in use; give --port")


def _command(*, model: Path, scores: Path, store: str, port: int, headless: bool) -> list[str]:
    """The command that serves the review app on this machine's loopback address.

    Args:
        model: the model that scored.
        scores: the output folder of `medres score`.
        store: URL of the verdicts' database.
        port: of the page.
        headless: do not open a browser.
    """
    settings = {**_SETTINGS, "server.headless": str(headless).lower(), "server.port": str(port)}
    return [
        sys.executable, "-m", "streamlit", "run", os.fspath(app_file()),
        *(f"--{name}={value}" for name, value in settings.items()),
        "--", "--model", os.fspath(model.resolve()), "--scores", os.fspath(scores.resolve()), "--store", store,
    ]  # fmt: skip
