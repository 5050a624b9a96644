"""Who may ask the review app for anything: whoever has the key that its address holds, at exactly that address.

A page of another site can send a browser here (DNS rebinding, links, forms), and so can any account of the machine. So
three things must agree before Streamlit sees a request: `Host` and `Origin` are those of the printed address, and the
key is there, once in the address and from then on as a cookie. Nothing here knows Streamlit; `app/gate.py` asks.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal
from urllib.parse import parse_qsl, urlencode

LOOPBACK = "127.0.0.1"
TOKEN = "token"
"""The name of the address's parameter that holds the key."""

READING = frozenset({"GET", "HEAD"})
"""The methods that are answered: whatever changes something comes over the WebSocket."""

REFUSED = (
    "This is the review app of medres.\n"
    "Open the address that `medres app` printed last,\n"
    "exactly as it stands there: it holds a key,\n"
    "which this request lacks. Other names of this\n"
    "machine, such as localhost, are not answered.\n"
)
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The Content-Security-Policy of an answer of the door itself."""

Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Address:
    """Where the review app of one start is found.

    A browser sends a cookie to every port of a host, so the cookie is named by the port, and bound to a path that
    nobody else can guess: another program of this machine that a browser visits is not sent it.
    """

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    folder: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def host(self) -> str:
        """What `Host` must say."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def origin(self) -> str:
        """What `Origin` must say."""
        return f"http://{self.host}"

    @property
    def path(self) -> str:
        """The page's path."""
        return f"/{self.folder}/"

    @property
    def start(self) -> str:
        """The address to print and to open: with the key.

        >>> Address(8501, token="KEY", folder="f").start
        'http://127.0.0.1:8501/f/?token=KEY'
        """
        return f"{self.origin}{self.path}?{TOKEN}={self.token}"

    @property
    def cookie(self) -> str:
        """The name of the cookie that holds the key."""
        return f"medres-{self.port}"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for, as ASGI tells it."""

    kind: Literal["http", "websocket"]
    method: str  # of a WebSocket's handshake: GET
    path: str
    query: bytes
    headers: Headers  # names in lower case


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered instead of the app."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


def answer(request: Request, address: Address) -> Answer | None:
    """What a request is answered with, or None where the app itself may answer.

    >>> here = Address(8501, token="KEY", folder="f")
    >>> host, cookie = (b"host", b"127.0.0.1:8501"), (b"cookie", b"medres-8501=KEY")
    >>> answer(Request("http", "GET", "/f/", b"", [host]), here).status
    401
    >>> answer(Request("http", "GET", "/f/", b"", [cookie]), here).status
    403
    >>> answer(Request("http", "GET", "/f/", b"token=KEY", [host]), here).status
    200
    >>> answer(Request("http", "GET", "/f/", b"", [host, cookie]), here) is None
    True
    """
    if not _at_the_address(request, address):
        return refusal(403)
    if request.method not in READING:
        return refusal(405)
    asked = parse_qsl(request.query.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace")
    tokens = [value.encode() for name, value in asked if name == TOKEN]
    known = _has_key(_cookies(request.headers, address.cookie), address)
    if request.kind == "http" and request.path.rstrip("/") == address.path.rstrip("/") and tokens:
        if known or _has_key(tokens, address):
            return _start([item for item in asked if item[0] != TOKEN], address)
        known = False
    return None if known else refusal(401, script=_values(request.headers, b"sec-fetch-dest") == [b"empty"])


def _at_the_address(request: Request, address: Address) -> bool:
    """Whether the request was made of the printed address, and by a page of it, where a page made it."""
    if _values(request.headers, b"host") != [address.host.encode()]:
        return False
    origins = _values(request.headers, b"origin")
    if origins != [address.origin.encode()] and (origins or request.kind == "websocket"):
        return False
    sites = _values(request.headers, b"sec-fetch-site")
    if set(sites) <= {b"none", b"same-origin"}:
        return True
    # Another site may lead here, as the file does that starts the browser; it may not load a part of the app.
    return request.kind == "http" and (
        _values(request.headers, b"sec-fetch-mode") == [b"navigate"]
        and _values(request.headers, b"sec-fetch-dest") == [b"document"]
    )


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for found, value in headers if found == name]


def _has_key(offered: Iterable[bytes], address: Address) -> bool:
    return any([hmac.compare_digest(value, address.token.encode()) for value in offered])  # noqa: C419  all, always


def _cookies(headers: Headers, name: str) -> list[bytes]:
    pairs = [pair.strip().partition(b"=") for value in _values(headers, b"cookie") for pair in value.split(b";")]
    return [value for found, _, value in pairs if found == name.encode()]


def without_key(headers: Headers, address: Address) -> list[tuple[bytes, bytes]]:
    """The headers as Streamlit may see them: it keeps cookies for as long as a page is open.

    >>> without_key([(b"cookie", b"a=1; medres-8501=KEY")], Address(8501))
    [(b'cookie', b'a=1')]
    """
    name = address.cookie.encode() + b"="
    kept = []
    for found, value in headers:
        if found != b"cookie":
            kept.append((found, value))
        elif left := b"; ".join(pair.strip() for pair in value.split(b";") if not pair.strip().startswith(name)):
            kept.append((found, left))
    return kept


def refusal(status: Literal[401, 403, 405], *, script: bool = False) -> Answer:
    """The answer that gives nothing, and says what is missing: the key (401), or what 403 and 405 always mean.

    Args:
        status: of HTTP. A page of an app that has ended shows what a 401 says; to a 403 Streamlit has wrong advice.
        script: a script of a page asked; Streamlit's shows what is JSON.
    """
    kind = b"application/json" if script else b"text/plain; charset=utf-8"
    headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
    if status == 405:
        headers.append((b"allow", b"GET, HEAD"))
    if status == 401:
        headers.append((b"www-authenticate", b"medres"))  # a scheme that no browser asks a password for
    return Answer(status, (json.dumps(REFUSED) if script else REFUSED).encode(), tuple(headers))


def _start(rest: Sequence[tuple[str, str]], address: Address) -> Answer:
    """Keeps the key as a cookie and goes on to the page, so that the key leaves the address bar and the history.

    A page that goes on, not a status of 303: a cookie that is strict is not sent where a link, or the file that starts
    the browser, led to the address that redirects.
    """
    target = escape(address.path + (f"?{urlencode(rest)}" if rest else ""))
    page = (
        f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={target}">'
        f'<title>medres review</title><a href="{target}">Open the review app</a>\n'
    )
    cookie = f"{address.cookie}={address.token}; Path=/{address.folder}; HttpOnly; SameSite=Strict"
    return Answer(
        200,
        page.encode(),
        (
            (b"content-type", b"text/html; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"set-cookie", cookie.encode()),
        ),
    )


def policy(address: Address, index: str) -> str:
    """The page's Content-Security-Policy: what Streamlit and the viewer need, and nothing from elsewhere.

    Args:
        address: where the app is served.
        index: Streamlit's `index.html`, whose inline scripts are allowed by their hashes.
    """
    inline = [
        f"'sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in re.findall(r"<script>(.*?)</script>", index, flags=re.DOTALL)
    ]
    parts = {
        "default-src": ["'none'"],
        "script-src": ["'self'", "blob:", *inline],  # blob: Streamlit loads a component's script from one
        "style-src": ["'self'", "'unsafe-inline'"],  # Streamlit writes its styles while it runs
        "img-src": ["'self'", "data:", "blob:"],
        "font-src": ["'self'", "data:"],
        "connect-src": ["'self'", f"ws://{address.host}"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
    return "; ".join(f"{name} {' '.join(sources)}" for name, sources in parts.items())


def guarded(headers: Headers, content_policy: str) -> list[tuple[bytes, bytes]]:
    """A response's headers with those that every response has.

    >>> dict(guarded([(b"x-frame-options", b"ALLOWALL")], NOTHING))[b"x-frame-options"]
    b'DENY'
    """
    fixed = {
        b"content-security-policy": content_policy.encode(),
        b"x-frame-options": b"DENY",
        b"x-content-type-options": b"nosniff",
        b"referrer-policy": b"no-referrer",
        b"cross-origin-opener-policy": b"same-origin",
        b"cross-origin-resource-policy": b"same-origin",
    }
    return [*((name, value) for name, value in headers if name.lower() not in fixed), *fixed.items()]
