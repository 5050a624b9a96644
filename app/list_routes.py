"""What the worklist asks for over HTTP, behind the door: its scripts, its columns, and what readers have said since."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Lock

import started
from markup import readable
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from medres.errors import MedresError
from medres.review.door import Address
from medres.review.list_columns import fingerprint, list_columns, update

SCRIPTS = {path.name: path.read_bytes() for path in (Path(__file__).parent / "list").glob("*.mjs")}
KEPT_NOWHERE = {"cache-control": "no-store"}
_COLUMNS: dict[str, bytes] = {}  # by fingerprint; one, once it was asked for
_PACKING = Lock()


def routes(address: Address) -> list[Route]:
    """The routes at an address."""
    return [
        Route(f"{address.path}list/{{name}}.mjs", _script, methods=["GET"]),
        Route(f"{address.path}list/columns/{{fingerprint}}", _columns, methods=["GET"]),
        Route(f"{address.path}list/verdicts", _verdicts, methods=["GET"]),
    ]


def columns_fingerprint() -> str:
    """By what a page knows that it has the columns of this list already.

    Raises:
        MedresError: the worklist cannot be opened.
    """
    room = started.room()
    with _PACKING:
        if not _COLUMNS:
            content = list_columns(room.worklist, readable).packed()
            _COLUMNS[fingerprint(content)] = content
        return next(iter(_COLUMNS))


def _script(request: Request) -> Response:
    content = SCRIPTS.get(f"{request.path_params['name']}.mjs")
    if content is None:
        return Response(status_code=404, headers=KEPT_NOWHERE)
    return Response(content, media_type="text/javascript", headers=KEPT_NOWHERE)


def _columns(request: Request) -> Response:
    try:
        known = columns_fingerprint()
    except MedresError as error:
        return _told(f"{error}")
    if request.path_params["fingerprint"] != known:
        return _told("This list is another one by now: load the page again.")
    return Response(_COLUMNS[known], media_type="application/json", headers=KEPT_NOWHERE)


def _verdicts(request: Request) -> Response:
    try:
        reader = started.reader(request.query_params.get("reader", ""))
        since = int(request.query_params.get("since", "0"))
        room = started.room()
        found = update(room.worklist, room.store, reader, since=since, blinded=room.blinded)
    except MedresError as error:
        return _told(f"{error}")
    except ValueError:
        return _told("That is no place in the history of verdicts.")
    return Response(found.packed(readable), media_type="application/json", headers=KEPT_NOWHERE)


def _told(text: str) -> Response:
    """A sentence instead of a list; no status of an error, which a browser would complain of on its own."""
    return Response(json.dumps({"text": readable(text)}), media_type="application/json", headers=KEPT_NOWHERE)
