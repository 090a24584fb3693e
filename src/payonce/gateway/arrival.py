"""A request as it arrives: uvicorn's httptools protocol, with what its parser lets pass turned away.

Caps on headers, one well-formed Host, upgrades declined by not being heard; and the request's way on from there, to the
lane or to the app. What a connection is besides stands in connection.py. This room must never judge what a request asks
for.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from payonce.gateway.cycle import GatewayCycle, LaneAnswer
from payonce.gateway.flow import MOST_PIPELINED, Flow
from payonce.gateway.strict import malformed, plain_head
from payonce.model import reason as why
from payonce.model.reason import Reason

if TYPE_CHECKING:
    from payonce.gateway.app import Gateway


class Phase(IntEnum):
    """What is arriving on a connection. `since` is when that began, by `time.monotonic` and not by the loop's clock:
    uvloop tells whole milliseconds once a turn, in which most hits would take no time at all."""

    IDLE = 0
    HEAD = 1
    BODY = 2


class Arrival(HttpToolsProtocol):
    """See the room's first paragraph."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gateway: Gateway = self.app
        self.access_log = False  # the gateway has its own
        self.phase = Phase.IDLE
        self.since = self.began = monotonic()
        self.url = b""
        self.refused = False
        self._running: GatewayCycle | LaneAnswer | None = None
        self._stopping = False
        self._body_bytes = 0
        self._head_bytes = 0
        self._method = b""
        self._version = ""
        self._length: int | None = None
        self._lane: list[bytes] | None = None
        self._in_this_read = 0
        self._unread = b""
        self.flow: Flow

    @property
    def answering(self) -> bool:
        """Whether a response is under way."""
        cycle: GatewayCycle | LaneAnswer | None = self.cycle  # type: ignore[assignment]  # as `_begin_cycle` made it
        return cycle is not None and not cycle.response_complete

    def refuse(self, reason: Reason, method: bytes = b"") -> None:
        """Answer with an error and close; nothing more of this connection is read. A response under way is cut off.
        `method` is that of a head that has come whole."""
        raise NotImplementedError

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
        self.since = monotonic()
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
        self.since = monotonic()
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
        if self.phase is Phase.IDLE or self.flow.read_paused:  # where reading was paused, the silence was ours
            self.since = monotonic()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            assert isinstance(cycle, GatewayCycle)
            self._running = cycle
            self._start_asgi_task(cycle, app)
        if not self.flow.read_paused:
            return
        if not self.flow.full:
            self.flow.resume_reading()
        elif len(self.pipeline) < MOST_PIPELINED:
            self.flow.full = False
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        """Parse what had come while too many requests waited, then read."""
        data, self._unread = self._unread, b""
        if data and not self.transport.is_closing():
            self.data_received(data)
        self.flow.resume_reading()

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
                self.flow.fill()  # not before: a client that leaves is noticed only while reading
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
        self.since = self.began = monotonic()
        self._head_bytes = 0
