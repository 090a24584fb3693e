"""The figures behind /metrics: what this worker counted since it started, and what its siblings posted on the board.

The board is a directory of the gateway's own, one small file a worker, so that any of them can answer for all, whether
or not the store works. A worker that died leaves its counts there, and no gauges. Not being able to read or write it
costs figures only. This room must never count a request.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sized
from pathlib import Path
from typing import Any

import orjson

from payonce import __version__
from payonce.assembly import World
from payonce.gateway.metrics import Figures
from payonce.ledger.tally import Tally, encode, merge
from payonce.model.ports import Clock
from payonce.model.quota import near

log = logging.getLogger("payonce.gateway")

POST_SECONDS = 1.0
GONE_SECONDS = 10.0
"""Who has posted nothing for so long serves no more."""

Record = Mapping[str, Any]


class Board:
    """The files of one gateway's workers in `folder`; `name` is this one's."""

    def __init__(self, folder: str, name: str) -> None:
        self._folder = Path(folder)
        self._name = name

    def post(self, record: Record) -> None:
        """Replace this worker's record, in one step. May wait for a disk; raises OSError."""
        draft = self._folder / f"{self._name}.new"
        draft.write_bytes(orjson.dumps(record))
        draft.replace(self._folder / f"{self._name}.json")

    def others(self) -> Iterator[Record]:
        """The records of the others; what can't be read is left out."""
        for path in sorted(self._folder.glob("*.json")):
            if path.stem != self._name:
                try:
                    yield orjson.loads(path.read_bytes())
                except (OSError, ValueError):
                    continue


class Meter:
    """One worker's; `shelf` and `connections` are counted when asked. Without a `board` there are no siblings."""

    def __init__(self, world: World, shelf: Sized, connections: Sized, clock: Clock, board: str = "") -> None:
        self._world, self._shelf, self._connections, self._clock = world, shelf, connections, clock
        self._board = Board(board, f"{os.getpid()}") if board else None

    def own(self) -> Record:
        """This worker's record, now. To be called on the loop."""
        world = self._world
        world.settle()
        tally = world.ledger.so_far()
        if world.request_log is not None:
            tally.counts["lines.requests"] = world.request_log.dropped
        if world.books is not None:
            for why, count in world.books.clerk.losses().items():
                tally.counts["books." + why] += count
        if world.teller is not None:
            tally.counts["lines.access"] = world.teller.dropped
        gauges = {
            "workers.count": 1,
            "workers.trouble": int(world.fault is not None or bool(world.trouble() or world.missing())),
            "workers.ledger_trouble": int(world.books is not None and bool(world.books.clerk.fault)),
            "workers.connections": len(self._connections),
            "workers.flights": len(world.tower),
            "workers.shelf": len(self._shelf),
        }
        return {"tally": orjson.Fragment(encode(tally)), "gauges": gauges, "at": self._clock()}

    async def figures(self) -> Figures:
        """What all workers have counted, and how things stand."""
        return await asyncio.get_running_loop().run_in_executor(None, self._gather, self.own())

    async def keep_posting(self) -> None:
        """Post this worker's record now and then, where there is a board, until cancelled."""
        while self._board is not None:
            await asyncio.sleep(POST_SECONDS)
            await self.post()

    async def post(self) -> None:
        """Post this worker's record, where there is a board."""
        if self._board is None:
            return
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._board.post, self.own())
        except OSError as error:
            log.debug("figures can't be shared with the other workers: %s", error.strerror)

    def _gather(self, own: Record) -> Figures:
        total, gauges = Tally(), Counter[str]()
        others = self._board.others() if self._board is not None else ()
        for record in (orjson.loads(orjson.dumps(own)), *others):
            try:
                merge(total, record["tally"])
                if own["at"] - record["at"] < GONE_SECONDS:
                    gauges.update(record["gauges"])
            except (KeyError, TypeError, AttributeError):
                continue
        volume = self._world.volume()
        stock = {
            "store.entries": volume.entries,
            "store.bytes": volume.used_bytes,
            "store.limit": volume.limit_bytes,
        }
        full = near(self._world.holdings(), self._world.settings.quotas)
        tenants = {holding.tenant: share for holding, share in full}
        return Figures(total, {**gauges, **stock}, __version__, tenants)
