"""One answer of the simulated provider on its way out: the pace, and the way its body ends, over plain ASGI.

This room must never know what an answer says or which fault was asked for; it gets a `Delivery`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from payonce.testing.sim_faults import WHOLE, Delivery, End

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

EXTENSION = "payonce.sim"
"""The ASGI extension under which the bundled server hands over the connection's transport."""


class ClientLeftError(Exception):
    """The client closed the connection before the answer had ended."""


class Reply:
    """Sends one answer. `id` goes out in the header `named`, whatever the answer is."""

    __slots__ = ("_named", "_receive", "_send", "_transport", "delivery", "id")

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        id: str,  # noqa: A002
        named: bytes = b"x-generation-id",
    ) -> None:
        self._named = named
        self._receive = receive
        self._send = send
        self._transport: asyncio.Transport | None = scope.get("extensions", {}).get(EXTENSION, {}).get("transport")
        self.id = id
        self.delivery: Delivery = WHOLE

    async def pause(self, seconds: float) -> None:
        """Waits; a client that leaves meanwhile is a ClientLeftError at once."""
        if seconds <= 0:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._until_gone()
        except TimeoutError:
            return
        raise ClientLeftError

    async def json(self, status: int, body: bytes, *headers: Header) -> None:
        """A small answer, whole: the way of nearly every request that is not streamed."""
        await self.whole(status, [body], (b"content-type", b"application/json"), *headers)

    async def whole(self, status: int, pieces: list[bytes], *headers: Header) -> None:
        """An answer whose length is known before it starts."""
        if self.delivery.gzip:
            pieces = [_squeeze(zlib.compressobj(wbits=31), b"".join(pieces), zlib.Z_FINISH)]
        size = sum(map(len, pieces))
        if self.delivery.end is End.CLEAN and self.delivery.limit is not None:
            size = min(size, self.delivery.limit)
        await self._start(status, (b"content-length", b"%d" % size), *headers)
        if self.delivery is WHOLE and len(pieces) == 1:
            await self._send({"type": "http.response.body", "body": pieces[0]})
        else:
            await self._body((0.0, piece) for piece in pieces)

    async def stream(self, timed: Iterable[tuple[float, bytes]], *headers: Header) -> None:
        """An event stream: each piece after so many seconds, in its own chunk of the transfer coding."""
        await self._start(200, (b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"), *headers)
        if self.delivery.gzip:
            timed = _squeezed(timed)
        await self._body(timed)

    async def _start(self, status: int, *headers: Header) -> None:
        coding: list[Header] = [(b"content-encoding", b"gzip")] if self.delivery.gzip else []
        own: list[Header] = [*headers, (self._named, self.id.encode()), *coding]
        await self._send({"type": "http.response.start", "status": status, "headers": own})

    async def _body(self, timed: Iterable[tuple[float, bytes]]) -> None:
        left = self.delivery.limit
        for seconds, piece in timed:
            if left is not None:
                piece = piece[:left]  # noqa: PLW2901 - what is left of it is what is sent
                left -= len(piece)
            if seconds:
                await self.pause(seconds)
            if piece:
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
            if self._transport is not None and self._transport.is_closing():
                raise ClientLeftError
            if left == 0:
                break
        await self._end()

    async def _end(self) -> None:
        end = self.delivery.end
        if end is End.STALL:
            await self._until_gone()
            raise ClientLeftError
        if end is End.RESET and self._transport is not None:
            await _reset(self._transport)
        elif end in {End.COMPLETE, End.CLEAN}:
            await self._send({"type": "http.response.body", "body": b""})
        # CUT: the app returns with the body unfinished, and the server closes the connection as it stands.

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def _reset(transport: asyncio.Transport) -> None:
    """Lets what was written leave, then closes with RST in place of FIN."""
    await asyncio.sleep(0)
    while transport.get_write_buffer_size() and not transport.is_closing():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.001)
    own = transport.get_extra_info("socket")
    if own is not None:
        with socket.socket(fileno=os.dup(own.fileno())) as twin:
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _squeeze(deflate: Any, data: bytes, flush: int) -> bytes:
    squeezed: bytes = deflate.compress(data) + deflate.flush(flush)
    return squeezed


def _squeezed(timed: Iterable[tuple[float, bytes]]) -> Iterable[tuple[float, bytes]]:
    deflate = zlib.compressobj(wbits=31)
    for seconds, piece in timed:
        yield seconds, _squeeze(deflate, piece, zlib.Z_SYNC_FLUSH)
    yield 0.0, _squeeze(deflate, b"", zlib.Z_FINISH)
