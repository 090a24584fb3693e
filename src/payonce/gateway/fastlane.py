"""The fast lane: answers that stand on the shelf are written before any task or ASGI scope exists.

A small POST whose digest is on the shelf is answered synchronously; one whose bytes are those of a request answered so
before is not even parsed again. What is not on the shelf is told by the story and written straight to the connection;
everything else goes the normal way through the app. This room must never judge a request.
"""

from __future__ import annotations

from typing import Any

from blake3 import blake3

from payonce.gateway.connection import Phase, StrictProtocol
from payonce.gateway.cycle import LaneAnswer
from payonce.gateway.shelf import Ready, request_digest

LANE_BODY_BYTES = 64 << 10
MOST_UNREPEATED = 8
"""After so many requests in a row that were answered from the shelf before, but in other bytes (another request id,
say), a connection's reads are no longer looked up before they are parsed."""


class GatewayProtocol(StrictProtocol):
    """See the room's first paragraph."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._served: Ready | None = None
        self._unrepeated = 0

    def data_received(self, data: bytes) -> None:
        raw = None
        if self.phase is Phase.IDLE and self._may_repeat(data):
            self.began = self.loop.time()
            raw = blake3(data).digest()
            if self._repeat(raw):
                return
        super().data_received(data)
        served = self._take_served()
        if raw is not None and served is not None and self._in_this_read == 1 and self.phase is Phase.IDLE:
            served.named = True
            self.gateway.shelf.put(raw, served)  # type: ignore[union-attr]  # it was just served from

    def _take_served(self) -> Ready | None:
        """What the lane has just served."""
        served, self._served = self._served, None
        return served

    def _may_repeat(self, data: bytes) -> bool:
        """Whether `data`, the first bytes of a request, may be answered without parsing them (see `_repeat`)."""
        shelf = self.gateway.shelf
        return (
            self._unrepeated < MOST_UNREPEATED
            and not self.refused
            and shelf is not None
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
        self._unrepeated = 0
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
            and self._method == b"POST"
            and self._version == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
        )

    def _answer(self, body: bytes) -> None:
        """Write what stands on the shelf for exactly these bytes; else let the story tell it."""
        shelf = self.gateway.shelf
        assert shelf is not None
        digest = request_digest(self.url, self.headers, body)
        now = self.gateway.clock()
        ready = shelf.get(digest, now)
        if ready is not None and not self._stopping and not self.flow.write_paused:
            self._served = ready
            if ready.named:
                self._unrepeated += 1
            self._write(ready, now)
            return
        path, _, query = self.url.partition(b"?")
        route = self.gateway.routes.find(path)
        if route is None or not route.cached or self._stopping:
            self._begin_cycle(body)
            return
        answer = LaneAnswer(
            route.endpoint, self.transport, self.flow, self.server_state.default_headers, self.on_response_complete
        )
        self.cycle = answer  # type: ignore[assignment]  # all that uvicorn's protocol asks of a cycle, it has
        self._running = answer
        told = self.gateway.answer(route, query, tuple(self.headers), body, answer, digest)
        task = self.loop.create_task(told)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
