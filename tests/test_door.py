"""The review app's door: without its key, at another address or from another site, no request passes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from medres.review.door import NOTHING, REFUSED, Address, Request, answer, guarded, policy, without_key

HERE = Address(8501, token="s3cret-s3cret-s3cret", folder="f00d")
HOST, ORIGIN = (b"host", b"127.0.0.1:8501"), (b"origin", b"http://127.0.0.1:8501")
COOKIE = (b"cookie", b"a=b; medres-8501=s3cret-s3cret-s3cret")
PAGE = Request("http", "GET", "/f00d/", b"", (HOST, COOKIE))
SOCKET = Request("websocket", "GET", "/f00d/_stcore/stream", b"", (HOST, ORIGIN, COOKIE))
FIRST = Request("http", "GET", "/f00d/", b"token=s3cret-s3cret-s3cret", (HOST,))


def status(request: Request) -> int:
    found = answer(request, HERE)
    return 0 if found is None else found.status


def with_header(request: Request, name: bytes, value: bytes | None) -> Request:
    """The request with this header instead of its own of that name, or without."""
    kept = tuple(header for header in request.headers if header[0] != name)
    return replace(request, headers=kept if value is None else (*kept, (name, value)))


def test_whoever_has_the_cookie_or_the_key_may_enter() -> None:
    assert status(PAGE) == status(SOCKET) == status(with_header(PAGE, b"origin", ORIGIN[1])) == 0
    assert status(FIRST) == 200


@pytest.mark.parametrize("request_", [PAGE, SOCKET], ids=["page", "socket"])
@pytest.mark.parametrize(
    "host",
    [
        None, b"", b"evil.example:8501", b"localhost:8501", b"[::1]:8501", b"127.0.0.1", b"127.0.0.1:8502",
        b"127.0.0.1:8501.evil.example", b"evil.example#127.0.0.1:8501", b"127.0.0.1:8501@evil.example", b"127.1:8501",
        b"0.0.0.0:8501", b"127.0.0.1:08501", b"127.0.0.1:8501, evil.example", b"2130706433:8501",
    ],
)  # fmt: skip
def test_another_host_is_refused(request_: Request, host: bytes | None) -> None:
    assert status(with_header(request_, b"host", host)) == 403


@pytest.mark.parametrize("request_", [PAGE, SOCKET], ids=["page", "socket"])
@pytest.mark.parametrize(
    "origin",
    [
        b"", b"null", b"http://evil.example:8501", b"http://localhost:8501", b"https://127.0.0.1:8501",
        b"http://127.0.0.1:8502", b"http://127.0.0.1:8501/", b"http://127.0.0.1:8501.evil.example", b"file://",
    ],
)  # fmt: skip
def test_another_origin_is_refused(request_: Request, origin: bytes) -> None:
    assert status(with_header(request_, b"origin", origin)) == 403


def test_a_websocket_without_an_origin_is_refused() -> None:
    assert status(with_header(SOCKET, b"origin", None)) == 403


@pytest.mark.parametrize("name", [b"host", b"origin"])
def test_two_of_what_must_be_one_are_refused(name: bytes) -> None:
    twice = (name, HOST[1] if name == b"host" else ORIGIN[1])
    assert status(replace(SOCKET, headers=(*SOCKET.headers, twice))) == 403


@pytest.mark.parametrize(
    "cookie",
    [
        None, b"", b"medres-8501=", b"medres-8501", b"medres-8502=s3cret-s3cret-s3cret", b"medres-8501=s3cret",
        b"medres-8501=s3cret-s3cret-s3crex", b"medres-8501=s3cret-s3cret-s3cret2", b"medres-8501=\xff\xfe",
        b"Medres-8501=s3cret-s3cret-s3cret", b"x-medres-8501=s3cret-s3cret-s3cret",
    ],
)  # fmt: skip
@pytest.mark.parametrize("request_", [PAGE, SOCKET], ids=["page", "socket"])
def test_another_cookie_is_refused(request_: Request, cookie: bytes | None) -> None:
    assert status(with_header(request_, b"cookie", cookie)) == 401


def test_a_cookie_of_an_app_that_ran_here_before_does_not_stand_in_the_way() -> None:
    both = b"medres-8501=of-the-one-before; medres-8501=s3cret-s3cret-s3cret"
    assert status(with_header(PAGE, b"cookie", both)) == 0


@pytest.mark.parametrize("path", ["/f00d/_stcore/metrics", "/f00d/_stcore/health", "/f00d/static/x.js", "/"])
def test_the_key_in_the_address_opens_the_page_alone(path: str) -> None:
    assert status(replace(FIRST, path=path)) == 401


@pytest.mark.parametrize("query", [b"", b"token=", b"token=x", b"token", b"Token=s3cret-s3cret-s3cret", b"token=%ff"])
def test_another_key_is_refused(query: bytes) -> None:
    assert status(replace(FIRST, query=query)) == 401


def test_a_websocket_is_not_opened_by_the_key_in_its_address() -> None:
    asked = replace(with_header(SOCKET, b"cookie", None), query=FIRST.query, path=FIRST.path)
    assert status(asked) == 401


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get"])
def test_nothing_is_changed_but_over_the_websocket(method: str) -> None:
    assert status(replace(PAGE, method=method)) == 405


@pytest.mark.parametrize("site", [b"cross-site", b"same-site", b"other"])
def test_another_site_may_lead_here_and_load_nothing(site: bytes) -> None:
    """A page of another port of this machine is of the same site, and is sent the same cookies."""
    led = {b"sec-fetch-site": site, b"sec-fetch-mode": b"navigate", b"sec-fetch-dest": b"document"}
    headers = tuple(led.items())
    assert status(replace(FIRST, headers=(*FIRST.headers, *headers))) == 200
    for other in ((b"sec-fetch-dest", b"iframe"), (b"sec-fetch-mode", b"no-cors"), (b"sec-fetch-mode", b"cors")):
        assert status(replace(PAGE, headers=(*PAGE.headers, *{**led, other[0]: other[1]}.items()))) == 403
    assert status(replace(PAGE, headers=(*PAGE.headers, headers[0]))) == 403


def test_the_first_answer_keeps_the_key_as_a_strict_cookie_and_leads_on_without_it() -> None:
    found = answer(replace(FIRST, query=b"token=s3cret-s3cret-s3cret&case=%22%3E%3Cscript%3E"), HERE)
    assert found is not None
    headers = dict(found.headers)
    assert headers[b"set-cookie"] == b"medres-8501=s3cret-s3cret-s3cret; Path=/f00d; HttpOnly; SameSite=Strict"
    assert headers[b"cache-control"] == b"no-store"
    assert HERE.token.encode() not in found.body
    assert b'url=/f00d/?case=%22%3E%3Cscript%3E"' in found.body


def test_a_key_that_is_given_again_leads_on_as_well() -> None:
    assert status(replace(PAGE, query=b"token=old")) == 200  # the cookie is right, and the address bar is cleared


@given(
    kind=st.sampled_from(["http", "websocket"]),
    path=st.sampled_from(["/", "/f00d/", "/f00d/_stcore/stream", "/f00d/media/x"]) | st.text(max_size=30),
    query=st.binary(max_size=40),
    headers=st.lists(
        st.tuples(
            st.sampled_from([b"host", b"origin", b"cookie", b"sec-fetch-site", b"authorization"]),
            st.sampled_from([HOST[1], ORIGIN[1], b"medres-8501=x", b"same-origin"]) | st.binary(max_size=40),
        ),
        max_size=6,
    ),
)
def test_no_request_without_the_key_passes(
    kind: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    assume(HERE.token.encode() not in query and all(HERE.token.encode() not in value for _, value in headers))
    found = answer(Request("http" if kind == "http" else "websocket", "GET", path, query, headers), HERE)
    assert found is not None and found.status in (401, 403) and found.body == REFUSED.encode()


def test_a_page_of_an_app_that_has_ended_can_show_what_is_missing() -> None:
    asked = with_header(with_header(PAGE, b"cookie", None), b"sec-fetch-dest", b"empty")
    found = answer(asked, HERE)
    assert found is not None and found.status == 401 and json.loads(found.body) == REFUSED


def test_streamlit_never_sees_the_key() -> None:
    assert without_key(PAGE.headers, HERE) == [HOST, (b"cookie", b"a=b")]
    assert without_key([(b"cookie", b"medres-8501=s3cret-s3cret-s3cret")], HERE) == []
    assert without_key([(b"cookie", b"medres-85=1;medres-8501=x")], HERE) == [(b"cookie", b"medres-85=1")]


def test_two_starts_share_neither_key_nor_place() -> None:
    one, other = Address(8501), Address(8501)
    assert one.token != other.token and one.folder != other.folder
    assert len(one.token) >= 43 and one.token not in repr(one)


def test_the_policy_admits_the_page_s_own_scripts_by_their_hashes() -> None:
    said = policy(HERE, "<script>a</script><script src='x'></script><script>\n b\n</script>")
    assert said.count("'sha256-") == 2
    assert "'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs='" in said  # printf a | openssl sha256 -binary | base64
    assert "frame-ancestors 'none'" in said and "connect-src 'self' ws://127.0.0.1:8501;" in said
    scripts = next(part for part in said.split("; ") if part.startswith("script-src"))
    assert "unsafe" not in scripts and "http:" not in said and "*" not in said


def test_what_a_response_says_of_itself_does_not_weaken_what_every_response_says() -> None:
    own = [(b"Content-Security-Policy", b"default-src *"), (b"X-Frame-Options", b"ALLOWALL"), (b"etag", b"1")]
    found = guarded(own, NOTHING)
    assert len({name.lower() for name, _ in found}) == len(found)
    assert dict(found)[b"content-security-policy"] == NOTHING.encode()
    assert dict(found)[b"x-frame-options"] == b"DENY" and dict(found)[b"etag"] == b"1"
