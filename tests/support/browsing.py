"""The review app as users start it, and the browser that its tests look with."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Request, expect

from medres.review.door import Address
from tests.support.connections import assert_nothing_left

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium absent: Debian package chromium")
MEDRES = str(Path(sys.executable).with_name("medres"))
BANNER = "Not for diagnostic use"
ORDINARY = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.name == "posix" and not os.geteuid() else ()
"""What starts a command so that permissions hold for it, also where tests run as root."""
PATIENCE = 60_000  # milliseconds; two busy cores load a model
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-component-update",
    "--disable-sync", "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip
"""Of a Chromium for which no other machine exists, and for which evil.example has come to lie on this one."""
Open = Callable[..., Page]


def free_port() -> int:
    """A port that nobody listened to a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def served(
    model: Path,
    scores: Path,
    store: str,
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    options: Sequence[str] = (),
    account: Sequence[str] = (),
) -> Iterator[str]:
    """`medres app`, run until the block ends; yields the address that it prints.

    Args:
        model: the model that scored.
        scores: the folder of scores.
        store: of the verdicts.
        log: takes what it says on stderr; it runs in the folder of this file.
        environment: changes of it.
        options: more of them.
        account: what starts it as another account; see ORDINARY.
    """
    command = ["app", "--model", model, "--scores", scores, "--store", store, "--port", free_port(), "--headless"]
    command += options
    changed = {**os.environ, **(environment or {})}
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            [*account, MEDRES, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=log.parent,
            env=changed,
        ) as server,
    ):
        try:
            yield said_address(server, log)
        finally:
            server.terminate()
            server.wait(30)
        assert_nothing_left()


def said_address(server: subprocess.Popen[str], log: Path) -> str:
    """The address that `medres app` prints first."""
    assert server.stdout is not None
    said = server.stdout.readline()
    assert said.startswith("review app: "), (said, log.read_text(encoding="utf-8") if log.exists() else "")
    return said.split()[2]


def click_through(page: Page) -> None:
    """Worklist, case, heatmap, verdict, next case, the model's card, what has no score."""
    page.locator("tr[data-key] button").first.click()
    page.locator(".room[data-ready]").wait_for()
    page.get_by_text("Inverted").click()
    page.get_by_role("radio", name="Agree").first.click()
    page.get_by_label("Your name").fill("Dr. A")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved: ✓ Agree.")).to_be_visible()
    page.get_by_role("button", name="Next", exact=True).click()
    expect(page.get_by_text("2 of ")).to_be_visible()
    page.get_by_role("button", name="About the model").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Worklist").click()
    page.get_by_text("Files not in this list").click()
    expect(page.get_by_text("The file is not DICOM, or is empty.").first).to_be_visible()


def read_as(page: Page, name: str) -> None:
    """Say who reads; one who is not in the list yet is added to it."""
    before, box = page.url, page.get_by_role("combobox", name="Reading as")
    box.click()
    box.fill(name)
    box.press("Enter")
    page.wait_for_url(lambda url: url != before)


def parts(address: str) -> Address:
    """A printed address as the app knows it."""
    found = urlsplit(address)
    assert found.port is not None
    return Address(found.port, parse_qs(found.query)["token"][0], found.path.strip("/"))


def leaves(request: Request) -> bool:
    """Whether a page asked for something elsewhere than on this machine."""
    return not request.url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "blob:", "data:"))
