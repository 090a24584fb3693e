"""A client's connection: uvicorn's httptools protocol, with what that leaves open closed.

Caps on headers and what is written beside a body, one well-formed Host, upgrades declined, errors that say what to do
in the endpoint's own shape and then close, and a record of what is arriving since when, for gateway/deadlines.py. The
lane (gateway/fastlane.py) is a subclass. This room must never judge what a request asks for.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from payonce.gateway.cycle import GatewayCycle, LaneAnswer
from payonce.gateway.refusing import LINGERING, Refusal, answered, tell
from payonce.gateway.strict import MAX_HEAD_BYTES, malformed, plain_head
from payonce.model import reason as why
from payonce.model.reason import Reason

if TYPE_CHECKING:
    from payonce.gateway.app import Gateway

MOST_PIPELINED = 16
LINGER_SECONDS = 2.0
"""For how long what a refused client still sends is read and let go, so that the refusal reaches it."""


class Phase(IntEnum):
    """What is arriving on a connection; `since` is when that began."""

    IDLE = 0
    HEAD = 1
    BODY = 2


class StrictProtocol(HttpToolsProtocol):
    """See the room's first paragraph."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gateway: Gateway = self.app
        self.access_log = False  # the gateway has its own
        self.phase = Phase.IDLE
        self.since = self.began = self.loop.time()
        self.url = b""
        self.refused = False
        self._running: GatewayCycle | LaneAnswer | None = None
        self._stopping = False
        self._body_bytes = 0
        self._unsent = (0, self.since)
        self._head_bytes = 0
        self._method = b""
        self._version = ""
        self._length: int | None = None
        self._lane: list[bytes] | None = None
        self._in_this_read = 0

    @property
    def answering(self) -> bool:
        """Whether a response is under way."""
        cycle: GatewayCycle | LaneAnswer | None = self.cycle  # type: ignore[assignment]  # as `_begin_cycle` made it
        return cycle is not None and not cycle.response_complete

    # The connection.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.gateway.connections.add(self)
        if len(self.connections) > self.gateway.settings.max_connections:
            self.refuse(why.BUSY)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.gateway.connections.discard(self)
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
        """Answer with an error and close; nothing more of this connection is read. A response under way is cut off.
        `method` is that of a head that has come whole."""
        if self.refused or self.transport.is_closing():
            return
        self.refused = True
        self.gateway.world.ledger.turned_away(reason)
        self.since = self.loop.time()
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
        tell(self.gateway, refusal, method, self.url, self.loop.time() - self.began)

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

    def _feed(self, data: bytes) -> None:
        """Parse. An upgrade is declined by not being heard (RFC 9110, section 7.8): httptools stops behind its head, as
        if the body were in the other protocol, so the head is given to a new parser without that wish."""
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if self.refused:
                    return
                method, version = self.parser.get_method(), self.parser.get_http_version()
                data = plain_head(method, self.url, version, self.headers) + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    # What the parser finds.

    def on_message_begin(self) -> None:
        self._head_begins()
        self._in_this_read += 1
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._length = None
        self._body_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase is not Phase.HEAD:
            return  # a trailer: nothing of it is believed
        name = name.lower()
        if name == b"content-length":
            self._length = int(value)
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.refused:
            return
        self._method = self.parser.get_method()
        self._version = self.parser.get_http_version()
        against = malformed(self._method, self.url, self._version, self.headers, self._length)
        if against is None and (self._length or 0) > self.gateway.settings.max_body_bytes:
            against = why.BODY_TOO_LARGE
        if against is not None:
            self.refuse(against, self._method)
            return
        if self.parser.should_upgrade():
            return  # see `_feed`
        self.phase = Phase.BODY
        self.since = self.loop.time()
        if self._lane_is_open():
            self._lane = []
        else:
            self._begin_cycle()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._lane is not None:
            self._lane.append(body)
        elif self._body_bytes > self.gateway.settings.max_body_bytes:
            self.refuse(why.BODY_TOO_LARGE)
        elif not self.refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.refused or self.phase is not Phase.BODY:
            return
        self.phase = Phase.IDLE
        self.since = self.loop.time()
        if self._lane is not None:
            body = b"".join(self._lane)
            self._lane = None
            self._answer(body)
        elif not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self.since = self.loop.time()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            assert isinstance(cycle, GatewayCycle)
            self._running = cycle
            self._start_asgi_task(cycle, app)

    # The lane, for a subclass to build.

    def _lane_is_open(self) -> bool:
        """Whether the body of the request whose head has come is to be collected for `_answer`."""
        return False

    def _answer(self, body: bytes) -> None:
        """Answer a request that was collected whole."""
        self._begin_cycle(body)

    # The normal way.

    def _begin_cycle(self, body: bytes | None = None) -> None:
        """What uvicorn's own `on_headers_complete` does, with our cycle; `body` is there when the lane has read it."""
        parsed = httptools.parse_url(self.url)
        raw_path: bytes = parsed.path
        version = self._version
        extensions: dict[str, Any] = {}
        self.scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme or "http",
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
            "method": self._method.decode("ascii"),
            "path": unquote(raw_path.decode("ascii")),
            "raw_path": raw_path,
            "query_string": parsed.query or b"",
            "extensions": extensions,
        }
        busy = self.answering
        cycle = GatewayCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue and version == "1.1",
            keep_alive=self._keeps_alive(version),
            on_response=self.on_response_complete,
        )
        extensions["payonce"] = cycle
        if body is not None:
            cycle.body += body
            cycle.more_body = False
            cycle.message_event.set()
        self.cycle = cycle
        if busy:
            self.pipeline.appendleft((cycle, self.app))
            if len(self.pipeline) >= MOST_PIPELINED:
                self.flow.pause_reading()  # not before: a client that leaves is noticed only while reading
        else:
            self._running = cycle
            self._start_asgi_task(cycle, self.app)

    def _keeps_alive(self, version: str) -> bool:
        return (
            version == "1.1"
            and not self._stopping
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
        )

    def _head_begins(self) -> None:
        self.phase = Phase.HEAD
        self.since = self.began = self.loop.time()
        self._head_bytes = 0
