"""Deadlines of client connections, kept by one sweep a second over all of them rather than a timer for each request.

Headers, bodies and idle connections each have their own limit; whoever exceeds it gets 408 and is closed, and whoever
takes nothing of an answer is cut off, so that slow clients can't hold the gateway's connections (threat T28). This room
must never look into a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from time import monotonic

from payonce.config import Settings
from payonce.gateway import face
from payonce.gateway.arrival import Phase
from payonce.gateway.connection import LINGER_SECONDS, StrictProtocol
from payonce.gateway.upstream import HttpUpstream
from payonce.model import reason as why

SWEEP_SECONDS = 0.25


def sweep(connections: Iterable[StrictProtocol], settings: Settings, now: float) -> int:
    """Close every connection that is past its deadline at `now` (`time.monotonic`, as `since`); how many were."""
    closed = 0
    for connection in tuple(connections):
        waited = now - connection.since
        if connection.stalled(now) > face.WRITE_STALL_SECONDS:
            connection.transport.abort()
        elif connection.refused or connection.transport.is_closing():
            if not connection.refused or waited <= LINGER_SECONDS:
                continue
            connection.transport.close()
        elif connection.flow.read_paused:
            continue  # it is the gateway that does not read on
        elif connection.phase is Phase.HEAD and waited > settings.header_timeout:
            connection.refuse(why.HEAD_SLOW)
        elif connection.phase is Phase.BODY and waited > settings.body_timeout:
            connection.refuse(why.BODY_SLOW)
        elif connection.phase is Phase.IDLE and not connection.answering and waited > settings.idle_timeout:
            connection.transport.close()
        else:
            continue
        closed += 1
    return closed


async def keep_deadlines(
    connections: Collection[StrictProtocol], upstreams: Collection[HttpUpstream], settings: Settings
) -> None:
    """Sweep the clients' `connections`, as they are at the time, and those to `upstreams`, until cancelled.

    Each by the clock that it was noted by: on a Mac that has slept, uvloop's is ahead of `time.monotonic`."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        sweep(connections, settings, monotonic())
        for upstream in upstreams:
            upstream.sweep(loop.time())
