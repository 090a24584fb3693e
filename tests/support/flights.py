"""What a gateway says of its flights, and waiting until it says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from tests.support.process import GatewayProcess


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


async def reached(gateway: GatewayProcess, name: str, true: Callable[[float], bool], seconds: float = 20.0) -> None:
    """Until that holds of the metric: the workers of a gateway tell each other theirs now and then."""
    end = time.monotonic() + seconds
    while not true(await metric(gateway, name)):
        assert time.monotonic() < end, f"{name} is {await metric(gateway, name)}"
        await asyncio.sleep(0.02)


async def boarded(gateway: GatewayProcess, count: int = 1) -> None:
    """Until so many flights are in the air there."""
    await reached(gateway, "payonce_flights", lambda flights: flights >= count)


async def landed(gateway: GatewayProcess) -> None:
    """Until none is."""
    await reached(gateway, "payonce_flights", lambda flights: flights == 0)
