"""What the page asks for over HTTP, behind the door: its own scripts, and pictures of the cases."""

from __future__ import annotations

from pathlib import Path

import started
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from medres.errors import MedresError
from medres.review.door import Address
from medres.review.feed import picture

SCRIPTS = {path.name: path.read_bytes() for path in (Path(__file__).parent / "room").glob("*.mjs")}
KEPT_NOWHERE = {"cache-control": "no-store", "content-encoding": "identity"}
"""Nothing of a patient stays on the disk; pixels are not compressed again for a page on the same machine."""


def routes(address: Address) -> list[Route]:
    """The routes at an address."""
    return [
        Route(f"{address.path}room/{{name}}.mjs", _script, methods=["GET"]),
        Route(f"{address.path}room/alive", _alive, methods=["GET"]),
        Route(f"{address.path}room/picture/{{key}}", _picture, methods=["GET"]),
    ]


async def _alive(_: Request) -> Response:
    return Response(status_code=204, headers=KEPT_NOWHERE)


def _script(request: Request) -> Response:
    content = SCRIPTS.get(f"{request.path_params['name']}.mjs")
    if content is None:
        return Response(status_code=404, headers=KEPT_NOWHERE)
    return Response(content, media_type="text/javascript", headers=KEPT_NOWHERE)


def _picture(request: Request) -> Response:
    try:
        worklist = started.worklist()
        case = worklist.find(request.path_params["key"])
        if case is None:
            return _told("There is no such image in this list.")
        content = picture(worklist, case, quick=request.query_params.get("quick") == "1")
    except MedresError as error:
        return _told(f"This image is not shown. {error}")
    return Response(content, media_type="application/octet-stream", headers=KEPT_NOWHERE)


def _told(text: str) -> Response:
    """A sentence instead of a picture; no status of an error, which a browser would complain of on its own."""
    return JSONResponse({"text": text}, headers=KEPT_NOWHERE)
