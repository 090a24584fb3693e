"""The fast lane: uvicorn's httptools protocol, with a shortcut for answers that stand on the shelf.

A small POST whose digest is on the shelf is answered synchronously, before any task or ASGI scope exists; one whose
bytes are those of a request answered so before is not even parsed again. Everything else goes the normal way through
the app. The protocol also keeps what uvicorn leaves open: caps on headers, one
well-formed Host, no absolute-form target, and a connection that is closed after any error.
Deadlines are kept by gateway/deadlines.py, which looks at `phase` and `since`. This room must never judge a request.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools
from blake3 import blake3
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from payonce.core.fields import HOP_BY_HOP, REBUILT, REROUTING, is_inert
from payonce.gateway.guard import host_name
from payonce.gateway.wire import error_body, error_fields, head_bytes
from payonce.model import reason as why
from payonce.model.reason import Reason

if TYPE_CHECKING:
    from payonce.gateway.app import Gateway
    from payonce.gateway.shelf import Ready

MAX_HEADERS = 128
MAX_HEAD_BYTES = 64 << 10
MAX_URL_BYTES = 8 << 10
LANE_BODY_BYTES = 64 << 10

_NOT_DIGESTED = (HOP_BY_HOP | REBUILT | REROUTING) - {b"host"}
_KEPT_INERT = frozenset((b"origin", b"content-type"))
_digested: dict[bytes, bool] = {}
_good_hosts: set[bytes] = set()
_TARGET = re.compile(rb"/[\x21-\x7e]*")


def _is_digested(name: bytes) -> bool:
    """Whether a field is part of the lane's digest; remembered for the first thousand names."""
    known = _digested.get(name)
    if known is None:
        known = name in _KEPT_INERT or not (name in _NOT_DIGESTED or is_inert(name))
        if len(_digested) < 1000:
            _digested[name] = known
    return known


class Phase(IntEnum):
    """What is arriving on a connection; `since` is when that began."""

    IDLE = 0
    HEAD = 1
    BODY = 2


class GatewayCycle(RequestResponseCycle):
    """uvicorn's request and response, and what the ASGI face needs of the connection below."""

    gone_calls: list[Callable[[], None]] | None = None

    def on_gone(self, call: Callable[[], None]) -> None:
        """Call `call` when the connection is lost."""
        if self.gone_calls is None:
            self.gone_calls = []
        self.gone_calls.append(call)

    def lost(self) -> None:
        """The connection was lost."""
        calls, self.gone_calls = self.gone_calls or [], None
        for call in calls:
            call()

    def abort(self) -> None:
        """Close the connection without ending the response: the client can tell that it is not whole."""
        self.disconnected = True
        self.transport.close()


class GatewayProtocol(HttpToolsProtocol):
    """See the room's first paragraph."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.gateway: Gateway = self.app
        self.phase = Phase.IDLE
        self.since = self.began = self.loop.time()
        self._stopping = False
        self._refused = False
        self._head_bytes = 0
        self._length: int | None = None
        self._lane: list[bytes] | None = None
        self._in_this_read = 0
        self._served: Ready | None = None

    @property
    def answering(self) -> bool:
        """Whether a response is under way."""
        cycle: RequestResponseCycle | None = self.cycle
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
        for cycle, _ in self.pipeline:
            cycle.disconnected = True
        if isinstance(self.cycle, GatewayCycle):
            self.cycle.lost()

    def shutdown(self) -> None:
        """Finish what has begun, then close; a request that is still arriving is still answered."""
        self._stopping = True
        if self._lane is None:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        raw = None
        if self.phase is Phase.IDLE:
            self._head_begins()
            if self._may_repeat(data):
                raw = blake3(data).digest()
                if self._repeat(raw):
                    return
            self._in_this_read = 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return
        except httptools.HttpParserError:
            self.refuse(why.BAD_REQUEST)
            return
        if self.phase is Phase.HEAD:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.refuse(why.HEAD_TOO_LARGE)
        elif raw is not None and self._served is not None and self._in_this_read == 1 and self.phase is Phase.IDLE:
            self.gateway.shelf.put(raw, self._served)  # type: ignore[union-attr]  # it was just served from

    def refuse(self, reason: Reason) -> None:
        """Answer with an error and close; nothing more of this connection is read. A response under way is cut off."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        if self.answering:
            self.cycle.disconnected = True
        else:
            body = error_body("", reason)
            fields = [*error_fields(reason), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
            self.transport.write(head_bytes(reason.status, self.server_state.default_headers, fields) + body)
        self.transport.close()

    # What the parser finds.

    def on_message_begin(self) -> None:
        self._head_begins()
        self._in_this_read += 1
        self._served = None
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._length = None

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
        if self._refused:
            return
        against = self._malformed()
        if against is not None:
            self.refuse(against)
            return
        self.phase = Phase.BODY
        self.since = self.loop.time()
        if self._lane_is_open():
            self._lane = []
        else:
            self._begin_cycle()

    def on_body(self, body: bytes) -> None:
        if self._lane is not None:
            self._lane.append(body)
        elif not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._refused:
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
            self._start_asgi_task(cycle, app)

    # The lane.

    def _may_repeat(self, data: bytes) -> bool:
        """Whether `data`, the first bytes of a request, may be answered without parsing them (see `_repeat`)."""
        shelf = self.gateway.shelf
        return (
            shelf is not None
            and shelf.max_bytes > 0
            and len(data) <= LANE_BODY_BYTES
            and data.startswith(b"POST ")
            and not self.answering
            and not self._stopping
        )

    def _repeat(self, raw: bytes) -> bool:
        """Answer a read whose bytes are, from a message's first to its last, those of a request that the lane has
        parsed and answered before; False if there was none. The parser stays where it is: between two messages."""
        now = self.gateway.clock()
        ready = self.gateway.shelf.get(raw, now)  # type: ignore[union-attr]  # `_may_repeat` has looked
        if ready is None or self.flow.write_paused:
            return False
        self.phase = Phase.IDLE
        self._write(ready, now)
        return True

    def _write(self, ready: Ready, now: float) -> None:
        self.transport.write(ready.wire(now, self.server_state.default_headers))
        self.server_state.total_requests += 1
        self.since = self.loop.time()
        self.gateway.shelf.served(ready, self.since - self.began)  # type: ignore[union-attr]

    def _lane_is_open(self) -> bool:
        shelf = self.gateway.shelf
        return (
            shelf is not None
            and shelf.max_bytes > 0
            and not self.answering
            and not self._stopping
            and self._length is not None
            and self._length <= LANE_BODY_BYTES
            and not self.expect_100_continue
            and not self.access_log
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
        )

    def _answer(self, body: bytes) -> None:
        """Write what stands on the shelf for exactly these bytes; else go the normal way."""
        shelf = self.gateway.shelf
        assert shelf is not None
        parts = [self.url]
        for name, value in self.headers:
            if _digested[name] if name in _digested else _is_digested(name):
                parts += (name, value)
        head = b"\0".join(parts)
        digest = blake3(len(head).to_bytes(4, "big") + head + body).digest()
        now = self.gateway.clock()
        ready = shelf.get(digest, now)
        if ready is None or self._stopping or self.flow.write_paused:
            self._begin_cycle(body, digest)
            return
        self._served = ready
        self._write(ready, now)

    # The normal way.

    def _begin_cycle(self, body: bytes | None = None, digest: bytes | None = None) -> None:
        """What uvicorn's own `on_headers_complete` does, with our cycle; `body` is there when the lane has read it."""
        parsed = httptools.parse_url(self.url)
        raw_path: bytes = parsed.path
        version = self.parser.get_http_version()
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
            "method": self.parser.get_method().decode("ascii"),
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
            expect_100_continue=self.expect_100_continue,
            keep_alive=self._keeps_alive(version),
            on_response=self.on_response_complete,
        )
        extensions["payonce"] = cycle
        if digest is not None:
            extensions["payonce.digest"] = digest
        if body is not None:
            cycle.body += body
            cycle.more_body = False
            cycle.message_event.set()
        self.cycle = cycle
        if busy:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
        else:
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

    def _malformed(self) -> Reason | None:
        """Why this request's head is refused; None if it is well-formed. Sources: RFC 9112 sections 3.2, 6.1, 9.6."""
        headers = self.headers
        if len(headers) > MAX_HEADERS or len(self.url) > MAX_URL_BYTES:
            return why.HEAD_TOO_LARGE
        if sum([len(name) + len(value) for name, value in headers]) > MAX_HEAD_BYTES:
            return why.HEAD_TOO_LARGE
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or (hosts[0] not in _good_hosts and not _is_good_host(hosts[0])):
            return why.BAD_REQUEST
        if not _TARGET.fullmatch(self.url):
            return why.BAD_REQUEST
        if self.parser.get_http_version() == "1.0" and any(name == b"transfer-encoding" for name, _ in headers):
            return why.BAD_REQUEST
        return None


def _is_good_host(host: bytes) -> bool:
    """Whether a Host field is well-formed; good ones are remembered, a thousand at most."""
    good = host_name(host) is not None
    if good and len(_good_hosts) < 1000:
        _good_hosts.add(host)
    return good
