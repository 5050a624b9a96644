"""What a web page, and another account of the machine, get of a running review app: nothing."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from medres.review.door import Address
from medres.review.server import default_store
from tests.conftest import Medres
from tests.support.browsing import BANNER, MEDRES, Open, free_port, needs_chromium, parts, said_address, served

pytestmark = needs_chromium
ALWAYS = {
    "content-security-policy", "x-frame-options", "x-content-type-options", "referrer-policy",
    "cross-origin-opener-policy", "cross-origin-resource-policy",
}  # fmt: skip
HANDSHAKE = (
    "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)  # fmt: skip


@pytest.fixture(scope="module")
def here(address: str) -> Address:
    return parts(address)


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str] = field(repr=False)  # names in lower case
    body: bytes


def ask(here: Address, path: str, *lines: str, method: str = "GET") -> Reply:
    """Send exactly these header lines, as any program of the machine can."""
    with socket.create_connection(("127.0.0.1", here.port), timeout=60) as connection:
        connection.sendall("\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1"))
        response = http.client.HTTPResponse(connection, method=method)
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, headers, b"" if response.status == 101 else response.read())


def right(here: Address) -> tuple[str, str, str]:
    """The lines of a page that may ask."""
    return f"Host: {here.host}", f"Origin: {here.origin}", f"Cookie: {here.cookie}={here.token}"


ROUTES = (
    "", "index.html", "_stcore/health", "_stcore/metrics", "_stcore/host-config", "_stcore/script-health-check",
    "_stcore/agent/openapi.json", "_stcore/agent/mcp", "_stcore/upload_file/a/b", "_stcore/bidi-components/x",
    "media/x.png", "component/x", "auth/login", "static/js/x.js", "app/static/x", "favicon.png", "no/such/page",
    "room/viewer.mjs", "room/none.mjs", "room/picture/0123456789abcdef",
    "room/case/0123456789abcdef", "room/check/0123456789abcdef", "room/map/0123456789abcdef", "room/alive",
)  # fmt: skip


@pytest.mark.parametrize("below", [True, False], ids=["below-its-path", "at-the-root"])
def test_without_the_key_no_route_is_served(here: Address, below: bool) -> None:
    """As another account of the machine asks, who knows everything but the key."""
    for route in ROUTES:
        path = f"{here.path if below else '/'}{route}"
        for lines in ([f"Host: {here.host}"], [f"Host: {here.host}", f"Cookie: {here.cookie}=x"]):
            found = ask(here, path, *lines)
            assert (found.status, found.body[:4]) == (401, b"This"), (path, found)
            assert found.headers.keys() >= ALWAYS


def test_no_handshake_without_key_or_of_another_host_or_origin_is_answered(here: Address) -> None:
    host, origin, cookie = right(here)
    stream = f"{here.path}_stcore/stream"
    assert ask(here, stream, host, origin, cookie, *HANDSHAKE).status == 101
    evil = f"evil.example:{here.port}"
    for lines in (
        (host, origin),
        (host, origin, f"Cookie: {here.cookie}=x"),
        (host, cookie),
        (host, "Origin: null", cookie),
        (host, f"Origin: http://{evil}", cookie),
        (host, f"Origin: http://localhost:{here.port}", cookie),
        (host, "Origin: http://127.0.0.1:1", cookie),
        (f"Host: {evil}", f"Origin: http://{evil}", cookie),
        (f"Host: {evil}", origin, cookie),
        (f"Host: localhost:{here.port}", origin, cookie),
        (host, origin, f"X-Forwarded-Host: {here.host}", f"Authorization: token {here.token}"),
    ):
        found = ask(here, stream, *lines, *HANDSHAKE)
        assert found.status in (401, 403) and found.body.startswith(b"This"), lines
        assert found.headers.keys() >= ALWAYS
        assert ask(here, here.path, *lines).status in ((200,) if lines == (host, cookie) else (401, 403)), lines


def test_every_response_says_what_a_browser_may_do_with_it(here: Address) -> None:
    host, origin, cookie = right(here)
    asset = ask(here, here.path, host, cookie).body.partition(b'src="./')[2].partition(b'"')[0].decode()
    whole = [
        *(ask(here, f"{here.path}{route}", host, cookie) for route in (*ROUTES, asset)),
        *(ask(here, here.path, host, cookie, method=method) for method in ("HEAD", "POST", "OPTIONS", "TRACE")),
        ask(here, f"/{here.folder}", host, cookie),
        ask(here, f"{here.path}?token={here.token}", host),
        ask(here, f"{here.path}//evil.example/", host, cookie),
        ask(here, f"{here.path}_stcore/stream", host, origin, cookie, *HANDSHAKE[:3]),
        ask(here, f"{here.path}_stcore/stream", host, origin, cookie, *HANDSHAKE[:2], HANDSHAKE[3]),
        ask(here, f"{here.path}_stcore/no-stream", host, origin, cookie, *HANDSHAKE),
    ]
    assert {200, 404, 405} <= {found.status for found in whole}
    for found in whole:
        assert found.headers.keys() >= ALWAYS, found
        assert found.headers["x-frame-options"] == "DENY"
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in found.headers["content-security-policy"]
        assert "access-control-allow-origin" not in found.headers
        assert "server" not in found.headers
        assert here.token not in str({**found.headers, "set-cookie": ""}) + found.body.decode("utf-8", "replace")


def test_what_is_not_http_gets_no_answer(here: Address) -> None:
    with socket.create_connection(("127.0.0.1", here.port), timeout=60) as connection:
        connection.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert connection.recv(1000) == b""


def test_the_key_leaves_the_address_bar_and_a_page_can_be_loaded_again(
    visit: Open, address: str, here: Address
) -> None:
    page = visit(f"{address}&case=none")
    expect(page.locator("tr[data-key]").first).to_be_visible()
    assert page.url == f"{here.origin}{here.path}?case=none"
    assert here.token not in page.evaluate(
        "document.cookie + location.href + document.referrer + document.body.innerHTML"
    )
    (cookie,) = [item for item in page.context.cookies() if item["name"] == here.cookie]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", f"/{here.folder}")
    page.reload()
    expect(page.locator("tr[data-key]").first).to_be_visible()


KEEP_SOCKETS = """const Socket = WebSocket; window.sockets = [];
window.WebSocket = class extends Socket { constructor(...made) { super(...made); window.sockets.push(this); } };"""


def test_a_page_finds_the_server_again_when_its_connection_was_cut(visit: Open, address: str) -> None:
    page = visit(address)
    page.add_init_script(KEEP_SOCKETS)
    page.reload()
    expect(page.locator("tr[data-key]").first).to_be_visible()
    page.evaluate("sockets.forEach((socket) => socket.close())")
    while not page.evaluate("sockets.length > 1 && sockets.at(-1).readyState === WebSocket.OPEN"):
        page.wait_for_timeout(50)
    page.get_by_role("button", name="About the model").click()
    expect(page.get_by_role("dialog")).to_be_visible()


@dataclass
class Attacker:
    """A web server of somebody else on this machine, and what browsers told it."""

    port: int
    cookies: list[str]


PAGE = """<!doctype html><title>attack</title><script>
const tried = async (made) => { try { return await made(); } catch (error) { return "blocked"; } };
const opened = (url) => new Promise((done) => {
  const socket = new WebSocket(url, ["streamlit"]);
  socket.onopen = () => done("open"); socket.onerror = () => done("blocked");
});
const loaded = (kind, url) => new Promise((done) => {
  const part = document.createElement(kind);
  part.onload = () => done("loaded"); part.onerror = () => done("blocked");
  part.src = url; document.body.append(part);
});
async function attack(target, folder) {
  const text = async (options, url) => {
    const answer = await fetch(url, options);
    return answer.type === "opaque" ? "opaque" : (await answer.text()).slice(0, 4);
  };
  const found = {};
  for (const path of ["/", folder, folder + "_stcore/health", folder + "_stcore/metrics", folder + "favicon.png"]) {
    const url = "http://" + target + path;
    found["fetch " + path] = await tried(() => text({ credentials: "include" }, url));
    found["img " + path] = await loaded("img", url);
    found["script " + path] = await loaded("script", url);
  }
  found.socket = await opened("ws://" + target + folder + "_stcore/stream");
  return found;
}
</script><body>"""


@pytest.fixture
def attacker() -> Iterator[Attacker]:
    cookies: list[str] = []

    class Serve(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cookies.append(self.headers.get("Cookie", ""))
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE.encode())

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Serve) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Attacker(server.server_port, cookies)
        server.shutdown()
        thread.join()


@pytest.fixture
def rebound(browser: Browser) -> Iterator[BrowserContext]:
    """A window of a browser for which evil.example has come to lie on this machine."""
    context = browser.new_context()
    yield context
    context.close()


def _enter(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(address)
    expect(page.get_by_text(BANNER).first).to_be_visible()
    return page


def test_a_page_that_rebinds_its_name_is_served_nothing(
    rebound: BrowserContext, attacker: Attacker, address: str, here: Address
) -> None:
    """In the browser of the reviewer, who has the app open beside it; the attacker even knows the app's path."""
    _enter(rebound, address)
    evil = f"evil.example:{here.port}"
    page = rebound.new_page()
    for path in ("/", here.path, f"{here.path}_stcore/metrics"):
        answered = page.goto(f"http://{evil}{path}")
        assert answered is not None and answered.status == 403
        assert page.inner_text("body").startswith("This is the review app of medres.")
    page.goto(f"http://evil.example:{attacker.port}/")
    for target in (evil, here.host):
        found = page.evaluate("([target, folder]) => attack(target, folder)", [target, here.path])
        assert set(found.values()) == {"blocked"}, found
    assert not [cookies for cookies in attacker.cookies if here.token in cookies]


def test_a_page_of_another_port_of_this_machine_gets_neither_the_app_nor_its_key(
    rebound: BrowserContext, attacker: Attacker, address: str, here: Address
) -> None:
    """A browser holds every port of a host for one site: it would send the same cookies, strict ones, too."""
    _enter(rebound, address)
    page = rebound.new_page()
    page.goto(f"http://127.0.0.1:{attacker.port}/")
    found = page.evaluate("([target, folder]) => attack(target, folder)", [here.host, here.path])
    assert set(found.values()) == {"blocked"}, found
    page.goto(f"http://127.0.0.1:{attacker.port}/some/path")
    assert attacker.cookies and not [cookies for cookies in attacker.cookies if here.token in cookies]


def test_two_apps_in_one_browser_do_not_disturb_each_other(
    visit: Open, address: str, small_model: Path, scores: Path, tmp_path: Path
) -> None:
    page = visit(address)
    with served(small_model, scores, default_store(scores), tmp_path / "second.log") as second:
        other = page.context.new_page()
        other.goto(second)
        expect(other.locator("tr[data-key]").first).to_be_visible()
        page.reload()
        expect(page.locator("tr[data-key]").first).to_be_visible()
        assert {item["name"] for item in page.context.cookies()} >= {parts(address).cookie, parts(second).cookie}
        other.close()


def _descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def test_no_list_of_processes_and_no_log_shows_the_key_or_the_store_s_password(
    small_model: Path, scores: Path, tmp_path: Path
) -> None:
    opened = tmp_path / "opened"
    (tmp_path / "browser").write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > "{opened}.part" && mv "{opened}.part" "{opened}"\nsleep 60\n'
    )
    (tmp_path / "browser").chmod(0o700)
    log = tmp_path / "log"
    command = [MEDRES, "--debug", "app", "--model", small_model, "--scores", scores, "--port", free_port()]
    environment = {**os.environ, "BROWSER": str(tmp_path / "browser"), "TMPDIR": str(tmp_path)}
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [*map(str, command)], stdout=subprocess.PIPE, stderr=errors, text=True, cwd=tmp_path, env=environment
        ) as running,
    ):
        here = parts(said_address(running, log))
        while not opened.exists():
            time.sleep(0.05)
        processes = [psutil.Process(running.pid), *_descendants(running)]
        assert len(processes) >= 3  # the command, the server and the browser
        said = str([(process.cmdline(), process.environ()) for process in processes])
        page = Path(opened.read_text().strip().removeprefix("file://"))
        assert here.start in page.read_text().replace("&amp;", "&")
        assert (page.stat().st_mode & 0o777, page.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        assert ask(here, f"{here.path}?token={here.token}", f"Host: {here.host}").status == 200
        assert (
            ask(here, f"{here.path}_stcore/stream?token={here.token}", f"Host: {here.host}", *HANDSHAKE).status == 403
        )
        running.terminate()
        running.wait(60)
    assert here.token not in said and here.folder not in said
    assert here.token not in log.read_text() and here.folder not in log.read_text()
    assert not page.exists()


def test_the_server_does_not_outlive_the_command(small_model: Path, scores: Path, tmp_path: Path) -> None:
    command = [MEDRES, "app", "--model", str(small_model), "--scores", str(scores), "--headless"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as running:
        here = parts(said_address(running, tmp_path / "none"))
        (server,) = _descendants(running)
        running.send_signal(signal.SIGKILL)
        psutil.wait_procs([server], timeout=60)
        assert not server.is_running()
    with pytest.raises(OSError):
        ask(here, here.path, f"Host: {here.host}")


def test_a_port_in_use_is_said_before_any_address_is(small_model: Path, scores: Path, installed_medres: Medres) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = installed_medres("app", "--model", small_model, "--scores", scores, "--headless", "--port", port)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"port {port} cannot be used (Address already in use" in done.stderr


def test_the_store_of_verdicts_is_named_by_default(scores: Path) -> None:
    assert default_store(scores).endswith("/reviews.db")
