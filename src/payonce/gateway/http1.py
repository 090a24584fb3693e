"""A small HTTP/1.1 client: one connection, parsed by httptools, that carries one exchange after the other.

Only what a gateway needs of its way upstream: the answer's bytes as they come, a framing that is proven complete or
called cut, back-pressure, and a connection that is destroyed rather than reused after anything unclear. Sources: RFC
9112, sections 6 and 9. Why not a library: docs/design/upstream.md. This room must never decode a body, follow a
redirect or keep a cookie, nor send a request twice; origin.py does, in one case only.
"""

from __future__ import annotations

import asyncio
import select
import ssl
from collections import deque
from typing import cast

import httptools

from payonce.model import reason as why
from payonce.model.call import Headers
from payonce.model.ports import UpstreamFault
from payonce.model.reason import Reason

MAX_HEAD_BYTES = 128 << 10
HIGH_WATER = 256 << 10

_Field = tuple[bytes, bytes]


class Connection(asyncio.Protocol):
    """One connection; at any time it is idle, or carries one exchange."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.clock = loop.time
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._inbox = select.poll()
        self._paused = False
        self.since = 0.0
        """When it went idle, or when an exchange last made progress, on the loop's clock."""
        self.patience = 0.0
        """For how many seconds an exchange may make no progress."""
        self._begin(bodiless=False)
        self.done = True

    def _begin(self, *, bodiless: bool) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.fields: list[_Field] = []
        self.has_head = False
        self.done = False
        self.reusable = False
        self.fault: UpstreamFault | None = None
        self._bodiless = bodiless
        self._framed = False
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._arrived = 0
        self._overhead = 0

    # What the caller does.

    @property
    def open(self) -> bool:
        """Whether something can still be sent."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def silent(self) -> bool:
        """Whether not one byte of an answer has come."""
        return self._arrived == 0

    @property
    def clean(self) -> bool:
        """Whether another exchange may follow: the answer was whole, and nothing of either message is left over."""
        return (
            self.done
            and self.reusable
            and not self._chunks
            and self._waiter is None  # its reader was woken, but has not looked yet
            and self.open
            and self._transport is not None
            and self._transport.get_write_buffer_size() == 0  # answered before the request was sent whole
        )

    @property
    def stirred(self) -> bool:
        """Whether there is something to read that the loop has not seen yet: bytes nobody asked for, or the end."""
        return bool(self._inbox.poll(0))

    def send(self, request: bytes, *, bodiless: bool) -> None:
        """Begin an exchange; `bodiless` says that the answer to this method never has a body."""
        self._begin(bodiless=bodiless)
        self.since = self._loop.time()
        if self._transport is not None and self.open:
            self._transport.write(request)
        else:  # lost between being made and being used: nobody will tell again
            self.fault = UpstreamFault(why.UPSTREAM_CUT)

    async def head(self) -> tuple[int, list[_Field]]:
        """Status and fields of the answer. Raises UpstreamFault."""
        while not self.has_head:
            if self.fault is not None:
                raise self.fault
            await self._change()
        return self.status, self.fields

    def take(self) -> bytes:
        """What has come of the body; empty when nothing has."""
        if not self._chunks:
            return b""
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._held = 0
        if self._paused and self._transport is not None and self.open:
            self._paused = False
            self.since = self._loop.time()  # the silence was ours
            self._transport.resume_reading()
        return data

    async def more(self) -> bool:
        """Wait for more of the body; False when it is complete. Raises UpstreamFault when it will never be."""
        while not self._chunks:
            if self.done:
                return False
            if self.fault is not None:
                raise self.fault
            await self._change()
        return True

    def overdue(self, now: float) -> None:
        """End the exchange if it has made no progress for too long; what has come can still be taken."""
        if not self.done and not self._paused and now - self.since > self.patience:
            self._fail(why.UPSTREAM_SLOW)

    def destroy(self) -> None:
        """Break the connection off."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    # What the transport and the parser find.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._inbox.register(transport.get_extra_info("socket"), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        if self.done:
            self.destroy()  # an answer that nobody asked for: whatever follows could be taken for another's
            return
        if self.fault is not None:
            return
        self._arrived += len(data)
        self._overhead += len(data)
        self.since = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(why.UPSTREAM_GARBLED)
            return
        if self._overhead > MAX_HEAD_BYTES and not self.done:
            self._fail(why.UPSTREAM_GARBLED)  # a head, or trailers, without end

    def eof_received(self) -> None:
        """The peer will send nothing more. What we break off, or what is reset, comes to `connection_lost` only."""
        if self.has_head and not self._framed and self.fault is None and self._said_goodbye():
            self.done = True  # neither length nor chunks: the end of the connection is the end of the body
        self._fail(why.UPSTREAM_CUT)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's own signature
        self._transport = None
        self._fail(why.UPSTREAM_CUT)

    def on_message_begin(self) -> None:
        if self.done:
            raise httptools.HttpParserError("an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:
            self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if 100 <= self.status < 200:
            return
        for name, value in self.fields:
            if name == b"content-length":
                self._framed = True
            elif name == b"transfer-encoding":
                if self._framed or value.strip().lower() != b"chunked":
                    raise httptools.HttpParserError("a transfer coding that nobody asked for")
                self._framed = True
        if self._arrived > MAX_HEAD_BYTES and sum(len(n) + len(v) for n, v in self.fields) > MAX_HEAD_BYTES:
            raise httptools.HttpParserError("too large a head")
        self.has_head = True
        if self._bodiless:
            self.done = True
        self._wake()

    def on_body(self, body: bytes) -> None:
        if self.done or not self.has_head:
            raise httptools.HttpParserError("a body where none may be")
        self._overhead = 0
        self._chunks.append(body)
        self._held += len(body)
        if self._held > HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        if not self.has_head:  # 1xx: the answer itself is still to come
            self.fields = []
            return
        if not self._bodiless and not self._paused:  # while reading pauses, what follows the answer goes unseen
            self.reusable = self._parser.should_keep_alive() and self._parser.get_http_version() == "1.1"
        self.done = True
        self._wake()

    def _fail(self, reason: Reason) -> None:
        if not self.done and self.fault is None:
            self.fault = UpstreamFault(reason)
        self.destroy()
        self._wake()

    def _said_goodbye(self) -> bool:
        """Whether the end is the peer's own: anyone on the way could forge TCP's, but not TLS's (RFC 9112, 9.8)."""
        tls = self._transport.get_extra_info("ssl_object") if self._transport is not None else None
        try:
            return tls is None or tls.read(1) == b""
        except ssl.SSLError:
            return False

    async def _change(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def request_bytes(method: str, target: bytes, host: bytes, fields: Headers, body: bytes) -> bytes:
    """A request on the wire. Raises ValueError where a part would break out of its line."""
    start = b"%s %s HTTP/1.1\r\nhost: %s\r\n" % (method.encode("ascii"), target, host)
    lines = [start]
    for name, value in fields:
        lines += (name, b": ", value, b"\r\n")
    count = 2 + len(fields)
    if body or method not in ("GET", "HEAD", "OPTIONS", "DELETE"):
        lines.append(b"content-length: %d\r\n" % len(body))
        count += 1
    head = b"".join(lines)
    if head.count(b"\n") != count or head.count(b"\r") != count or start.count(b" ") != 3 or b"\0" in head:
        raise ValueError("a line break or a NUL in a field, or a space in the target")
    return head + b"\r\n" + body
