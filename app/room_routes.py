"""What the page asks for over HTTP, behind the door: its own scripts, and the cases' words, scores and pictures."""

from __future__ import annotations

from pathlib import Path

import started
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from medres.errors import MedresError
from medres.review.cases import Case
from medres.review.door import Address
from medres.review.feed import picture
from medres.review.room import Reader, judged, not_shown, shown_case
from medres.review.sent import Again, Sent

SCRIPTS = {path.name: path.read_bytes() for path in (Path(__file__).parent / "room").glob("*.mjs")}
KEPT_NOWHERE = {"cache-control": "no-store", "content-encoding": "identity"}
"""Nothing of a patient stays on the disk; pixels are not compressed again for a page on the same machine."""

NO_IMAGE = "There is no such image in this list."
_SECONDS_TO_WAIT = 2.0  # for a heatmap by another method; the page asks again


def routes(address: Address) -> list[Route]:
    """The routes at an address."""
    found = {
        "{name}.mjs": _script,
        "alive": _alive,
        "case/{key}": _case,
        "picture/{key}": _picture,
        "check/{key}": _check,
        "map/{key}": _map,
    }
    return [Route(f"{address.path}room/{path}", answer, methods=["GET"]) for path, answer in found.items()]


def _script(request: Request) -> Response:
    content = SCRIPTS.get(f"{request.path_params['name']}.mjs")
    if content is None:
        return Response(status_code=404, headers=KEPT_NOWHERE)
    return Response(content, media_type="text/javascript", headers=KEPT_NOWHERE)


def _alive(_: Request) -> Response:
    """That the server is there, and of which cases a verdict was saved before their score was not reproduced."""
    room = started.room()
    try:
        cases = filter(None, map(room.worklist.find, room.checks.refused()))
        again = tuple(case.key for case in cases if judged(room.worklist, room.store, case))
    except MedresError:  # the page of a case says what is wrong with the store
        again = ()
    return _sent(Again(again=again))


def _case(request: Request) -> Response:
    room, case = started.room(), _asked(request)
    if case is None:
        return _told(NO_IMAGE)
    try:
        name = started.reader(request.query_params.get("reader", ""))
        if request.query_params.get("opened") == "1":
            told = {"image": case.verdict_key, "model": room.worklist.model.model_id}
            room.store.note("view", name, told)
        return _sent(shown_case(room.worklist, room.store, case, Reader(name, room.blinded)))
    except MedresError as error:
        return _told(str(error))


def _picture(request: Request) -> Response:
    case = _asked(request)
    if case is None:
        return _told(NO_IMAGE)
    try:
        content = picture(started.room().worklist, case, quick=request.query_params.get("quick") == "1")
    except MedresError as error:
        return _told(not_shown(error))
    return Response(content, media_type="application/octet-stream", headers=KEPT_NOWHERE)


def _check(request: Request) -> Response:
    case, checks = _asked(request), started.room().checks
    if case is None:
        return _told(NO_IMAGE)
    beside = request.query_params.getlist("then")
    checks.want([case.key, *(key for key in beside if started.room().worklist.find(key))])
    return _sent(checks.state(case.key))


def _map(request: Request) -> Response:
    case, room = _asked(request), started.room()
    label, method = (request.query_params.get(name, "") for name in ("label", "method"))
    if case is None or label not in room.worklist.labels:
        return _told(NO_IMAGE)
    return _sent(room.checks.heatmap(case.key, label, method, seconds=_SECONDS_TO_WAIT))


def _asked(request: Request) -> Case | None:
    return started.room().worklist.find(request.path_params["key"])


def _sent(content: Sent) -> Response:
    return Response(content.model_dump_json(), media_type="application/json", headers=KEPT_NOWHERE)


def _told(text: str) -> Response:
    """A sentence instead of a picture; no status of an error, which a browser would complain of on its own."""
    return JSONResponse({"text": text}, headers=KEPT_NOWHERE)
