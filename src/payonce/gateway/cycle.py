"""Responses under way on a connection: uvicorn's own cycle for the app, and a shorter one for the lane.

Both tell who waits when the client leaves, and can break the connection off so that a body does not look whole. This
room must never decide what is answered.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from payonce.gateway.refusing import Refusal
from payonce.gateway.wire import NO_BODY, Fields, answer_fields, error_body, error_fields, head_bytes
from payonce.model.call import Headers
from payonce.model.ports import Head
from payonce.model.reason import Reason


class Leaving:
    """Who wants to know that the client has left."""

    _gone_calls: list[Callable[[], None]] | None = None

    def on_gone(self, call: Callable[[], None]) -> None:
        """Call `call` when the connection is lost."""
        if self._gone_calls is None:
            self._gone_calls = []
        self._gone_calls.append(call)

    def answered(self) -> None:
        """Nobody wants to know any more: what they hold on to (a body, say) need not wait for the next request."""
        self._gone_calls = None

    def lost(self) -> None:
        """The connection was lost."""
        calls, self._gone_calls = self._gone_calls or [], None
        for call in calls:
            call()


class GatewayCycle(Leaving, RequestResponseCycle):
    """uvicorn's request and response, and what the ASGI face needs of the connection below."""

    unframed = False
    refusal: Refusal | None = None
    """Why the client was turned away while its request was arriving."""

    async def run_asgi(self, app: Any) -> None:
        """As uvicorn's; what outlasts the drain at shutdown is broken off without a traceback."""

        async def told(scope: Any, receive: Any, send: Any) -> None:
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:
                self.abort()

        try:
            await super().run_asgi(told)
        finally:
            self.answered()
            self.scope["extensions"].clear()  # the scope and this hold each other

    async def send(self, message: Any) -> None:
        """As uvicorn's, but for HTTP/1.0, which knows no chunks: there the connection's end is the body's."""
        if self.scope["http_version"] == "1.0":
            if self.unframed:
                self.expected_content_length = len(message.get("body", b""))
            elif not self.response_started and not any(name == b"content-length" for name, _ in message["headers"]):
                self.chunked_encoding, self.unframed = False, True
        await super().send(message)

    @property
    def stalled(self) -> bool:
        """Whether the client has to take something before more can be written."""
        return self.flow.write_paused

    @property
    def takes_whole(self) -> bool:
        """Whether `give` will do: HTTP/1.1 on a connection that is kept, and an answer that has a body."""
        scope = self.scope
        at_start = not self.response_started and not self.disconnected
        return at_start and self.keep_alive and scope["method"] == "POST" and scope["http_version"] == "1.1"

    def give(self, status: int, fields: Fields, body: bytes) -> None:
        """Write a whole answer at once, in a tenth of the time that uvicorn's `send` takes for its head."""
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.transport.write(head_bytes(status, self.default_headers, fields) + body)
        self.message_event.set()
        self.on_response()

    def abort(self) -> None:
        """Close the connection without ending the response: the client can tell that it is not whole."""
        self.disconnected = True
        if self.unframed:
            _reset(self.transport)  # an orderly end would make the body look whole
        else:
            self.transport.close()


class _Deaf:
    """Stands where uvicorn keeps an event that wakes whoever waits for a request's body: here nobody does."""

    def set(self) -> None:
        pass


class LaneAnswer(Leaving):
    """The response to a request that the lane has read whole: a face for the player, written straight to the
    transport, and what the protocol expects of a cycle. Only for HTTP/1.1 on a connection that is kept."""

    more_body = False
    message_event = _Deaf()

    def __init__(
        self,
        endpoint: str,
        transport: asyncio.Transport,
        flow: FlowControl,
        default: list[tuple[bytes, bytes]],
        on_response: Callable[[], None],
    ) -> None:
        self.endpoint = endpoint
        self._transport = transport
        self._flow = flow
        self._default = default
        self._on_response = on_response
        self.said: Headers = ()
        """What is said of the request itself, with whatever answer."""
        self._chunked = False
        self.keep_alive = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self.disconnected

    @property
    def started(self) -> bool:
        """Whether the head was written."""
        return self.response_started

    def on_gone(self, call: Callable[[], None]) -> None:
        """Call `call` when the client leaves; at once if it has left already."""
        if self.disconnected:
            call()
        else:
            super().on_gone(call)

    @property
    def ready(self) -> bool:
        """Whether the client's buffer has room."""
        return not self._flow.write_paused

    def give(self, head: Head, fields: Headers, body: bytes) -> None:
        """Write a whole answer at once."""
        listed = answer_fields(head, (*fields, *self.said), len(body))
        if not self.keep_alive:
            listed.append((b"connection", b"close"))
        data = head_bytes(head.status, self._default, listed)
        self.response_started = True
        if not self.disconnected:
            self._transport.write(data if head.status in NO_BODY else data + body)
        self._complete()

    async def start(self, head: Head, fields: Headers, body: bytes | None) -> None:
        """Write the head; with `body`, the whole answer."""
        listed = answer_fields(head, (*fields, *self.said), None if body is None else len(body))
        bare = head.status in NO_BODY
        self._chunked = body is None and not bare
        if self._chunked:
            listed.append((b"transfer-encoding", b"chunked"))
        if not self.keep_alive:
            listed.append((b"connection", b"close"))
        data = head_bytes(head.status, self._default, listed)
        self.response_started = True
        await self._write(data + body if body and not bare else data)
        if body is not None:
            self._complete()

    async def send(self, chunk: bytes) -> None:
        """Write a part of the body."""
        if self._chunked and chunk:
            await self._write(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    async def finish(self) -> None:
        """The body is whole."""
        if self._chunked:
            await self._write(b"0\r\n\r\n")
        self._complete()

    def abort(self) -> None:
        """Close the connection without ending the response."""
        self.disconnected = True
        self._transport.close()

    async def refuse(self, reason: Reason, fields: Headers = (), detail: str = "") -> None:
        """Answer with the gateway's own error."""
        head = Head(reason.status, tuple(error_fields(reason)))
        await self.start(head, fields, error_body(self.endpoint, reason, detail))

    async def _write(self, data: bytes) -> None:
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()  # ends with the connection too; gateway/deadlines.py breaks off what stalls
        if not self.disconnected:
            self._transport.write(data)

    def _complete(self) -> None:
        if self.response_complete or self.disconnected:
            return
        self.response_complete = True
        self.answered()
        if not self.keep_alive:
            self._transport.close()
        self._on_response()


def _reset(transport: asyncio.Transport) -> None:
    """Close with RST in the place of FIN."""
    own = transport.get_extra_info("socket")
    if own is not None:
        with socket.socket(fileno=os.dup(own.fileno())) as twin:
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
