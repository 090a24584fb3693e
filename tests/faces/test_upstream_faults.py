"""Whatever the upstream does: the client sees it as it was, a failure looks like one, and nothing of it is kept."""

from __future__ import annotations

import gzip
import json
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from payonce.testing.sim import SimulatedProvider, running_sim
from tests.support.gateway import (
    AT_LAST,
    DEAD,
    KEY,
    PATH,
    STREAM_HEAD,
    CutError,
    RawUpstream,
    Reply,
    Request,
    RunningGateway,
    Wire,
    answers,
    ask,
    chunk,
    event,
    good,
    good_stream,
    post,
    raw_upstream,
    running_gateway,
    until,
    until_gone,
    whole,
)

LATER = 86400.0
"""Longer than the gateway waits for anything."""


@pytest.fixture(scope="module")
def gateway(upstream: RawUpstream) -> Iterator[RunningGateway]:
    with running_gateway(upstream.base_url) as running:
        yield running


@pytest.fixture(autouse=True)
def _behaves(upstream: RawUpstream) -> Iterator[None]:
    upstream.gone = threading.Event()
    yield
    upstream.behave = answers()


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatedProvider]:
    with running_sim() as running:
        yield running


@pytest.fixture(scope="module")
def before_sim(sim: SimulatedProvider) -> Iterator[RunningGateway]:
    with running_gateway(sim.base_url) as running:
        yield running


def give_up(gateway: RunningGateway) -> None:
    """What the upstream has not said by now comes too late."""

    def sweep() -> None:
        for upstream in gateway.gateway._upstreams.values():
            upstream.sweep(gateway.loop.time() + LATER)

    gateway.run(sweep)


def stopping(gateway: RunningGateway, body: Any, at: int, **fields: str) -> Reply:
    """What came of a stream that stops after `at` bytes or so and is then given up; it must not end as a whole one."""
    with gateway.wire() as wire:
        wire.send(post(body, PATH, gateway.host, fields))
        reply = wire.head()
        while len(reply.body) < at:
            reply.body += wire.chunk()
        give_up(gateway)
        with pytest.raises(EOFError):
            while data := wire.chunk():
                reply.body += data
        return reply


def attempt(gateway: RunningGateway, body: Any, **fields: str) -> tuple[Reply, bool]:
    """The answer, and whether it came whole."""
    try:
        return gateway.post(body, **fields), True
    except CutError as cut:
        return cut.reply, False


def never_kept(gateway: RunningGateway, upstream: RawUpstream, body: Any, times: int = 3) -> Reply:
    """Asked again and again, each answer is the upstream's own new one."""
    before = len(upstream.requests)
    for _ in range(times):
        reply, _ = attempt(gateway, body)
        assert not reply.hit
        assert "; stored" not in reply["cache-status"] or body.get("stream")
    assert len(upstream.requests) == before + times
    return reply


# ------------------------------------------------------------------------------------------ errors that are answers


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "status", ["400 Bad", "401 No", "402 Pay", "408 Late", "429 Slow down", "500 Oops", "529 Full"]
)
def test_an_error_comes_back_byte_for_byte_with_its_headers_and_is_never_kept(
    gateway: RunningGateway, upstream: RawUpstream, status: str, streaming: bool
) -> None:
    body = b'{"error": {"code": 1, "message": "caf\xc3\xa9  twice  spaced"}}\n'
    fields = ("Retry-After: 17", "retry-after-ms: 1700", "x-should-retry: false", "X-RateLimit-Reset: 9")
    upstream.behave = answers(body, *fields, status=status)
    reply = never_kept(gateway, upstream, ask(f"error {status}", stream=streaming))
    assert (reply.status, reply.body) == (int(status[:3]), body)
    assert (reply["retry-after"], reply["retry-after-ms"], reply["x-should-retry"]) == ("17", "1700", "false")
    assert reply["x-openrouter-cache-status"] == "MISS"
    assert reply["cache-status"] == "payonce; fwd=miss; detail=status"
    assert reply.error == ""


NOT_KEPT: dict[str, tuple[bytes, bytes, str]] = {
    "HTML": (b"<html>maintenance</html>", b"text/html", "content-type"),
    "nothing": (b"", b"application/json", "empty"),
    "an error inside": (b'{"error":{"code":502,"message":"x"}}', b"application/json", "error-inside"),
    "an error beside choices": (good(error={"code": 502}), b"application/json", "error-inside"),
    "no JSON": (b'{"choices":[', b"application/json", "unreadable"),
    "a list": (b"[]", b"application/json", "unreadable"),
    "no choices": (b'{"choices":[]}', b"application/json", "empty"),
    "no finish": (good().replace(b'"stop"', b"null"), b"application/json", "no-finish"),
    "finish error": (good().replace(b'"stop"', b'"error"'), b"application/json", "error-inside"),
    "filtered": (good().replace(b'"stop"', b'"content_filter"'), b"application/json", "content-filter"),
    "cut by a limit": (good().replace(b'"stop"', b'"length"'), b"application/json", "truncated"),
    "a stream nobody asked for": (b"".join(good_stream()), b"text/event-stream", "content-type"),
}


@pytest.mark.parametrize("case", NOT_KEPT)
def test_a_200_that_is_no_answer_passes_as_it_is_and_is_never_kept(
    gateway: RunningGateway, upstream: RawUpstream, case: str
) -> None:
    body, kind, reason = NOT_KEPT[case]
    upstream.behave = lambda conn, _: conn.sendall(whole(body, kind=kind.decode()))
    reply = never_kept(gateway, upstream, ask(case))
    assert (reply.status, reply.body) == (200, body)
    assert reply["content-type"] == kind.decode()
    assert reply["cache-status"] == f"payonce; fwd=miss; detail={reason}"


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        *("429", "500", "503", "200-error", "200-error=only", "choice-error", "empty", "empty-body", "html", "gzip"),
        *("content-filter", "refusal", "bad-tool-json", "length", "comments-only", "clean-cut=300", "cut=0"),
        *("cut=300", "reset=300", "stall=300", "slow-first-byte=60", "redirect"),
    ],
)
def test_no_fault_of_the_provider_is_ever_kept(
    before_sim: RunningGateway, sim: SimulatedProvider, fault: str, streaming: bool
) -> None:
    body = ask("faulty", model=f"sim/fault-{fault}", stream=streaming)
    for n in range(2):
        before = len(sim.calls)
        with ThreadPoolExecutor() as beside:
            asked = beside.submit(attempt, before_sim, body)
            if fault.startswith(("stall", "slow")):
                assert until(lambda: len(sim.calls) > before)  # noqa: B023
                while not asked.done():
                    give_up(before_sim)
            reply, came_whole = asked.result()
        assert not reply.hit
        assert len(sim.calls) == before + 1, n
        assert came_whole == (not fault.startswith(("cut=300", "reset", "stall", "cut=0")) or reply.status >= 500)
    if fault.startswith("slow"):
        assert (reply.status, reply.error) == (504, "upstream-slow")


def test_a_stream_without_done_is_no_whole_stream(before_sim: RunningGateway, sim: SimulatedProvider) -> None:
    for _ in range(2):
        reply = before_sim.post(ask("undone", model="sim/fault-no-done", stream=True))
        assert reply.status == 200
        assert not reply.hit


def test_what_is_compressed_is_never_decompressed_nor_kept(gateway: RunningGateway, upstream: RawUpstream) -> None:
    bomb = gzip.compress(b"\0" * (200 << 20), 9)
    before = _rss()
    for coding in ("gzip", "deflate", "br", "zstd", "gzip, gzip"):
        for cached in ("true", "false"):
            upstream.behave = answers(bomb, f"Content-Encoding: {coding}")
            reply = gateway.post(ask(f"bomb {coding}"), X_OpenRouter_Cache=cached, Accept_Encoding="gzip")
            assert (reply.status, reply.body, reply["content-encoding"]) == (200, bomb, coding)
    assert upstream.requests[-1]["accept-encoding"] == "identity"
    never_kept(gateway, upstream, ask("bomb gzip"))
    assert _rss() - before < 32 << 20


def test_a_compressed_request_is_passed_on_unread(gateway: RunningGateway, upstream: RawUpstream) -> None:
    data = gzip.compress(json.dumps(ask("zipped")).encode())
    for _ in range(2):
        reply = gateway.post(data, Content_Encoding="gzip")
        assert reply["cache-status"] == "payonce; fwd=bypass; detail=encoded-request"
        assert (upstream.requests[-1].body, upstream.requests[-1]["content-encoding"]) == (data, "gzip")


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
def test_a_redirect_is_handed_back_and_never_followed(
    gateway: RunningGateway, upstream: RawUpstream, status: str
) -> None:
    with raw_upstream(answers()) as elsewhere:
        upstream.behave = answers(b"", f"Location: {elsewhere.base_url}/chat/completions", status=status)
        for fields in ({}, {"X-OpenRouter-Cache": "false"}):
            reply = gateway.post(ask(f"redirected {status}"), **fields)
            assert reply.status == int(status[:3])
            assert reply["location"].startswith(elsewhere.base_url)
        assert elsewhere.connections == 0


# ------------------------------------------------------------------------------------------ no answer at all

NO_NAME = "no." * 100 + "invalid"
"""Too long for any host: the resolver says so without asking anybody, who might be slow."""


@pytest.mark.parametrize("url", [DEAD, f"http://{NO_NAME}/api/v1"], ids=["refused", "no such name"])
@pytest.mark.parametrize("endpoint", ["chat/completions", "messages", "models"])
def test_no_connection_is_a_502_that_says_what_to_check(url: str, endpoint: str) -> None:
    with running_gateway(url) as gateway:
        for cached in ("true", "false"):
            reply = gateway.post(ask(), f"/api/v1/{endpoint}", X_OpenRouter_Cache=cached)
            assert (reply.status, reply.error) == (502, "upstream-refused")
            assert "check the upstream URL and the network" in reply.json()["error"]["message"]
            assert KEY not in reply.body.decode()
        assert gateway.post(ask()).status == 502


def test_tls_to_a_plain_port_is_a_502(upstream: RawUpstream) -> None:
    def plain(conn: socket.socket, _: Request) -> None:
        raise AssertionError("a request came through")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            for _ in range(2):
                conn, _ = listener.accept()
                with conn:
                    hello = conn.recv(1 << 16)
                    assert KEY.encode() not in hello
                    conn.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with running_gateway(f"https://127.0.0.1:{port}/api/v1") as gateway:
            for _ in range(2):
                reply = gateway.post(ask())
                assert (reply.status, reply.error) == (502, "upstream-refused")
        thread.join(5)


GARBLED = {
    "no HTTP": b"220 mail ready\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and coding": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "status 999": b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\n{}",
    "status 000": b"HTTP/1.1 000 Odd\r\nContent-Length: 2\r\n\r\n{}",
    "an unasked upgrade": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    "an endless head": b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * (1 << 20),
    "many heads": b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 50_000,
    "a NUL in a header": b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    "closed at once": b"",
    "closed in the head": b"HTTP/1.1 200 OK\r\nContent-Le",
}


@pytest.mark.parametrize("case", GARBLED)
@pytest.mark.parametrize("cached", ["true", "false"])
def test_an_answer_that_is_not_http_is_a_502(
    gateway: RunningGateway, upstream: RawUpstream, case: str, cached: str
) -> None:
    upstream.behave = lambda conn, _: conn.sendall(GARBLED[case])
    for _ in range(2):
        reply = gateway.post(ask(case), X_OpenRouter_Cache=cached)
        assert (reply.status, reply.error) in ((502, "upstream-garbled"), (502, "upstream-cut"))
        assert not reply.hit


def test_interim_answers_are_not_the_answer(gateway: RunningGateway, upstream: RawUpstream) -> None:
    upstream.behave = lambda conn, _: conn.sendall(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-Hint: 1\r\n\r\n" + whole(good())
    )
    reply = gateway.post(ask("interim"))
    assert (reply.status, reply.body, reply["x-hint"]) == (200, good(), "")
    assert gateway.post(ask("interim")).hit


def test_what_follows_an_answer_is_never_the_next_ones(gateway: RunningGateway, upstream: RawUpstream) -> None:
    """An upstream that sends more than it was asked for, at once or later, on a connection it keeps."""
    stray = whole(good("stray"))
    for later in (False, True):
        read, strayed = threading.Event(), threading.Event()

        def behave(conn: socket.socket, request: Request, later: bool = later) -> None:
            conn.sendall(whole(good(json.loads(request.body)["messages"][0]["content"])) + (b"" if later else stray))
            if later:
                assert read.wait(AT_LAST)  # noqa: B023
                conn.sendall(stray)
                strayed.set()  # noqa: B023
            conn.recv(1)

        upstream.behave = behave
        for n in range(4):
            text = f"stray {later} {n}"
            read.clear(), strayed.clear()
            assert gateway.post(ask(text)).json()["choices"][0]["message"]["content"] == text
            read.set()
            assert not later or strayed.wait(AT_LAST)


def test_204_304_and_head_have_no_body_to_wait_for(gateway: RunningGateway, upstream: RawUpstream) -> None:
    for status in ("204 No Content", "304 Not Modified"):
        upstream.behave = lambda conn, _, status=status: (
            conn.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode()),
            conn.recv(1),
        )
        reply = gateway.post(ask(status))
        assert (reply.status, reply.body) == (int(status[:3]), b"")


# ------------------------------------------------------------------------------------------ an answer that stops


def test_silence_before_the_first_byte_is_a_504(sim: SimulatedProvider) -> None:
    with running_gateway(sim.base_url, first_byte_timeout=0.1) as gateway:
        for cached in ("true", "false"):
            reply = gateway.post(ask("silent", model="sim/fault-slow-first-byte=600"), X_OpenRouter_Cache=cached)
            assert (reply.status, reply.error) == (504, "upstream-slow")
            assert "raise first_byte_timeout" in reply.json()["error"]["message"]


@pytest.mark.parametrize("cached", ["true", "false"])
@pytest.mark.parametrize("fault", ["cut", "reset", "stall"])
def test_a_stream_that_stops_never_ends_for_the_client_as_if_it_were_whole(
    before_sim: RunningGateway, sim: SimulatedProvider, fault: str, cached: str
) -> None:
    text = before_sim.post(ask("measure", stream=True), X_OpenRouter_Cache="false").body
    for at in (1, 25, 200, len(text) // 2, len(text) - 30, len(text) - 14, len(text) - 3):
        body = ask(f"stops {fault} {cached} {at}", stream=True)
        sim.fault_next(f"{fault}={at}")
        if fault == "stall":
            reply = stopping(before_sim, body, at - 8, X_OpenRouter_Cache=cached)
        else:
            with pytest.raises(CutError) as caught:
                before_sim.post(body, X_OpenRouter_Cache=cached)
            reply = caught.value.reply
        assert reply.status == 200
        if fault != "reset":  # a reset may overtake what was sent before it
            assert len(reply.body) >= at - 8
        after = before_sim.post(body)
        assert not after.hit
        assert after.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_whole_answer_that_stops_is_cut_for_the_client_too(
    gateway: RunningGateway, upstream: RawUpstream, framing: str
) -> None:
    body = good("x" * 3000)
    data = whole(body)
    if framing == "chunks":
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        data = head + chunk(body[:1000]) + chunk(body[1000:]) + b"0\r\n\r\n"
    for cached in ("true", "false"):
        for at in (len(data) - 1, len(data) - 5, len(data) // 2, data.index(b"\r\n\r\n") + 4):
            upstream.behave = lambda conn, _, at=at: conn.sendall(data[:at])
            text = ask(f"cut {framing} {at} {cached}")
            reply, came_whole = attempt(gateway, text, X_OpenRouter_Cache=cached)
            assert not came_whole or reply.status == 502
            upstream.behave = answers()
            assert not gateway.post(text).hit


def test_an_answer_that_only_its_connections_end_ends_is_judged_by_what_it_says(
    gateway: RunningGateway, upstream: RawUpstream
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    upstream.behave = lambda conn, _: conn.sendall(head + good()[:-1])
    assert gateway.post(ask("unframed")).body == good()[:-1]
    upstream.behave = lambda conn, _: conn.sendall(head + good())
    assert not gateway.post(ask("unframed")).hit
    assert gateway.post(ask("unframed")).hit


def test_an_http_1_0_client_can_tell_that_a_stream_was_cut(gateway: RunningGateway, upstream: RawUpstream) -> None:
    for cached in ("true", "false"):
        upstream.behave = lambda conn, _: conn.sendall(STREAM_HEAD + chunk(good_stream()[1]))
        data = post(ask("old cut", stream=True), PATH, gateway.host, {"X-OpenRouter-Cache": cached})
        with gateway.wire() as wire:
            wire.send(data.replace(b"HTTP/1.1", b"HTTP/1.0"))
            with pytest.raises(ConnectionResetError):
                while wire.sock.recv(1 << 16):
                    pass


# ------------------------------------------------------------------------------------------ a great deal of answer


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("cached", ["true", "false"])
@pytest.mark.parametrize("streaming", [False, True])
def test_an_answer_past_the_cap_streams_through_in_little_memory_and_is_not_kept(
    upstream: RawUpstream, streaming: bool, cached: str
) -> None:
    piece = b"x" * 65536
    pieces = 1600  # 100 MiB

    def behave(conn: socket.socket, request: Request) -> None:
        if streaming:
            conn.sendall(STREAM_HEAD)
            for _ in range(pieces):
                conn.sendall(chunk(piece))
            conn.sendall(b"0\r\n\r\n")
        else:
            conn.sendall(whole(b"").replace(b"Length: 0", b"Length: %d" % (pieces * len(piece))))
            for _ in range(pieces):
                conn.sendall(piece)

    upstream.behave = behave
    with running_gateway(upstream.base_url, max_entry_bytes=1 << 20) as gateway:
        with gateway.wire() as wire:
            before = _rss()
            wire.send(post(ask("huge", stream=streaming), PATH, gateway.host, {"X-OpenRouter-Cache": cached}))
            reply = wire.head()
            assert (reply.status, reply["transfer-encoding"]) == (200, "chunked")
            size = 0
            while data := wire.chunk():
                size += len(data)
            assert size == pieces * len(piece)
            assert _rss() - before < 40 << 20
        upstream.behave = answers()
        if not streaming:
            assert not gateway.post(ask("huge")).hit


@pytest.mark.parametrize("size", [1025, 5_000, 300_000, 3_000_000])
def test_an_answer_just_past_the_cap_arrives_whole_however_fast_it_came(upstream: RawUpstream, size: int) -> None:
    """Its start must not be let go before the client that asked has begun to read."""
    body = good("x" * size)
    upstream.behave = lambda conn, _: conn.sendall(whole(body))
    with running_gateway(upstream.base_url, max_entry_bytes=1024) as gateway:
        for n in range(5):
            reply = gateway.post(ask(f"past {n}"))
            assert (reply.status, reply.body) == (200, body)
            assert not reply.hit
        upstream.behave = lambda conn, _: conn.sendall(STREAM_HEAD + chunk(body) + b"0\r\n\r\n")
        for n in range(5):
            reply = gateway.post(ask(f"past {n}", stream=True))
            assert (reply.status, reply.body) == (200, body)
        assert gateway.until(lambda: not len(gateway.gateway.world.tower))


# ------------------------------------------------------------------------------------------ a client that leaves


class Paced:
    """A stream that goes on event by event, as the test says."""

    def __init__(self) -> None:
        self.step = threading.Semaphore(0)
        self.sent: list[bytes] = []
        self.finished = threading.Event()

    def __call__(self, conn: socket.socket, request: Request) -> None:
        conn.sendall(STREAM_HEAD)
        for piece in good_stream("paced"):
            assert self.step.acquire(timeout=AT_LAST)
            conn.sendall(chunk(piece))
            self.sent.append(piece)
        conn.sendall(b"0\r\n\r\n")
        self.finished.set()

    def go(self, steps: int = 4) -> None:
        for _ in range(steps):
            self.step.release()


@pytest.mark.parametrize("pipelined", [False, True], ids=["alone", "with another request behind"])
@pytest.mark.parametrize("begun", [False, True], ids=["before the head", "in the body"])
def test_the_call_of_a_bypassed_request_ends_when_its_client_leaves(
    gateway: RunningGateway, upstream: RawUpstream, begun: bool, pipelined: bool
) -> None:
    arrived = threading.Event()

    def behave(conn: socket.socket, request: Request) -> None:
        if begun:
            conn.sendall(STREAM_HEAD + chunk(event("1")))
        arrived.set()
        until_gone(conn, upstream.gone)

    upstream.behave = behave
    with gateway.wire() as wire:
        data = post(ask("leaves", stream=True), PATH, gateway.host, {"X-OpenRouter-Cache": "false"})
        wire.send(data * (2 if pipelined else 1))
        if begun:
            assert wire.head().status == 200
            assert wire.chunk() == event("1")
        assert arrived.wait(AT_LAST)
        assert not upstream.gone.is_set()
    assert upstream.gone.wait(AT_LAST)


@pytest.mark.parametrize("begun", [0, 1, 3])
def test_the_call_of_a_cached_request_is_finished_and_kept_when_its_client_leaves(
    gateway: RunningGateway, upstream: RawUpstream, begun: int
) -> None:
    paced = upstream.behave = Paced()
    body = ask(f"leaves after {begun}", stream=True)
    before = len(upstream.requests)
    with gateway.wire() as wire:
        wire.send(post(body, PATH, gateway.host))
        paced.go(begun)
        for _ in range(begun):
            if not wire.held:
                wire.more()
        assert gateway.until(lambda: len(gateway.gateway.world.tower) == 1)
    assert gateway.until(lambda: not gateway.gateway.connections)
    paced.go(4 - begun)
    assert paced.finished.wait(AT_LAST)
    assert gateway.until(lambda: not len(gateway.gateway.world.tower))
    reply = gateway.post(body)
    assert (reply.hit, reply.body) == (True, b"".join(good_stream("paced")))
    assert len(upstream.requests) == before + 1


def test_who_asks_again_after_leaving_joins_the_call_under_way(gateway: RunningGateway, upstream: RawUpstream) -> None:
    paced = upstream.behave = Paced()
    body = ask("comes back", stream=True)
    before = len(upstream.requests)
    with gateway.wire() as wire:
        wire.send(post(body, PATH, gateway.host))
        paced.go(2)
        assert wire.head().status == 200
    with gateway.wire() as wire:
        wire.send(post(body, PATH, gateway.host))
        head = wire.head()
        assert head["cache-status"] == "payonce; fwd=miss; collapsed"
        assert wire.chunk().startswith(good_stream("paced")[0])
        paced.go(2)
        while wire.chunk():
            pass
    assert len(upstream.requests) == before + 1


def test_a_stalled_reader_of_the_same_call_slows_nobody(gateway: RunningGateway, upstream: RawUpstream) -> None:
    total = 6 << 20
    begun, go = threading.Event(), threading.Event()

    def behave(conn: socket.socket, request: Request) -> None:
        conn.sendall(STREAM_HEAD + chunk(b": begun\n\n"))
        begun.set()
        assert go.wait(AT_LAST)
        for _ in range(total >> 16):
            conn.sendall(chunk(event("x" * 65528)))
        conn.sendall(b"".join(map(chunk, good_stream())) + b"0\r\n\r\n")

    upstream.behave = behave
    body = ask("fast and stalled", stream=True)
    before = len(upstream.requests)
    assert gateway.until(lambda: not gateway.gateway.connections)
    with Wire(gateway.port, receive_buffer=4096) as stalled, gateway.wire() as fast:
        stalled.send(post(body, PATH, gateway.host))
        assert begun.wait(AT_LAST)
        fast.send(post(body, PATH, gateway.host))
        assert fast.head()["cache-status"] == "payonce; fwd=miss; collapsed"
        go.set()
        size = 0
        while data := fast.chunk():
            size += len(data)
        assert size > total
        assert gateway.run(lambda: len(gateway.gateway.connections)) == 2, "nobody had to be given up for it"
        assert len(upstream.requests) == before + 1


def test_readers_of_a_call_that_fails_all_see_it_fail(gateway: RunningGateway, upstream: RawUpstream) -> None:
    go = threading.Event()

    def behave(conn: socket.socket, request: Request) -> None:
        conn.sendall(STREAM_HEAD + chunk(good_stream()[1]))
        assert go.wait(AT_LAST)

    upstream.behave = behave
    body = ask("fails for all", stream=True)
    before = len(upstream.requests)
    wires = [gateway.wire() for _ in range(4)]
    for wire in wires:
        wire.send(post(body, PATH, gateway.host))
        assert wire.head().status == 200
        assert wire.chunk() == good_stream()[1]
    go.set()
    for wire in wires:
        with pytest.raises(EOFError):
            wire.chunk()
        wire.sock.close()
    assert len(upstream.requests) == before + 1


def test_the_health_page_tells_of_each_upstream_what_became_of_its_calls(sim: SimulatedProvider) -> None:
    with running_gateway((("", sim.base_url), ("dead", DEAD))) as gateway:

        def page(path: str) -> bytes:
            with gateway.wire() as wire:
                wire.send(f"GET /_payonce/{path} HTTP/1.1\r\nHost: {gateway.host}\r\n\r\n".encode())
                return wire.reply().body

        def told() -> dict[str, Any]:
            return {each["name"]: each for each in json.loads(page("api/health"))["upstreams"]}

        assert gateway.post(ask("well")).status == 200
        assert gateway.post(ask("well")).hit
        calls = told()[""]["calls"]
        assert told()[""]["failed"] == {}
        assert 0 < told()[""]["seconds"] < 10
        for fault in ("429", "429", "cut=300"):
            attempt(gateway, ask("faulty", model=f"sim/fault-{fault}"))
        assert gateway.post(ask("nowhere"), "/dead/v1/chat/completions").status == 502
        after = told()
        assert after[""]["failed"] == {"429": 2, "upstream-cut": 1}
        assert after[""]["calls"] >= calls + 3, "the list of prices may have been asked for meanwhile"
        assert set(after["dead"]["failed"]) == {"upstream-refused"}
        assert after["dead"]["calls"] >= after["dead"]["failed"]["upstream-refused"] > 0
        assert after["dead"]["seconds"] is None
        assert "429 × 2, upstream-cut × 1" in page("health").decode()
