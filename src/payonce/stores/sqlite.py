"""A store in one SQLite file that several processes may share: one writer thread each, a reader for each get at a time.

What was put is visible at once (it waits in a queue that readers look into first) and on disk some milliseconds later.
A damaged, foreign or deleted file costs its entries, never a crash: it is set aside or made anew. Whether an entry may
be served is not decided here: entries prove themselves. This room must never know HTTP or a language model.
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import cast

import apsw

from payonce.errors import StoreError
from payonce.model import reason
from payonce.model.ports import About, Clock, Row, Volume
from payonce.model.quota import Holding, Quotas
from payonce.stores import forks
from payonce.stores import sqlite_rows as rows
from payonce.stores.local_url import read_path
from payonce.stores.registry import not_raised
from payonce.stores.sieve import Sieve
from payonce.stores.sqlite_epochs import EpochBook
from payonce.stores.sqlite_leases import FileLeases
from payonce.stores.sqlite_medium import Fault, Medium, fault_of
from payonce.stores.sqlite_pace import Pace
from payonce.stores.sqlite_pool import ReaderPool
from payonce.stores.sqlite_room import SHOWN, read_holdings, shown
from payonce.stores.sqlite_writer import Writer
from payonce.stores.write_queue import ROW_OVERHEAD, Losses, WriteQueue

ENTRY_SHARE = 8
"""No entry may be larger than one part in so many of the whole store."""
_log = logging.getLogger("payonce.stores")


class _Live:
    """What a store holds in one process: after a fork the child builds its own and never touches its parent's."""

    def __init__(
        self, build: Callable[[EpochBook, Losses], tuple[Medium, WriteQueue, Writer, ReaderPool]], clock: Clock
    ) -> None:
        self.epochs = EpochBook(clock)
        self.losses = Losses()
        self.medium, self.queue, self.writer, self.pool = build(self.epochs, self.losses)
        self.leases = FileLeases(self.medium.path, self.queue.pending.__contains__)
        self.sieve = Sieve(self.medium.path, self.medium.max_bytes, lambda: rows.slots(self.pool.query))

    def close(self, timeout: float) -> None:
        self.sieve.close()
        self.leases.close()
        self.writer.drain(timeout)
        self.epochs.close()
        self.pool.close()
        self.writer.stop(timeout)  # last, so that its connection leaves one file without a log behind


class SqliteStore:
    """A `Store` and `Notebook` in the file `path`.

    `queue_rows` and `queue_bytes` bound what waits to be written; `read_wait` is how long a get waits for a reader, in
    seconds; `touch_every` is how fine last use is recorded, in seconds; `vfs` names SQLite's file layer, for tests.
    """

    slow = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_bytes: int,
        clock: Clock = time.time,
        *,
        queue_rows: int = 10_000,
        queue_bytes: int = 64 << 20,
        batch_rows: int = 256,
        readers: int = 8,
        read_wait: float = 0.05,
        busy_ms: int = 1000,
        touch_every: float = 600.0,
        sweep_every: float = 30.0,
        retry_after: float = 0.25,
        vfs: str | None = None,
    ) -> None:
        self._clock = clock
        self._limit = max_bytes
        self._quotas = Quotas()
        self._touch_every = touch_every
        self._largest = min(max_bytes // ENTRY_SHARE, queue_bytes)
        pace = Pace(max_bytes, sweep_every=sweep_every, retry_after=retry_after)

        def build(epochs: EpochBook, losses: Losses) -> tuple[Medium, WriteQueue, Writer, ReaderPool]:
            medium = Medium(
                Path(path), clock=clock, max_bytes=max_bytes, vfs=vfs, busy_ms=busy_ms, carry=lambda: epochs.known
            )
            queue = WriteQueue(losses, max_rows=queue_rows, max_bytes=queue_bytes, batch_rows=batch_rows)
            return medium, queue, Writer(medium, queue, clock, pace), ReaderPool(medium, size=readers, wait=read_wait)

        self._build = build
        self._live = _Live(build, clock)
        self._live.medium.establish()
        if self._live.medium.read_only:
            self._live.queue.blocked = reason.STORE_READ_ONLY
            _log.warning("payonce: %s is read-only: it is served from, and nothing is kept", self._live.medium.path)
        self._live.sieve.start()
        self._box = [self._live]
        self.leases = self._live.leases
        self._finalizer = weakref.finalize(self, _close_box, self._box)
        forks.tell(self)

    def get(self, slot: bytes) -> bytes | None:
        """The bytes last put under `slot`; raises `StoreError` where the file can't answer."""
        live = self._live
        write = live.queue.pending.get(slot)
        now = self._clock()
        if write is not None:
            return write.value if write.about is not None and write.about.expires_at > now else None
        found = self._query(live, rows.GET, (slot,))
        if not found:
            return None
        value, expires_at, used_at = cast("tuple[bytes, float, int]", found[0])
        if expires_at <= now:
            return None
        if now - used_at > self._touch_every:
            live.queue.touch(slot, int(now))
            live.writer.start()
        return value

    def absent(self, slot: bytes) -> bool:
        """True where it is certain, without a look at the disk, that nothing is stored under `slot`."""
        return self._live.sieve.absent(slot)

    def put(self, slot: bytes, value: bytes, about: About) -> bool:
        """Queue `value`; False where `keep` has a reason."""
        return self.keep(slot, value, about) is None

    def keep(self, slot: bytes, value: bytes, about: About) -> reason.Reason | None:
        """Queue `value`; why not, counted, where it is too large, the queue is full or nothing can be written now."""
        live = self._live
        live.sieve.mark(slot)
        if self._too_large(len(value)):
            live.losses.add(reason.ENTRY_TOO_LARGE)
            return reason.ENTRY_TOO_LARGE
        why = live.queue.put(slot, value, about)
        live.writer.start()
        return why

    def declines(self, slot: bytes, size: int) -> reason.Reason | None:  # noqa: ARG002 - the port's signature
        """Why `size` bytes would not be taken now; None where they might."""
        return reason.ENTRY_TOO_LARGE if self._too_large(size) else self._live.queue.refusal

    def delete(self, slot: bytes) -> None:
        """Queue a deletion; a get of this process sees it at once."""
        self._live.queue.delete(slot)
        self._live.writer.start()

    def epochs(self) -> Mapping[str, int]:
        """Every epoch; costs a few microseconds where nobody has written since the last call."""
        live = self._live
        live.sieve.start()
        live.leases.tend()
        try:
            return live.epochs.read(live.medium)
        except apsw.Error as error:
            raise self._explained(live, error) from error

    def raise_epoch(self, scope: str, at_least: int = 0) -> int:
        """Count `scope` up; on the medium when it returns. A full disk gives its ballast for it."""
        return self._raise({scope: at_least})[scope]

    def raise_epochs(self, scopes: Collection[str]) -> None:
        """Count each up, in one transaction."""
        self._raise(dict.fromkeys(scopes, 0))

    def _raise(self, least: Mapping[str, int]) -> Mapping[str, int]:
        live = self._live
        for remedy in (self._remedied, None):
            try:
                return live.epochs.raise_(live.medium, least)
            except apsw.Error as error:
                if remedy is None or not remedy(live, error):
                    raise not_raised(least, error) from error
        raise AssertionError("the loop returns or raises")

    def raised(self) -> Mapping[str, float]:
        """When each scope was last raised; under `key:` the latest of the single keys that were forgotten."""
        return dict(cast("list[tuple[str, float]]", self._query(self._live, rows.RAISED, ())))

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that was put is on the medium; False where it took too long or some of it was dropped."""
        self._live.writer.start()
        return self._live.queue.flush(timeout)

    def volume(self) -> Volume:
        """How full it is, from one row."""
        entries, used, _ = cast("tuple[int, int, int]", self._query(self._live, rows.LEDGER, ())[0])
        return Volume(entries, used, self._limit)

    def ration(self, quotas: Quotas) -> None:
        """No tenant may hold more than these allow; holds for what is written from now on."""
        self._quotas = self._live.writer.quotas = quotas

    def holdings(self, most: int) -> Sequence[Holding]:
        """What the `most` tenants that hold most hold, and those with a quota of their own."""
        live = self._live
        return read_holdings(self._query(live, SHOWN, (most, shown(self._quotas)))) if live.medium.furnished else ()

    def rows(self) -> Iterator[Row]:
        """Every entry, newest first, a page at a time; what waits is written first, if that is quick."""
        live = self._live
        self.flush(1.0)
        for _, row in rows.listing(lambda sql, args: self._query(live, sql, args), self._clock()):
            waiting = live.queue.pending.get(row.slot)
            if waiting is None or waiting.value is not None:
                yield row

    def dropped(self) -> Mapping[str, int]:
        """How many entries were dropped, by reason id; `damaged` counts files that were set aside."""
        live = self._live
        asides = {reason.DAMAGED.id: live.medium.set_asides} if live.medium.set_asides else {}
        return {**live.losses.counts(), **asides}

    def note(self, name: str, value: bytes) -> None:
        """Queue a record."""
        self._live.queue.note(name, value)
        self._live.writer.start()

    def notes(self) -> Mapping[str, bytes]:
        """Every record, by name, of all processes."""
        live = self._live
        waiting = live.queue.notes()
        return {**dict(cast("list[tuple[str, bytes]]", self._query(live, rows.NOTES, ()))), **waiting}

    def reclaim(self, dead: Callable[[Row], bool], limit: int = 1000, timeout: float = 5.0) -> int:
        """Delete up to `limit` entries that `dead` says can never be served again. How many were deleted."""
        live = self._live
        listed = rows.listing(lambda sql, args: self._query(live, sql, args), self._clock())
        chosen = list(islice((entry for entry, row in listed if dead(row)), limit))
        return live.writer.call(lambda db: rows.delete_ids(db, chosen), timeout) if chosen else 0

    def close(self, timeout: float = 5.0) -> None:
        """Flush within `timeout` and release everything; a get raises from now on, a put says False."""
        forks.forget(self)
        self._live.close(timeout)
        self._finalizer.detach()

    def _too_large(self, size: int) -> bool:
        return size + ROW_OVERHEAD > self._largest

    def _query(self, live: _Live, sql: str, args: tuple[apsw.SQLiteValue, ...]) -> list[tuple[apsw.SQLiteValue, ...]]:
        try:
            return live.pool.query(sql, args)
        except apsw.Error as error:
            raise self._explained(live, error) from error

    def _explained(self, live: _Live, error: apsw.Error) -> StoreError:
        if fault_of(error) is Fault.DAMAGED:
            live.writer.suspect(live.medium.generation, error)
        return StoreError(f"{live.medium.path} could not be read ({error}): the log says why")

    def _remedied(self, live: _Live, error: apsw.Error) -> bool:
        fault = fault_of(error)
        if fault is Fault.DAMAGED:
            live.medium.repair(live.medium.generation, error)
        elif fault is Fault.FULL and live.medium.ballast is not None:
            live.medium.ballast.release()
        elif not live.medium.moved():
            return False
        return True

    @property
    def gate(self) -> Lock:
        """Held while the process forks: no writer is inside SQLite while its mutexes are copied."""
        return self._live.writer.gate

    def forked(self) -> object:
        """Begin anew in a child; what was the parent's."""
        parents, self._live = self._live, _Live(self._build, self._clock)
        self._box[0], self.leases = self._live, self._live.leases
        self.ration(self._quotas)
        return parents


def _close_box(box: list[_Live]) -> None:
    box[0].close(2.0)


def open_sqlite(rest: str, *, clock: Clock, max_bytes: int) -> SqliteStore:
    """The registry's door: `sqlite:PATH`, `sqlite:~/PATH`, `sqlite:///ABSOLUTE`."""
    return SqliteStore(read_path("sqlite", rest), max_bytes, clock)
