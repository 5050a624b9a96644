"""The server: uvicorn, the door of `medres.review.door` in front of everything, and Streamlit behind it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import list_routes
import options
import started
import uvicorn
from room_routes import routes
from streamlit import file_util
from streamlit.starlette import App
from uvicorn.protocols.http.h11_impl import H11Protocol

from medres.review.door import NOTHING, Address, Answer, Request, answer, guarded, policy, refusal, without_key
from medres.review.server import Start, app_file

_SECONDS_TO_CLOSE = 2  # pages that are open when the server ends


class Gate:
    """An ASGI application that lets through what the door lets through, HTTP and WebSockets alike.

    Args:
        app: what lies behind.
        address: where it is served.
        content_policy: the Content-Security-Policy of what it answers.
    """

    def __init__(self, app: App, address: Address, content_policy: str) -> None:
        self.app, self.address, self.content_policy = app, address, content_policy

    async def __call__(self, scope, receive, send) -> None:
        """ASGI's three arguments."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] in ("http", "websocket"):  # ASGI knows no other, and what it does not know stays outside
            request = Request(
                scope["type"], scope.get("method", "GET"), scope["path"], scope["query_string"], scope["headers"]
            )
            found = answer(request, self.address)
            if found is not None:
                await _say(found, send, before="websocket." if scope["type"] == "websocket" else "")
            else:
                inside = {**scope, "headers": without_key(scope["headers"], self.address)}
                await self.app(inside, receive, self._guarding(send))

    def _guarding(self, send):
        accepted = False

        async def send_guarded(message) -> None:
            nonlocal accepted
            accepted |= message["type"] == "websocket.accept"
            if message["type"] == "websocket.close" and not accepted:  # the server's own answer would have no headers
                await _say(refusal(403), send, before="websocket.")
                return
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                message = {**message, "headers": guarded(message.get("headers", []), self.content_policy)}
            await send(message)

        return send_guarded


async def _say(found: Answer, send, *, before: str) -> None:
    headers = guarded([*found.headers, (b"content-length", str(len(found.body)).encode())], NOTHING)
    await send({"type": f"{before}http.response.start", "status": found.status, "headers": headers})
    await send({"type": f"{before}http.response.body", "body": found.body})


class _Http(H11Protocol):
    """What is not HTTP gets no answer; what asks for a WebSocket without being a handshake is judged as any request."""

    def send_400_response(self, _: str) -> None:
        self.transport.close()

    def _should_upgrade(self) -> bool:
        headers = dict(self.headers)
        whole = headers.get(b"sec-websocket-key") and headers.get(b"sec-websocket-version") == b"13"
        return bool(whole) and self.scope["method"] == "GET" and super()._should_upgrade()


def run(start: Start, listening: socket.socket, ready: Callable[[], object]) -> None:
    """Serve until a signal ends it.

    Args:
        start: what is served.
        listening: where.
        ready: called once all that pages need is open; requests wait a moment longer.

    Raises:
        MedresError: the scores, the model's card or the store cannot be opened.
    """
    address = start.at(listening.getsockname()[1])
    options.pin(address)
    room = started.open_room(start)
    index = (Path(file_util.get_static_dir()) / "index.html").read_text(encoding="utf-8")
    gate = Gate(
        App(app_file(), routes=[*routes(address), *list_routes.routes(address)]), address, policy(address, index)
    )
    config = uvicorn.Config(
        gate,
        host=address.host,
        port=address.port,
        http=_Http,
        ws="websockets-sansio",
        lifespan="on",
        log_config=None,
        log_level="warning",  # what is asked for is never logged: the first address holds the key
        access_log=False,
        server_header=False,
        proxy_headers=False,
        forwarded_allow_ips="",
        timeout_graceful_shutdown=_SECONDS_TO_CLOSE,
    )
    ready()
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        room.checks.close()
