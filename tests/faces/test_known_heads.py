"""Heads that are known are not parsed again, and nobody can tell from the answers."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payonce.core.fields import is_inert
from payonce.gateway.arrival import Phase
from payonce.gateway.deadlines import sweep
from payonce.gateway.fastlane import LANE_BODY_BYTES, GatewayProtocol
from payonce.gateway.heads import (
    IDS,
    LOOK_AGAIN,
    MOST_HEAD_BYTES,
    MOST_HEADS,
    MOST_HOLES,
    MOST_ID_BYTES,
    MOST_STRANGE,
    Found,
    HeadName,
    Heads,
    KnownHead,
    body_at,
    named,
    worth_a_look,
)
from payonce.gateway.routes import Route
from payonce.gateway.shelf import told_by
from tests.support.gateway import (
    PATH,
    RawUpstream,
    Request,
    RunningGateway,
    Wire,
    ask,
    good,
    good_stream,
    post,
    raw_upstream,
    running_gateway,
    whole,
)

HEAD = b"POST %b HTTP/1.1\r\nHost: %b\r\nContent-Length: %d\r\nAuthorization: Bearer k\r\n%b\r\n"
JSON = b"Content-Type: application/json\r\n"


def echo(conn: socket.socket, request: Request) -> None:
    """An answer, or a stream, that shows what was asked."""
    body, asked = good(f"{request.line} {request.body.decode()}"), b'"stream": true' in request.body
    events = b"".join(good_stream(request.body.decode()))
    conn.sendall(whole(events, kind="text/event-stream") if asked else whole(body))


@pytest.fixture(scope="module")
def upstream() -> Iterator[RawUpstream]:
    with raw_upstream(echo) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: RawUpstream) -> Iterator[RunningGateway]:
    with running_gateway(upstream.base_url) as running:
        yield running


@pytest.fixture(scope="module")
def parsing(upstream: RawUpstream) -> Iterator[RunningGateway]:
    """One that knows no head: its parser reads everything."""
    with running_gateway(upstream.base_url) as running:
        running.gateway.heads.keep = lambda *_: False  # type: ignore[method-assign]
        yield running


def request(text: str, more: bytes = JSON, path: str = PATH, **said: Any) -> bytes:
    body = json.dumps(ask(text, **said)).encode()
    return HEAD % (path.encode(), b"127.0.0.1", len(body), more) + body


REQUESTS: Sequence[bytes] = (
    *(request(f"text {number}") for number in range(4)),
    request("a stream", stream=True),
    request("another length of body, with digits more " * 30),
    request("another head", JSON + b"X-Payonce-Namespace: n\r\n"),
    *(request("an id", JSON + b"X-Request-Id: %d\r\nTraceParent: 00-%d\r\n" % (7**n, n)) for n in range(4)),
    request("an id", JSON + b"X-Request-Id: \r\nTraceParent: 00-7\r\n"),
    *(request("an id").replace(b"Content", b"B3: %d\r\nContent" % n, 1) for n in range(3)),
    request("an id", JSON + b"X-Request-Id: a b\r\nTraceParent: 00-7\r\n"),
    request("no cache", JSON + b"Cache-Control: no-cache\r\n"),
    request("another type", b"Content-Type: text/plain\r\n"),
    request("bad directive", JSON + b"X-OpenRouter-Cache-TTL: soon\r\n"),
    request("another path", path="/api/v1/nothing"),
    request("not a cached one", path="/api/v1/models"),
    HEAD % (PATH.encode(), b"127.0.0.1", 2, JSON) + b"{}",
    HEAD % (PATH.encode(), b"127.0.0.1", 0, JSON),
    HEAD % (PATH.encode(), b"other.host", 2, JSON) + b"{}",
    b"GET /api/v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"POST "
    + PATH.encode()
    + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
)


def connection(gateway: RunningGateway, wire: Wire) -> GatewayProtocol:
    """The gateway's end of `wire`."""
    mine = wire.sock.getsockname()

    def found() -> list[GatewayProtocol]:
        each = [one for one in gateway.gateway.connections if one.client == mine]
        return [one for one in each if isinstance(one, GatewayProtocol)]

    assert gateway.until(lambda: bool(found()))
    return found()[0]


def told(gateway: RunningGateway, pieces: Sequence[bytes], count: int) -> list[tuple[int, bytes]]:
    """What a connection answers that reads these pieces."""
    with gateway.wire() as wire:
        protocol = connection(gateway, wire)
        read(gateway, protocol, *pieces)
        replies = [wire.reply() for _ in range(count)]
        return [(reply.status, reply.body) for reply in replies]


def read(gateway: RunningGateway, protocol: GatewayProtocol, *pieces: bytes) -> list[int]:
    """Each piece is one read of the connection; how many requests wait for their turn after each."""

    def one(piece: bytes) -> int:
        protocol.data_received(piece)
        return len(protocol.pipeline)

    return [gateway.run(partial(one, piece)) for piece in pieces]


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    marks = [0, *sorted({place % len(data) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(marks) if end > start]


@settings(max_examples=150, deadline=None)
@given(
    chosen=st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 1 << 20), max_size=12),
    at_ends=st.booleans(),
)
def test_whatever_comes_in_whatever_pieces_is_answered_as_by_the_parser(
    gateway: RunningGateway, parsing: RunningGateway, chosen: list[bytes], cuts: list[int], at_ends: bool
) -> None:
    pieces = [piece for one in chosen for piece in cut(one, cuts)] if at_ends else cut(b"".join(chosen), cuts)
    assert told(gateway, pieces, len(chosen)) == told(parsing, pieces, len(chosen))


@pytest.mark.parametrize("apart", [False, True], ids=["in one read", "head and body apart"])
def test_a_head_is_parsed_once_for_all_connections(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    more = JSON + b"X-Title: %d\r\n" % apart
    parsed: list[bytes] = []
    for turn in range(3):
        with gateway.wire() as wire:
            protocol = connection(gateway, wire)
            monkeypatch.setattr(protocol, "_feed", lambda data, feed=protocol._feed: (parsed.append(data), feed(data)))
            for number in range(3):
                data = request(f"once {turn} {number}" + "!" * 50 * number, more)
                split = data.index(b"\r\n\r\n") + 4
                read(gateway, protocol, *((data[:split], data[split:]) if apart else (data,)))
                assert wire.reply().status == 200
    assert sum(piece.startswith(b"POST") for piece in parsed) == 1, "only the very first"


@pytest.mark.parametrize("more", [JSON, JSON + b"x-request-id: 1a\r\nTraceparent: 00-2b\r\n"], ids=["plain", "ids"])
def test_bytes_that_are_not_those_of_a_known_head_are_parsed(more: bytes) -> None:
    data = request("one", more)
    if b"-id" in more:  # on either side of the length
        data = data.replace(b"Content-Length", b"B3: 0a\r\nSentry-Trace: 1-2\r\nContent-Length", 1)
    found = named(data)
    assert found is not None
    name, end = found.name, data.index(b"\r\n\r\n") + 4
    assert (body_at(name, data), found.body, found.length) == (end, end, len(data) - end)
    others = 0
    for place in range(end):
        for other in (b"x", b" ", b"\r", b"\n", b"9", b"\0", b"\xe4", b"", b"\r\n"):
            changed = data[:place] + other + data[place + 1 :]
            again, start = named(changed), body_at(name, changed)
            if start:
                assert again == Found(name, len(data) - end, start), changed
                others += changed != data
            else:
                assert again is None or again.name != name or again.length != len(changed) - again.body, changed
    assert bool(others) is (b"-id" in more), "another id is still the same head"


def test_only_what_is_nothing_to_the_cache_may_be_another_in_a_known_head() -> None:
    assert all(is_inert(field) for field in IDS)
    empty = told_by(b"/", ())
    assert all(told_by(b"/", ((field, b"1"),)) == empty for field in IDS)


def test_ids_that_are_long_or_many_are_part_of_a_name_or_make_none() -> None:
    def name(*ids: bytes) -> HeadName | None:
        found = named(request("one", b"".join(b"X-Request-Id: %b\r\n" % one for one in ids)))
        return None if found is None else found.name

    assert name(b"1") == name(b"2") == name(b"x" * MOST_ID_BYTES) != name(b"1", b"2")
    assert name(b"x" * (MOST_ID_BYTES + 1)) != name(b"y" * (MOST_ID_BYTES + 1))
    assert name(*[b"1"] * (MOST_HOLES - 1)) is not None
    assert name(*[b"1"] * MOST_HOLES) is None
    assert named(request("one", b"Content-Length: 4\r\n")) is None


@pytest.mark.parametrize("bad", [b"a\0b", b"a\rb", b"a\nb", b"7\r\nContent-Length: 5", b"7\r\nHost: h", b"7\r\n x"])
def test_what_no_head_may_hold_is_refused_behind_one_that_is_known_but_for_its_id(
    gateway: RunningGateway, bad: bytes
) -> None:
    with gateway.wire() as wire:
        protocol = connection(gateway, wire)
        for value in (b"1", b"2", b"3"):
            read(gateway, protocol, request("bad ids", JSON + b"X-Request-Id: %b\r\n" % value))
            assert wire.reply().status == 200
        assert protocol._last is not None
        assert protocol._last[1].varies
        read(gateway, protocol, request("bad ids", JSON + b"X-Request-Id: %b\r\n" % bad))
        assert wire.reply().status == 400
        assert wire.closed()


@pytest.mark.parametrize("apart", [False, True], ids=["in one read", "head and body apart"])
def test_behind_a_head_that_is_known_but_for_its_id_each_request_says_its_own_upstream(apart: bool) -> None:
    def shown(conn: socket.socket, request: Request) -> None:
        conn.sendall(whole(good(str(request["x-request-id"]))))

    with raw_upstream(shown) as upstream, running_gateway(upstream.base_url) as gateway, gateway.wire() as wire:
        protocol = connection(gateway, wire)
        for number in range(20):
            text = f"text {number // 2}"
            data = request(text, JSON + b"X-Request-Id: id%d\r\n" % number)
            split = data.index(b"\r\n\r\n") + 4
            read(gateway, protocol, *((data[:split], data[split:]) if apart else (data,)))
            reply = wire.reply()
            assert (reply.status, reply.hit) == (200, bool(number % 2))
            assert b"id%d" % (number // 2 * 2) in reply.body, "it was this request that went upstream"


@pytest.mark.parametrize("apart", [False, True], ids=["in one read", "head and body apart"])
def test_hits_under_another_id_each_time_are_not_parsed(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    parsed: list[bytes] = []
    with gateway.wire() as wire:
        protocol = connection(gateway, wire)
        monkeypatch.setattr(protocol, "_feed", lambda data, feed=protocol._feed: (parsed.append(data), feed(data)))
        for number in range(3 * LOOK_AGAIN):
            data = request(f"ids {apart}", JSON + b"traceparent: 00-%032x-01\r\n" % number)
            split = data.index(b"\r\n\r\n") + 4
            read(gateway, protocol, *((data[:split], data[split:]) if apart else (data,)))
            assert wire.reply().hit == bool(number)
    assert sum(piece.startswith(b"POST") for piece in parsed) <= 2, "the first, and the hit that put it on the shelf"


@pytest.mark.parametrize("said", [b"+5", b"5 ", b" 5", b"0x5", b"5,5", b"", b"1_0", b"\xb2", b"0000005"])
def test_a_length_that_is_no_plain_number_makes_no_known_head(said: bytes) -> None:
    data = b"POST / HTTP/1.1\r\nContent-Length: %b\r\nHost: h\r\n\r\n12345" % said
    good = named(b"POST / HTTP/1.1\r\nContent-Length: 5\r\nHost: h\r\n\r\n12345")
    assert named(data) is None
    assert good is not None
    assert body_at(good[0], data) == 0


def test_a_body_that_stops_coming_behind_a_known_head_is_turned_away(gateway: RunningGateway) -> None:
    data = request("slow")
    with gateway.wire() as wire:
        wire.send(data)
        assert wire.reply().status == 200
        protocol = connection(gateway, wire)
        read(gateway, protocol, data[:-5])
        assert (protocol.phase, protocol._coming is not None) == (Phase.BODY, True)
        late = gateway.gateway.settings.body_timeout + 1
        assert gateway.run(lambda: sweep([protocol], gateway.gateway.settings, protocol.since + late)) == 1
        reply = wire.reply()
        assert (reply.status, reply.error) == (408, "body-slow")
        read(gateway, protocol, data[-5:])
        assert wire.closed()


def test_a_stop_while_a_body_comes_behind_a_known_head_still_answers_it(upstream: RawUpstream) -> None:
    data = request("last")
    with running_gateway(upstream.base_url) as gateway, gateway.wire() as wire:
        for _ in range(3):
            wire.send(data)
            assert wire.reply().status == 200
        protocol = connection(gateway, wire)
        read(gateway, protocol, data[:-5])
        gateway.run(protocol.shutdown)
        read(gateway, protocol, data[-5:])
        reply = wire.reply()
        assert (reply.status, reply["connection"]) == (200, "close")
        assert wire.closed()


def test_what_is_known_is_bounded(gateway: RunningGateway) -> None:
    heads = Heads()
    one = KnownHead(b"/", Route("", "chat/completions", cached=True), (), b"")
    for number in range(2 * MOST_HEADS):
        heads.keep(HeadName((), b"%d" % number, (), b""), one)
    assert len(heads) == MOST_HEADS
    assert heads.find(HeadName((), b"0", (), b"")) is None
    assert heads.find(HeadName((), b"%d" % (2 * MOST_HEADS - 1), (), b"")) is one
    assert not heads.keep(HeadName((), b"x" * MOST_HEAD_BYTES, (), b"y"), one)
    assert len(heads) == MOST_HEADS
    with gateway.wire() as wire:
        for size in (LANE_BODY_BYTES - 500, LANE_BODY_BYTES + 500, LANE_BODY_BYTES - 500):
            wire.send(post(ask("x" * size), PATH, gateway.host))
            assert wire.reply().status == 200


@pytest.mark.parametrize("apart", [False, True], ids=["in one read", "head and body apart"])
def test_a_body_that_is_too_large_is_refused_behind_a_known_head_too(upstream: RawUpstream, apart: bool) -> None:
    small, large = request("small"), request("large " * 1000)
    with running_gateway(upstream.base_url, max_body_bytes=2000) as gateway, gateway.wire() as wire:
        for _ in range(3):
            wire.send(small)
            assert wire.reply().status == 200
        split = large.index(b"\r\n\r\n") + 4
        read(gateway, connection(gateway, wire), *((large[:split], large[split:]) if apart else (large,)))
        reply = wire.reply()
        assert (reply.status, reply.error) == (413, "body-too-large")


def test_strange_heads_are_looked_up_now_and_then() -> None:
    looks = [number for number in range(1, 10 * LOOK_AGAIN) if worth_a_look(number)]
    assert looks[: MOST_STRANGE - 1] == list(range(1, MOST_STRANGE))
    assert looks[MOST_STRANGE - 1 :] == list(range(LOOK_AGAIN, 10 * LOOK_AGAIN, LOOK_AGAIN))


def test_a_client_that_says_something_else_each_time_is_served_as_before(gateway: RunningGateway) -> None:
    with gateway.wire() as wire:
        for number in range(3 * LOOK_AGAIN):
            wire.send(post(ask("ids"), PATH, gateway.host, {"X-Title": str(number)}))
            assert wire.reply().status == 200
        assert connection(gateway, wire)._strange >= LOOK_AGAIN
        again = post(ask("ids"), PATH, gateway.host)
        for _ in range(LOOK_AGAIN + 1):
            wire.send(again)
            assert wire.reply().hit
        assert connection(gateway, wire)._last is not None
        assert connection(gateway, wire)._strange == 0, "one that settles down is known again"
