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

from payonce.gateway.arrival import Phase
from payonce.gateway.deadlines import sweep
from payonce.gateway.fastlane import LANE_BODY_BYTES, GatewayProtocol
from payonce.gateway.heads import (
    LOOK_AGAIN,
    MOST_HEAD_BYTES,
    MOST_HEADS,
    MOST_STRANGE,
    Heads,
    KnownHead,
    body_at,
    named,
    worth_a_look,
)
from payonce.gateway.routes import Route
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


def read(gateway: RunningGateway, protocol: GatewayProtocol, *pieces: bytes) -> None:
    """Each piece is one read of the connection."""
    for piece in pieces:
        gateway.run(partial(protocol.data_received, piece))


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


def test_bytes_that_are_not_those_of_a_known_head_are_parsed() -> None:
    data = request("one")
    found = named(data)
    assert found is not None
    name, parts = found
    end = data.index(b"\r\n\r\n") + 4
    start = body_at(name, data)
    assert data[start:] == parts.behind == data[end:]
    for place in range(end):
        for other in (b"x", b" ", b"\r", b"9", b""):
            changed = data[:place] + other + data[place + 1 :]
            if changed != data:
                again = named(changed)
                whole = again is not None and len(again[1].behind) == again[1].length
                assert not (body_at(name, changed) and (again is None or again[0] != name or not whole)), changed
                if body_at(name, changed):
                    assert int(changed[len(name[0]) : changed.index(b"\r", len(name[0]))]) == len(parts.behind)


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
        heads.keep((b"%d" % number, b""), one)
    assert len(heads) == MOST_HEADS
    assert heads.find((b"0", b"")) is None
    assert heads.find((b"%d" % (2 * MOST_HEADS - 1), b"")) is one
    assert not heads.keep((b"x" * MOST_HEAD_BYTES, b"y"), one)
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


def test_a_client_that_says_another_request_id_each_time_is_served_as_before(gateway: RunningGateway) -> None:
    with gateway.wire() as wire:
        for number in range(3 * LOOK_AGAIN):
            wire.send(post(ask("ids"), PATH, gateway.host, {"X-Request-Id": str(number)}))
            assert wire.reply().status == 200
        assert connection(gateway, wire)._strange >= LOOK_AGAIN
        again = post(ask("ids"), PATH, gateway.host)
        for _ in range(LOOK_AGAIN + 1):
            wire.send(again)
            assert wire.reply().hit
        assert connection(gateway, wire)._last is not None
        assert connection(gateway, wire)._strange == 0, "one that settles down is known again"
