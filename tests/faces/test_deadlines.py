"""Slow clients: each kind is closed within its limit, others are served, and nobody makes the gateway hold much.

What a limit is for is told by a sweep that gets the time as an argument; that sweeps come by themselves, and that a
client which takes nothing is given up, is seen in real time, on clients that are never too slow to say something.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from payonce.gateway import deadlines, face
from payonce.gateway.arrival import Phase
from payonce.gateway.connection import StrictProtocol
from payonce.gateway.deadlines import sweep
from tests.faces.test_known_heads import connection
from tests.support.gateway import (
    AT_LAST,
    PATH,
    STREAM_HEAD,
    RawUpstream,
    Request,
    RunningGateway,
    Wire,
    answers,
    ask,
    chunk,
    post,
    raw_upstream,
    replies,
    running_gateway,
    whole,
)

HEADER, BODY, IDLE = 300.0, 400.0, 500.0
"""The limits of the gateway that most tests share: none of them is reached by itself."""
LATER = 3600.0
SHORT = 0.3
"""A limit that is waited for."""


@pytest.fixture(scope="module")
def gateway(upstream: RawUpstream) -> Iterator[RunningGateway]:
    limits = {"header_timeout": HEADER, "body_timeout": BODY, "idle_timeout": IDLE}
    with running_gateway(upstream.base_url, max_connections=300, **limits) as running:
        assert running.post(ask()).status == 200
        yield running


def swept(gateway: RunningGateway, protocol: StrictProtocol, waited: float) -> int:
    """How many connections are past a deadline when this one has waited for so long: it, or none."""
    return int(gateway.run(lambda: sweep([protocol], gateway.gateway.settings, protocol.since + waited)))


def test_sweeps_come_by_themselves_and_not_before_the_limit(
    upstream: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "SWEEP_SECONDS", 0.05)
    with running_gateway(upstream.base_url, idle_timeout=SHORT) as gateway:
        began = time.monotonic()
        with gateway.wire() as wire:
            assert wire.rest() == b"", "one that says nothing"
            assert time.monotonic() - began > SHORT / 2


def test_deadlines_are_told_by_the_clock_that_arrivals_are_noted_by(
    upstream: RawUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a Mac that has slept, uvloop's clock is ahead by that time: libuv's goes on meanwhile, Python's does not."""
    sweeps = threading.Semaphore(0)

    def counted(*given: Any) -> int:
        closed = sweep(*given)
        sweeps.release()
        return closed

    monkeypatch.setattr(deadlines, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(deadlines, "sweep", counted)
    with running_gateway(upstream.base_url) as gateway, gateway.wire() as wire:
        loop = gateway.loop
        own = loop.time
        gateway.run(lambda: setattr(loop, "time", lambda: own() + 86400.0))
        protocol = connection(gateway, wire)
        assert gateway.run(loop.time) - protocol.since > 80000.0
        assert all(sweeps.acquire(timeout=AT_LAST) for _ in range(4))
        wire.send(post(ask("after a night"), PATH, gateway.host))
        assert wire.reply().status == 200


@pytest.mark.parametrize("part", [b"P", b"POST /api", b"\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nX-A: "])
def test_a_slow_head_is_answered_408_and_closed(gateway: RunningGateway, part: bytes) -> None:
    with gateway.wire() as wire:
        protocol = connection(gateway, wire)
        wire.send(part)
        assert gateway.until(lambda: protocol.phase is Phase.HEAD)
        assert (swept(gateway, protocol, HEADER - 1), swept(gateway, protocol, HEADER + 1)) == (0, 1)
        came = wire.rest()
        assert replies(came) == [408]
        assert b"x-payonce-error: head-slow" in came


def test_a_head_that_trickles_has_one_deadline_for_all_of_it(gateway: RunningGateway) -> None:
    with gateway.wire() as wire:
        protocol = connection(gateway, wire)
        wire.send(b"GET /healthz HTTP/1.1\r\n")
        assert gateway.until(lambda: protocol.phase is Phase.HEAD)
        began = protocol.since
        for _ in range(5):
            size = protocol._head_bytes
            wire.send(b"X-A: b\r\n")
            assert gateway.until(lambda: protocol._head_bytes > size)  # noqa: B023
        assert protocol.since == began
        assert (swept(gateway, protocol, HEADER - 1), swept(gateway, protocol, HEADER + 1)) == (0, 1)
        assert replies(wire.rest()) == [408]


@pytest.mark.parametrize("framing", ["lane", "story", "chunked"])
def test_a_slow_body_is_answered_408_and_closed(gateway: RunningGateway, framing: str) -> None:
    body = json.dumps(ask("slow body")).encode()
    fields = {"lane": {}, "story": {"Expect": "100-continue"}, "chunked": {"Transfer-Encoding": "chunked"}}[framing]
    data = post(b"%x\r\n%s" % (len(body), body) if framing == "chunked" else body, PATH, gateway.host, fields)
    with gateway.wire() as wire:
        protocol = connection(gateway, wire)
        wire.send(data[:-10])
        assert gateway.until(lambda: protocol.phase is Phase.BODY)
        if framing == "story":
            assert wire.head().status == 100
        assert (swept(gateway, protocol, BODY - 1), swept(gateway, protocol, BODY + 1)) == (0, 1)
        came = wire.rest()
        assert replies(came) == [408]
        assert b"x-payonce-error: body-slow" in came


def test_a_kept_connection_is_closed_when_idle_and_not_before(gateway: RunningGateway) -> None:
    for path in (PATH, PATH, PATH, "/nowhere"):
        with gateway.wire() as wire:
            protocol = connection(gateway, wire)
            for _ in range(5):
                protocol.since -= IDLE - 100  # so long ago was the last answer; the next one begins the time anew
                wire.send(post(ask(), path, gateway.host))
                assert wire.reply().status in (200, 404)
                assert gateway.until(lambda: not protocol.answering and protocol.phase is Phase.IDLE)  # noqa: B023
                assert gateway.run(gateway.loop.time) - protocol.since < 100
                assert swept(gateway, protocol, IDLE - 1) == 0
            assert swept(gateway, protocol, IDLE + 1) == 1
            assert wire.rest() == b""


def test_a_slow_upstream_is_nobodys_deadline(upstream: RawUpstream, gateway: RunningGateway) -> None:
    arrived, go = threading.Event(), threading.Event()

    def slowly(conn: socket.socket, request: Request) -> None:
        arrived.set()
        assert go.wait(AT_LAST)
        answers()(conn, request)

    upstream.behave = slowly
    try:
        with gateway.wire() as wire:
            protocol = connection(gateway, wire)
            wire.send(post(ask("patience"), PATH, gateway.host) * 2)
            assert arrived.wait(AT_LAST)
            assert swept(gateway, protocol, LATER) == 0
            go.set()
            assert wire.reply().status == 200
            assert wire.reply().status == 200
    finally:
        go.set()
        upstream.behave = answers()


def test_many_slow_clients_are_all_closed_and_others_served_meanwhile(gateway: RunningGateway) -> None:
    assert gateway.until(lambda: not gateway.gateway.connections)
    wires = [gateway.wire() for _ in range(200)]
    parts = (b"POST /api HTTP/1.1\r\nHost:", b"", post(ask("z"), PATH, gateway.host)[:-4])
    phases = sorted((Phase.HEAD, Phase.IDLE, Phase.BODY)[n % 3] for n in range(200))
    try:
        for n, wire in enumerate(wires):
            wire.send(parts[n % 3])
        assert gateway.until(lambda: sorted(one.phase for one in gateway.gateway.connections) == phases)
        for _ in range(20):
            assert gateway.post(ask()).hit
        assert gateway.until(lambda: len(gateway.gateway.connections) == 200)
        now = gateway.run(gateway.loop.time) + LATER
        assert gateway.run(lambda: sweep(gateway.gateway.connections, gateway.gateway.settings, now)) == 200
        for wire in wires:
            wire.rest()
    finally:
        for wire in wires:
            wire.sock.close()


def test_a_refused_client_that_stays_is_closed(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway has ended its side; it waits a moment for the client's, and no longer."""
    monkeypatch.setattr(deadlines, "LINGER_SECONDS", LATER)
    with gateway.wire() as wire:
        protocol = connection(gateway, wire)
        wire.send(b"BAD\r\n\r\n")
        assert replies(wire.rest()) == [400]
        assert protocol in gateway.gateway.connections
        assert (swept(gateway, protocol, LATER - 1), swept(gateway, protocol, LATER + 1)) == (0, 1)
        assert gateway.until(lambda: protocol not in gateway.gateway.connections)


def test_connections_past_the_limit_are_told_so(upstream: RawUpstream) -> None:
    with running_gateway(upstream.base_url, max_connections=3) as gateway:
        wires = [gateway.wire() for _ in range(3)]
        for wire in wires:
            wire.send(post(ask(), PATH, gateway.host))
            assert wire.reply().status == 200
        with gateway.wire() as wire:
            came = wire.rest()
            assert replies(came) == [503]
            assert b"x-payonce-error: busy" in came
        wires.pop().sock.close()
        assert gateway.until(lambda: len(gateway.gateway.connections) == 2)
        with gateway.wire() as wire:
            wire.send(post(ask(), PATH, gateway.host))
            assert wire.reply().hit
        for wire in wires:
            wire.sock.close()


# ------------------------------------------------------------------------------------------ who takes nothing


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Who takes nothing for half a second is given up, until this is undone."""
    with monkeypatch.context() as patch:
        patch.setattr(face, "WRITE_STALL_SECONDS", 0.5)
        patch.setattr(deadlines, "SWEEP_SECONDS", 0.05)
        yield patch


@pytest.mark.parametrize("more", [{}, {"X-OpenRouter-Cache": "false"}], ids=["followed", "bypassed"])
def test_a_reader_that_takes_nothing_of_a_stream_is_cut_off_and_little_is_held_for_it(
    impatient: pytest.MonkeyPatch, more: dict[str, str]
) -> None:
    sent = 0
    stopped = threading.Event()

    def behave(conn: socket.socket, request: Request) -> None:
        nonlocal sent
        conn.sendall(STREAM_HEAD)
        piece = chunk(b"data: " + b"x" * 16_000 + b"\n\n")
        try:
            while True:
                conn.sendall(piece)
                sent += len(piece)
        finally:
            stopped.set()

    with raw_upstream(behave) as upstream, running_gateway(upstream.base_url, max_entry_bytes=1 << 20) as gateway:
        with Wire(gateway.port, receive_buffer=4096) as wire:
            wire.send(post(ask("endless", stream=True), PATH, gateway.host, more))
            assert stopped.wait(AT_LAST)
            assert gateway.until(lambda: not gateway.gateway.connections)
            assert gateway.until(lambda: not len(gateway.gateway.world.tower))
        assert 0 < sent < 24 << 20


@pytest.mark.parametrize("close", [False, True], ids=["keep-alive", "close"])
def test_a_reader_that_takes_nothing_of_a_whole_answer_is_cut_off(impatient: pytest.MonkeyPatch, close: bool) -> None:
    body = b'{"choices":[{"finish_reason":"stop","message":{"content":"%s"}}]}' % (b"x" * (7 << 20))
    with (
        raw_upstream(lambda conn, _: conn.sendall(whole(body))) as upstream,
        running_gateway(upstream.base_url, memory_bytes=200 << 20) as gateway,
    ):
        for _ in range(2):  # a miss, then a hit
            with Wire(gateway.port, receive_buffer=4096) as wire:
                protocol = connection(gateway, wire)
                wire.send(post(ask("large"), PATH, gateway.host, {"Connection": "close"} if close else {}))
                assert gateway.until(lambda: protocol not in gateway.gateway.connections)  # noqa: B023
                assert b"HTTP/1.1 200 OK\r\n" in wire.rest()[:100]
            assert gateway.until(lambda: not len(gateway.gateway.world.tower))
        impatient.undo()
        with gateway.wire() as wire:  # who reads, gets it
            wire.send(post(ask("large"), PATH, gateway.host))
            reply = wire.reply()
            assert (reply.hit, reply.body) == (True, body)
        assert len(upstream.requests) == 1


def test_a_reader_that_is_slow_but_reads_is_left_alone() -> None:
    """Between two sweeps, there passes nearly as much time as a client may take nothing."""
    body = b'{"choices":[{"finish_reason":"stop","message":{"content":"%s"}}]}' % (b"x" * (7 << 20))
    with (
        raw_upstream(lambda conn, _: conn.sendall(whole(body))) as upstream,
        running_gateway(upstream.base_url, memory_bytes=200 << 20, idle_timeout=1.0) as gateway,
        Wire(gateway.port, receive_buffer=65536) as wire,
    ):
        protocol = connection(gateway, wire)
        gateway.run(lambda: protocol.data_received(post(ask("large"), PATH, gateway.host)))
        waited, last = 0.0, -1
        while len(wire.held) < len(body):
            assert wire.more()
            held = gateway.run(protocol.transport.get_write_buffer_size)
            if held not in (0, last):
                waited, last = waited + 0.9 * face.WRITE_STALL_SECONDS, held
                swept(gateway, protocol, waited)
        assert wire.reply().body == body
        assert waited > face.WRITE_STALL_SECONDS
