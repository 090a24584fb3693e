"""The fast lane: answers that stand on the shelf are written before any task or ASGI scope exists.

A small POST that is on the shelf is answered synchronously; one with a head that is known is not even parsed.
What is not on the shelf is told by the story and written straight to the connection; everything else goes the normal
way through the app. This room must never judge a request.
"""

from __future__ import annotations

from collections.abc import Coroutine
from time import monotonic
from typing import Any

from payonce.core.naming import name_of
from payonce.gateway.arrival import Phase
from payonce.gateway.connection import StrictProtocol
from payonce.gateway.cycle import LaneAnswer
from payonce.gateway.heads import HeadName, KnownHead, body_at, named, worth_a_look
from payonce.gateway.shelf import told_by

LANE_BODY_BYTES = 64 << 10


class GatewayProtocol(StrictProtocol):
    """See the room's first paragraph."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        shelf = self.gateway.shelf
        self._shelf = shelf if shelf is not None and shelf.max_bytes > 0 else None
        self._most = min(LANE_BODY_BYTES, self.gateway.settings.max_body_bytes)
        self._last: tuple[HeadName, KnownHead] | None = None
        self._name: HeadName | None = None
        self._next_name: HeadName | None = None
        self._coming: tuple[KnownHead, int, bytes] | None = None
        self._strange = 0

    def data_received(self, data: bytes) -> None:
        if self._coming is not None:
            self._collect(data, *self._coming)
            return
        if self.phase is Phase.IDLE:
            self._next_name = None
            if self._shelf is not None and not self.answering and not self.refused and not self._stopping:
                last = self._last
                start = 0 if last is None else body_at(last[0], data)
                if last is not None and start and len(data) - start <= self._most:
                    self._begins(last[1])
                    self._give(last[1], data[start:], data)
                    return
                if self._recognise(data):
                    return
        super().data_received(data)

    def _recognise(self, data: bytes) -> bool:
        """Take a read that begins with a head that was parsed, and came to `_answer`, before; the body may still be
        coming. The parser stays where it is: between two messages. False leaves all to the parser."""
        self._strange += 1
        if not worth_a_look(self._strange) or not data.startswith(b"POST ") or (found := named(data)) is None:
            return False
        name, length, start = found
        if length > self._most or len(data) - start > length:
            return False
        head = self.gateway.heads.find(name)
        if head is None:
            self._next_name = name
            return False
        self._last, self._strange = (name, head), 0
        self._begins(head)
        body = data[start:]
        if len(body) == length:
            self._give(head, body, data)
        else:
            self.phase = Phase.BODY
            self._body_bytes = len(body)
            self._lane, self._coming = [body], (head, length, data[:start])
        return True

    def on_message_begin(self) -> None:
        self._name, self._next_name = self._next_name, None  # the name of this message, and of none behind it
        super().on_message_begin()

    def _begins(self, head: KnownHead) -> None:
        """A request with this head, which nobody parses."""
        self.since = self.began = monotonic()
        self._method, self.url = b"POST", head.url

    def _collect(self, data: bytes, head: KnownHead, length: int, unread: bytes) -> None:
        """More of the body behind a head that was recognised, whose own bytes are `unread`."""
        if self.refused or self._lane is None:
            return
        self._lane.append(data)
        self._body_bytes += len(data)
        if self._body_bytes < length:
            return
        whole = b"".join(self._lane)
        self._lane = self._coming = None
        self.phase = Phase.IDLE
        self.since = monotonic()
        self._give(head, whole[:length], unread + whole[:length] if head.varies else b"")
        if len(whole) > length:
            self.data_received(whole[length:])

    def _lane_is_open(self) -> bool:
        return (
            self._shelf is not None
            and not self.answering
            and not self._stopping
            and self._length is not None
            and self._length <= self._most
            and not self.expect_100_continue
            and self._method == b"POST"
            and self._version == "1.1"
            and self.parser.should_keep_alive()
            and not self.parser.should_upgrade()
        )

    def _answer(self, body: bytes) -> None:
        """Answer what the parser has found, if it goes to a cached endpoint."""
        route = self.gateway.routes.find(self.url.partition(b"?")[0])
        if route is None or not route.cached or self._stopping:
            self._begin_cycle(body)
            return
        headers = tuple(self.headers)
        head = KnownHead(self.url, route, headers, told_by(self.url, headers))
        name, self._name = self._name, None
        if name is not None and self.gateway.heads.keep(name, head):
            self._last = name, head
        self._give(head, body)

    def _give(self, head: KnownHead, body: bytes, unread: bytes = b"") -> None:
        """Write what stands on the shelf for exactly this; else let the story tell it. `unread` is the request that
        nobody has parsed yet: where its head has ids of its own, that is done first."""
        shelf = self._shelf
        assert shelf is not None
        name = name_of(head.told, body)
        now = self.gateway.clock()
        ready = shelf.get(name, now)
        default = self.server_state.default_headers
        if ready is not None and not self._stopping and not self.flow.write_paused:
            self.transport.write(ready.wire(now, default))
            self.server_state.total_requests += 1
            self.since = monotonic()
            shelf.served(ready, self.since - self.began)
            return
        if unread and head.varies:
            super().data_received(unread)
            return
        answer = LaneAnswer(head.route.endpoint, self.transport, self.flow, default, self.on_response_complete)
        answer.keep_alive = not self._stopping
        self.cycle = answer  # type: ignore[assignment]  # all that uvicorn's protocol asks of a cycle, it has
        self._running = answer
        self.gateway.answering.answer(head, body, answer, name, self._take_longer)

    def _take_longer(self, work: Coroutine[Any, Any, None]) -> None:
        """What the server waits for before it stops."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
