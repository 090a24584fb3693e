"""Hostile HTTP: whatever could be read in two ways is refused and the connection closed, on the fast lane as off it.

The rows are those of the shared reliability notes, section 8, and what else a strict reading of RFC 9112 forbids.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from payonce.gateway import deadlines
from tests.support.gateway import (
    AT_LAST,
    PATH,
    RawUpstream,
    Request,
    RunningGateway,
    answers,
    ask,
    post,
    replies,
    running_gateway,
)

BODY = json.dumps(ask()).encode()
SIZE = len(BODY)
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (SIZE, BODY)
TE = b"Transfer-Encoding: chunked"


@pytest.fixture(scope="module", params=["lane", "story"])
def gateway(request: pytest.FixtureRequest, upstream: RawUpstream) -> Iterator[RunningGateway]:
    options: dict[str, Any] = {"fast_lane": request.param == "lane", "max_body_bytes": 1 << 20}
    with pytest.MonkeyPatch.context() as patch, running_gateway(upstream.base_url, **options) as running:
        patch.setattr(deadlines, "LINGER_SECONDS", AT_LAST)  # who is refused may take its time to finish
        for _ in range(3):
            assert running.post(BODY).status == 200
        yield running


def request(
    gateway: RunningGateway,
    *fields: bytes,
    start: bytes = b"POST " + PATH.encode() + b" HTTP/1.1",
    body: bytes = BODY,
    length: bool = True,
    host: bytes | None = b"",
) -> bytes:
    lines = [start, *([b"Host: " + (host or gateway.host.encode())] if host is not None else [])]
    lines += [b"Content-Type: application/json", b"Authorization: Bearer sk-or-test"]
    lines += [b"Content-Length: %d" % len(body)] if length else []
    return b"\r\n".join([*lines, *fields, b"", b""]) + body


def healthz(gateway: RunningGateway) -> bytes:
    return b"GET /healthz HTTP/1.1\r\nHost: " + gateway.host.encode() + b"\r\n\r\n"


def refused(gateway: RunningGateway, upstream: RawUpstream, data: bytes, status: int = 400) -> None:
    """`data` is answered by that status alone and the connection closed, whatever follows; nothing goes upstream."""
    before = len(upstream.requests)
    with gateway.wire() as wire:
        wire.send(data + healthz(gateway) + request(gateway))
        came = wire.rest()
    assert replies(came) == [status], came
    assert b"connection: close\r\n" in came
    assert b"x-payonce-error: " in came
    assert len(upstream.requests) == before


FRAMINGS = {
    "length and coding": ((b"Content-Length: %d" % SIZE, TE), CHUNKED),
    "coding and length": ((TE, b"Content-Length: 5"), CHUNKED),
    "two equal lengths": ((b"Content-Length: %d" % SIZE,) * 2, BODY),
    "two different lengths": ((b"Content-Length: %d" % SIZE, b"Content-Length: 3"), BODY),
    "a list of lengths": ((b"Content-Length: %d, %d" % (SIZE, SIZE),), BODY),
    "a length with a sign": ((b"Content-Length: +%d" % SIZE,), BODY),
    "a negative length": ((b"Content-Length: -1",), BODY),
    "a length with an underscore": ((b"Content-Length: 3_0",), BODY),
    "a hexadecimal length": ((b"Content-Length: 0x10",), BODY),
    "an empty length": ((b"Content-Length: ",), BODY),
    "an endless length": ((b"Content-Length: " + b"9" * 400,), BODY),
    "an unknown coding": ((b"Transfer-Encoding: xchunked",), CHUNKED),
    "no coding": ((b"Transfer-Encoding: identity",), CHUNKED),
    "chunked not last": ((b"Transfer-Encoding: chunked, identity",), CHUNKED),
    "chunked twice in a list": ((b"Transfer-Encoding: chunked, chunked",), CHUNKED),
    "chunked twice": ((TE, TE), CHUNKED),
    "compressed and chunked": ((b"Transfer-Encoding: gzip, chunked",), CHUNKED),
    "a coding after a control": ((b"Transfer-Encoding: \x0bchunked",), CHUNKED),
    "a chunk that is no number": ((TE,), b"zz\r\n" + BODY),
    "a chunk of negative size": ((TE,), b"-1\r\n" + BODY),
    "a chunk too large to count": ((TE,), b"f" * 18 + b"\r\n" + BODY),
    "a chunk line ended by LF": ((TE,), b"%x\n%s\r\n0\r\n\r\n" % (SIZE, BODY)),
    "a chunk without its end": ((TE,), b"%x\r\n%sXX0\r\n\r\n" % (SIZE, BODY)),
    "an extension with LF": ((TE,), b"%x;a\nb\r\n%s\r\n0\r\n\r\n" % (SIZE, BODY)),
    "a trailer that is a length": ((TE,), b"%x\r\n%s\r\n0\r\nContent-Length: 3\r\n\r\n" % (SIZE, BODY)),
    "a trailer that is a coding": ((TE,), b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (SIZE, BODY, TE)),
}


@pytest.mark.parametrize("case", FRAMINGS)
def test_a_body_that_could_be_framed_in_two_ways_is_refused(
    gateway: RunningGateway, upstream: RawUpstream, case: str
) -> None:
    fields, body = FRAMINGS[case]
    refused(gateway, upstream, request(gateway, *fields, body=body, length=False))


def test_http_1_0_knows_no_transfer_coding(gateway: RunningGateway, upstream: RawUpstream) -> None:
    start = b"POST " + PATH.encode() + b" HTTP/1.0"
    refused(gateway, upstream, request(gateway, TE, start=start, body=CHUNKED, length=False))


LINES = {
    "a folded line": b"X-A: b\r\n c",
    "a bare LF": b"X-A: b\nX-B: c",
    "a bare CR": b"X-A: b\rX-B: c",
    "a NUL in a value": b"X-A: b\0c",
    "a control in a value": b"X-A: b\x01c",
    "a DEL in a value": b"X-A: b\x7fc",
    "a NUL in a name": b"X\0A: b",
    "a space before the colon": b"X-A : b",
    "a space in a name": b"X A: b",
    "no colon": b"X-A",
    "no name": b": b",
    "a name with a bracket": b"X(A: b",
}


@pytest.mark.parametrize("case", LINES)
def test_a_malformed_header_line_is_refused(gateway: RunningGateway, upstream: RawUpstream, case: str) -> None:
    refused(gateway, upstream, request(gateway, LINES[case]))


def test_a_head_with_lf_line_ends_is_refused(gateway: RunningGateway, upstream: RawUpstream) -> None:
    refused(gateway, upstream, request(gateway).replace(b"\r\n", b"\n"))


HOSTS = (
    *(b"x/y?z", b"a@b", b"x#", b"x y", b"[::1", b"::1", b"localhost:", b"localhost:abc", b"localhost:999999"),
    *(b"localhost, x", b"localhost\xc3\xa9", b"%6cocalhost", b"localhost\\", b"a" * 300),
)


@pytest.mark.parametrize("host", HOSTS)
def test_a_malformed_host_is_refused(gateway: RunningGateway, upstream: RawUpstream, host: bytes) -> None:
    refused(gateway, upstream, request(gateway, host=host))


def test_exactly_one_host_is_asked_for(gateway: RunningGateway, upstream: RawUpstream) -> None:
    refused(gateway, upstream, request(gateway, host=None))
    refused(gateway, upstream, request(gateway, b"Host: ", host=None))
    refused(gateway, upstream, request(gateway, b"Host: " + gateway.host.encode()))
    refused(gateway, upstream, request(gateway, host=None, start=b"POST " + PATH.encode() + b" HTTP/1.0"))


STARTS = (
    b"POST http://127.0.0.1" + PATH.encode() + b" HTTP/1.1",
    b"OPTIONS * HTTP/1.1",
    b"CONNECT 127.0.0.1:80 HTTP/1.1",
    b"CONNECT " + PATH.encode() + b" HTTP/1.1",
    b"POST " + PATH.encode() + b"\xc3\xa9 HTTP/1.1",
    b"POST " + PATH.encode() + b"#x HTTP/1.1",
    b"POST " + PATH[1:].encode() + b" HTTP/1.1",
    b"POST ?" + PATH.encode() + b" HTTP/1.1",
    b"POST\t" + PATH.encode() + b" HTTP/1.1",
    b"POST " + PATH.encode(),
    b"POST " + PATH.encode() + b" HTTP/0.9",
    b"POST " + PATH.encode() + b" HTTP/1.2",
    b"POST " + PATH.encode() + b" HTTP/2.0",
    b"POST " + PATH.encode() + b" http/1.1",
    b"POST " + PATH.encode() + b" HTTP/1.1 x",
    b"post " + PATH.encode() + b" HTTP/1.1",
    b"PRI * HTTP/2.0",
    b"\x16\x03\x01\x02\x00\x01",
)


@pytest.mark.parametrize("start", STARTS)
def test_a_malformed_or_proxy_like_request_line_is_refused(
    gateway: RunningGateway, upstream: RawUpstream, start: bytes
) -> None:
    refused(gateway, upstream, request(gateway, start=start))
    refused(gateway, upstream, request(gateway, start=start, body=b"", length=False))


def test_large_heads_are_refused(gateway: RunningGateway, upstream: RawUpstream) -> None:
    path = PATH.encode()
    refused(gateway, upstream, request(gateway, b"X-A: " + b"a" * (64 << 10)), 431)
    refused(gateway, upstream, request(gateway, b"X-A: " + b"a" * (1 << 20)), 431)
    refused(gateway, upstream, request(gateway, *(b"X-%d: a" % n for n in range(1000))), 431)
    refused(gateway, upstream, request(gateway, *(b"X: a" for n in range(129))), 431)
    refused(gateway, upstream, request(gateway, start=b"POST " + path + b"?" + b"a" * 8192 + b" HTTP/1.1"), 431)
    refused(gateway, upstream, request(gateway, start=b"POST " + path + b"?" + b"a" * (1 << 20) + b" HTTP/1.1"), 431)


def test_heads_within_the_limits_pass(gateway: RunningGateway) -> None:
    start = b"POST " + PATH.encode() + b"?" + b"a" * 8000 + b" HTTP/1.1"
    with gateway.wire() as wire:
        for data in (
            request(gateway, *(b"X-%d: a" % n for n in range(120))),
            request(gateway, b"User-Agent: " + b"a" * 60_000),
            request(gateway, start=start),
        ):
            wire.send(data)
            assert wire.reply().status == 200


def test_what_is_written_beside_a_body_is_bounded(gateway: RunningGateway, upstream: RawUpstream) -> None:
    trailers = b"X-A: %s\r\n" % (b"a" * 90) * 20_000
    for body in (
        b"%x\r\n%s\r\n0\r\n%s\r\n" % (SIZE, BODY, trailers),
        b"%x\r\n%s\r\n0\r\nX-A: %s\r\n\r\n" % (SIZE, BODY, b"a" * 2_000_000),
        b"%x;%s\r\n%s\r\n0\r\n\r\n" % (SIZE, b"a" * 2_000_000, BODY),
    ):
        with gateway.wire() as wire:
            wire.send(request(gateway, TE, length=False, body=b""))
            wire.send(body)
            assert replies(wire.rest()) == [431]


def test_a_body_past_the_limit_is_told_so_even_while_it_is_still_being_sent(gateway: RunningGateway) -> None:
    big = b"x" * (8 << 20)
    for data in (
        request(gateway, body=big),
        request(gateway, TE, length=False, body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(big), big)),
    ):
        with gateway.wire() as wire:
            wire.send(data + healthz(gateway))
            came = wire.rest()
            assert replies(came) == [413]
            assert b"(at most 1048576 bytes); send less" in came
    announced = request(gateway, b"Content-Length: 99999999999", b"Expect: 100-continue", body=b"", length=False)
    assert replies(gateway.talk(announced)) == [413]
    shaped = request(gateway, body=big, start=b"POST /api/v1/messages HTTP/1.1")
    assert b'{"type":"error","error":{"type":' in gateway.talk(shaped)


def test_trailers_are_no_headers(gateway: RunningGateway, upstream: RawUpstream) -> None:
    text = json.dumps(ask("trailers")).encode()
    trailers = b"Host: evil.example\r\nAuthorization: Bearer other\r\nX-OpenRouter-Cache: false\r\n"
    body = b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(text), text, trailers)
    with gateway.wire() as wire:
        wire.send(request(gateway, TE, length=False, body=body))
        assert wire.reply()["cache-status"] == "payonce; fwd=miss; stored"
    assert upstream.requests[-1]["authorization"] == "Bearer sk-or-test"
    assert upstream.requests[-1].body == text


def test_a_chunked_body_is_the_same_request_as_a_plain_one(gateway: RunningGateway) -> None:
    with gateway.wire() as wire:
        wire.send(request(gateway, TE, length=False, body=CHUNKED))
        assert wire.reply().hit
        wire.send(
            request(
                gateway,
                b"Transfer-Encoding: Chunked",
                length=False,
                body=b"".join(b"1;ext=1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n",
            )
        )
        assert wire.reply().hit


def test_an_upgrade_is_declined_and_the_body_kept(gateway: RunningGateway, upstream: RawUpstream) -> None:
    """As Java's client does by itself: it wishes for h2c with its first POST."""
    h2c = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__")
    for n, (fields, framed) in enumerate(((b"X-Plain: 1", False), (TE, True))):
        text = json.dumps(ask(f"upgrade {n}")).encode()
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text) if framed else text
        whole = request(gateway, *h2c, fields, length=not framed, body=body)
        for pieces in ((whole,), (whole[:-5], whole[-5:])):
            with gateway.wire() as wire:
                for piece in pieces:
                    wire.send(piece)
                    assert wire.sock.getpeername()
                assert wire.reply().status == 200
                wire.send(healthz(gateway))
                assert wire.reply().body == b'{"status":"ok"}'
        assert upstream.requests[-1].body == text
        assert not upstream.requests[-1].names & {"upgrade", "http2-settings", "connection"}


def test_the_body_of_an_upgrade_is_never_read_as_a_request(gateway: RunningGateway, upstream: RawUpstream) -> None:
    hidden = b"GET /readyz HTTP/1.1\r\nHost: " + gateway.host.encode() + b"\r\n\r\n"
    with gateway.wire() as wire:
        wire.send(request(gateway, b"Connection: Upgrade", b"Upgrade: h2c", body=hidden))
        assert wire.reply()["cache-status"] == "payonce; fwd=bypass; detail=bad-json"
        assert upstream.requests[-1].body == hidden
        wire.send(healthz(gateway) + healthz(gateway))
        assert [wire.reply().body for _ in range(2)] == [b'{"status":"ok"}'] * 2


def test_an_upgrade_does_not_undo_a_close_nor_hide_a_named_field(
    gateway: RunningGateway, upstream: RawUpstream
) -> None:
    fields = (b"Connection: Upgrade, close, X-Mine", b"Upgrade: websocket", b"X-Mine: 1")
    data = request(gateway, *fields, body=json.dumps(ask("upgrade and close")).encode())
    assert replies(gateway.talk(data + healthz(gateway))) == [200]
    assert "x-mine" not in upstream.requests[-1].names


def test_many_upgrades_in_one_write_are_many_requests(gateway: RunningGateway) -> None:
    data = b"GET /healthz HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" % gateway.host.encode()
    with gateway.wire() as wire:
        wire.send(data * 500)
        assert {wire.reply().status for _ in range(500)} == {200}


def test_100_continue_is_said_once_and_never_to_http_1_0(gateway: RunningGateway) -> None:
    data = request(gateway, b"Expect: 100-continue", b"Connection: close")
    with gateway.wire() as wire:
        wire.send(data[:-SIZE])
        assert wire.line() == b"HTTP/1.1 100 Continue"
        assert wire.line() == b""
        wire.send(BODY)
        assert wire.reply().hit
        assert wire.closed()
    old = request(gateway, b"Expect: 100-continue", start=b"POST " + PATH.encode() + b" HTTP/1.0")
    assert replies(gateway.talk(old)) == [200]


def test_pipelined_requests_are_answered_in_order(gateway: RunningGateway) -> None:
    cold = [post(ask(f"cold {n}"), PATH, gateway.host) for n in range(3)]
    hit, health, missing = request(gateway), healthz(gateway), request(gateway, start=b"POST /nowhere HTTP/1.1")
    data = [cold[0], hit, health, cold[1], missing, hit, cold[2], hit, hit, health]
    for _ in range(2):
        for cut in (0, 7, len(cold[0]) + 20):
            with gateway.wire() as wire:
                joined = b"".join(data)
                wire.send(joined[:cut])
                wire.send(joined[cut:])
                found = [wire.reply() for _ in data]
                assert [reply.status for reply in found] == [200, 200, 200, 200, 404, 200, 200, 200, 200, 200]
                assert found[2].body == found[9].body == b'{"status":"ok"}'


def test_nothing_is_answered_after_an_error_in_a_pipeline(gateway: RunningGateway, upstream: RawUpstream) -> None:
    bad = request(gateway, b"X-A : b")
    came = gateway.talk(request(gateway) + bad + healthz(gateway))
    assert replies(came) in ([200, 400], [200], [])  # whatever was answered was answered in order
    with gateway.wire() as wire:
        wire.send(request(gateway))
        assert wire.reply().hit
        wire.send(bad + healthz(gateway))
        assert replies(wire.rest()) == [400]


def test_an_error_is_never_taken_for_the_answer_to_an_earlier_request(
    gateway: RunningGateway, upstream: RawUpstream
) -> None:
    """While the first answer is owed, the second request's error can't be written: it would be read as the first's."""
    arrived, go = threading.Event(), threading.Event()

    def slowly(conn: socket.socket, request: Request) -> None:
        arrived.set()
        go.wait(AT_LAST)
        answers()(conn, request)

    upstream.behave = slowly
    bad_chunk = request(gateway, TE, length=False, body=b"zz\r\n")
    try:
        for n, tail in enumerate((b"BAD\r\n\r\n", request(gateway, b"X-A : b"), request(gateway, TE), bad_chunk)):
            arrived.clear()
            with gateway.wire() as wire:
                wire.send(post(ask(f"first, and slow {n}"), PATH, gateway.host))
                assert arrived.wait(AT_LAST)
                wire.send(tail)
                assert wire.rest() == b""
    finally:
        go.set()
        upstream.behave = answers()


def test_a_request_after_connection_close_is_never_answered(gateway: RunningGateway) -> None:
    for data in (
        request(gateway, b"Connection: close") + healthz(gateway),
        request(gateway, b"Connection: close", start=b"GET /healthz HTTP/1.1") + healthz(gateway) + request(gateway),
        request(gateway, start=b"POST " + PATH.encode() + b" HTTP/1.0") + healthz(gateway),
        request(gateway, b"Connection: keep-alive", start=b"POST " + PATH.encode() + b" HTTP/1.0") + healthz(gateway),
    ):
        assert replies(gateway.talk(data)) == [200]


def test_an_early_answer_does_not_shift_the_next_request(gateway: RunningGateway, upstream: RawUpstream) -> None:
    """Refused before its body was read: what is left of the body is still a body."""
    hidden = healthz(gateway) * 3
    for data, status in (
        (request(gateway, start=b"POST /nowhere HTTP/1.1", body=hidden), 404),
        (request(gateway, host=b"evil.example", body=hidden), 421),
        (request(gateway, b"Origin: https://evil.example", body=hidden), 403),
    ):
        before = len(upstream.requests)
        with gateway.wire() as wire:
            wire.send(data[: -len(hidden)])
            if gateway.gateway.settings.fast_lane:  # there, the body is read first
                wire.send(hidden)
                assert wire.reply().status == status
            else:
                assert wire.reply().status == status
                wire.send(hidden)
            wire.send(request(gateway))
            assert wire.reply().hit
            wire.sock.settimeout(0.05)
            with pytest.raises(TimeoutError):
                wire.more()
        assert len(upstream.requests) == before


def test_every_split_in_two_gives_the_same_answer(gateway: RunningGateway, upstream: RawUpstream) -> None:
    before = len(upstream.requests)
    data = request(gateway)
    with gateway.wire() as wire:
        wire.send(data)
        expected = wire.reply()
        assert expected.hit
        for cut in range(1, len(data)):
            wire.send(data[:cut])
            wire.send(data[cut:])
            reply = wire.reply()
            assert (reply.status, reply.settled(), reply.body) == (200, expected.settled(), expected.body), cut
    assert len(upstream.requests) == before


def test_a_request_and_part_of_the_next_in_one_write(gateway: RunningGateway) -> None:
    data = request(gateway)
    with gateway.wire() as wire:
        for cut in range(1, len(data), 7):
            wire.send(data + data[:cut])
            assert wire.reply().hit
            wire.send(data[cut:] + data)
            assert wire.reply().hit
            assert wire.reply().hit
        for between in (b"\r\n", b"\r", b"\n"):
            wire.send(data + between)
            assert wire.reply().hit
            wire.send(data)
            assert wire.reply().hit


def test_a_large_body_before_the_next_head_does_not_count_as_head(gateway: RunningGateway) -> None:
    big = post(ask("x" * 200_000), PATH, gateway.host)
    data = request(gateway)
    with gateway.wire() as wire:
        for _ in range(3):
            wire.send(big + data[:40])
            assert wire.reply().status == 200
            wire.send(data[40:])
            assert wire.reply().hit


def test_a_client_that_leaves_anywhere_leaves_nothing_behind(gateway: RunningGateway) -> None:
    data = request(gateway)
    for cut in (1, 20, len(data) - SIZE, len(data) - 1, len(data)):
        with gateway.wire() as wire:
            wire.send(data[:cut])
        with gateway.wire() as wire:
            wire.send(data[:cut])
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert gateway.until(lambda: not gateway.gateway.connections)
    assert gateway.post(BODY).hit
