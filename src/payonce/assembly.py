"""The gateway's running world: on the ground of all, a player on asyncio, and a task that keeps step with others.

The library's is library.py. This room must never know HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from payonce.config import Settings
from payonce.drive.aio import AsyncPlayer
from payonce.drive.navigated import NavigatedUpstream
from payonce.drive.tower import Tower
from payonce.ground import POLL_SECONDS, Ground
from payonce.ledger.tally import Tally
from payonce.model.ports import Clock, Upstream
from payonce.telling import Teller

log = logging.getLogger("payonce")


class World(Ground):
    """The gateway's cache: the ground, a player on asyncio, and the task that keeps step with other processes."""

    def __init__(
        self,
        settings: Settings,
        upstreams: Mapping[str, Upstream],
        clock: Clock = time.time,
        teller: Teller | None = None,
    ) -> None:
        super().__init__(settings, clock, teller)
        self.tower = Tower(settings.max_flights, settings.max_entry_bytes, settings.max_batch_bytes)
        self.navigator = self._steering(self.ledger)
        self.player = AsyncPlayer(
            tiers=self.tiers,
            tower=self.tower,
            upstreams={name: NavigatedUpstream(way, self.navigator) for name, way in upstreams.items()},
            listener=self.ledger,
            clock=clock,
            read_budget=settings.read_budget,
            ttl_jitter=settings.ttl_jitter,
            total_timeout=settings.total_timeout,
            flight_wait=settings.flight_wait,
        )
        self._ticker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to keep step with other processes."""
        self._ticker = asyncio.get_running_loop().create_task(self._tick())

    async def stop(self) -> None:
        """Let flights land, write what is queued, and close the store; bounded by `drain_timeout`."""
        await self.player.close(self.settings.drain_timeout)
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        await asyncio.get_running_loop().run_in_executor(None, self._shut, self._leaves(last=True))

    async def tally(self) -> Tally:
        """The figures of every worker that shares the store, this one's to the moment."""
        leaves = self._leaves()
        return await asyncio.get_running_loop().run_in_executor(None, self._add_up, leaves)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        ticks = 0
        while True:
            await asyncio.sleep(POLL_SECONDS)
            ticks += 1
            try:
                await loop.run_in_executor(None, self.tiers.refresh)
                if ticks % 4 == 0:
                    await loop.run_in_executor(None, self._note, self._leaves())
            except Exception:
                log.exception("the ticker stumbled; it goes on")
