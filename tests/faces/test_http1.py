"""The client upstream: what it calls whole is whole, and no answer ever reaches a request it was not given to.

Raw servers on loopback send any bytes at all. Every story is played under uvloop and under plain asyncio; none waits
for time to pass: `sweep` is told what time it is. A turn is one round of the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import inspect
import itertools
import os
import random
import select
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop

from payonce.config import Settings
from payonce.gateway import http1
from payonce.gateway import origin as origin_room
from payonce.gateway.http1 import Connection, request_bytes
from payonce.gateway.origin import KEEP_SECONDS, Origin
from payonce.gateway.upstream import HttpAnswer, HttpUpstream
from payonce.model import reason as why
from payonce.model.call import Call
from payonce.model.ports import UpstreamFault
from payonce.model.reason import Reason

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "uvloop": uvloop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
PATIENCE = 60.0
LATER = 3600.0
CONNECT = 30.0


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """That a kept connection has been closed is seen soon enough, however busy the machine is."""
    monkeypatch.setattr(origin_room, "SILENT_SECONDS", 60.0)


def both(story: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Plays a story on each kind of loop; it must leave no task behind, nor an error that only the loop saw."""

    @functools.wraps(story)
    def played(*args: Any, kind: str, **kwargs: Any) -> None:
        errors: list[dict[str, Any]] = []

        async def whole() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
            async with asyncio.timeout(120):
                await story(*args, **kwargs)
            await until(lambda: len(asyncio.all_tasks()) == 1)

        with asyncio.Runner(loop_factory=LOOPS[kind]) as runner:
            runner.run(whole())
        assert errors == []

    signature = inspect.signature(story)
    more = inspect.Parameter("kind", inspect.Parameter.KEYWORD_ONLY)
    del played.__wrapped__  # type: ignore[attr-defined]
    played.__signature__ = signature.replace(parameters=[*signature.parameters.values(), more])  # type: ignore[attr-defined]
    return pytest.mark.parametrize("kind", LOOPS)(played)


async def until(true: Callable[[], bool]) -> None:
    """Let the loop turn until `true`."""
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# ------------------------------------------------------------------------------------------ an upstream of raw bytes


@dataclass
class Asked:
    """One request, as the server read it."""

    head: bytes
    body: bytes

    @property
    def number(self) -> int:
        """The number that its target ends with."""
        return int(self.head.split(b" ")[1].rsplit(b"/", 1)[1])


class Wire:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.name = writer.get_extra_info("peername")[:2]
        self.over = False

    async def asked(self) -> Asked | None:
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = next((int(line[15:]) for line in head.split(b"\r\n") if line[:15] == b"content-length:"), 0)
            return Asked(head, await self.reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def end(self) -> None:
        """Close in good order; with TLS, say goodbye first."""
        self.writer.close()

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def half_end(self) -> None:
        """Say, at once, that nothing more will be sent."""
        with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as same:
            same.shutdown(socket.SHUT_WR)

    async def gone(self) -> None:
        """Returns when the client has closed its end."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass


Behave = Callable[[Wire, Asked], Awaitable[None]]


@dataclass
class Server:
    behave: Behave
    port: int = 0
    wires: list[Wire] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        self.wires.append(wire)
        try:
            while not writer.is_closing() and (asked := await wire.asked()) is not None:
                self.asked.append(asked)
                await self.behave(wire, asked)
        except (ConnectionError, RuntimeError):  # uvloop says RuntimeError when one writes to what is closed
            pass
        finally:
            wire.over = True
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    @property
    def all_gone(self) -> bool:
        return all(wire.over for wire in self.wires)


@contextlib.asynccontextmanager
async def serving(behave: Behave, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server(behave)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for wire in server.wires:
            wire.writer.transport.abort()
        await until(lambda: server.all_gone)
        await listening.wait_closed()


@contextlib.asynccontextmanager
async def pair(behave: Behave, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Server, Origin]]:
    """A server and a client of it, which must have given everything back and let go of every connection."""
    async with serving(behave, tls) as server:
        origin = Origin(f"http{'s' if tls else ''}://127.0.0.1:{server.port}", CONNECT)
        try:
            yield server, origin
            assert origin._busy == set()
        finally:
            origin.close()
        await until(lambda: server.all_gone)


def says(answer: bytes, then: str = "stay") -> Behave:
    """Sends the same to every request, and then stays, ends or resets the connection."""

    async def behave(wire: Wire, asked: Asked) -> None:
        wire.send(answer)
        if then == "end":
            wire.end()
        elif then == "reset":
            wire.reset()

    return behave


async def silence(wire: Wire, asked: Asked) -> None:
    await wire.gone()


# ------------------------------------------------------------------------------------------ its client


@dataclass
class Got:
    """What came of an exchange: `fault` None says that it was called whole."""

    status: int = 0
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    fault: Reason | None = None


def request(number: int = 0, method: str = "POST", body: bytes = b"{}") -> bytes:
    return request_bytes(method, b"/v1/%d" % number, b"test", (), body if method == "POST" else b"")


async def begin(origin: Origin, number: int = 0, method: str = "POST") -> Connection:
    return await origin.begin(request(number, method), bodiless=method == "HEAD", patience=PATIENCE)


async def rest(connection: Connection) -> bytes:
    """The body up to its end. Raises UpstreamFault."""
    parts = []
    while True:
        if part := connection.take():
            parts.append(part)
        elif not await connection.more():
            return b"".join(parts)


async def fetch(origin: Origin, number: int = 0, method: str = "POST") -> Got:
    got = Got()
    try:
        connection = await begin(origin, number, method)
    except UpstreamFault as fault:
        got.fault = fault.reason
        return got
    got.status, got.fields = connection.status, connection.fields
    try:
        while True:
            if part := connection.take():
                got.body += part
            elif not await connection.more():
                break
    except UpstreamFault as fault:
        got.fault = fault.reason
    finally:
        origin.give_back(connection)
    return got


async def fault_of(opening: Awaitable[Any]) -> UpstreamFault:
    with pytest.raises(UpstreamFault) as caught:
        await opening
    return caught.value


def answer(body: bytes, *fields: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join((status, *fields, b"Content-Length: %d" % len(body), b"", body))


def headed(*lines: bytes, body: bytes = b"", status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join((status, *lines, b"", body))


CHUNKED = b"Transfer-Encoding: chunked"
BODY = b'{"a": "caf\xc3\xa9\r\n\r\nHTTP/1.1 200"}'
LENGTH_ANSWER = answer(BODY, b"X-Empty:", b"X-Spaced:  a b")
CHUNK_ANSWER = headed(
    CHUNKED,
    body=b"5;a=b\r\n"
    + BODY[:5]
    + b'\r\n0%X;q="x"\r\n' % len(BODY[5:])
    + BODY[5:]
    + b"\r\n0;end\r\nX-Trailer: t\r\n\r\n",
)
FRAMED = {"length": LENGTH_ANSWER, "chunked": CHUNK_ANSWER}


# ------------------------------------------------------------------------------------------ framing


@pytest.mark.parametrize("framing", FRAMED)
@both
async def test_an_answer_split_at_any_byte_is_the_same_answer(framing: str) -> None:
    data = FRAMED[framing]

    async def behave(wire: Wire, asked: Asked) -> None:
        at = asked.number
        pieces = (data[:at], data[at:]) if at < len(data) else (data[i : i + 1] for i in range(len(data)))
        for piece in pieces:
            wire.send(piece)
            await turns(3)

    async with pair(behave) as (server, origin):
        whole = await fetch(origin)
        assert (whole.status, whole.body, whole.fault) == (200, BODY, None)
        for at in range(1, len(data) + 1):
            assert await fetch(origin, at) == whole, at
        assert len(server.wires) == 1
    names = [name for name, _ in whole.fields]
    assert names == ([b"transfer-encoding"] if framing == "chunked" else [b"x-empty", b"x-spaced", b"content-length"])


@pytest.mark.parametrize("then", ["end", "reset"])
@pytest.mark.parametrize("framing", FRAMED)
@both
async def test_a_framed_answer_cut_at_any_byte_is_cut(framing: str, then: str) -> None:
    data = FRAMED[framing]

    async def behave(wire: Wire, asked: Asked) -> None:
        await says(data[: asked.number], then)(wire, asked)

    async with pair(behave) as (server, origin):
        for at in range(len(data)):
            got = await fetch(origin, at)
            assert got.fault is why.UPSTREAM_CUT, at
            assert BODY.startswith(got.body)
        assert len(server.asked) == len(data)  # not one of them was asked again
        if then == "end":
            assert (await fetch(origin, len(data))).body == BODY


@pytest.mark.parametrize("status", [b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 205 Reset"])
@both
async def test_a_body_without_framing_ends_with_the_connection(status: bytes) -> None:
    async with pair(says(headed(body=BODY, status=status), "end")) as (server, origin):
        for n in range(1, 4):
            got = await fetch(origin)
            assert (got.body, got.fault) == (BODY, None)
            assert len(server.wires) == n


@pytest.mark.parametrize("end", ["reset", "destroyed", "overdue"])
@both
async def test_a_body_without_framing_that_is_reset_or_given_up_is_never_whole(end: str) -> None:
    async def behave(wire: Wire, asked: Asked) -> None:
        wire.send(headed(body=b"so far"))
        await wire.gone()

    async with pair(behave) as (server, origin):
        connection = await begin(origin)
        await until(lambda: connection._held == 6)
        if end == "reset":
            server.wires[0].reset()
        elif end == "destroyed":
            connection.destroy()
        else:
            origin.sweep(asyncio.get_running_loop().time() + LATER)
        fault = await fault_of(rest(connection))
        assert fault.reason is (why.UPSTREAM_SLOW if end == "overdue" else why.UPSTREAM_CUT)
        assert not connection.done
        origin.give_back(connection)


@both
async def test_a_connection_that_ends_inside_a_head_or_before_one_is_cut() -> None:
    for sent in (b"", b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nA: b\r\n", headed(status=b"HTTP/1.1 100 C")):
        for then in ("end", "reset"):
            async with pair(says(sent, then)) as (server, origin):
                assert (await fetch(origin)).fault is why.UPSTREAM_CUT
                assert len(server.wires) == 1


GARBLED = {
    "garbage": b"\x16\x03\x01\x00\xff garbage garbage",
    "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "another protocol": b"ICY 200 OK\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare LF after a field": b"HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n",
    "bare CR": headed(b"A: b\rc", b"Content-Length: 0"),
    "NUL": headed(b"A: b\0c", b"Content-Length: 0"),
    "folded": headed(b"A: b\r\n c", b"Content-Length: 0"),
    "space before colon": headed(b"Content-Length : 1", body=b"x"),
    "no colon": headed(b"what", b"Content-Length: 0"),
    "status of two digits": answer(b"", status=b"HTTP/1.1 20 OK"),
    "status of four digits": answer(b"", status=b"HTTP/1.1 2000 OK"),
    "length and chunked": headed(b"Content-Length: 5", CHUNKED, body=b"0\r\n\r\n"),
    "chunked and length": headed(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"),
    "equal lengths": headed(b"Content-Length: 2", b"Content-Length: 2", body=b"ok"),
    "two lengths": headed(b"Content-Length: 2", b"Content-Length: 3", body=b"oka"),
    "list of lengths": headed(b"Content-Length: 2, 2", body=b"ok"),
    "no length": headed(b"Content-Length:", body=b"ok"),
    "signed length": headed(b"Content-Length: +2", body=b"ok"),
    "huge length": headed(b"Content-Length: 18446744073709551618", body=b"ok"),
    "chunked twice": headed(CHUNKED, CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n"),
    "coded and chunked": headed(b"Transfer-Encoding: gzip, chunked", body=b"2\r\nok\r\n0\r\n\r\n"),
    "coded, not chunked": headed(b"Transfer-Encoding: gzip", body=b"ok"),
    "chunked, then coded": headed(b"Transfer-Encoding: chunked, gzip", body=b"ok"),
    "identity": headed(b"Transfer-Encoding: identity", body=b"ok"),
    "chunk size": headed(CHUNKED, body=b"0x2\r\nok\r\n0\r\n\r\n"),
    "chunk line ended by LF": headed(CHUNKED, body=b"2\nok\r\n0\r\n\r\n"),
    "chunk longer than it says": headed(CHUNKED, body=b"1\r\nok\r\n0\r\n\r\n"),
    "huge chunk": headed(CHUNKED, body=b"ffffffffffffffff2\r\nok\r\n0\r\n\r\n"),
    "length in a trailer": headed(CHUNKED, body=b"2\r\nok\r\n0\r\nContent-Length: 2\r\n\r\n"),
    "body of a 1xx": headed(b"Content-Length: 2", body=b"ok", status=b"HTTP/1.1 104 X") + answer(b"answer"),
    "101": headed(status=b"HTTP/1.1 101 Switching"),
    "101 with upgrade": headed(b"Connection: upgrade", b"Upgrade: x", status=b"HTTP/1.1 101 Switching") + answer(b""),
    "endless 1xx": headed(status=b"HTTP/1.1 100 C") * 8000,
    "large field": answer(b"ok", b"A: " + b"a" * (129 << 10)),
    "large field, large body": answer(b"o" * (129 << 10), b"A: " + b"a" * (129 << 10)),
    "many fields": answer(b"ok", *[b"A: b"] * 70_000),
    "head without end": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000,
    "field without end": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 600_000,
    "trailer without end": headed(CHUNKED, body=b"2\r\nok\r\n0\r\nA: " + b"b" * 800_000),
    "extension without end": headed(CHUNKED, body=b"2\r\nok\r\n2;" + b"b" * 800_000),
}


@pytest.mark.parametrize("case", GARBLED)
@both
async def test_what_is_no_well_formed_answer_is_garbled_never_whole_and_never_asked_again(case: str) -> None:
    async def behave(wire: Wire, asked: Asked) -> None:
        wire.send(GARBLED[case])
        await wire.gone()

    async with pair(behave) as (server, origin):
        got = await fetch(origin)
        assert got.fault is why.UPSTREAM_GARBLED
        assert b"ok".startswith(got.body)
        await until(lambda: server.all_gone)
        assert (len(server.wires), len(origin._idle)) == (1, 0)


@both
async def test_a_head_just_below_the_limit_is_read() -> None:
    async with pair(says(answer(b"ok", b"A: " + b"a" * (127 << 10)))) as (_, origin):
        assert (await fetch(origin)).body == b"ok"


@both
async def test_what_comes_before_the_answer_is_left_out_of_it() -> None:
    before = (
        headed(status=b"HTTP/1.1 100 Continue")
        + headed(b"Link: </x>", b"Content-Length: 7", status=b"HTTP/1.1 103 Early")
        + headed(CHUNKED, status=b"HTTP/1.1 102 Processing")
    )
    async with pair(says(before + answer(b"ok", b"A: b"))) as (server, origin):
        for _ in range(2):
            got = await fetch(origin)
            assert (got.status, got.body, got.fault) == (200, b"ok", None)
            assert got.fields == [(b"a", b"b"), (b"content-length", b"2")]
        assert len(server.wires) == 1
    async with pair(says(before + headed(body=b"ok"), "end")) as (_, origin):  # their framing is not the answer's
        assert (await fetch(origin)).fault is None


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize("lines", [(), (b"Content-Length: 5",), (CHUNKED,)])
@both
async def test_204_and_304_have_no_body_whatever_they_say(status: bytes, lines: tuple[bytes, ...]) -> None:
    async with pair(says(headed(*lines, status=b"HTTP/1.1 " + status))) as (server, origin):
        for _ in range(3):
            got = await fetch(origin)
            assert (got.status, got.body, got.fault) == (int(status[:3]), b"", None)
        assert len(server.wires) == 1
    async with pair(says(headed(*lines, body=b"hello", status=b"HTTP/1.1 " + status))) as (server, origin):
        for n in range(1, 4):
            assert (await fetch(origin)).body == b""
            assert len(server.wires) == n


@pytest.mark.parametrize("body", [b"", b"hello"])
@pytest.mark.parametrize("lines", [(), (b"Content-Length: 0",), (b"Content-Length: 5",), (CHUNKED,)])
@both
async def test_an_answer_to_head_has_no_body_and_its_connection_is_not_kept(
    lines: tuple[bytes, ...], body: bytes
) -> None:
    async with pair(says(headed(*lines, body=body))) as (server, origin):
        for n in range(1, 4):
            got = await fetch(origin, method="HEAD")
            assert (got.status, got.body, got.fault) == (200, b"", None)
            assert len(server.wires) == n


@both
async def test_a_compressed_body_is_not_touched() -> None:
    packed = gzip.compress(b"x" * 100_000)
    async with pair(says(answer(packed, b"Content-Encoding: gzip"))) as (_, origin):
        assert (await fetch(origin)).body == packed


# ------------------------------------------------------------------------------------------ keeping connections


def signed(number: int) -> bytes:
    return b"%d " % number * 50


async def answers_number(wire: Wire, asked: Asked) -> None:
    wire.send(answer(signed(asked.number)))


@both
async def test_one_connection_carries_requests_one_after_the_other() -> None:
    async with pair(answers_number) as (server, origin):
        for n in range(50):
            assert (await fetch(origin, n)).body == signed(n)
        assert len(server.wires) == 1
        both_at_once = await asyncio.gather(fetch(origin, 1), fetch(origin, 2))
        assert [got.body for got in both_at_once] == [signed(1), signed(2)]
        assert len(server.wires) == 2
        assert len(origin._idle) == 2


NOT_KEPT = {
    "Connection: close": answer(b"ok", b"Connection: close"),
    "close among others": answer(b"ok", b"Connection: keep-alive, Close"),
    "HTTP/1.0": answer(b"ok", status=b"HTTP/1.0 200 OK"),
    "HTTP/1.0 that would stay": answer(b"ok", b"Connection: keep-alive", status=b"HTTP/1.0 200 OK"),
    "chunked HTTP/1.0": headed(
        b"Connection: keep-alive", CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n", status=b"HTTP/1.0 200 OK"
    ),
    "another answer behind it": answer(b"ok") + answer(b"not yours"),
    "part of an answer behind it": answer(b"ok") + b"H",
    "garbage behind it": answer(b"ok") + b"\0",
    "garbage behind chunks": headed(CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n") + b"x",
}


@pytest.mark.parametrize("case", NOT_KEPT)
@both
async def test_a_connection_that_is_not_clean_is_used_once(case: str) -> None:
    async with pair(says(NOT_KEPT[case])) as (server, origin):
        for n in range(1, 5):
            got = await fetch(origin)
            assert (got.status, got.body, got.fault) == (200, b"ok", None)
            assert len(server.wires) == n
            assert not origin._idle


@pytest.mark.parametrize("size", [2, 200_000, 1_000_000])
@both
async def test_a_connection_is_not_kept_when_its_answer_was_not_read_to_the_end(size: int) -> None:
    async def behave(wire: Wire, asked: Asked) -> None:
        wire.send(answer(b"x" * size) if asked.number else answer(b"ok"))

    async with pair(behave) as (server, origin):
        for _ in range(3):
            connection = await begin(origin, 1)
            await until(lambda: connection.done or connection._paused)  # noqa: B023
            origin.give_back(connection)
            assert not origin._idle
            assert (await fetch(origin)).body == b"ok"
        assert len(server.wires) == 4
        assert len(server.asked) == 6


@both
async def test_a_connection_is_not_kept_while_its_reader_was_woken_and_has_yet_to_look() -> None:
    async with pair(says(headed(CHUNKED, body=b"2\r\nok\r\n"))) as (_, origin):
        connection = await begin(origin)
        reading = asyncio.ensure_future(rest(connection))
        await until(lambda: connection._arrived > 40 and connection._waiter is not None and not connection._held)
        connection.data_received(b"0\r\n\r\n")
        assert connection.done
        origin.give_back(connection)  # the client left just now
        assert not origin._idle
        assert await reading == b"ok"


@both
async def test_a_connection_is_not_kept_when_its_answer_ended_while_reading_paused() -> None:
    async with pair(silence) as (_, origin):
        opening = asyncio.ensure_future(begin(origin))
        await until(lambda: bool(origin._busy))
        (connection,) = origin._busy
        connection.data_received(answer(b"x" * 300_000))
        assert connection.done
        await rest(await opening)
        origin.give_back(connection)  # what may follow in the buffers of TLS has not been looked at
        assert not origin._idle


@both
async def test_an_answer_nobody_asked_for_destroys_the_idle_connection() -> None:
    async with pair(answers_number) as (server, origin):
        for n in range(1, 4):
            assert (await fetch(origin, n)).body == signed(n)
            assert len(server.wires) == n
            server.wires[-1].send(answer(b"not yours"))
            await until(lambda: not origin._idle[-1].open)
        assert (await fetch(origin, 9)).body == signed(9)


@both
async def test_an_answer_nobody_asked_for_that_the_loop_has_not_seen_yet_is_given_to_nobody() -> None:
    async with pair(answers_number) as (server, origin):
        for n in range(1, 4):
            assert (await fetch(origin, n)).body == signed(n)
            assert len(server.wires) == n
            poison(server, origin, origin._idle[-1])
        assert (await fetch(origin, 9)).body == signed(9)


def poison(server: Server, origin: Origin, connection: Connection) -> None:
    """Have the server send an answer on this idle connection; returns when it has come, without a turn of the loop."""
    assert connection._transport is not None
    name = connection._transport.get_extra_info("sockname")[:2]
    wire = next(wire for wire in reversed(server.wires) if wire.name == name)
    wire.send(answer(b"not yours"))
    arrived(connection)


def arrived(connection: Connection) -> None:
    """Returns when there is something for this connection to read, without a turn of the loop."""
    assert connection._transport is not None
    inbox = select.poll()
    inbox.register(connection._transport.get_extra_info("socket"), select.POLLIN)
    assert inbox.poll(60_000)


@both
async def test_an_answer_that_comes_before_any_request_is_given_to_nobody() -> None:
    async with serving(answers_number) as server:
        origin = Origin(f"http://127.0.0.1:{server.port}", CONNECT)
        connection = await origin._connect()
        await until(lambda: bool(server.wires))
        server.wires[0].send(answer(b"not yours"))
        await until(lambda: not connection.open)
        fault = await fault_of(origin._sent(connection, request(), bodiless=False, patience=PATIENCE))
        assert (fault.reason, connection.silent) == (why.UPSTREAM_CUT, True)
        assert origin._busy == set()


@both
async def test_a_connection_lost_before_it_could_be_used_is_cut_at_once() -> None:
    async with serving(silence) as server:
        origin = Origin(f"http://127.0.0.1:{server.port}", CONNECT)
        for reset in (False, True):
            connection = await origin._connect()
            await until(lambda: bool(server.wires) and not server.wires[-1].over)
            if reset:
                server.wires[-1].reset()
            else:
                server.wires[-1].end()
            await until(lambda: connection._transport is None)  # noqa: B023
            fault = await fault_of(origin._sent(connection, request(), bodiless=False, patience=PATIENCE))
            assert fault.reason is why.UPSTREAM_CUT


@both
async def test_an_answer_before_the_request_was_sent_whole_ends_the_connection() -> None:
    class Hasty(asyncio.Protocol):
        """Reads a little and answers, and never reads the rest."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            made.append(self.transport)
            self.transport.pause_reading()
            self.transport.write(answer(b"too large", status=b"HTTP/1.1 413 Too Large"))

    made: list[Any] = []
    listening = await asyncio.get_running_loop().create_server(Hasty, "127.0.0.1", 0)
    origin = Origin(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", CONNECT)
    try:
        connection = await origin.begin(request(body=b"x" * (32 << 20)), bodiless=False, patience=PATIENCE)
        assert (connection.status, await rest(connection)) == (413, b"too large")
        assert connection.reusable
        origin.give_back(connection)
        assert not origin._idle
    finally:
        origin.close()
        made[0].abort()
        listening.close()
        await listening.wait_closed()


@pytest.mark.parametrize("then", ["end", "reset", "half-end"])
@both
async def test_a_kept_connection_that_was_closed_meanwhile_is_replaced_unasked(then: str) -> None:
    async with pair(answers_number) as (server, origin):
        assert (await fetch(origin, 1)).fault is None
        connection = origin._idle[-1]
        if then == "half-end":
            server.wires[0].half_end()
            arrived(connection)
            assert connection.open  # the loop has not seen it yet
        else:
            getattr(server.wires[0], then)()
            await until(lambda: not connection.open)
        assert (await fetch(origin, 2)).body == signed(2)
        assert [asked.number for asked in server.asked] == [1, 2]


@pytest.mark.parametrize("then", ["end", "reset"])
@both
async def test_a_kept_connection_closed_before_one_byte_is_retried_once_on_a_new_one(then: str) -> None:
    async def behave(wire: Wire, asked: Asked) -> None:
        if (asked.number == 2 and len(server.wires) == 1) or asked.number == 3:
            await says(b"", then)(wire, asked)
        else:
            await answers_number(wire, asked)

    async with pair(behave) as (server, origin):
        assert (await fetch(origin, 1)).body == signed(1)
        assert (await fetch(origin, 2)).body == signed(2)
        assert [asked.number for asked in server.asked] == [1, 2, 2]
        assert (await fetch(origin, 3)).fault is why.UPSTREAM_CUT  # the second time, the connection was a new one
        assert [asked.number for asked in server.asked] == [1, 2, 2, 3, 3]
        assert (await fetch(origin, 3)).fault is why.UPSTREAM_CUT  # and so it was here, at once
        assert [asked.number for asked in server.asked] == [1, 2, 2, 3, 3, 3]


@both
async def test_a_kept_connection_that_closes_only_after_a_while_is_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The upstream may have begun to work on the request: to send it again might be to pay twice."""

    async def behave(wire: Wire, asked: Asked) -> None:
        if asked.number == 2 and wire is server.wires[0]:
            wire.end()
        else:
            await answers_number(wire, asked)

    async with pair(behave) as (server, origin):
        await fetch(origin, 1)
        monkeypatch.setattr(origin_room, "SILENT_SECONDS", -1.0)  # it has been too long, whenever it was
        assert (await fetch(origin, 2)).fault is why.UPSTREAM_CUT
        assert [asked.number for asked in server.asked] == [1, 2]


@both
async def test_the_new_connection_of_a_retry_is_never_another_kept_one() -> None:
    dying = False

    async def behave(wire: Wire, asked: Asked) -> None:
        if dying and wire in server.wires[:5]:
            wire.end()
        else:
            await turns(20)
            await answers_number(wire, asked)

    async with pair(behave) as (server, origin):
        await asyncio.gather(*(fetch(origin, n) for n in range(5)))
        assert len(origin._idle) == 5
        dying = True
        assert (await fetch(origin, 7)).body == signed(7)
        assert len(server.wires) == 6


@pytest.mark.parametrize("first", [b"H", b"\r\n", headed(status=b"HTTP/1.1 100 C"), answer(b"abc")[:-1]])
@both
async def test_a_kept_connection_that_breaks_after_one_byte_is_not_retried(first: bytes) -> None:
    async def behave(wire: Wire, asked: Asked) -> None:
        if asked.number == 2:
            await says(first, "end")(wire, asked)
        else:
            await answers_number(wire, asked)

    async with pair(behave) as (server, origin):
        assert (await fetch(origin, 1)).fault is None
        assert (await fetch(origin, 2)).fault is why.UPSTREAM_CUT
        assert [asked.number for asked in server.asked] == [1, 2]


@both
async def test_a_kept_connection_that_is_silent_or_garbled_is_not_retried() -> None:
    async def behave(wire: Wire, asked: Asked) -> None:
        if asked.number == 1:
            await answers_number(wire, asked)
        elif asked.number == 2:
            wire.send(b"\0")
        await turns(5)

    async with pair(behave) as (server, origin):
        await fetch(origin, 1)
        assert (await fetch(origin, 2)).fault is why.UPSTREAM_GARBLED
        await fetch(origin, 1)
        waiting = asyncio.ensure_future(fetch(origin, 3))
        await until(lambda: server.asked[-1].number == 3)
        origin.sweep(asyncio.get_running_loop().time() + LATER)
        assert (await waiting).fault is why.UPSTREAM_SLOW
        assert [asked.number for asked in server.asked] == [1, 2, 1, 3]


@both
async def test_what_was_idle_for_too_long_is_closed_by_the_sweep_or_at_the_latest_when_it_is_wanted() -> None:
    async with pair(answers_number) as (server, origin):
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(fetch(origin, n) for n in range(3)))
        assert len(origin._idle) == 3
        origin.sweep(loop.time() + KEEP_SECONDS - 5)
        assert len(origin._idle) == 3
        origin._idle[0].since -= 10
        origin.sweep(loop.time() + KEEP_SECONDS - 5)
        assert len(origin._idle) == 2
        for connection in origin._idle:
            connection.since -= KEEP_SECONDS
        await fetch(origin, 1)
        assert (len(origin._idle), len(server.wires)) == (1, 4)
        origin.sweep(loop.time() + LATER)
        assert not origin._idle
        await until(lambda: server.all_gone)


@both
async def test_no_more_than_so_many_idle_connections_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair(answers_number) as (_, origin):
        monkeypatch.setattr(origin_room, "KEEP_IDLE", 3)
        await asyncio.gather(*(fetch(origin, n) for n in range(8)))
        assert len(origin._idle) == 3


@both
async def test_giving_back_twice_is_harmless_even_when_another_has_the_connection_now() -> None:
    async with pair(answers_number) as (_, origin):
        connection = await begin(origin, 1)
        await rest(connection)
        origin.give_back(connection)
        origin.give_back(connection)
        assert list(origin._idle) == [connection]
        first, second = await begin(origin, 2), await begin(origin, 3)
        assert first is connection is not second
        assert (await rest(first), await rest(second)) == (signed(2), signed(3))
        origin.give_back(first)
        origin.give_back(second)


@both
async def test_closing_destroys_the_idle_and_lets_the_busy_finish() -> None:
    go = asyncio.Event()

    async def behave(wire: Wire, asked: Asked) -> None:
        if asked.number == 1:
            await go.wait()
        await answers_number(wire, asked)

    async with pair(behave) as (server, origin):
        waiting = asyncio.ensure_future(fetch(origin, 1))
        await until(lambda: bool(server.asked))
        await fetch(origin, 2)
        origin.close()
        await until(lambda: server.wires[1].over)
        go.set()
        assert (await waiting).body == signed(1)
        assert not origin._idle
        await until(lambda: server.all_gone)


# ------------------------------------------------------------------------------------------ whose answer it is

MANNERS = (
    *("plain",) * 6,
    *("chunked", "chunked", "slow", "slow", "informed", "large"),
    *("close", "old", "endless", "extra", "extra-slow", "cut", "cut-0", "reset", "garbled", "dies", "stalls"),
)


def manners(rng: random.Random, stalled: Callable[[int], object]) -> Behave:
    """Answers that are signed with the request's number, in every good and bad manner; says which will never end."""

    async def behave(wire: Wire, asked: Asked) -> None:
        body = signed(asked.number)
        manner = rng.choice(MANNERS)
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:])) + b"0\r\n\r\n"
        if manner == "slow":
            await turns(rng.randrange(6))
        elif manner == "informed":
            wire.send(headed(status=b"HTTP/1.1 100 Continue"))
        if manner == "cut-0":
            wire.end()
        elif manner in ("cut", "reset", "stalls"):
            wire.send(answer(body)[: rng.randrange(1, 60)])
            if manner == "stalls":
                await turns(rng.randrange(6))
                stalled(asked.number)
                await wire.gone()
            else:
                await says(b"", "end" if manner == "cut" else "reset")(wire, asked)
        elif manner == "garbled":
            wire.send(headed(CHUNKED, body=chunks[:-5] + b"zz\r\n"))
        elif manner in ("chunked", "slow"):
            data = headed(CHUNKED, body=chunks)
            at = rng.randrange(len(data))
            wire.send(data[:at])
            await turns(rng.randrange(4))
            wire.send(data[at:])
        elif manner == "large":
            wire.send(answer(body * 3000))
        elif manner == "close":
            wire.send(answer(body, b"Connection: close"))
        elif manner == "old":
            wire.send(answer(body, status=b"HTTP/1.0 200 OK"))
        elif manner == "endless":
            wire.send(headed(body=body))
            wire.end()
        elif manner == "extra":
            wire.send(answer(body) + answer(signed(-1)))
        elif manner == "extra-slow":
            wire.send(answer(body) + answer(signed(-1))[: rng.randrange(1, 40)])
        else:
            wire.send(answer(body))
        if manner == "dies":
            wire.end()

    return behave


@pytest.mark.parametrize("seed", range(2))
@both
async def test_of_a_thousand_tangled_requests_none_ever_gets_a_byte_of_anothers_answer(seed: int) -> None:
    rng = random.Random(seed)
    numbers = iter(range(1000, 2000))
    whole = cancelled = failed = poisoned = 0
    tasks: dict[int, asyncio.Task[None]] = {}

    async def one(number: int) -> None:
        nonlocal whole, failed
        want = signed(number)
        try:
            connection = await begin(origin, number)
        except UpstreamFault:
            failed += 1
            return
        body = b""
        patience = rng.choice((99, 99, 99, 1, 0))  # how many parts it reads before it leaves
        try:
            while patience:
                if part := connection.take():
                    body += part
                    patience -= 1
                    await turns(rng.randrange(3))
                elif not await connection.more():
                    whole += 1
                    assert body in (want, want * 3000)
                    break
        except UpstreamFault:
            failed += 1
        finally:
            origin.give_back(connection)
            assert connection.status == 200
            assert (want * 3000).startswith(body)

    async def client() -> None:
        nonlocal cancelled, poisoned
        for number in numbers:
            tasks[number] = task = asyncio.ensure_future(one(number))
            if rng.random() < 0.3:
                await turns(rng.randrange(12))
                task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                cancelled += 1
            if origin._idle and origin._idle[-1].open and not origin._idle[-1].stirred and rng.random() < 0.2:
                poison(server, origin, origin._idle[-1])
                poisoned += 1

    async with pair(manners(rng, lambda number: tasks[number].cancel())) as (server, origin):
        await asyncio.gather(*(client() for _ in range(8)))
        assert whole > 300
        assert min(cancelled, failed, poisoned) > 10
        assert 100 < len(server.wires) < len(server.asked)


# ------------------------------------------------------------------------------------------ patience and pressure


@both
async def test_a_slow_reader_stops_the_server_and_little_is_held() -> None:
    size = 100 << 20
    piece = b"x" * (64 << 10)
    sent = 0

    async def behave(wire: Wire, asked: Asked) -> None:
        nonlocal sent
        wire.send(headed(b"Content-Length: %d" % size))
        while sent < size:
            wire.send(piece)
            sent += len(piece)
            await wire.writer.drain()

    async with pair(behave) as (_, origin):
        connection = await begin(origin)
        await until(lambda: connection._paused)
        before = -1
        while before < sent:
            before = sent
            await turns(50)
        assert sent < 32 << 20  # what the two kernels buffer
        origin.sweep(asyncio.get_running_loop().time() + LATER)  # the silence is ours: nobody's patience ends
        before = connection.since = connection.since - LATER
        got = 0
        while True:
            assert connection._held <= http1.HIGH_WATER + (512 << 10)
            if part := connection.take():
                assert connection.since > before
                got += len(part)
            elif not await connection.more():
                break
        assert got == size
        origin.give_back(connection)


@both
async def test_after_a_pause_of_ours_the_upstream_has_its_whole_patience_again() -> None:
    async def behave(wire: Wire, asked: Asked) -> None:
        wire.send(answer(b"x" * 1_000_000)[:-1])
        await wire.gone()

    async with pair(behave) as (_, origin):
        connection = await begin(origin)
        await until(lambda: connection._paused)
        now = asyncio.get_running_loop().time()
        connection.since = now - LATER  # so long did our reader take
        connection.take()
        origin.sweep(now + PATIENCE - 5)
        assert connection.fault is None
        while connection._arrived < 999_999:
            await connection.more()
            connection.take()
        origin.sweep(now + LATER)
        assert (await fault_of(rest(connection))).reason is why.UPSTREAM_SLOW
        origin.give_back(connection)


@both
async def test_the_first_byte_may_take_only_so_long() -> None:
    async with pair(silence) as (server, origin):
        loop = asyncio.get_running_loop()
        waiting = asyncio.ensure_future(fetch(origin))
        await until(lambda: bool(server.asked))
        origin.sweep(loop.time() + PATIENCE - 5)
        await turns(20)
        assert not waiting.done()
        origin.sweep(loop.time() + PATIENCE + 1)
        assert (await waiting).fault is why.UPSTREAM_SLOW
        await until(lambda: server.all_gone)


@both
async def test_the_next_byte_may_take_only_so_long_and_what_came_before_is_still_handed_out() -> None:
    async def behave(wire: Wire, asked: Asked) -> None:
        wire.send(headed(CHUNKED, body=b"2\r\nok\r\n"))
        await wire.gone()

    async with pair(behave) as (server, origin):
        connection = await begin(origin)
        connection.patience = 7.0
        await connection.more()
        origin.sweep(connection.since + 6)
        assert connection.fault is None
        origin.sweep(connection.since + 8)
        connection.data_received(b"4\r\nlate\r\n0\r\n\r\n")
        assert connection.take() == b"ok"
        assert (await fault_of(connection.more())).reason is why.UPSTREAM_SLOW
        origin.give_back(connection)
        await until(lambda: server.all_gone)


@both
async def test_a_whole_answer_is_never_overdue() -> None:
    async with pair(answers_number) as (_, origin):
        connection = await begin(origin, 5)
        await until(lambda: connection.done)
        origin.sweep(asyncio.get_running_loop().time() + LATER)
        assert await rest(connection) == signed(5)
        origin.give_back(connection)
        assert len(origin._idle) == 1


# ------------------------------------------------------------------------------------------ leaving


@both
async def test_who_is_cancelled_while_waiting_leaves_nothing_behind() -> None:
    async def behave(wire: Wire, asked: Asked) -> None:
        if asked.number:
            wire.send(headed(CHUNKED, body=b"2\r\nok\r\n"))
        await wire.gone()

    async with pair(behave) as (server, origin):
        for number in range(2):
            waiting = asyncio.ensure_future(fetch(origin, number))
            await until(lambda: len(server.asked) == number + 1)  # noqa: B023
            await turns(10)
            assert len(origin._busy) == 1
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert origin._busy == set()
            assert not origin._idle
            await until(lambda: server.all_gone)


@both
async def test_who_is_cancelled_at_any_turn_leaves_nothing_behind() -> None:
    async def behave(wire: Wire, asked: Asked) -> None:
        for part in (headed(CHUNKED), b"2\r\nok\r\n", b"0\r\n\r\n"):
            wire.send(part)
            await turns(2)

    async with pair(behave) as (_, origin):
        for at in range(40):
            waiting = asyncio.ensure_future(fetch(origin, at))
            await turns(at)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert origin._busy == set()
            if not waiting.cancelled():
                assert waiting.result().body == b"ok"
            origin.sweep(asyncio.get_running_loop().time() + LATER)  # the next one begins with the connecting


# ------------------------------------------------------------------------------------------ no connection


@both
async def test_a_port_that_nobody_listens_at_refuses() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        origin = Origin(f"http://127.0.0.1:{taken.getsockname()[1]}", CONNECT)
        assert (await fetch(origin)).fault is why.UPSTREAM_REFUSED
    assert origin._busy == set()


@both
async def test_who_does_not_take_the_connection_in_time_is_slow() -> None:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # whoever waits to be accepted; when the queue is full, the kernel drops the next
            other = stack.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        fault = await fault_of(begin(Origin(f"http://127.0.0.1:{full.getsockname()[1]}", 0.05)))
        assert (fault.reason, fault.detail) == (why.UPSTREAM_SLOW, "connect")


@pytest.mark.parametrize("host", ["a..b", "a." * 200 + "b", "x" * 64])
@both
async def test_a_name_that_is_none_refuses(host: str) -> None:
    assert (await fetch(Origin(f"http://{host}:1", CONNECT))).fault is why.UPSTREAM_REFUSED


# ------------------------------------------------------------------------------------------ TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that signs itself, and a server's context with it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    room = tmp_path_factory.mktemp("tls")
    made, key = room / "certificate.pem", room / "key.pem"
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test -addext"
    command = [openssl, *options.split(), "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return made, context


@pytest.fixture
def tls(certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's side of TLS, which our clients trust."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    return certificate[1]


@both
async def test_over_tls_answers_come_whole_on_one_connection(tls: ssl.SSLContext) -> None:
    async def behave(wire: Wire, asked: Asked) -> None:
        wire.send(answer(signed(asked.number)) if asked.number < 5 else CHUNK_ANSWER)

    async with pair(behave, tls) as (server, origin):
        for n in range(5):
            assert (await fetch(origin, n)).body == signed(n)
        assert (await fetch(origin, 5)).body == BODY
        assert len(server.wires) == 1


@pytest.mark.parametrize("framing", FRAMED)
@both
async def test_over_tls_an_answer_cut_anywhere_is_cut(framing: str, tls: ssl.SSLContext) -> None:
    data = FRAMED[framing]

    async def behave(wire: Wire, asked: Asked) -> None:
        wire.send(data[: asked.number // 2])
        if asked.number % 2:
            wire.writer.transport.abort()
        else:
            wire.end()

    async with pair(behave, tls) as (_, origin):
        for at in range(0, len(data), 7):
            for goodbye in (0, 1):
                assert (await fetch(origin, 2 * at + goodbye)).fault is why.UPSTREAM_CUT, at


@both
async def test_over_tls_a_body_without_framing_is_whole_only_if_the_server_said_goodbye(tls: ssl.SSLContext) -> None:
    async def behave(wire: Wire, asked: Asked) -> None:
        wire.send(headed(body=BODY))
        if asked.number:
            wire.writer.transport.abort()
        else:
            wire.end()

    async with pair(behave, tls) as (_, origin):
        whole = await fetch(origin, 0)
        assert (whole.body, whole.fault) == (BODY, None)
        cut = await fetch(origin, 1)
        assert cut.fault is why.UPSTREAM_CUT


@pytest.mark.parametrize("goodbye", [True, False])
@both
async def test_over_tls_a_kept_connection_that_was_closed_is_replaced(goodbye: bool, tls: ssl.SSLContext) -> None:
    async with pair(answers_number, tls) as (server, origin):
        for n in range(1, 5):
            assert (await fetch(origin, n)).body == signed(n)
            if goodbye:
                server.wires[-1].end()
            else:
                server.wires[-1].writer.transport.abort()
            if n % 2:
                await until(lambda: origin._idle[-1]._transport is None)
                assert not origin._idle[-1].open
        assert [asked.number for asked in server.asked] == [1, 2, 3, 4]


@both
async def test_over_tls_an_answer_nobody_asked_for_is_given_to_nobody(tls: ssl.SSLContext) -> None:
    async def behave(wire: Wire, asked: Asked) -> None:
        wire.send(answer(signed(asked.number)))
        if asked.number == 3:
            wire.send(answer(b"not yours"))

    async with pair(behave, tls) as (server, origin):
        for n in range(1, 5):
            assert (await fetch(origin, n)).body == signed(n)
            if n < 3:
                poison(server, origin, origin._idle[-1])
            await turns(n)


@both
async def test_over_tls_a_slow_reader_gets_all_of_an_answer_whose_server_has_left(tls: ssl.SSLContext) -> None:
    body = bytes(range(256)) * 20_000

    async def behave(wire: Wire, asked: Asked) -> None:
        wire.send(answer(body, b"Connection: close") if asked.number else headed(body=body))
        wire.end()

    async with pair(behave, tls) as (_, origin):
        for number in range(2):
            connection = await begin(origin, number)
            await until(lambda: connection._paused)  # noqa: B023
            await turns(50)
            assert await rest(connection) == body
            origin.give_back(connection)


@both
async def test_over_tls_a_reader_that_leaves_while_reading_pauses_breaks_the_connection(tls: ssl.SSLContext) -> None:
    async def behave(wire: Wire, asked: Asked) -> None:
        wire.send(answer(b"x" * 10_000_000))
        await wire.gone()

    async with pair(behave, tls) as (server, origin):
        connection = await begin(origin)
        await until(lambda: connection._paused)
        origin.give_back(connection)
        connection.take()
        assert (await fault_of(rest(connection))).reason is why.UPSTREAM_CUT
        await until(lambda: server.all_gone)


@both
async def test_a_certificate_that_is_not_trusted_refuses(certificate: tuple[Path, ssl.SSLContext]) -> None:
    async with serving(answers_number, certificate[1]) as server:
        origin = Origin(f"https://127.0.0.1:{server.port}", CONNECT)
        fault = await fault_of(begin(origin))
        assert fault.reason is why.UPSTREAM_REFUSED
        assert "certificate" in fault.detail.lower()
        assert server.asked == []


@both
async def test_a_certificate_for_another_name_refuses(tls: ssl.SSLContext) -> None:
    async with serving(answers_number, tls) as server:
        origin = Origin(f"https://127.0.0.1:{server.port}", CONNECT)
        origin._host = "127.0.0.2"
        listening = await asyncio.start_server(server.serve, "127.0.0.2", server.port, ssl=tls)
        assert (await fetch(origin)).fault is why.UPSTREAM_REFUSED
        listening.close()
        await listening.wait_closed()
        assert server.asked == []


@both
async def test_tls_to_a_port_without_it_refuses_and_plain_words_to_a_port_with_it_are_garbled_or_cut(
    tls: ssl.SSLContext,
) -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    listening = await asyncio.start_server(rude, "127.0.0.1", 0)
    origin = Origin(f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}", CONNECT)
    assert (await fetch(origin)).fault is why.UPSTREAM_REFUSED
    listening.close()
    await listening.wait_closed()
    async with serving(answers_number, tls) as server:
        got = await fetch(Origin(f"http://127.0.0.1:{server.port}", CONNECT))
        assert got.fault in {why.UPSTREAM_GARBLED, why.UPSTREAM_CUT}


@both
async def test_who_never_answers_the_tls_handshake_is_slow() -> None:
    async with serving(silence) as server:
        fault = await fault_of(begin(Origin(f"https://127.0.0.1:{server.port}", 0.05)))
        assert (fault.reason, fault.detail) == (why.UPSTREAM_SLOW, "connect")
        await until(lambda: server.all_gone)


# ------------------------------------------------------------------------------------------ what is sent


def test_a_request_is_written_byte_for_byte() -> None:
    fields = ((b"accept", b"*/*"), (b"x-two", b"a b"), (b"x-two", b"\xc3\xa9"), (b"x-empty", b""))
    assert request_bytes("POST", b"/v1/chat?x=%20", b"host:1", fields, b"\r\n\0body") == (
        b"POST /v1/chat?x=%20 HTTP/1.1\r\nhost: host:1\r\naccept: */*\r\nx-two: a b\r\nx-two: \xc3\xa9\r\nx-empty: \r\n"
        b"content-length: 7\r\n\r\n\r\n\0body"
    )
    assert request_bytes("GET", b"/", b"h", (), b"") == b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"
    assert request_bytes("POST", b"/", b"h", (), b"") == b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"
    assert (
        request_bytes("DELETE", b"/", b"h", (), b"x") == b"DELETE / HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx"
    )


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("evil", ["\r", "\n", "\0", "\r\n", "\n\n", "\r\nx: y", "\r\n\r\n", "\ncontent-length: 0"])
@pytest.mark.parametrize("part", ["method", "target", "host", "name", "value"])
def test_no_part_of_a_request_can_break_out_of_its_line(part: str, evil: str, method: str) -> None:
    for text in (evil, "a" + evil, evil + "a", "a" + evil + "a"):
        parts: dict[str, str] = {"method": method, "target": "/", "host": "h", "name": "n", "value": "v", part: text}
        raw = {key: value.encode() for key, value in parts.items()}
        for fields in (((raw["name"], raw["value"]),), ((b"a", b"b"), (raw["name"], raw["value"]), (b"c", b"d"))):
            with pytest.raises(ValueError, match=r"line break|ascii"):
                request_bytes(parts["method"], raw["target"], raw["host"], fields, b"")


@pytest.mark.parametrize(
    ("method", "target"), [("GE T", b"/"), ("GET", b"/a b"), ("GET", b"/ HTTP/1.1"), ("G\xc9T", b"/")]
)
def test_no_request_line_has_more_than_three_parts(method: str, target: bytes) -> None:
    with pytest.raises(ValueError, match=r"space|ascii"):
        request_bytes(method, target, b"h", (), b"")


@pytest.mark.parametrize(
    ("base", "host", "path"),
    [
        ("https://api.example/api/v1/", b"api.example", b"/api/v1"),
        ("http://api.example:8080/v1", b"api.example:8080", b"/v1"),
        ("http://[::1]:8080", b"[::1]:8080", b""),
        ("http://[::1]/x", b"[::1]", b"/x"),
        ("http://user:secret@api.example:1/v1", b"api.example:1", b"/v1"),
    ],
)
def test_the_host_field_is_the_authority_without_a_user(base: str, host: bytes, path: bytes) -> None:
    origin = Origin(base, 1.0)
    assert (origin.host_field, origin.path) == (host, path)


@both
async def test_an_ipv6_origin_is_reached_at_its_address() -> None:
    server = Server(answers_number)
    try:
        listening = await asyncio.start_server(server.serve, "::1", 0)
    except OSError:
        pytest.skip("no IPv6 here")
    port = listening.sockets[0].getsockname()[1]
    origin = Origin(f"http://[::1]:{port}", CONNECT)
    sent = request_bytes("POST", b"/1", origin.host_field, (), b"")
    connection = await origin.begin(sent, bodiless=False, patience=PATIENCE)
    assert await rest(connection) == signed(1)
    origin.give_back(connection)
    origin.close()
    await until(lambda: server.all_gone)
    listening.close()
    await listening.wait_closed()
    assert b"\r\nhost: [::1]:%d\r\n" % port in server.asked[0].head


# ------------------------------------------------------------------------------------------ behind the port


def call(number: int = 0, method: str = "POST", endpoint: str = "chat", query: bytes = b"") -> Call:
    return Call("", method, f"{endpoint}/{number}", query, ((b"x-a", b"b"),), b"{}" if method == "POST" else b"")


@contextlib.asynccontextmanager
async def upstream(behave: Behave) -> AsyncIterator[tuple[Server, HttpUpstream]]:
    async with serving(behave) as server:
        opened = HttpUpstream(f"http://127.0.0.1:{server.port}/api/v1", Settings())
        yield server, opened
        assert opened._origin._busy == set()
        opened.close()
        await until(lambda: server.all_gone)


async def read(answering: HttpAnswer) -> bytes:
    return b"".join([chunk async for chunk in answering.chunks()])


@both
async def test_a_call_goes_out_as_it_is_and_its_answer_comes_back_without_the_connections_own_fields() -> None:
    async with upstream(says(answer(b"ok", b"X-Kept: 1", b"Connection: X-Hop", b"X-Hop: 1", b"Keep-Alive: 3"))) as (
        server,
        opened,
    ):
        for _ in range(2):
            got = await opened.open(call(7))
            assert (got.head.status, got.head.headers) == (200, ((b"x-kept", b"1"),))
            assert await read(got) == b"ok"
            got.close()
            got.close()
        assert len(server.wires) == 1
        assert server.asked[0].head == (
            b"POST /api/v1/chat/7 HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nx-a: b\r\naccept-encoding: identity\r\n"
            b"content-length: 2\r\n\r\n" % server.port
        )
        got = await opened.open(call(0, "GET", query=b"a=%20"))
        got.close()
        assert server.asked[-1].head.startswith(b"GET /api/v1/chat/0?a=%20 HTTP/1.1\r\n")


@pytest.mark.parametrize("status", [b"600", b"999", b"099", b"000"])
@both
async def test_a_status_that_no_client_knows_is_garbled_and_its_connection_is_not_kept(status: bytes) -> None:
    async with upstream(says(answer(b"ok", status=b"HTTP/1.1 " + status + b" X"))) as (server, opened):
        assert (await fault_of(opened.open(call()))).reason is why.UPSTREAM_GARBLED
        await until(lambda: server.all_gone and bool(server.wires))


@pytest.mark.parametrize("bad", [{"endpoint": "a b"}, {"endpoint": "a\r\nb"}, {"endpoint": "\xe9"}, {"query": b"a b"}])
@both
async def test_a_call_that_would_break_its_line_is_not_sent(bad: dict[str, Any]) -> None:
    async with upstream(answers_number) as (server, opened):
        assert (await fault_of(opened.open(call(**bad)))).reason is why.UPSTREAM_GARBLED
        assert server.wires == []


@both
async def test_who_reads_on_after_closing_gets_nothing_of_the_next_exchange() -> None:
    async with upstream(answers_number) as (server, opened):
        got = await opened.open(call(1))
        chunks = got.chunks()
        assert await anext(chunks) == signed(1)
        got.close()
        following = await opened.open(call(2))
        assert len(server.wires) == 1  # it is the same connection
        assert (await fault_of(anext(chunks))).reason is why.UPSTREAM_CUT
        assert await read(following) == signed(2)
        following.close()
        assert (await fault_of(read(following))).reason is why.UPSTREAM_CUT


@both
async def test_closing_under_a_reader_ends_its_wait_with_a_cut() -> None:
    for lines in ((CHUNKED,), ()):

        async def behave(wire: Wire, asked: Asked) -> None:
            wire.send(headed(*lines))  # noqa: B023
            await wire.gone()

        async with upstream(behave) as (_, opened):
            got = await opened.open(call())
            reading = asyncio.ensure_future(read(got))
            await turns(5)
            got.close()
            assert (await fault_of(reading)).reason is why.UPSTREAM_CUT


@both
async def test_every_call_takes_time_even_one_that_is_answered_within_a_millisecond() -> None:
    """uvloop's own clock goes on by whole milliseconds: by it, most of these calls would take none."""
    async with upstream(says(answer(b"ok"))) as (_, opened):
        told = [0.0]
        for number in range(20):
            got = await opened.open(call(number))
            assert await read(got) == b"ok"
            got.close()
            told.append(opened.state()["seconds"] * (number + 1))
        assert all(later > earlier for earlier, later in itertools.pairwise(told))
        assert told[-1] < 20 * CONNECT


@both
async def test_each_wait_has_its_own_patience() -> None:
    async def behave(wire: Wire, asked: Asked) -> None:
        if asked.number:
            wire.send(headed(CHUNKED))
        await wire.gone()

    settings = Settings(first_byte_timeout=100.0, between_bytes_timeout=10.0)
    async with serving(behave) as server:
        opened = HttpUpstream(f"http://127.0.0.1:{server.port}", settings)
        waiting = asyncio.ensure_future(opened.open(call(0)))
        got = await opened.open(call(1))
        await until(lambda: len(server.asked) == 2)
        connection = got._connection
        assert connection is not None
        opened.sweep(connection.since + 9)
        assert connection.fault is None
        opened.sweep(connection.since + 11)
        assert (await fault_of(read(got))).reason is why.UPSTREAM_SLOW
        got.close()
        (other,) = opened._origin._busy
        opened.sweep(other.since + 99)
        await turns(20)
        assert not waiting.done()
        opened.sweep(other.since + 101)
        assert (await fault_of(waiting)).reason is why.UPSTREAM_SLOW
        assert opened._origin._busy == set()
        await until(lambda: server.all_gone)
