"""The library's world: stores, players and figures that the clients of one process share, and who still uses them.

One world for each store and the settings that shape it, opened at the first request and closed with its last client;
threads share one player, each event loop has its own. A daemon thread keeps step with other processes. This room must
never know HTTP.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any

from payonce.config import Settings
from payonce.drive.aio import AsyncPlayer
from payonce.drive.navigated import NavigatedSyncUpstream, NavigatedUpstream
from payonce.drive.performing import READERS
from payonce.drive.sync import SyncPlayer
from payonce.drive.tower import Tower
from payonce.ground import POLL_SECONDS, Ground
from payonce.ledger.ledger import Ledger
from payonce.ledger.money import Bill
from payonce.ledger.unread import Expired
from payonce.library_shelf import Shelf
from payonce.model.call import Ask, Call
from payonce.model.ports import Clock
from payonce.model.receipt import Landing, Receipt
from payonce.outgoing import AsyncSdkUpstream, SdkUpstream
from payonce.telling import Teller
from payonce.tracing import here, tracing

log = logging.getLogger("payonce")

SHELF_SHARE = 4
"""The shelf may take a quarter of what the memory tier may."""

EXIT_SECONDS = 5.0
"""For how long the end of the interpreter waits for answers that are still arriving, at most."""

_DEFAULTS = Settings(store="memory:")
_OTHERS: dict[str, Any] = {
    name: getattr(_DEFAULTS, name)
    for name in (
        *("host", "port", "upstream", "workers", "allowed_hosts", "allowed_origins", "forward_cache_headers"),
        *("cache", "ttl", "stale_while_revalidate", "stale_if_error", "hit_usage", "rules"),
        *("prompt_cache", "prompt_cache_ttl", "changed_models", "ignore_headers", "share"),
    )
}
"""Settings of single requests, or of the gateway's network: clients that differ in these alone share a world."""


class LibraryWorld(Ground):
    """One store's cache in one process."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        spans = tracing(serving=False)
        super().__init__(settings, clock, Teller([spans], clock, whole=True, context=here) if spans else None)
        self.listener = Locked(self.ledger)
        self.books_lock = self.listener.lock
        self.navigator = self._steering(self.listener)
        quick = settings.fast_lane and self.teller is None  # what the shelf answers is not told of one by one
        self.shelf = Shelf(settings.memory_bytes // SHELF_SHARE if quick else 0, self.tiers)
        self.tiers.on_change.append(self.shelf.drop)
        self.before_note.append(lambda: self.shelf.settle(self.ledger))
        self.leases: weakref.WeakSet[Lease] = weakref.WeakSet()
        self.pool = ThreadPoolExecutor(READERS, thread_name_prefix="payonce-read")
        self.sync = SyncPlayer(
            tiers=self.tiers,
            tower=Tower(settings.max_flights, settings.max_entry_bytes),
            upstreams={"": NavigatedSyncUpstream(SdkUpstream(), self.navigator)},
            listener=self.listener,
            clock=clock,
            read_budget=settings.read_budget,
            ttl_jitter=settings.ttl_jitter,
            total_timeout=settings.total_timeout,
            flight_wait=settings.flight_wait,
            pool=self.pool,
        )
        self._loops: dict[asyncio.AbstractEventLoop, AsyncPlayer] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="payonce-ticker", daemon=True)
        for warning in self.warnings:
            log.warning("%s", warning)
        self._ticker.start()

    def aio(self) -> AsyncPlayer:
        """The player of the running event loop."""
        loop = asyncio.get_running_loop()
        player = self._loops.get(loop)
        if player is None:
            with self._lock:
                for old in [other for other in self._loops if other.is_closed()]:
                    del self._loops[old]
                player = self._loops[loop] = self._new_player()
        return player

    def _new_player(self) -> AsyncPlayer:
        settings = self.settings
        return AsyncPlayer(
            tiers=self.tiers,
            tower=Tower(settings.max_flights, settings.max_entry_bytes),
            upstreams={"": NavigatedUpstream(AsyncSdkUpstream(), self.navigator)},
            listener=self.listener,
            clock=self.clock,
            read_budget=settings.read_budget,
            ttl_jitter=settings.ttl_jitter,
            total_timeout=settings.total_timeout,
            flight_wait=settings.flight_wait,
            pool=self.pool,
        )

    def stop(self, seconds: float) -> None:
        """Let the threads' flights land within `seconds`, write what is queued, and close the store."""
        self._stop.set()
        self.sync.drain(seconds)
        if threading.current_thread() is not self._ticker:
            self._ticker.join(POLL_SECONDS * 8)
        self.pool.shutdown(wait=False, cancel_futures=True)
        self._shut(self._leaves(last=True))

    def _busy(self) -> bool:
        """Whether answers are still arriving."""
        flying = any(len(player.tower) for loop, player in list(self._loops.items()) if not loop.is_closed())
        return flying or not self.sync.drain(0.0)

    def _tick(self) -> None:
        ticks = forgotten = 0
        while not self._stop.wait(POLL_SECONDS):
            ticks += 1
            try:
                self.tiers.refresh()
                if ticks % 4 == 0:
                    self._note(self._leaves())
                forgotten = 0 if self.leases or self._busy() else forgotten + 1
                if forgotten > 4 and _forget(self):  # its clients were dropped without being closed
                    self.stop(0.0)
            except Exception:
                log.exception("the ticker stumbled; it goes on")


class Locked:
    """The ledger, for any number of threads."""

    def __init__(self, ledger: Ledger) -> None:
        self.lock = threading.RLock()  # what is settled before a note may be told here too
        self._ledger = ledger

    def exchanged(self, receipt: Receipt, seconds: float, asked: Ask | Call | None) -> None:
        """A request was answered."""
        with self.lock:
            self._ledger.exchanged(receipt, seconds, asked)

    def landed(self, landing: Landing, followers: int, ask: Ask) -> None:
        """An upstream call ended that `followers` others had joined."""
        with self.lock:
            self._ledger.landed(landing, followers, ask)

    def spent(self, bill: Bill, *, cacheable: bool = True) -> None:
        """An upstream answered, and this is its bill."""
        with self.lock:
            self._ledger.spent(bill, cacheable=cacheable)

    def unread(self, expired: Expired) -> None:
        """Written prefixes expired unread."""
        with self.lock:
            self._ledger.unread(expired)

    def missed(self, tokens: int, cost: Decimal | None) -> None:
        """An answer read less of a live entry than it could."""
        with self.lock:
            self._ledger.missed(tokens, cost)


class Lease:
    """One transport's hold on the world of its settings. `world` is None until it is opened."""

    def __init__(self, settings: Settings, clock: Clock = time.time) -> None:
        self.key = (world_settings(settings), clock)
        self.world: LibraryWorld | None = None
        _leases.add(self)

    def open(self) -> LibraryWorld:
        """The world, made now if nobody has it open. May wait for a disk."""
        with _lock:
            world = _worlds.get(self.key)
            if world is None:
                world = _worlds[self.key] = LibraryWorld(*self.key)
                atexit.unregister(_at_exit)
                atexit.register(_at_exit)  # again, so that it comes before what the new world's stores have registered
            world.leases.add(self)
            self.world = world
            return world

    def close(self) -> None:
        """Let go of the world; the last one closes it. May wait for a disk."""
        with _lock:
            world, self.world = self.world, None
            if world is None:
                return
            world.leases.discard(self)
            if world.leases or _worlds.get(self.key) is not world:
                return
            del _worlds[self.key]
        world.stop(self.key[0].drain_timeout)


def world_settings(settings: Settings) -> Settings:
    """What of `settings` shapes a world: all but what concerns single requests, or the gateway's network."""
    return replace(settings, **_OTHERS)


def open_worlds() -> int:
    """How many worlds this process has open."""
    return len(_worlds)


_lock = threading.RLock()
_worlds: dict[tuple[Settings, Clock], LibraryWorld] = {}
_leases: weakref.WeakSet[Lease] = weakref.WeakSet()


def _forget(world: LibraryWorld) -> bool:
    """Take a world that nobody holds out of the registry; False if somebody has taken it up again."""
    with _lock:
        if world.leases:
            return False
        for key in [key for key, known in _worlds.items() if known is world]:
            del _worlds[key]
        return True


def _at_exit() -> None:
    with _lock:
        worlds = list(_worlds.values())
        _worlds.clear()
    deadline = time.monotonic() + EXIT_SECONDS
    for world in worlds:
        world.stop(max(0.0, min(world.settings.drain_timeout, deadline - time.monotonic())))


def _after_fork() -> None:
    """The child has the parent's objects but none of its threads: everything is opened anew when it is next used."""
    global _lock  # noqa: PLW0603 - the parent's may be held by a thread that the child does not have
    _lock = threading.RLock()
    _worlds.clear()
    for lease in list(_leases):
        lease.world = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
