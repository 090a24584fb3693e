"""Slow clients: each kind is closed within its limit, others are served, and nobody makes the gateway hold much."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from payonce.gateway import deadlines, face
from tests.support.gateway import (
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

LIMIT = 0.3
SLACK = 2.0


@pytest.fixture(scope="module")
def gateway(upstream: RawUpstream) -> Iterator[RunningGateway]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deadlines, "SWEEP_SECONDS", 0.05)
        patch.setattr(deadlines, "LINGER_SECONDS", LIMIT)
        limits = {"header_timeout": LIMIT, "body_timeout": LIMIT, "idle_timeout": LIMIT}
        with running_gateway(upstream.base_url, max_connections=300, **limits) as running:
            assert running.post(ask()).status == 200
            yield running


def closed_after(wire: Wire) -> tuple[float, bytes]:
    began = time.monotonic()
    came = wire.rest()
    return time.monotonic() - began, came


def test_a_connection_that_says_nothing_is_closed(gateway: RunningGateway) -> None:
    with gateway.wire() as wire:
        after, came = closed_after(wire)
        assert came == b""
        assert LIMIT / 2 < after < LIMIT + SLACK


@pytest.mark.parametrize("part", [b"P", b"POST /api", b"\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nX-A: "])
def test_a_slow_head_is_answered_408_and_closed(gateway: RunningGateway, part: bytes) -> None:
    with gateway.wire() as wire:
        wire.send(part)
        after, came = closed_after(wire)
        assert replies(came) == [408]
        assert b"x-payonce-error: head-slow" in came
        assert after < LIMIT + SLACK


def test_a_head_that_trickles_has_one_deadline_for_all_of_it(gateway: RunningGateway) -> None:
    with gateway.wire() as wire:
        wire.send(b"GET /healthz HTTP/1.1\r\n")
        began = time.monotonic()
        wire.sock.settimeout(0.05)
        while time.monotonic() - began < LIMIT + SLACK:
            wire.send(b"X-A: b\r\n")
            try:
                if not wire.more():
                    break
            except TimeoutError:
                continue
        assert replies(wire.held) == [408]


@pytest.mark.parametrize("framing", ["lane", "story", "chunked"])
def test_a_slow_body_is_answered_408_and_closed(gateway: RunningGateway, framing: str) -> None:
    body = json.dumps(ask("slow body")).encode()
    fields = {"lane": {}, "story": {"Expect": "100-continue"}, "chunked": {"Transfer-Encoding": "chunked"}}[framing]
    data = post(b"%x\r\n%s" % (len(body), body) if framing == "chunked" else body, PATH, gateway.host, fields)
    with gateway.wire() as wire:
        wire.send(data[:-10])
        after, came = closed_after(wire)
        assert replies(came)[-1] == 408
        assert b"x-payonce-error: body-slow" in came
        assert after < LIMIT + SLACK


def test_a_kept_connection_is_closed_when_idle_and_not_before(gateway: RunningGateway) -> None:
    for path in (PATH, PATH, PATH, "/nowhere"):
        with gateway.wire() as wire:
            for _ in range(5):
                wire.send(post(ask(), path, gateway.host))
                assert wire.reply().status in (200, 404)
                time.sleep(LIMIT / 4)
            after, came = closed_after(wire)
            assert came == b""
            assert after < LIMIT + SLACK


def test_a_slow_upstream_is_nobodys_deadline(upstream: RawUpstream, gateway: RunningGateway) -> None:
    def slowly(conn: socket.socket, request: Request) -> None:
        time.sleep(4 * LIMIT)
        answers()(conn, request)

    upstream.behave = slowly
    try:
        with gateway.wire() as wire:
            wire.send(post(ask("patience"), PATH, gateway.host) * 2)
            assert wire.reply().status == 200
            assert wire.reply().status == 200
    finally:
        upstream.behave = answers()


def test_many_slow_clients_are_all_closed_and_others_served_meanwhile(gateway: RunningGateway) -> None:
    wires = [gateway.wire() for _ in range(200)]
    try:
        for n, wire in enumerate(wires):
            wire.send((b"POST /api HTTP/1.1\r\nHost:", b"", post(ask("z"), PATH, gateway.host)[:-4])[n % 3])
        began = time.monotonic()
        worst = 0.0
        while time.monotonic() - began < LIMIT:
            asked = time.monotonic()
            assert gateway.post(ask()).hit
            worst = max(worst, time.monotonic() - asked)
        assert worst < 0.5
        for wire in wires:
            wire.rest()
        assert time.monotonic() - began < LIMIT + SLACK
    finally:
        for wire in wires:
            wire.sock.close()


def test_a_refused_client_that_stays_is_closed(gateway: RunningGateway) -> None:
    """The gateway has ended its side; it waits a moment for the client's, and no longer."""
    with gateway.wire() as wire:
        wire.send(b"BAD\r\n\r\n")
        assert replies(wire.rest()) == [400]
        assert gateway.until(lambda: not gateway.gateway.connections, LIMIT + SLACK)


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


@pytest.mark.parametrize("more", [{}, {"X-OpenRouter-Cache": "false"}], ids=["followed", "bypassed"])
def test_a_reader_that_takes_nothing_of_a_stream_is_cut_off_and_little_is_held_for_it(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, str]
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

    monkeypatch.setattr(face, "WRITE_STALL_SECONDS", 0.5)
    monkeypatch.setattr(deadlines, "SWEEP_SECONDS", 0.05)
    with raw_upstream(behave) as upstream, running_gateway(upstream.base_url, max_entry_bytes=1 << 20) as gateway:
        with Wire(gateway.port, receive_buffer=4096) as wire:
            wire.send(post(ask("endless", stream=True), PATH, gateway.host, more))
            assert wire.head().status == 200
            assert stopped.wait(8)
            assert gateway.until(lambda: not gateway.gateway.connections)
            assert gateway.until(lambda: not len(gateway.gateway.world.tower))
        assert sent < 24 << 20


@pytest.mark.parametrize("close", [False, True], ids=["keep-alive", "close"])
def test_a_reader_that_takes_nothing_of_a_whole_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch, close: bool) -> None:
    monkeypatch.setattr(face, "WRITE_STALL_SECONDS", 0.5)
    monkeypatch.setattr(deadlines, "SWEEP_SECONDS", 0.05)
    body = b'{"choices":[{"finish_reason":"stop","message":{"content":"%s"}}]}' % (b"x" * (7 << 20))
    with (
        raw_upstream(lambda conn, _: conn.sendall(whole(body))) as upstream,
        running_gateway(upstream.base_url, memory_bytes=200 << 20) as gateway,
    ):
        for _ in range(2):  # a miss, then a hit
            with Wire(gateway.port, receive_buffer=4096) as wire:
                wire.send(post(ask("large"), PATH, gateway.host, {"Connection": "close"} if close else {}))
                assert wire.head().status == 200
                assert gateway.until(lambda: not gateway.gateway.connections)
        with gateway.wire() as wire:  # who reads, gets it
            wire.send(post(ask("large"), PATH, gateway.host))
            assert wire.reply().body == body


def test_a_reader_that_is_slow_but_reads_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face, "WRITE_STALL_SECONDS", 0.5)
    monkeypatch.setattr(deadlines, "SWEEP_SECONDS", 0.05)
    body = b'{"choices":[{"finish_reason":"stop","message":{"content":"%s"}}]}' % (b"x" * (3 << 20))
    with (
        raw_upstream(lambda conn, _: conn.sendall(whole(body))) as upstream,
        running_gateway(upstream.base_url, memory_bytes=200 << 20, idle_timeout=0.3) as gateway,
        Wire(gateway.port, receive_buffer=65536) as wire,
    ):
        wire.send(post(ask("large"), PATH, gateway.host))
        while len(wire.held) < len(body):
            assert wire.more()
            time.sleep(0.02)
        assert wire.reply().body == body
