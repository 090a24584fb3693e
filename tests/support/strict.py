"""The gateway in front of the simulated provider with its strict prompt caches, both on one clock, the test's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from payonce.drive.navigated import NavigatedUpstream
from payonce.gateway.upstream import HttpUpstream
from payonce.testing.sim import CacheMeter, SimulatedProvider, running_sim
from tests.support.asgi import World, running


@asynccontextmanager
async def strict(
    folder: Path, *, first_token: float = 0.0, **settings: Any
) -> AsyncIterator[tuple[World, SimulatedProvider]]:
    """A gateway in front of the simulated provider with its strict caches, both on the same clock."""
    now: list[Callable[[], float]] = [lambda: 0.0]
    with running_sim(meter=CacheMeter(), clock=lambda: now[0](), first_token=first_token) as sim:
        async with running(folder, upstream=(("", sim.base_url),), **settings) as world:
            now[0] = world.clock
            way = HttpUpstream(sim.base_url, world.gateway.settings)
            world.gateway.world.player.flights.upstreams = {"": NavigatedUpstream(way, world.gateway.world.navigator)}
            try:
                yield world, sim
            finally:
                way.close()
