"""Requests that are sent before the answers to earlier ones: a bounded number waits, and none is taken for another."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from payonce.gateway.arrival import Phase
from payonce.gateway.deadlines import sweep
from payonce.gateway.fastlane import GatewayProtocol
from payonce.gateway.flow import MOST_PIPELINED, SLICE_BYTES
from payonce.gateway.shelf import _digested
from tests.faces.test_known_heads import connection, read
from tests.support.gateway import (
    AT_LAST,
    PATH,
    Behaviour,
    RawUpstream,
    Request,
    RunningGateway,
    Wire,
    answers,
    ask,
    good,
    post,
    raw_upstream,
    running_gateway,
    until,
    whole,
)

GET = b"GET /api/v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
MOST = MOST_PIPELINED + SLICE_BYTES // len(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


@pytest.fixture(scope="module")
def gateway(upstream: RawUpstream) -> Iterator[RunningGateway]:
    with running_gateway(upstream.base_url) as running:
        yield running


def shows(conn: socket.socket, request: Request) -> None:
    """An answer that shows by whom it was asked for, and what."""
    conn.sendall(whole(good(f"{request.line} by {request['authorization']}: {request.body.decode()}")))


@pytest.mark.parametrize("pieces", [1, 7], ids=["one read", "some reads"])
def test_any_number_of_requests_is_answered_and_only_so_many_wait(
    gateway: RunningGateway, upstream: RawUpstream, pieces: int
) -> None:
    upstream.behave = answers()
    asked = [post(ask(f"turn {number % 5}"), PATH, gateway.host) if number % 3 else GET for number in range(1000)]
    data = b"".join(asked)
    waiting: list[int] = []
    with gateway.wire() as wire:
        protocol = connection(gateway, wire)
        size = len(data) // pieces + 1
        for start in range(0, len(data), size):
            waiting += read(gateway, protocol, data[start : start + size])
        for number, one in enumerate(asked):
            reply = wire.reply()
            assert (reply.status, b'"choices"' in reply.body) == (200, True), (number, one)
            if number % 50 == 0:
                waiting.append(gateway.run(lambda: len(protocol.pipeline)))
        assert gateway.until(lambda: not protocol.flow.read_paused)
        assert not protocol._unread
        wire.send(asked[1])
        assert wire.reply().hit, "and the connection goes on"
    assert MOST_PIPELINED <= max(waiting) <= MOST


def test_a_client_that_sends_and_sends_is_not_read(upstream: RawUpstream) -> None:
    go, sent = threading.Event(), 0

    def slowly(conn: socket.socket, request: Request) -> None:
        go.wait(AT_LAST)
        shows(conn, request)

    def stuck() -> bool:
        """Whether nothing more is taken of 100 MB of requests, and not for want of trying."""
        nonlocal sent
        with suppress(BlockingIOError):
            while sent < 100_000_000:
                sent += wire.sock.send((GET * 20_000)[sent % len(GET) :])
        return sent < 100_000_000 and bool(gateway.run(lambda: protocol.flow.read_paused))

    upstream.behave = slowly
    with running_gateway(upstream.base_url) as gateway, gateway.wire() as wire:
        protocol = connection(gateway, wire)
        wire.sock.setblocking(False)
        assert until(stuck)
        assert gateway.run(lambda: len(protocol.pipeline)) <= MOST
        assert gateway.run(lambda: len(protocol._unread)) < 1 << 20
        go.set()
        wire.sock.settimeout(AT_LAST)
        for _ in range(3 * MOST):
            assert wire.reply().status == 200
        assert gateway.run(lambda: len(protocol.pipeline)) <= MOST


@pytest.mark.parametrize("target", [b"/nothing", PATH.encode()], ids=["no route", "no such host"])
def test_a_head_that_was_answered_before_its_body_lends_its_name_to_no_other(
    gateway: RunningGateway, upstream: RawUpstream, target: bytes
) -> None:
    """The rest of the one and the whole of the other come in one read."""
    upstream.behave = shows
    host = b"127.0.0.1" if target == b"/nothing" else b"rebound.example"
    head = b"POST %b HTTP/1.1\r\nHost: %b\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with gateway.wire() as wire:
        protocol = connection(gateway, wire)
        read(gateway, protocol, head % (target, host, 5))
        early = wire.reply()
        assert early.status in (404, 421)
        other = post(ask("theirs"), PATH, gateway.host, {"Authorization": "Bearer other"})
        read(gateway, protocol, b"12345" + other)
        assert b"by Bearer other" in wire.reply().body
    body = json.dumps(ask("mine")).encode()
    with gateway.wire() as wire:
        read(gateway, connection(gateway, wire), head % (target, host, len(body)) + body)
        reply = wire.reply()
        assert (reply.status, reply.error) == (early.status, early.error)
    assert not any(b"Expect" in name.length + name.behind for name in gateway.gateway.heads._known)


def one_by_one(turns: threading.Semaphore) -> Behaviour:
    """An upstream that gives one answer for each release of `turns`."""

    def behave(conn: socket.socket, _request: Request) -> None:
        assert turns.acquire(timeout=AT_LAST)
        conn.sendall(whole(good()))

    return behave


@contextmanager
def connected(turns: threading.Semaphore) -> Iterator[tuple[RunningGateway, Wire, GatewayProtocol]]:
    """A gateway before such an upstream, a connection to it, and the gateway's end of that."""
    with (
        raw_upstream(one_by_one(turns)) as upstream,
        running_gateway(upstream.base_url) as gateway,
        gateway.wire() as wire,
    ):
        yield gateway, wire, connection(gateway, wire)


def late_for(gateway: RunningGateway, protocol: GatewayProtocol) -> float:
    """When the body that is arriving is late, while one that began from now on would not be."""
    began = float(gateway.run(lambda: protocol.since))
    assert gateway.until(lambda: gateway.loop.time() > began + 0.05)
    return began + 0.025 + gateway.gateway.settings.body_timeout


def swept(gateway: RunningGateway, protocol: GatewayProtocol, now: float) -> int:
    """How many connections are past a deadline at `now`: this one, or none."""
    return int(gateway.run(lambda: sweep([protocol], gateway.gateway.settings, now)))


def test_answers_to_earlier_requests_give_a_slow_body_no_more_time() -> None:
    slow = b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 50\r\n\r\n{" % PATH.encode()
    turns = threading.Semaphore(0)
    with connected(turns) as (gateway, wire, protocol):
        wire.send(GET * 3 + slow)
        assert gateway.until(lambda: protocol.phase is Phase.BODY)
        late = late_for(gateway, protocol)
        turns.release()
        assert wire.reply().status == 200
        assert swept(gateway, protocol, late) == 1
        turns.release(2)


def test_a_body_that_the_gateway_itself_did_not_read_has_its_whole_time_once_it_does() -> None:
    data = post(ask("large", padding="x" * 3_000_000), PATH, "127.0.0.1")
    turns = threading.Semaphore(0)
    with connected(turns) as (gateway, wire, protocol):
        wire.send(GET + data[:200_000])
        assert gateway.until(lambda: protocol.flow.read_paused), "it waits for the answer before it"
        late = late_for(gateway, protocol)
        assert swept(gateway, protocol, late) == 0
        turns.release(2)
        assert wire.reply().status == 200
        assert gateway.until(lambda: not protocol.flow.read_paused)
        assert swept(gateway, protocol, late) == 0
        wire.send(data[200_000:])
        assert wire.reply().status == 200


def test_what_is_remembered_of_field_names_is_bounded_in_bytes(gateway: RunningGateway) -> None:
    for number in range(20):
        gateway.post(ask("names"), **{f"X-{number}-" + "n" * 5000: "v"})
    assert not any(len(name) > 64 for name in _digested)
