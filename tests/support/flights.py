"""What a gateway says of its flights, and waiting until it says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from tests.support.process import GatewayProcess

VIEWS = 16
"""So many connections in a row reach each of a few workers."""


async def until(true: Callable[[], Any], seconds: float = 20.0) -> None:
    """Until that holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.01)


async def metric(gateway: GatewayProcess, name: str) -> float:
    """The sum of its series whose names begin so."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name))


async def reached(
    gateway: GatewayProcess, name: str, true: Callable[[float], bool], seconds: float = 20.0, workers: int = 1
) -> None:
    """Until that holds of the metric; of several workers, whichever is asked: each knows its own to the moment, and
    what the others posted a second ago."""
    end, views = time.monotonic() + seconds, 0
    while views < (1 if workers == 1 else VIEWS):
        views = views + 1 if true(value := await metric(gateway, name)) else 0
        if not views:
            assert time.monotonic() < end, f"{name} is {value}"
            await asyncio.sleep(0.02)


async def told(gateway: GatewayProcess, name: str, workers: int = 1) -> float:
    """The metric, once all workers say the same of it."""
    seen: list[float] = []

    def alike(value: float) -> bool:
        same = not seen or seen[-1] == value
        seen.append(value)
        return same

    await reached(gateway, name, alike, workers=workers)
    return seen[-1]


async def boarded(gateway: GatewayProcess, count: int = 1, more: Callable[[], object] | None = None) -> None:
    """Until so many flights are in the air there, each in a worker of its own; `more` asks again: a worker that did not
    run while the others took all connections has none."""
    for left in range(20 if more is not None else 0, -1, -1):
        try:
            await reached(gateway, "payonce_flights", lambda flights: flights >= count, 3.0 if left else 20.0, count)
        except AssertionError:
            if more is None or not left:
                raise
            more()
        else:
            return


async def landed(gateway: GatewayProcess, workers: int = 1) -> None:
    """Until none is."""
    await reached(gateway, "payonce_flights", lambda flights: flights == 0, workers=workers)
