"""What the review app costs: to start, to change a case, to window a film, to stay open, to serve several people.

    python -m tests.benchmarks.app [--small]

A server as users start it, a headless Chromium without a GPU, films of 3520 × 2800 pixels and a folder of 500 small
images, scored with a model whose weights were drawn. JSON goes to standard output; the exit code is 1 where what was
promised is not reached. `--small` measures little of it, only to show that it runs, and judges nothing.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from playwright.sync_api import Page, sync_playwright

from medres.review.server import default_store
from medres.scoring.folder import score_folder
from medres.scoring.heatmaps import HeatmapPolicy
from tests.benchmarks.timing import finish, versions
from tests.support.browsing import ARGUMENTS, CHROMIUM, parts, served
from tests.support.connections import record
from tests.support.format3 import write_format3
from tests.support.phantoms import write_radiograph
from tests.support.unwatched import Unwatched

PROMISED = {
    "ready_processor_s": 3.0,  # of the command and its processes, until the first page was given
    "prefetched_ms": 150.0,  # from the key to the frame that shows the next film, which was fetched before
    "window_step_ms": 100.0,  # from the key to the frame that shows the film in another window
    "server_growth_mib": 20.0,  # from case 50 to case 500
    "page_growth_mib": 20.0,
    "clients_ratio": 1.3,  # wall time of 8 clients ÷ (CPU-seconds of the server's processes ÷ processors)
}
CLIENTS = 8
MIB = 2**20

TIMED = """
(key) => new Promise((resolve) => {
  const root = [...document.querySelectorAll("*")].map((part) => part.shadowRoot).find((found) => found?.querySelector(".room"));
  const room = root.querySelector(".room");
  const before = room.dataset.ready;
  const pressed = performance.now();
  const moves = key === "n";
  const look = () => requestAnimationFrame(() => {
    if (moves && (!room.dataset.ready || room.dataset.ready === before)) look();
    else setTimeout(() => resolve(performance.now() - pressed)); // once the frame is painted
  });
  root.querySelector("canvas.plain").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, composed: true }));
  look();
})
"""  # noqa: E501

ROOM = """
const until = async (look) => {
  for (;;) {
    const found = look();
    if (found) return found;
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
};
const inside = () => [...document.querySelectorAll("*")].map((part) => part.shadowRoot).filter(Boolean);
const opened = () => inside().map((root) => root.querySelector(".room[data-ready]")).find(Boolean);
"""
OPENED = f"""(async () => {{
{ROOM}
const button = () => inside().map((root) => root.querySelector("tr[data-key] button")).find(Boolean);
(await until(button)).click();
await until(opened);
}})()"""
NEXT = f"""(async () => {{
{ROOM}
opened().querySelector("canvas.plain").dispatchEvent(new KeyboardEvent("keydown", {{ key: "n", bubbles: true, composed: true }}));
await until(() => opened()?.querySelector(".place").textContent.startsWith("%d of "));
}})()"""  # noqa: E501


def main() -> None:
    """Measure, print, and say whether what was promised is reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    os.environ.setdefault("MEDRES_PSEUDONYM_KEY", "0123456789abcdef-for-benchmarks")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        record(home / "connections")
        found = measure(home, films=3 if small else 12, images=8 if small else 501, side=400 if small else 3520)
    unmet = [] if small else [name for name, most in PROMISED.items() if found[name] > most]
    finish({"versions": versions("streamlit", "medres"), **found}, unmet)


def measure(home: Path, *, films: int, images: int, side: int) -> dict[str, Any]:
    """Every figure; see PROMISED."""
    model = write_format3(home / "format3") / "model"
    large = _scored(model, home / "films", films, (side, round(side * 2800 / 3520)))
    many = _scored(model, home / "many", images, (256, 256))
    found: dict[str, Any] = {}
    with served(model, large, default_store(large), home / "films.log") as address, _page() as page:
        found["ready_processor_s"] = _started(address)
        found |= _moments(page, address, films)
        found |= _clients(address, large, films)
    with served(model, many, default_store(many), home / "many.log") as address, _page() as page:
        found |= _growth(page, address, images)
    return found


def _scored(model: Path, home: Path, count: int, shape: tuple[int, int]) -> Path:
    generator = np.random.default_rng(0)
    down, across = np.mgrid[: shape[0], : shape[1]]
    for number in range(count):
        pixels = (down * 3 + across * 2 + 97 * number + generator.integers(0, 64, shape)) % 4096
        write_radiograph(home / f"incoming/{number:03d}.dcm", pixels, patient=f"P{number}", uid=f"2.25.{number + 1}")
    score_folder(model, home / "incoming", out=home / "scored", heatmaps=HeatmapPolicy(True), device="cpu")
    return home / "scored"


@contextmanager
def _page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_context(viewport={"width": 1920, "height": 1080}).new_page()
        page.set_default_timeout(300_000)
        yield page
        browser.close()


def _processes(address: str) -> list[psutil.Process]:
    """The command, the server, and what that has started for pictures; not what computes scores, with its own."""
    server = _server(address)
    found = [server.parent(), server]
    for child in server.children():
        if "check_process" not in " ".join(child.cmdline()):
            found += [child, *child.children(recursive=True)]
    return [one for one in found if one is not None]


def _server(address: str) -> psutil.Process:
    port = parts(address).port
    listening = (item for item in psutil.net_connections("tcp") if item.laddr.port == port and item.status == "LISTEN")
    return psutil.Process(next(listening).pid)


def _processor_seconds(address: str) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in _processes(address))


def _started(address: str) -> float:
    with urllib.request.urlopen(address) as answer:  # the first page: it is ready
        answer.read()
    return _processor_seconds(address)


def _opened(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("tr[data-key] button").first.click()
    page.locator(".room[data-ready]").wait_for()


def _moments(page: Page, address: str, films: int) -> dict[str, float]:
    """Milliseconds from a key to the frame, the slower half apart: medians, and the slowest of each."""
    _opened(page, address)
    changes, steps = [], []
    for _ in range(films - 1):
        page.locator('.room[data-checked="same"]').wait_for()  # nothing else is computed
        page.wait_for_timeout(3000)  # what lies beside has come
        steps += [page.evaluate(TIMED, "ArrowRight") for _ in range(3)]
        changes.append(page.evaluate(TIMED, "n"))
    return {
        "prefetched_ms": statistics.median(changes), "prefetched_slowest_ms": max(changes),
        "window_step_ms": statistics.median(steps), "window_step_slowest_ms": max(steps),
    }  # fmt: skip


def _growth(page: Page, address: str, images: int) -> dict[str, float]:
    """MiB by which the server and the page grow between case 50 and the last, in a page that no debugger watches.

    The page is weighed at every case as it is, garbage included; each end is the median of its last 20 cases.
    """
    page.goto("about:blank")  # what is left of it stays small
    assert page.context.browser is not None
    reader = Unwatched(page.context.browser, address)
    reader.evaluate(OPENED)
    first, pages, servers = min(50, images // 2), [], []
    for number in range(1, images):
        reader.evaluate(NEXT % (number + 1))
        if number == 1:
            renderer = max(filter(_renders, psutil.process_iter()), key=lambda one: one.memory_info().rss)
        pages.append(renderer.memory_info().rss / MIB)
        if number in (first, images - 1):
            time.sleep(3)
            servers.append(sum(one.memory_info().rss for one in _processes(address)) / MIB)
    before, then = (statistics.median(part) for part in (pages[:first][-20:], pages[-20:]))
    return {
        "server_growth_mib": servers[1] - servers[0], "page_growth_mib": then - before,
        "server_mib": servers[1], "page_mib": then, "page_highest_mib": max(pages),
    }  # fmt: skip


def _renders(process: psutil.Process) -> bool:
    try:
        return "--type=renderer" in process.cmdline() and os.getpid() in {one.pid for one in process.parents()}
    except psutil.Error:
        return False


def _clients(address: str, scores: Path, films: int) -> dict[str, float]:
    """How close eight clients come to using every processor: each asks for every case and its picture."""
    from medres.scoring.rows import read_rows

    here = parts(address)
    keys = [row["sha256"][:16] for row in read_rows(scores / "predictions.csv")][:films]

    def ask() -> None:
        for key in keys:
            for path in (f"room/case/{key}", f"room/picture/{key}"):
                request = urllib.request.Request(f"{here.origin}{here.path}{path}")
                request.add_header("Cookie", f"{here.cookie}={here.token}")
                with urllib.request.urlopen(request) as answer:
                    answer.read()

    ask()  # processes that decode are there
    before, started = _processor_seconds(address), time.perf_counter()
    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall, used = time.perf_counter() - started, _processor_seconds(address) - before
    processors = len(os.sched_getaffinity(0))
    return {"clients_wall_s": wall, "clients_processor_s": used, "clients_ratio": wall / (used / processors)}


if __name__ == "__main__":
    main()
