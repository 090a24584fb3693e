"""An upstream's origin: its connections, kept alive and handed out again, the one that was used last first.

This room must never look into an answer; it sends a request twice in one case only, see `Origin.begin`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from urllib.parse import urlsplit

from payonce.gateway.http1 import Connection
from payonce.model import reason as why
from payonce.model.ports import UpstreamFault

KEEP_SECONDS = 30.0
SILENT_SECONDS = 1.0
"""A kept connection that its other end has closed is known as closed within this time, or it was not idle."""
KEEP_IDLE = 512


class Origin:
    """Everything of one scheme, host and port: its connections, idle ones first. `base` may have a path."""

    def __init__(self, base: str, connect_timeout: float) -> None:
        split = urlsplit(base)
        self._host = split.hostname or ""
        self._port = split.port or (443 if split.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if split.scheme == "https" else None
        self._connect_timeout = connect_timeout
        self._idle: deque[Connection] = deque()
        self._busy: set[Connection] = set()
        self._closed = False
        self.host_field = split.netloc.rpartition("@")[2].encode()
        self.path = split.path.rstrip("/").encode()

    async def begin(self, request: bytes, *, bodiless: bool, patience: float) -> Connection:
        """A connection on which `request` was sent and the answer's head has come, within `patience` seconds or so (see
        `sweep`). To be given back. Raises UpstreamFault.

        A kept connection that turns out to have been closed before one byte came back is replaced by a new one, once:
        but only within `SILENT_SECONDS`, as an upstream that takes longer may have begun to work, and to charge.
        """
        connection = self._kept()
        if connection is not None:
            latest = connection.clock() + SILENT_SECONDS
            try:
                return await self._sent(connection, request, bodiless, patience)
            except UpstreamFault as fault:
                if fault.reason is not why.UPSTREAM_CUT or not connection.silent or connection.clock() > latest:
                    raise
        return await self._sent(await self._connect(), request, bodiless, patience)

    def sweep(self, now: float) -> None:
        """End every exchange that has made no progress for too long, and what was idle for too long. One look at all of
        them now and then costs less than a timer for each."""
        for connection in tuple(self._busy):
            connection.overdue(now)
        idle = self._idle
        while idle and (now - idle[0].since >= KEEP_SECONDS or not idle[0].open):
            idle.popleft().destroy()

    def connections(self) -> dict[str, int]:
        """How many connections are busy, and how many idle."""
        return {"open": len(self._busy), "idle": len(self._idle)}

    def give_back(self, connection: Connection) -> None:
        """The exchange is over: keep the connection if it is clean, destroy it if not. Twice is harmless."""
        if connection not in self._busy:
            return
        self._busy.remove(connection)
        if connection.clean and not self._closed and len(self._idle) < KEEP_IDLE:
            connection.since = connection.clock()
            self._idle.append(connection)
        else:
            connection.destroy()

    def close(self) -> None:
        """Close what is idle, and what is busy as soon as it is given back."""
        self._closed = True
        for connection in self._idle:
            connection.destroy()
        self._idle.clear()

    async def _sent(self, connection: Connection, request: bytes, bodiless: bool, patience: float) -> Connection:
        connection.patience = patience
        self._busy.add(connection)
        connection.send(request, bodiless=bodiless)
        try:
            await connection.head()
        except BaseException:
            self._busy.discard(connection)
            connection.destroy()
            raise
        return connection

    def _kept(self) -> Connection | None:
        """The connection that was used last, if it is open, fresh and silent; others are closed."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.open:
                continue
            if connection.clock() - connection.since < KEEP_SECONDS and not connection.stirred:
                return connection
            connection.destroy()
        return None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: Connection(loop), self._host, self._port, ssl=self._tls
                )
        except TimeoutError:
            raise UpstreamFault(why.UPSTREAM_SLOW, "connect") from None
        except (OSError, UnicodeError) as error:  # SSLError is an OSError; a name that is none is a UnicodeError
            raise UpstreamFault(why.UPSTREAM_REFUSED, str(error)) from None
        return connection
