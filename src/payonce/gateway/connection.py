"""A client's connection: how it begins and ends, what may come on it in how much time, and how it is turned away.

Caps on what is written beside a body, errors that say what to do in the endpoint's own shape and then close, and a
record of what is arriving since when, for gateway/deadlines.py. What the parser finds stands in arrival.py; the lane
(gateway/fastlane.py) is a subclass. This room must never judge what a request asks for.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import httptools

from payonce.gateway.arrival import Arrival, Phase
from payonce.gateway.cycle import GatewayCycle
from payonce.gateway.flow import SLICE_BYTES, Flow
from payonce.gateway.refusing import LINGERING, Refusal, answered, tell
from payonce.gateway.strict import MAX_HEAD_BYTES
from payonce.model import reason as why
from payonce.model.reason import Reason

LINGER_SECONDS = 2.0
"""For how long what a refused client still sends is read and let go, so that the refusal reaches it."""


class StrictProtocol(Arrival):
    """See the room's first paragraph."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unsent = (0, self.since)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport)
        self.gateway.connections.add(self)
        if len(self.connections) > self.gateway.settings.max_connections:
            self.refuse(why.BUSY)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.gateway.connections.discard(self)
        self._unread = b""
        self._disconnect()
        if self._running is not None:
            self._running.lost()

    def stalled(self, now: float) -> float:
        """For how many seconds, at `now`, the client has taken nothing of what was written for it."""
        size = self.transport.get_write_buffer_size()
        if size == 0 or size != self._unsent[0]:
            self._unsent = (size, now)
        return now - self._unsent[1]

    def shutdown(self) -> None:
        """Finish what has begun, then close; a request that is still arriving is still answered."""
        self._stopping = True
        if self._lane is None:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        if self._unread:
            self._unread += data  # what was on its way when reading stopped
            return
        if len(data) <= SLICE_BYTES and not self.flow.full:
            self._parse(data)
            return
        start = 0
        while start < len(data) and not self.refused:
            if self._is_full():
                self._unread = data[start:]
                return
            body = (self._length or 0) - self._body_bytes if self.phase is Phase.BODY else 0
            end = start + max(SLICE_BYTES, body)
            self._parse(data[start:end])
            start = end

    def _is_full(self) -> bool:
        """Whether it is full now: parsing may have changed that."""
        return self.flow.full

    def _parse(self, data: bytes) -> None:
        """Parse a read, or a slice of one, and hold what is no body to its limits."""
        idle = self.phase is Phase.IDLE
        if idle:
            self._head_begins()
        self._in_this_read = 0
        body_bytes = self._body_bytes
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.refuse(why.BAD_REQUEST)
            return
        if self.phase is Phase.HEAD:
            # Where the read holds other messages too, this head is counted from the next read on.
            self._weigh(len(data) if self._in_this_read <= idle else 0)
        elif self.phase is Phase.BODY:
            # A read without any of the body: trailers, or what is written beside the length of a chunk.
            self._weigh(len(data) if self._body_bytes == body_bytes else 0)

    def _weigh(self, size: int) -> None:
        """`size` more bytes have come that are no body; they are held nowhere else to a limit until their end."""
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self.refuse(why.HEAD_TOO_LARGE)

    def refuse(self, reason: Reason, method: bytes = b"") -> None:
        """As `Arrival` says it."""
        if self.refused or self.transport.is_closing():
            return
        self.refused = True
        self.flow.full, self._unread = False, b""
        self.gateway.world.ledger.turned_away(reason)
        self.since = monotonic()
        unanswered, refusal = self._is_unanswered(), Refusal(reason, self._body_bytes)
        self._disconnect()
        if unanswered:
            answer, refusal = answered(self.gateway, refusal, self.url, self.server_state.default_headers)
            self.transport.write(answer)
        self._tell(refusal, method)
        if unanswered and reason.status in LINGERING and self.transport.can_write_eof():
            self.flow.resume_reading()
            self.transport.write_eof()  # closed by the client's own end, or by gateway/deadlines.py
        else:
            self.transport.close()

    def _tell(self, refusal: Refusal, method: bytes) -> None:
        """Who answers the request tells of it, too; where nobody does, it is told here."""
        if self.phase is Phase.BODY:
            method = self._method
            if self._lane is None and self.cycle is self._running and isinstance(self._running, GatewayCycle):
                self._running.refusal = refusal
                return
        tell(self.gateway, refusal, method, self.url, monotonic() - self.began)

    def _is_unanswered(self) -> bool:
        """Whether an error may be written: no response was begun to what is arriving, and none is owed before it."""
        if self.phase is not Phase.BODY or self._lane is not None:
            return not self.answering
        return self.cycle is self._running and not self.cycle.response_started

    def _disconnect(self) -> None:
        """Whatever is still to be answered will not be."""
        for cycle in (self._running, self.cycle, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
