"""How the review app is started: one command, on this machine only."""

from __future__ import annotations

import os
import sys
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
}


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


def app_command(*, model: Path, scores: Path, store: str, port: int | None, headless: bool) -> list[str]:
    """The command that serves the review app on this machine's loopback address.

    Args:
        model: the model that scored.
        scores: the output folder of `medres score`.
        store: URL of the verdicts' database.
        port: 8501, or the next free one, if None.
        headless: do not open a browser.
    """
    settings = {**_SETTINGS, "server.headless": str(headless).lower()}
    if port is not None:
        settings["server.port"] = str(port)
    return [
        sys.executable, "-m", "streamlit", "run", os.fspath(app_file()),
        *(f"--{name}={value}" for name, value in settings.items()),
        "--", "--model", os.fspath(model.resolve()), "--scores", os.fspath(scores.resolve()), "--store", store,
    ]  # fmt: skip
