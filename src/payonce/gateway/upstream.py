"""The way upstream: Payonce's small HTTP client (gateway/http1.py) behind the `Upstream` port.

One pool of connections for each upstream and worker; no redirects, no cookies, no decoding; three time limits (connect,
first byte, between bytes; the whole is the player's). This room must never retry what may have been paid for, and never
log a body or a credential.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

from payonce.config import Settings
from payonce.core.fields import returned_headers
from payonce.gateway.http1 import Connection, request_bytes
from payonce.gateway.origin import Origin
from payonce.model import reason as why
from payonce.model.call import Call
from payonce.model.ports import Head, UpstreamFault

_WRITTEN_BY_US = ((b"accept-encoding", b"identity"),)


class HttpUpstream:
    """One upstream; `base` is the URL that the path behind `/v1` is appended to. `clock` gives seconds and is fine
    enough for a call on loopback: the loop's own stands still within a turn, and a fast answer would take no time."""

    def __init__(self, base: str, settings: Settings, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._origin = Origin(base, settings.connect_timeout)
        self._first_byte = settings.first_byte_timeout
        self._between = settings.between_bytes_timeout
        self._calls = self._answered = 0
        self._waited = 0.0
        self._failed: Counter[str] = Counter()

    async def open(self, call: Call) -> HttpAnswer:
        """Send `call` and wait for the head."""
        started = self._clock()
        self._calls += 1
        try:
            answer = await self._open(call)
        except UpstreamFault as fault:
            self._failed[fault.reason.id] += 1
            raise
        self._answered += 1
        self._waited += self._clock() - started
        if answer.head.status >= 400:
            self._failed[str(answer.head.status)] += 1
        return answer

    async def _open(self, call: Call) -> HttpAnswer:
        origin = self._origin
        try:
            target = b"%s/%s" % (origin.path, call.endpoint.encode("ascii"))
            if call.query:
                target += b"?" + call.query
            request = request_bytes(call.method, target, origin.host_field, call.headers + _WRITTEN_BY_US, call.body)
        except ValueError as error:
            raise UpstreamFault(why.UPSTREAM_GARBLED, str(error)) from None
        connection = await origin.begin(request, bodiless=call.method == "HEAD", patience=self._first_byte)
        answer = HttpAnswer(origin, connection, self._failed)
        if not 200 <= connection.status < 600:
            connection.destroy()
            answer.close()
            raise UpstreamFault(why.UPSTREAM_GARBLED, "status")
        connection.patience = self._between
        return answer

    def sweep(self, now: float) -> None:
        """Give up what has made no progress for too long at `now`, on the loop's clock; to be called now and then."""
        self._origin.sweep(now)

    def state(self) -> dict[str, Any]:
        """How many connections are busy (`open`) and idle; since the start, how many `calls` were made, how many of
        them `failed` for each reason or by a status from 400 on, and how many `seconds` they took to begin their
        answers, on average; None where none has."""
        waited = round(self._waited / self._answered, 6) if self._answered else None
        return {**self._origin.connections(), "calls": self._calls, "failed": dict(self._failed), "seconds": waited}

    def close(self) -> None:
        """Close what is idle."""
        self._origin.close()


class HttpAnswer:
    """An answer that is still arriving."""

    def __init__(self, origin: Origin, connection: Connection, failed: Counter[str]) -> None:
        self._origin = origin
        self._failed = failed
        self._connection: Connection | None = connection
        self.head = Head(connection.status, returned_headers(connection.fields))

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, as it arrives."""
        try:
            # Closed meanwhile, it may be another exchange's already.
            while (connection := self._connection) is not None:
                chunk = connection.take()
                if chunk:
                    yield chunk
                elif not await connection.more():
                    return
        except UpstreamFault as fault:
            self._failed[fault.reason.id] += 1
            raise
        raise UpstreamFault(why.UPSTREAM_CUT, "given up")

    def whole(self) -> bytes | None:
        """The body, where it came together with its head, as that of a short answer does."""
        connection = self._connection
        return connection.take() if connection is not None and connection.done else None

    def close(self) -> None:
        """Give the connection back if the answer was read whole; otherwise destroy it. Calling it twice is harmless."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._origin.give_back(connection)
