"""The ASGI face: one client's connection, as the player knows it.

Under Payonce's own server the connection itself tells when the client leaves and can be broken off; under another ASGI
server a small task watches `receive` for that. This room must never decide what is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from payonce.gateway.refusing import Refusal
from payonce.gateway.wire import NO_BODY, Fields, answer_fields, error_body, error_fields
from payonce.model.call import Headers
from payonce.model.ports import Head
from payonce.model.reason import Reason

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

WRITE_STALL_SECONDS = 60.0
"""For how long a client may take nothing before it counts as gone."""


class AbortedAnswer(Exception):  # noqa: N818 - it unwinds an ASGI call whose connection has to be broken
    """Raised through a foreign ASGI server, so that it closes the connection without ending the body."""


class Line(Protocol):
    """What Payonce's own server lends to the face: the connection below."""

    disconnected: bool
    refusal: Refusal | None

    @property
    def stalled(self) -> bool:
        """Whether the client has to take something before more can be written."""
        ...

    @property
    def takes_whole(self) -> bool:
        """Whether a whole answer may be given in one go."""
        ...

    def give(self, status: int, fields: Fields, body: bytes) -> None:
        """Write a whole answer."""
        ...

    def on_gone(self, call: Callable[[], None]) -> None:
        """Call `call` when the connection is lost."""
        ...

    def abort(self) -> None:
        """Close the connection without ending the response."""
        ...


class AsgiFace:
    """See the room's first paragraph. `endpoint` gives the shape of errors."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, endpoint: str) -> None:
        self._send = send
        self._receive = receive
        self.endpoint = endpoint
        self.started = False
        self.said: Headers = ()
        """What is said of the request itself, with whatever answer."""
        self._line: Line | None = scope.get("extensions", {}).get("payonce")
        self._left = False
        self._calls: list[Callable[[], None]] = []
        self._watch: asyncio.Task[None] | None = None

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self._left or (self._line is not None and self._line.disconnected)

    def on_gone(self, call: Callable[[], None]) -> None:
        """Call `call` when the client leaves; at once if it has left already."""
        if self.gone:
            call()
        elif self._line is not None:
            self._line.on_gone(call)
        else:
            self._calls.append(call)
            if self._watch is None:
                self._watch = asyncio.get_running_loop().create_task(self._await_leaving())

    async def start(self, head: Head, fields: Headers, body: bytes | None) -> None:
        """Send the head; with `body`, the whole answer."""
        self.started = True
        listed = answer_fields(head, (*fields, *self.said), None if body is None else len(body))
        line = self._line
        if (
            body is not None
            and line is not None
            and line.takes_whole
            and not line.stalled
            and head.status not in NO_BODY
        ):
            line.give(head.status, listed, body)
            return
        await self._put({"type": "http.response.start", "status": head.status, "headers": listed})
        if body is not None:
            await self._put({"type": "http.response.body", "body": body, "more_body": False})

    async def send(self, chunk: bytes) -> None:
        """Send a part of the body."""
        await self._put({"type": "http.response.body", "body": chunk, "more_body": True})

    async def finish(self) -> None:
        """The body is whole."""
        await self._put({"type": "http.response.body", "body": b"", "more_body": False})

    def abort(self) -> None:
        """Break the connection off. Raises AbortedAnswer under a foreign server."""
        if self._line is None:
            raise AbortedAnswer
        self._line.abort()

    async def refuse(self, reason: Reason, fields: Headers = (), detail: str = "") -> None:
        """Answer with the gateway's own error."""
        head = Head(reason.status, tuple(error_fields(reason)))
        await self.start(head, fields, error_body(self.endpoint, reason, detail))

    async def close(self) -> None:
        """The exchange is over: stop watching."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    async def _put(self, message: Message) -> None:
        if self.gone:
            return
        if self._line is not None and not self._line.stalled:
            await self._send(message)
            return
        try:
            async with asyncio.timeout(WRITE_STALL_SECONDS):
                await self._send(message)
        except TimeoutError:
            self._leave()
            self.abort()

    async def _await_leaving(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        self._left = True
        calls, self._calls = self._calls, []
        for call in calls:
            call()
